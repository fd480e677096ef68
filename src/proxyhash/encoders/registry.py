"""Which encoders there are, and how a spec or a saved folder becomes one."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from proxyhash.encoders.base import BatchEncoder, EncoderRequest
from proxyhash.encoders.folder import MANIFEST_NAME, read_settings
from proxyhash.errors import ModelError, UsageError, check_option

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection
    from proxyhash.data.item import Modality

__all__ = ["ENTRY_POINTS", "encoder_kinds", "load_encoder", "make_encoder", "register_encoder"]

ENTRY_POINTS = "proxyhash.encoders"
"""Group under which other packages announce encoders: kind = "module:Class"."""

_REGISTERED: dict[str, type[BatchEncoder]] = {}

EncoderClass = TypeVar("EncoderClass", bound=type[BatchEncoder])


def register_encoder(encoder: EncoderClass) -> EncoderClass:
    """Class decorator: make an encoder available under its `kind`.

    Raises:
        ValueError: another class already has that kind.
    """
    taken = _REGISTERED.setdefault(encoder.kind, encoder)
    if taken is not encoder:
        raise ValueError(f"{taken.__qualname__} already is the encoder {encoder.kind!r}")
    return encoder


def encoder_kinds() -> dict[str, type[BatchEncoder]]:
    """Return every encoder by kind: those of this package, then those of installed packages."""
    kinds = dict(_REGISTERED)
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name not in kinds:
            kinds[entry.name] = entry.load()
    return kinds


def make_encoder(
    spec: str,
    *,
    modality: Modality,
    collection: Collection | None = None,
    train: NDArray[np.int64] | None = None,
    bow_words: int = 2000,
    device: str = "cpu",
) -> BatchEncoder:
    """Return the encoder that `spec` names.

    Args:
        spec: "bow", "descriptor", "patches" or another registered kind, with options after a colon
            ("bow:weighting=tfidf"); "features:PATH" or "features:PATH#KEY"; a folder with a
            transformers model or a saved encoder; or the id of a model on the Hugging Face hub.
        modality: "image" or "text".
        collection: the items that encoders which learn from data ("bow", "patches") look at.
        train: the positions among them they may learn from.
        bow_words: how many words a bag of words keeps.
        device: where torch encoders run.

    Raises:
        UsageError: nothing has that name, or it encodes the other modality.
        ModelError: the folder's or the hub's model cannot be used.
    """
    check_option("modality", modality, ("image", "text"))
    kinds = encoder_kinds()
    name, _, argument = spec.partition(":")
    folder = Path(spec).expanduser()
    if name not in kinds:
        if (folder / MANIFEST_NAME).is_file():
            return _of_modality(load_encoder(folder, device=device), spec, modality)
        _check_spelling(spec, folder, kinds, modality)
        name, argument = f"transformers-{modality}", spec
    kind = kinds[name]
    if modality not in kind.modalities:
        fitting = ", ".join(sorted(k for k, e in kinds.items() if modality in e.modalities))
        raise UsageError(f"the encoder {name!r} does not encode {modality}s; {fitting} do")
    return kind.from_request(
        EncoderRequest(argument, modality, collection, train, bow_words, device)
    )


def load_encoder(folder: str | os.PathLike[str], *, device: str = "cpu") -> BatchEncoder:
    """Return the encoder saved in `folder`; its features are bit-identical to the saved one's.

    Raises:
        ModelError: the folder is no saved encoder, of an unknown kind, or damaged.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    kinds = encoder_kinds()
    if settings["kind"] not in kinds:
        raise ModelError(
            f"{folder} holds an encoder of kind {settings['kind']!r}, which is not installed; "
            f"known: {', '.join(sorted(kinds))}"
        )
    try:
        encoder = kinds[settings["kind"]].load(folder, device=device)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder} is damaged: {type(error).__name__}: {error}") from error
    if encoder.fingerprint != settings.get("fingerprint"):
        raise ModelError(
            f"{folder} is damaged: its content does not have the fingerprint in {MANIFEST_NAME}; "
            "make the encoder again"
        )
    return encoder


def _of_modality(encoder: BatchEncoder, spec: str, modality: Modality) -> BatchEncoder:
    if encoder.modality != modality:
        raise UsageError(f"{spec} encodes {encoder.modality}s; an encoder of {modality}s is needed")
    return encoder


def _check_spelling(
    spec: str, folder: Path, kinds: dict[str, type[BatchEncoder]], modality: Modality
) -> None:
    """Refuse what is neither a folder nor possibly a hub id before anything goes looking for it."""
    if spec.strip() and folder.is_dir():
        return
    close = get_close_matches(spec.partition(":")[0], kinds, n=1)
    if close:
        raise UsageError(f"no {modality} encoder is called {spec!r}; did you mean {close[0]!r}?")
    if spec.startswith((".", "/", "~")) or "\\" in spec or spec.count("/") > 1 or not spec.strip():
        raise UsageError(
            f"{modality} encoder {spec!r}: no such folder; give a folder with a transformers "
            f"model, a hub id, or one of {', '.join(sorted(kinds))}"
        )
