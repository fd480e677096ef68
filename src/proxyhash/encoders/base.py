"""What an encoder is: image or text in, one feature vector each out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from proxyhash.encoders.batches import encode_batches
from proxyhash.errors import UsageError
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection
    from proxyhash.data.item import Modality

__all__ = ["BatchEncoder", "Encoder", "EncoderRequest", "Features"]


@dataclass(frozen=True)
class Features:
    """Feature vectors aligned with the items of a collection.

    Attributes:
        values: float32, shape (n, d); the rows of absent items are zero.
        present: bool, shape (n,): which items have the modality and could be encoded.
    """

    values: NDArray[np.float32]
    present: NDArray[np.bool_]


@runtime_checkable
class Encoder(Protocol):
    """Turns images or texts into feature vectors; frozen: encoding changes nothing about it.

    Attributes:
        kind: the name it is registered under and `load_encoder` finds it by.
        modality: "image" or "text".
        dim: length of a feature vector.
        fingerprint: hex SHA-256 over everything that decides the features: weights, configuration
            and preprocessing. Two encoders with one fingerprint give the same features.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102 - documented above, for all four

    @property
    def modality(self) -> Modality: ...  # noqa: D102

    @property
    def dim(self) -> int: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    def encode(
        self, inputs: Sequence[Any], *, batch_size: int = 64, track: Track = silent
    ) -> NDArray[np.float32]:
        """Return features of shape (n, dim) for texts, or for images as `open_image` takes them.

        Raises:
            ImageError: an image cannot be read; the message names it.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything `load_encoder` needs into `folder`: JSON and safetensors, no pickle."""
        ...


@dataclass(frozen=True)
class EncoderRequest:
    """What `make_encoder` was asked for, handed to the encoder's `from_request`.

    Attributes:
        argument: what the spec has behind its name, "" when nothing.
        modality: "image" or "text".
        collection: the items an encoder that learns from data may look at, or None.
        train: the positions among them that it may learn from, or None.
        bow_words: how many words a bag of words keeps.
        device: a torch device name such as "cpu" or "cuda:0".
    """

    argument: str
    modality: Modality
    collection: Collection | None = None
    train: NDArray[np.int64] | None = None
    bow_words: int = 2000
    device: str = "cpu"

    def training_inputs(self, kind: str) -> tuple[Collection, NDArray[np.int64]]:
        """Return the collection and the train positions, for encoders that learn from them.

        Raises:
            UsageError: "the encoder 'bow' learns from data: pass the collection and the train ...".
        """
        if self.collection is None or self.train is None:
            raise UsageError(
                f"the encoder {kind!r} learns from data: pass the collection and the train "
                "positions, or the folder of a saved encoder"
            )
        return self.collection, np.asarray(self.train, dtype=np.int64)


class BatchEncoder(ABC):
    """Base of encoders that work batch by batch: write `embed`, and `prepare` where it helps.

    Batches are encoded in several threads at once, so both must be safe to call that way.
    """

    kind: ClassVar[str]
    modalities: ClassVar[tuple[Modality, ...]]
    """What the encoder can be made for."""
    cached: ClassVar[bool] = True
    """Whether a feature cache pays: not for those that are faster than reading a file."""

    modality: Modality
    dim: int
    fingerprint: str
    max_batch: int = 1024
    """The most inputs that go through `embed` together, whatever batch size is asked for."""

    @classmethod
    @abstractmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Return the encoder that a spec asks for."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the encoder that `save` wrote into `folder`, with bit-identical features."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything `load` needs into `folder`."""

    def prepare(self, source: Any) -> Any:
        """Return one input as `embed` wants it; for images: decoded and resized."""
        return source

    @abstractmethod
    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch, shape (len(prepared), dim)."""

    def order(self, inputs: Sequence[Any]) -> NDArray[np.int64]:
        """Return the positions of `inputs` in the order that makes good batches."""
        return np.arange(len(inputs), dtype=np.int64)

    def encode(
        self, inputs: Sequence[Any], *, batch_size: int = 64, track: Track = silent
    ) -> NDArray[np.float32]:
        """Return the features of `inputs`, float32 of shape (n, dim); see `Encoder.encode`."""

        def encode_batch(positions: NDArray[np.int64]) -> NDArray[np.float32]:
            return self.embed([self.prepare(inputs[position]) for position in positions])

        values = np.zeros((len(inputs), self.dim), dtype=np.float32)
        rows: Iterator[tuple[int, NDArray[np.float32]]] = encode_batches(
            encode_batch, self.order(inputs), batch_size=min(batch_size, self.max_batch)
        )
        for position, row in track(rows, f"encoding {self.modality}s", len(inputs)):
            values[position] = row
        return values
