"""An image encoder of a few numbers an image, and a model built on it and a bag of words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from proxyhash.data.images import open_image
from proxyhash.encoders import BagOfWords, BatchEncoder, EncoderRequest, register_encoder
from proxyhash.encoders.folder import fingerprint_of, read_settings, write_settings
from proxyhash.hashing import HashModel
from proxyhash.networks import HashingNetwork
from proxyhash.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxyhash.data import Collection

BITS = 20


@register_encoder
class TinyPixels(BatchEncoder):
    """The pixels of a thumbnail of `side` by `side`."""

    kind: ClassVar[str] = "test-pixels"
    modalities: ClassVar[tuple[Any, ...]] = ("image",)

    def __init__(self, side: int = 3) -> None:
        self.side = side
        self.modality = "image"
        self.dim = 3 * side**2
        self.fingerprint = fingerprint_of({"kind": self.kind, "side": side}, {})

    @classmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        return cls()

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        return cls(read_settings(folder)["side"])

    def save(self, folder: Path) -> None:
        write_settings(folder, self, {"side": self.side})

    def prepare(self, source: Any) -> Any:
        return open_image(source).resize((self.side, self.side))

    def embed(self, prepared: Sequence[Any]) -> np.ndarray:
        return np.array([np.asarray(image) for image in prepared], np.float32).reshape(
            len(prepared), self.dim
        )


def build_model(collection: Collection, *, seed: int = 0, bits: int = BITS) -> HashModel:
    """An untrained model with every kind of layer, whose batch statistics have seen data."""
    images = TinyPixels()
    texts = BagOfWords.fit([text for text in collection.sources("text") if text], words=40)
    image_network = HashingNetwork(images.dim, bits, hidden=(16,), standardize=True, seed=seed)
    image_network.fit_standardization(torch.rand(9, images.dim) * 255)
    text_network = HashingNetwork(
        texts.dim, bits, hidden=(16, 8), batch_norm=True, output_batch_norm=True, seed=seed + 1
    )
    text_network(torch.rand(9, texts.dim))
    rng = np.random.default_rng(seed)
    codes = rng.choice(np.array([-1, 1], np.int8), (len(collection.classes), bits))
    return HashModel(
        bits=bits,
        classes=collection.classes,
        method="dchml",
        networks={"image": image_network, "text": text_network},
        encoders={"image": images, "text": texts},
        proxies=Proxies(codes=codes, origin="test"),
    )
