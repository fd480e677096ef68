"""Training on data that never was a manifest: paths, strings, features and labels at hand.

The arrays are written into the run folder as a manifest and feature files, and then the run is
that of `proxyhash train`: the same code, the same files, the same figures.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data import MODALITIES
from proxyhash.errors import ProxyhashError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.progress import Track, silent
from proxyhash.training.array_inputs import ArrayInputs, read_arrays
from proxyhash.training.choose import choose
from proxyhash.training.config import current_keys, read_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.run import train as train_run
from proxyhash.training.sources import resume_config, stored_config

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike

    from proxyhash.data import Collection, Modality
    from proxyhash.encoders import FeatureCache
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.history import EpochRecord
    from proxyhash.training.loop import Report

__all__ = ["train"]

_log = logging.getLogger(__name__)


def _log_epoch(record: EpochRecord) -> None:
    _log.info("%s", record.summary())


def train(
    data: str | os.PathLike[str] | None = None,
    *,
    images: Sequence[str | os.PathLike[str] | None] | ArrayLike | None = None,
    texts: Sequence[str | None] | ArrayLike | None = None,
    sources: Mapping[Modality, Any] | None = None,
    labels: ArrayLike | Sequence[Sequence[str | int]] | None = None,
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    bits: int = 64,
    method: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    report: Report = _log_epoch,
    track: Track = silent,
    cache: FeatureCache | None = None,
    **options: Any,
) -> HashModel:
    """Return a trained model, from a manifest or from arrays.

    Give either `data` or arrays, whose row i is item i. Like on the command line, a part of the
    items is held out as queries, and the figures are in `out/metrics.json`.

    Args:
        data: a manifest file, or the folder that holds one.
        images: paths of image files (None for an item without an image), or features, float
            (n, d), where a row of NaN stands for an item without an image.
        texts: strings (None for an item without a text), or features, float (n, d).
        sources: the same for other registered modalities, by name.
        labels: multi-hot, 0/1 or bool (n, C); or the class of each item, as numbers or names (n,);
            or a list of the classes of each item, as numbers or names. Without labels, codes are
            learned from the pairs, or from one modality alone.
        ids: one distinct name per item; the row numbers by default.
        classes: names of the classes that are given as numbers or columns; "class 0" and so on by
            default. `HashModel.classes` has those that an item has, sorted by name.
        bits: code length.
        method: training objective, such as "dchml-plus"; see docs/methods.md. By default "dchml";
            without labels "pairs", "cca-itq" for few pairs, or "itq" for a single modality.
        out: run folder to write; by default a temporary one, of which only the model is kept.
        overwrite: replace an earlier run in `out`.
        resume: continue the run in `out`, given the same arrays.
        report: called with an `EpochRecord` after each epoch; logs it by default.
        track: wraps what takes long, to draw a bar: called with an iterable, what it does, and
            how many steps it has or None; yields the steps.
        cache: where features are kept between runs; by default the user's cache.
        options: further keys of `proxyhash.training.TrainConfig`, such as `epochs`, `seed` and
            `encoders={"image": "patches"}`; `image_encoder` and `text_encoder` work as well.

    Raises:
        UsageError: "images has 100 items and labels 99; ...", an option cannot be used, or `out`
            is taken.
        DataError: an image, a feature or a label cannot be used; names the item.

    Example:
        >>> import numpy as np, proxyhash as ph
        >>> rng = np.random.default_rng(0)
        >>> labels = np.eye(4, dtype=bool)[rng.integers(4, size=80)]
        >>> images = labels @ rng.normal(size=(4, 12)) + rng.normal(size=(80, 12))
        >>> texts = ["red", "green", "blue", "gray"]
        >>> texts = [texts[row.argmax()] for row in labels]
        >>> model = ph.train(images=images, texts=texts, labels=labels, bits=16, epochs=2)
        >>> model.encode_texts(["a red thing"]).shape
        (1, 2)
    """
    given = {
        "images": images, "texts": texts, "sources": sources,
        "labels": labels, "ids": ids, "classes": classes,
    }  # fmt: skip
    arrays = [name for name, value in given.items() if value is not None]
    if (data is None) == (not arrays):
        both = f"data and {', '.join(arrays)} were" if arrays else "neither was"
        raise UsageError(f"{both} given; pass a manifest as data, or images, texts and labels")
    with ExitStack() as stack:
        checkpoints = out is not None
        if out is None:
            if resume:
                raise UsageError("resume needs the run folder, out")
            out = (
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proxyhash-"))) / "run"
            )
        folder = RunFolder(Path(out))
        inputs: ArrayInputs | None = None
        if data is None:
            stack.enter_context(_naming_arrays(folder.inputs))
            by_name = _by_modality({"image": images, "text": texts}, sources or {})
            there = {modality: source for modality, source in by_name.items() if source is not None}
            inputs = read_arrays(there, labels=labels, ids=ids, classes=classes)
            options = current_keys(options)
            absent = {modality: "none" for modality, source in by_name.items() if source is None}
            options["encoders"] = {**absent, **_encoders(options, inputs), **inputs.encoders}
            data = folder.inputs
        values: dict[str, Any] = {"data": str(data), "out": str(out), "bits": bits, **options}
        values |= {} if method is None else {"method": method}
        read_config(values)  # whatever is wrong is said before anything is written
        stack.enter_context(folder.hold())
        if inputs is not None:
            # Nothing in the folder changes before it is known that the run can start.
            if resume and folder.config.exists():
                inputs.check_stored(folder.inputs)
            else:
                folder.check(overwrite=overwrite)
                inputs.write(folder.inputs)
        config, collection = _completed(values, stored=folder.config if resume else None)
        train_run(
            config,
            resume=resume,
            overwrite=overwrite,
            report=report,
            track=track,
            cache=cache,
            collection=collection,
            checkpoints=checkpoints,
            held=True,
        )
        model = HashModel.load(folder.model, device=config.device)
        if not checkpoints:  # the folder is about to be removed
            for modality in model.modalities:
                model.encoder(modality)
        return model


@contextmanager
def _naming_arrays(folder: Path) -> Iterator[None]:
    """Say "the arrays" in errors instead of the file that they were written to."""
    try:
        yield
    except ProxyhashError as error:
        text = re.sub(rf"{re.escape(str(folder.absolute()))}/\S+?\.jsonl", "the arrays", str(error))
        if text == str(error):
            raise
        raise type(error)(text.replace("the arrays has", "the arrays have")) from error


def _completed(
    values: Mapping[str, Any], *, stored: Path | None
) -> tuple[TrainConfig, Collection | None]:
    """Return the configuration, and the collection if it was read; log what was chosen."""
    if stored is not None and stored.exists():
        return resume_config(stored_config(stored.parent), values), None
    chosen = choose(values)
    for note in chosen.notes:
        _log.info("%s", note)
    for warning in chosen.warnings:
        _log.warning("%s", warning)
    return read_config(chosen.values), chosen.collection


def _by_modality(own: Mapping[Modality, Any], others: Mapping[Modality, Any]) -> dict[str, Any]:
    for modality, source in own.items():
        if source is not None and modality in others:
            raise UsageError(
                f"{MODALITIES[modality].plural} were given, and sources has {modality}, too; give "
                "one of them"
            )
    return {**own, **others}


def _encoders(options: Mapping[str, Any], inputs: ArrayInputs) -> Mapping[Modality, str]:
    """Return the encoders that a caller names."""
    encoders = options.get("encoders", {})
    if not isinstance(encoders, Mapping):
        raise UsageError(
            f"encoders is {encoders!r}; it names the encoder of each modality, for example "
            '{"text": "bow"}'
        )
    clashing = [modality for modality in inputs.features if modality in encoders]
    if clashing:
        raise UsageError(
            f"an encoder of {clashing[0]}s was given, but so are their features; leave it "
            "out, or pass what is to be encoded"
        )
    return encoders
