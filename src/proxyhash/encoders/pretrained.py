"""Encoders around a pretrained transformers model, from a folder or the hub; that of images."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from proxyhash.data.images import open_image
from proxyhash.encoders.base import EncoderRequest, register_encoder
from proxyhash.encoders.folder import (
    MANIFEST_NAME,
    fingerprint_of,
    read_arrays,
    read_settings,
    write_arrays,
    write_settings,
)
from proxyhash.encoders.model_files import ModelFiles, core_folder, find_model
from proxyhash.encoders.recipe import TextRecipe
from proxyhash.encoders.trainable import TrainableEncoder
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from proxyhash.data.modalities import Modality
    from proxyhash.encoders._backbone import Backbone
    from proxyhash.encoders._transformers import ImageProcessor

__all__ = [
    "CPU_BATCH",
    "CPU_LEARNING_PIXELS",
    "PretrainedEncoder",
    "TransformersImageEncoder",
]

_WEIGHTS = "weights.safetensors"

CPU_BATCH = 2
"""Batch size for images on a CPU.

The activations of two images fit the cache of a core, in memory that the process already has.
MobileNetV2 takes less than half the processor time per image that it takes in batches of 64, whose
activations go through main memory that is mapped again for each layer.
"""

CPU_LEARNING_PIXELS = 24 * 160 * 160
"""Pixels of the images that learn in one go on a CPU.

For the same reason a batch is split while it learns, without changing what is learned, as no image
depends on the others. MobileNetV2 in bfloat16 learns from 83 images of 160x160 per second in parts
of 24, 80 in parts of 16 and 32, 69 in parts of 8 (two cores; in float32, parts of 8 take 30 % less
processor time than all 64).
"""


@dataclass(frozen=True)
class Tower:
    """A model of images and texts, such as CLIP: equal where two encoders are towers of one.

    Attributes:
        model: hex SHA-256 of its configuration.
        scale: factor of cosines that it learned.
        bias: their bias, of SigLIP; None of CLIP.
        dim: width of the space.
    """

    model: str
    scale: float
    bias: float | None
    dim: int


class PretrainedEncoder(TrainableEncoder):
    """Base of both encoders: loading, saving and the fingerprint.

    Attributes:
        module: the model's network.
        device: where it runs.
    """

    def __init__(
        self,
        backbone: Backbone,
        files: ModelFiles,
        folder: Path,
        *,
        recipe: TextRecipe,
        device: str = "cpu",
    ) -> None:
        from torch import no_grad

        self.device = device
        self.module = backbone.module
        self._backbone = backbone
        self._files = files
        self._recipe = recipe
        self._open_preprocessing(folder)
        # Some networks keep tensors of their first call, which is not in inference mode therefore.
        try:
            with no_grad():
                self.dim = self.features(self.tensors([self.prepare(self.example())])).shape[1]
        except ValueError as error:
            raise ModelError(f"{folder} does not fit together: {error}") from error
        self.fingerprint = self.current_fingerprint()

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Load the folder or hub id given as the request's argument."""
        return cls.from_source(request.argument, device=request.device)

    @classmethod
    def from_source(cls, source: str | Path, *, device: str = "cpu", **options: Any) -> Self:
        """Return the encoder around the model in a folder or with a hub id.

        Args:
            source: the folder or the id.
            device: where it runs.
            options: of encoders that have some, see `options_in`.

        Raises:
            ModelError: it cannot be found, fetched or used.
        """
        from proxyhash.encoders._backbone import read_dense
        from proxyhash.encoders._transformers import load_backbone

        folder = find_model(str(source))
        (modality,) = cls.modalities
        files = ModelFiles.read(folder, modality)
        recipe = TextRecipe.of(files) if modality == "text" else TextRecipe()
        dense = read_dense(folder, recipe.dense)
        core = core_folder(folder)
        backbone = load_backbone(core, modality=modality, dense=dense, device=device)
        made = cls._fitting(backbone)
        return made(backbone, files, core, recipe=recipe, device=device, **options)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the saved encoder."""
        from proxyhash.encoders._transformers import restore_backbone

        settings = read_settings(folder)
        backbone = restore_backbone(
            folder,
            read_arrays(folder / _WEIGHTS),
            pooling=settings["pooling"],
            dropped=settings["dropped"],
            device=device,
        )
        (modality,) = cls.modalities
        files = ModelFiles.read(folder, modality, saved=True)
        recipe = TextRecipe()
        if "recipe" in settings:
            try:
                recipe = TextRecipe.from_json(settings["recipe"])
            except (TypeError, ValueError) as error:
                raise ModelError(f"{folder / MANIFEST_NAME} is damaged: {error}") from error
        elif modality == "text":
            recipe = TextRecipe.of(files)
        made, options = cls._fitting(backbone), cls.options_in(settings)
        return made(backbone, files, folder, recipe=recipe, device=device, **options)

    @classmethod
    def options_in(cls, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - for subclasses
        """Return the options of the class, by name, that the settings of a saved encoder have."""
        return {}

    @classmethod
    def _fitting(cls, backbone: Backbone) -> type[Self]:  # noqa: ARG003 - for subclasses
        """Return the class that runs a network."""
        return cls

    def save(self, folder: Path) -> None:
        """Write the weights, as float16 where that is exact, and the model's descriptive files."""
        if self._open:
            self.fingerprint = self.current_fingerprint()
        self._files.write(folder)
        write_arrays(folder / _WEIGHTS, self._backbone.state())
        write_settings(folder, self, self._settings())

    def current_fingerprint(self) -> str:
        """Return the fingerprint of the weights as they are now."""
        contents = {name: hashlib.sha256(c).hexdigest() for name, c in self._files.content.items()}
        settings = {"kind": self.kind, "files": contents, **self._settings()}
        return fingerprint_of(settings, self._backbone.state())

    @property
    def tower(self) -> Tower | None:
        """The model whose tower this is, where its images and texts have one space."""
        if self._backbone.pooling != "projection":
            return None
        module: Any = self.module
        config = self._files.content.get("config.json", b"")
        bias = getattr(module, "logit_bias", None)
        return Tower(
            model=hashlib.sha256(config).hexdigest(),
            scale=float(module.logit_scale.detach().exp()),
            bias=None if bias is None else float(bias.detach()),
            dim=self.dim,
        )

    @property
    def files(self) -> ModelFiles:
        """The model's configuration, preprocessing and vocabulary, as published."""
        return self._files

    def _settings(self) -> dict[str, Any]:
        """Return what `load` needs beside the files, which is what earlier versions needed."""
        return {"pooling": self._backbone.pooling, "dropped": list(self._backbone.dropped)}

    @abstractmethod
    def _open_preprocessing(self, folder: Path) -> None:
        """Read what `prepare` needs from the model's folder."""


@register_encoder
class TransformersImageEncoder(PretrainedEncoder):
    """Pooled output of a vision model, or the image side of a CLIP-like model after its projection.

    Images are resized, cropped and normalized by the model's own image processor. The features
    are as the model gives them, not normalized.
    """

    kind: ClassVar[str] = "transformers-image"
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)

    modality: Modality = "image"
    _processor: ImageProcessor

    @classmethod
    def _fitting(cls, backbone: Backbone) -> type[Self]:
        from proxyhash.encoders._naflex import NaflexEncoder

        return NaflexEncoder if NaflexEncoder.runs(backbone) else cls  # type: ignore[return-value]

    def prepare(self, source: Any) -> Any:
        """Return the image as the model's input, before rescaling if that is done in batches."""
        return self._processor.prepare(open_image(source))

    @property
    def recipe(self) -> str:
        """Settings that decide what `prepare` returns; see `TrainableEncoder.recipe`."""
        return self._processor.recipe

    def pixels(self, prepared: Sequence[NDArray[Any]]) -> torch.Tensor:
        """Return the model's input for prepared images, float32 (b, 3, h, w) on its device."""
        return self._processor.pixels(prepared).to(self.device)

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch of prepared images."""
        import torch

        self._check_evaluating()
        with torch.inference_mode():
            return self._network(self.pixels(prepared)).float().cpu().numpy()

    def tensors(self, prepared: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Return {"pixels": float32 (b, 3, h, w)}, normalized, for prepared images."""
        return {"pixels": self._processor.pixels(prepared)}

    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the features of {"pixels": ...}, float32 (b, dim), with gradient.

        Raises:
            ModelError: the pixels have another height and width than `image_size`, which not every
                network takes.
        """
        import torch

        pixels = inputs["pixels"].to(self.device).contiguous(memory_format=torch.channels_last)
        part = max(1, CPU_LEARNING_PIXELS // pixels.shape[2:].numel())
        if part < len(pixels) and self._may_split(pixels):
            return torch.cat([self._pooled(each) for each in torch.split(pixels, part)])
        return self._pooled(pixels)

    def _may_split(self, pixels: torch.Tensor) -> bool:
        """Return whether the batch may go through in parts: it learns, without batch statistics."""
        import torch

        from proxyhash.encoders._blocks import moving_norms

        learns = self.module.training and torch.is_grad_enabled() and pixels.device.type == "cpu"
        return learns and not any(norm.training for norm in moving_norms(self.module).values())

    @property
    def _forward(self) -> Callable[..., torch.Tensor]:
        """From the network and pixels to features; see `image_features`."""
        from proxyhash.encoders._backbone import image_features

        return image_features

    def _pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[2:]
        resized = (height, width) != self._size
        try:
            return self._forward(self._backbone, pixels, resized=resized).float()
        except ValueError as error:
            if not resized:
                raise
            own = "{} x {}".format(*self._size)
            raise ModelError(
                f"the image encoder takes no images of {height} x {width} pixels ({error}); "
                f"train it at its own size of {own}"
            ) from error

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Return images of values from 0 to 255, (b, 3, h, w), as the network takes them."""
        return self._processor.normalized(images)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the network gets."""
        return self._size

    @property
    def preparation(self) -> str:
        """The way of an RGB image to the network, in words."""
        height, width = self.image_size
        return (
            "resized and cropped as the files say (transformers' image processor, on Pillow) to "
            f"{height} x {width}, channels first"
        )

    def example(self) -> Any:
        """Return a black image."""
        from PIL import Image

        return Image.new("RGB", (64, 64))

    def freeze(self) -> None:
        """End learning; see `TrainableEncoder.freeze`."""
        from proxyhash.encoders._backbone import ImageNetwork

        super().freeze()
        self._network = ImageNetwork(self._backbone, self._forward)

    def _open_preprocessing(self, folder: Path) -> None:
        from proxyhash.encoders._backbone import ImageNetwork
        from proxyhash.encoders._transformers import ImageProcessor

        self._processor = ImageProcessor(folder)
        self._network = ImageNetwork(self._backbone, self._forward)
        height, width = self.tensors([self.prepare(self.example())])["pixels"].shape[2:]
        self._size = (height, width)
        if self.device == "cpu":
            self.max_batch = CPU_BATCH
