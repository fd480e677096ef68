"""Make an encoder from a spec, or load it from the folder it was saved in."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.encoders.base import ENCODERS, BatchEncoder, EncoderRequest
from proxyhash.encoders.folder import COPY_AGAIN, MANIFEST_NAME, read_settings
from proxyhash.encoders.known import known_spec
from proxyhash.encoders.tokens import TOKENS
from proxyhash.errors import ModelError, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection
    from proxyhash.data.modalities import ModalityKind
    from proxyhash.encoders.recipe import Role

__all__ = ["load_encoder", "make_encoder"]


def make_encoder(
    spec: str,
    *,
    modality: Modality,
    collection: Collection | None = None,
    train: NDArray[np.int64] | None = None,
    bow_words: int = 2000,
    device: str = "cpu",
    prompts: Mapping[Role, str] = MappingProxyType({}),
) -> BatchEncoder:
    """Return the encoder that `spec` names.

    Args:
        spec: "bow", "descriptor", "patches" or another registered kind, with options after a colon
            ("bow:weighting=tfidf"); "features:PATH" or "features:PATH#KEY"; a folder with a
            transformers model or a saved encoder; the id of a model on the Hugging Face hub; the
            short name of a known one, such as "siglip2"; or "tokens:MODEL,count=16" with one of
            these models, for token vectors beside its features.
        modality: the name of a registered modality, such as "image".
        collection: the items, for encoders that learn from data ("bow", "patches").
        train: the positions of the training items.
        bow_words: the vocabulary size of a bag of words.
        device: where torch encoders run.
        prompts: put before texts, by role ("query", "document"); a role that is not named has the
            prompt that the model's folder names, or none.

    Raises:
        UsageError: nothing has that name, it does not encode the modality, or it takes no prompts.
        ModelError: the folder's or the hub's model cannot be used.
    """
    request = EncoderRequest("", modality, collection, train, bow_words, device)
    encoder = _requested(spec, request)
    return encoder.with_prompts(prompts) if prompts else encoder


def _requested(spec: str, request: EncoderRequest) -> BatchEncoder:
    modality, kind = request.modality, MODALITIES[request.modality]
    if spec not in ENCODERS and not Path(spec).expanduser().is_dir():
        spec = known_spec(spec, modality) or spec
    name, _, argument = spec.partition(":")
    if name == TOKENS:
        name = f"{TOKENS}-{modality}"
    folder = Path(spec).expanduser()
    if name not in ENCODERS:
        if (folder / MANIFEST_NAME).is_file():
            return _of_modality(load_encoder(folder, device=request.device), spec, kind)
        _check_spelling(spec, folder, modality)
        name, argument = f"transformers-{modality}", spec
        if name not in ENCODERS:
            raise UsageError(
                f"{modality} encoder {spec!r}: there is no encoder around pretrained models for "
                f"{kind.plural}; {_fitting(modality)}"
            )
    encoder = ENCODERS[name]
    if modality not in encoder.modalities:
        raise UsageError(
            f"the encoder {name!r} does not encode {kind.plural}; {_fitting(modality)}"
        )
    return encoder.from_request(replace(request, argument=argument))


def load_encoder(folder: str | os.PathLike[str], *, device: str = "cpu") -> BatchEncoder:
    """Return the encoder saved in `folder`; its features are bit-identical to the saved one's.

    Raises:
        ModelError: the folder is not a saved encoder, of an unknown kind, or damaged.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    if settings["kind"] not in ENCODERS:
        raise ModelError(
            f"{folder} holds an encoder of kind {settings['kind']!r}, which is not installed; "
            f"known: {', '.join(ENCODERS)}"
        )
    try:
        encoder = ENCODERS[settings["kind"]].load(folder, device=device)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder} is damaged ({type(error).__name__}: {error}); {COPY_AGAIN}"
        ) from error
    except UsageError as error:
        raise ModelError(f"{folder} is damaged ({error}); {COPY_AGAIN}") from error
    if encoder.fingerprint != settings.get("fingerprint"):
        raise ModelError(
            f"{folder} is damaged: its content does not match the fingerprint in {MANIFEST_NAME}; "
            f"{COPY_AGAIN}"
        )
    return encoder


def _of_modality(encoder: BatchEncoder, spec: str, kind: ModalityKind) -> BatchEncoder:
    if encoder.modality != kind.name:
        own = MODALITIES[encoder.modality].plural
        raise UsageError(f"{spec} encodes {own}; an encoder of {kind.plural} is needed")
    return encoder


def _fitting(modality: Modality) -> str:
    """Return the encoders of a modality, as the end of a sentence."""
    names = _names(modality)
    return f"{', '.join(names)} do{'es' if len(names) == 1 else ''}"


def _names(modality: Modality) -> list[str]:
    return [name for name, encoder in ENCODERS.items() if modality in encoder.modalities]


def _check_spelling(spec: str, folder: Path, modality: Modality) -> None:
    """Refuse a spec that is neither a folder nor possibly a hub id, before any look-up."""
    if spec.strip() and folder.is_dir():
        return
    close = get_close_matches(spec.partition(":")[0], ENCODERS, n=1)
    if close:
        raise UsageError(f"no {modality} encoder is called {spec!r}; did you mean {close[0]!r}?")
    if spec.startswith((".", "/", "~")) or "\\" in spec or spec.count("/") > 1 or not spec.strip():
        raise UsageError(
            f"{modality} encoder {spec!r}: no such folder; give a folder with a transformers "
            f"model, a hub id, or one of {', '.join(_names(modality))}"
        )
