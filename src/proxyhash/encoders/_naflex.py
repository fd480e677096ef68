"""Images of any shape, as NaFlex models of SigLIP 2 take them (arXiv 2502.14786, section 2.4).

An image keeps its aspect: it is resized to at most as many patches as the model takes, and is a row
of patches with a mask and a shape. Models of SigLIP 2 for one size are those of SigLIP.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxyhash.encoders._backbone import image_features
from proxyhash.encoders._transformers import ImageProcessor
from proxyhash.encoders.pretrained import CPU_BATCH, TransformersImageEncoder
from proxyhash.encoders.trainable import TrainableEncoder
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

    from proxyhash.encoders._backbone import Backbone

__all__ = ["NaflexEncoder"]

_MOST = 16384  # patches of an image, and pixels of a patch

Patches = tuple["NDArray[np.float32]", tuple[int, int]]
"""Patches of an image row by row, float32 (n, 3 * side * side), and their rows and columns."""


class PatchProcessor(ImageProcessor):
    """A NaFlex model's own image processor, image by image.

    Attributes:
        side: of a patch, in pixels.
        most: patches of an image.
    """

    side: Any
    most: Any

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.side = getattr(self._processor, "patch_size", None)
        self.most = getattr(self._processor, "max_num_patches", None)
        for name, value in (("patch_size", self.side), ("max_num_patches", self.most)):
            if type(value) is not int or not 1 <= value <= _MOST:
                raise ModelError(
                    f"{folder}: the model takes images of any shape, and {name} of its image "
                    f"processor is {value!r:.40}; a number from 1 to {_MOST:,} is expected"
                )

    @property
    def recipe(self) -> str:
        """Nothing: images have many shapes, and are not kept on disk."""
        return ""

    def prepare(self, image: Image) -> Any:
        """Return `Patches` of an RGB image."""
        found = self._processor(image)
        rows, columns = (int(count) for count in found["spatial_shapes"][0])
        patches = np.asarray(found["pixel_values"][0], dtype=np.float32)
        return patches[: rows * columns], (rows, columns)

    def tensors(self, prepared: Sequence[Patches]) -> dict[str, torch.Tensor]:
        """Return "pixels" (b, most, d), zero behind the patches, "mask" (b, most), "shapes"."""
        pixels = torch.zeros(len(prepared), self.most, 3 * self.side**2)
        mask = torch.zeros(len(prepared), self.most, dtype=torch.int32)
        for row, (patches, _) in enumerate(prepared):
            pixels[row, : len(patches)] = torch.from_numpy(patches)
            mask[row, : len(patches)] = 1
        shapes = torch.tensor([shape for _, shape in prepared])
        return {"pixels": pixels, "mask": mask, "shapes": shapes}

    def cut(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the same of images (b, 3, h, w) of one shape, as augmented ones are.

        Raises:
            ValueError: height or width does not divide by the patches' side.
        """
        count, channels, height, width = images.shape
        if height % self.side or width % self.side:
            raise ValueError(f"height and width have to be multiples of {self.side}")
        rows, columns = height // self.side, width // self.side
        grid = images.reshape(count, channels, rows, self.side, columns, self.side)
        pixels = grid.permute(0, 2, 4, 3, 5, 1).reshape(count, rows * columns, -1)
        mask = torch.ones(count, rows * columns, dtype=torch.int32, device=images.device)
        shapes = torch.tensor([[rows, columns]] * count, device=images.device)
        return {"pixels": pixels, "mask": mask, "shapes": shapes}

    def _find_affine(self) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, bool]:
        """Return factor and summand of pixels, if they tell the values; never for batches."""
        from PIL import Image

        settings = self._pointwise_settings()
        if settings is None:
            return None, False
        scale, shift = (each.view(3).numpy() for each in settings)
        noise = np.random.default_rng(0).integers(0, 256, (45, 80, 3), dtype=np.uint8)
        options = {"do_rescale": False, "do_normalize": False}
        wanted = self._process(Image.fromarray(noise))
        plain = self._process(Image.fromarray(noise), **options)
        if plain.shape != wanted.shape or plain.shape[-1] % 3:
            return None, False
        rows, columns = self._processor(Image.fromarray(noise))["spatial_shapes"][0]
        whole = slice(int(rows) * int(columns))
        found = plain[whole].reshape(-1, 3).astype(np.float32) * scale + shift
        difference = np.abs(found - wanted[whole].reshape(-1, 3)).max()
        return (settings if difference <= 1e-5 else None), False


class NaflexEncoder(TransformersImageEncoder):
    """Image side of a NaFlex model, after its projection; see `TransformersImageEncoder`."""

    _processor: PatchProcessor

    @staticmethod
    def runs(backbone: Backbone) -> bool:
        """Return whether a network takes patches instead of pixels."""
        config: Any = getattr(backbone.module, "config", None)
        return str(getattr(config, "model_type", "")).startswith("siglip2")

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch of prepared images."""
        return TrainableEncoder.embed(self, prepared)

    def tensors(self, prepared: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Return "pixels", "mask" and "shapes" of prepared images."""
        return self._processor.tensors(prepared)

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the features of `tensors`, or of {"pixels": ...} of one shape, (b, 3, h, w).

        Raises:
            ModelError: height or width of such images does not divide by the patches' side.
        """
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        if inputs["pixels"].ndim == 4:
            try:
                inputs = self._processor.cut(inputs["pixels"])
            except ValueError as error:
                height, width = inputs["pixels"].shape[2:]
                raise ModelError(
                    f"the image encoder takes no images of {height} x {width} pixels ({error})"
                ) from error
        return image_features(self._backbone, inputs["pixels"], patches=inputs).float()

    @property
    def preparation(self) -> str:
        """The way of an RGB image to the network, in words."""
        side, most = self._processor.side, self._processor.most
        return (
            "resized as the files say (transformers' image processor, on Pillow) to at most "
            f"{most} patches of {side} x {side}, keeping its aspect; pixels are the patches row by "
            f"row, each of {side} x {side} x 3 values, and zero behind the last one; mask is 1 "
            "where there is a patch; shapes are the rows and columns of patches"
        )

    def freeze(self) -> None:
        """End learning; see `TrainableEncoder.freeze`."""
        TrainableEncoder.freeze(self)

    def _open_preprocessing(self, folder: Path) -> None:
        self._processor = PatchProcessor(folder)
        side = self._processor.side * math.isqrt(self._processor.most)
        self._size = (side, side)
        if self.device == "cpu":
            self.max_batch = CPU_BATCH
