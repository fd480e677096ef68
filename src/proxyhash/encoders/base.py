"""Encoders: one item's image, text or other source in, one feature vector out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.encoders.batches import encode_batches
from proxyhash.errors import UsageError, check_option
from proxyhash.progress import Track, silent
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Collection as Names
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection
    from proxyhash.encoders.recipe import Role

__all__ = [
    "ENCODERS",
    "BatchEncoder",
    "Encoder",
    "EncoderRequest",
    "Features",
    "in_role",
    "read_options",
    "register_encoder",
]

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Features:
    """Feature vectors aligned with the items of a collection.

    Attributes:
        values: float32, shape (n, d); the rows of absent items are zero.
        present: bool, shape (n,): which items have the modality and could be encoded.
        unreadable: bool, shape (n,): which items name something that could not be read, so that
            whoever stores features or codes keeps what it has of them; None for no item.
    """

    values: NDArray[np.float32]
    present: NDArray[np.bool_]
    unreadable: NDArray[np.bool_] | None = None


@runtime_checkable
class Encoder(Protocol):
    """Encoder of one modality into feature vectors; encoding does not change it.

    Its weights change only where a training tunes it (`TrainableEncoder`), which ends with another
    fingerprint.

    Attributes:
        kind: the name it is registered under and `load_encoder` finds it by.
        modality: the name of a registered modality, such as "image".
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
        """Return the features of texts, of images as `open_image` takes them, or other sources.

        Shape (n, dim).

        Raises:
            SourceError: one of them cannot be read; the message names it.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything `load_encoder` needs into `folder`: JSON and safetensors, no pickle."""
        ...


@dataclass(frozen=True)
class EncoderRequest:
    """Request of `make_encoder`, passed to the encoder's `from_request`.

    Attributes:
        argument: the part of the spec after the name and colon, or "".
        modality: the name of a registered modality.
        collection: the items, for encoders that learn from data, or None.
        train: the positions of the training items, or None.
        bow_words: the vocabulary size of a bag of words.
        device: a torch device name such as "cpu" or "cuda:0".
    """

    argument: str
    modality: Modality
    collection: Collection | None = None
    train: NDArray[np.int64] | None = None
    bow_words: int = 2000
    device: str = "cpu"

    def training_inputs(self, kind: str) -> tuple[Collection, NDArray[np.int64]]:
        """Return the collection and the train positions, for an encoder that learns from data.

        Raises:
            UsageError: "the encoder 'bow' learns from data: pass the collection and the train ...".
        """
        if self.collection is None or self.train is None:
            raise UsageError(
                f"the encoder {kind!r} learns from data: pass the collection and the train "
                "positions, or the folder of a saved encoder"
            )
        return self.collection, np.asarray(self.train, dtype=np.int64)


def in_role(encoder: Encoder, role: Role) -> Encoder:
    """Return the encoder of inputs in a role; see `BatchEncoder.for_role`, which few have."""
    own: Encoder = encoder.for_role(role) if isinstance(encoder, BatchEncoder) else encoder
    return own


def read_options(kind: str, argument: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `defaults` updated by the options in `argument`, each of its default's type.

    Args:
        kind: the encoder's name, for the messages.
        argument: "NAME=VALUE,NAME=VALUE", or "".
        defaults: all options, with values of type int, bool or str.

    Raises:
        UsageError: an option is unknown or its value has the wrong type.
    """
    options = dict(defaults)
    for part in filter(None, argument.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        check_option(f"the option of encoder {kind!r}", name, defaults)
        if not equals:
            raise UsageError(f"encoder {kind!r}: the option {name} has no value; write {name}=...")
        options[name] = _read(f"{kind}:{name}", value, type(defaults[name]))
    return options


def _read(name: str, value: str, expected: type) -> Any:
    if expected is bool:
        return check_option(name, value.lower(), _TRUE + _FALSE) in _TRUE
    if expected is int:
        try:
            return int(value)
        except ValueError:
            raise UsageError(f"{name} is {value!r}; an integer is expected") from None
    return value


class BatchEncoder(ABC):
    """Base of encoders that work batch by batch: implement `embed`, and `prepare` if useful.

    Batches are encoded in several threads at once, so both must be safe to call that way.
    """

    kind: ClassVar[str]
    modalities: ClassVar[Names[Modality]]
    """Modalities that the encoder can be made for; `MODALITIES` for any."""
    cached: bool = True
    """Whether features are cached: not where encoding is faster than reading a file, and not while
    an encoder learns."""

    earlier: ClassVar[tuple[str, ...]] = ()
    """Options that make the encoder as earlier versions did, newest first; resumed runs need it."""

    modality: Modality
    dim: int
    fingerprint: str
    max_batch: int = 1024
    """Limit for the batch size of `embed`, whatever batch size is requested."""

    @classmethod
    @abstractmethod
    def from_request(cls, request: EncoderRequest) -> Self:
        """Return the encoder that a spec requests."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Return the encoder that `save` wrote into `folder`, with bit-identical features."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything `load` needs into `folder`."""

    def for_role(self, role: Role) -> Self:  # noqa: ARG002 - for subclasses
        """Return the encoder of inputs in a role, "query" or "document".

        An encoder is one of documents: of what is indexed, and learned from. Where queries are
        encoded in another way, such as after another prompt, this gives the encoder of queries, of
        the same features and with a fingerprint of its own.
        """
        return self

    def with_prompts(self, prompts: Mapping[Role, str]) -> Self:
        """Return the encoder with these prompts before inputs of each role; others keep theirs.

        Raises:
            UsageError: it takes none.
        """
        given = " and ".join(f"{role} prompt {prompt!r:.40}" for role, prompt in prompts.items())
        raise UsageError(
            f"the encoder {self.kind!r} takes no prompts, and a {given} is given; leave it out, or "
            "name a pretrained text encoder"
        )

    def formers(self) -> Iterable[Self]:
        """Return the encoder as earlier versions made it of the same files, newest first.

        Resumed runs need it, as they need `earlier`.
        """
        return ()

    def prepare(self, source: Any) -> Any:
        """Return one input as `embed` takes it; for images: decoded and resized."""
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
        plural = MODALITIES[self.modality].plural
        for position, row in track(rows, f"encoding {plural}", len(inputs)):
            values[position] = row
        return values


ENCODERS: Registry[type[BatchEncoder]] = Registry(
    "encoder", group="proxyhash.encoders", modules=["proxyhash.encoders.*"], adopts=True
)
"""Every encoder by kind; another package's entry point names its class: kind = "module:Class"."""

EncoderClass = TypeVar("EncoderClass", bound=type[BatchEncoder])


def register_encoder(encoder: EncoderClass) -> EncoderClass:
    """Register an encoder under its `kind`; a class decorator.

    Raises:
        ValueError: another class already has that kind.
    """
    ENCODERS.add(encoder.kind, encoder)
    return encoder
