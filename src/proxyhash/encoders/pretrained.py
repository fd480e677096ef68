"""Encoders around a pretrained transformers model: a folder or a hub id."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from proxyhash.data.images import open_image
from proxyhash.encoders.base import BatchEncoder, EncoderRequest
from proxyhash.encoders.folder import (
    fingerprint_of,
    read_arrays,
    read_settings,
    write_arrays,
    write_settings,
)
from proxyhash.encoders.model_files import ModelFiles, TextRecipe, find_model
from proxyhash.encoders.registry import register_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from proxyhash.data.item import Modality
    from proxyhash.encoders.transformers_adapter import Backbone

__all__ = ["CPU_BATCH", "TransformersImageEncoder", "TransformersTextEncoder"]

_WEIGHTS = "weights.safetensors"

CPU_BATCH = 2
"""Images that go through a model together on a CPU.

What lies between the layers of two images stays close to the core, and in memory that the process
already has. MobileNetV2 takes less than half the processor time per image that it takes in
batches of 64, whose layers go through main memory that is mapped anew for each of them.
"""


class _PretrainedEncoder(BatchEncoder):
    """What the two share: loading, saving and the fingerprint.

    Attributes:
        device: where the model runs.
    """

    def __init__(
        self, backbone: Backbone, files: ModelFiles, folder: Path, *, device: str = "cpu"
    ) -> None:
        self.device = device
        self._backbone = backbone
        self._files = files
        self._open_preprocessing(folder)
        self.dim = self._probe().shape[1]
        contents = {name: hashlib.sha256(c).hexdigest() for name, c in files.content.items()}
        self.fingerprint = fingerprint_of(
            {"kind": self.kind, "files": contents, **self._settings()}, backbone.state()
        )

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Load the folder or hub id in the request's argument."""
        return cls.from_source(request.argument, device=request.device)

    @classmethod
    def from_source(cls, source: str | Path, *, device: str = "cpu") -> Self:
        """Return the encoder around the model in a folder, or with a hub id.

        Raises:
            ModelError: it cannot be found, fetched or used.
        """
        from proxyhash.encoders.transformers_adapter import load_backbone

        folder = find_model(str(source))
        (modality,) = cls.modalities
        files = ModelFiles.read(folder, modality)
        backbone = load_backbone(folder, modality=modality, device=device)
        return cls(backbone, files, folder, device=device)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the saved encoder."""
        from proxyhash.encoders.transformers_adapter import restore_backbone

        settings = read_settings(folder)
        backbone = restore_backbone(
            folder,
            read_arrays(folder / _WEIGHTS),
            pooling=settings["pooling"],
            dropped=settings["dropped"],
            device=device,
        )
        (modality,) = cls.modalities
        return cls(backbone, ModelFiles.read(folder, modality), folder, device=device)

    def save(self, folder: Path) -> None:
        """Write the weights, as float16 where that is exact, and the model's descriptive files."""
        self._files.write(folder)
        write_arrays(folder / _WEIGHTS, self._backbone.state())
        write_settings(folder, self, self._settings())

    @property
    def module(self) -> torch.nn.Module:
        """The torch network; its parameters do not require gradients."""
        return self._backbone.module

    def _settings(self) -> dict[str, Any]:
        return {"pooling": self._backbone.pooling, "dropped": list(self._backbone.dropped)}

    def _open_preprocessing(self, folder: Path) -> None:
        raise NotImplementedError

    def _probe(self) -> NDArray[np.float32]:
        """The features of any one input, for their length."""
        raise NotImplementedError


@register_encoder
class TransformersImageEncoder(_PretrainedEncoder):
    """Pooled output of a vision model, or the image side of a CLIP-like model after its projection.

    Images are resized, cropped and normalized by the model's own image processor. The features
    are as the model gives them, not normalized.
    """

    kind: ClassVar[str] = "transformers-image"
    modalities: ClassVar[tuple[Modality, ...]] = ("image",)

    modality: Modality = "image"

    def prepare(self, source: Any) -> NDArray[Any]:
        """Return the image as the model's input, before rescaling where that can wait."""
        return self._processor.prepare(open_image(source))

    def pixels(self, prepared: Sequence[NDArray[Any]]) -> torch.Tensor:
        """Return the model's input for prepared images, float32 (b, 3, h, w) on its device."""
        return self._processor.pixels(prepared).to(self.device)

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch of prepared images."""
        import torch

        with torch.inference_mode():
            return self._network(self.pixels(prepared)).float().cpu().numpy()

    def _open_preprocessing(self, folder: Path) -> None:
        from proxyhash.encoders.image_network import ImageNetwork
        from proxyhash.encoders.transformers_adapter import ImageProcessor

        self._processor = ImageProcessor(folder)
        self._network = ImageNetwork(self._backbone)
        if self.device == "cpu":
            self.max_batch = CPU_BATCH

    def _probe(self) -> NDArray[np.float32]:
        from PIL import Image

        return self.embed([self.prepare(Image.new("RGB", (64, 64)))])


@register_encoder
class TransformersTextEncoder(_PretrainedEncoder):
    """Mean of a text model's token vectors, or the text side of a CLIP-like model, projected.

    A sentence-transformers folder says itself how to pool, whether to normalize and where to cut;
    for `all-MiniLM-L6-v2`: the mean over the attention mask, divided by its norm, 256 tokens
    (recipe in that model's card). Other models get the plain mean over the attention mask.
    """

    kind: ClassVar[str] = "transformers-text"
    modalities: ClassVar[tuple[Modality, ...]] = ("text",)

    modality: Modality = "text"

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch of texts."""
        import torch

        from proxyhash.encoders.transformers_adapter import text_features

        with torch.inference_mode():
            tokens = {name: t.to(self.device) for name, t in self._tokenizer(prepared).items()}
            features = text_features(self._backbone, tokens).float()
            if self._recipe.normalize:
                features = torch.nn.functional.normalize(features)
            return features.cpu().numpy()

    def order(self, inputs: Sequence[Any]) -> NDArray[np.int64]:
        """Return the longest texts first, so that little of a batch is padding."""
        return np.argsort([-len(text) for text in inputs], kind="stable").astype(np.int64)

    def _open_preprocessing(self, folder: Path) -> None:
        from dataclasses import replace

        from proxyhash.encoders.transformers_adapter import Tokenizer

        self._recipe = TextRecipe.of(self._files)
        if self._backbone.pooling == "mean":
            self._backbone = replace(self._backbone, pooling=self._recipe.pooling)
        self._tokenizer = Tokenizer(folder, max_tokens=self._recipe.max_tokens)

    def _probe(self) -> NDArray[np.float32]:
        return self.embed(["a"])
