"""Training on data that never was a manifest: paths, strings, features and labels at hand.

The arrays are written into the run folder as a manifest and feature files, and then the run is
that of `proxyhash train`: the same code, the same files, the same figures.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.data import MODALITIES
from proxyhash.errors import DataError, UsageError
from proxyhash.files import write_atomic, write_text
from proxyhash.hashing import HashModel
from proxyhash.progress import Track, silent
from proxyhash.training.config import current_keys, read_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.run import train as train_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from proxyhash.data import Modality
    from proxyhash.encoders import FeatureCache
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
    method: str = "dchml",
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
            or a list of the classes of each item, as numbers or names.
        ids: one distinct name per item; the row numbers by default.
        classes: names of the classes that are given as numbers or columns; "class 0" and so on by
            default. `HashModel.classes` has those that an item has, sorted by name.
        bits: code length.
        method: training objective, such as "dchml-plus"; see docs/methods.md.
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
        if data is None:
            if not (resume and folder.config.exists()):
                folder.check(overwrite=overwrite)
            by_name = {"image": images, "text": texts, **(sources or {})}
            files = _write_inputs(
                folder.inputs,
                {modality: source for modality, source in by_name.items() if source is not None},
                labels=labels,
                ids=ids,
                classes=classes,
            )
            absent = {modality: "none" for modality, source in by_name.items() if source is None}
            encoders = dict(current_keys(options).get("encoders", {}))
            clashing = [modality for modality in files if modality in encoders]
            if clashing:
                raise UsageError(
                    f"an encoder of {clashing[0]}s was given, but so are their features; leave it "
                    "out, or pass what is to be encoded"
                )
            options = {**current_keys(options), "encoders": {**absent, **encoders, **files}}
            data = folder.inputs
        config = read_config(
            {"data": str(data), "out": str(out), "bits": bits, "method": method, **options}
        )
        train_run(
            config,
            resume=resume,
            overwrite=overwrite,
            report=report,
            track=track,
            cache=cache,
            checkpoints=checkpoints,
        )
        model = HashModel.load(folder.model, device=config.device)
        if not checkpoints:  # the folder is about to be removed
            for modality in model.modalities:
                model.encoder(modality)
        return model


def _write_inputs(
    folder: Path,
    sources: Mapping[Modality, Any],
    *,
    labels: Any,
    ids: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> dict[str, str]:
    """Write manifest and feature files; return the encoders that read the latter, by modality."""
    if labels is None:
        raise UsageError(
            "labels are missing; pass a multi-hot array (n, classes), or the classes of each item "
            "as a list of lists"
        )
    for modality, source in sources.items():
        if isinstance(source, (str, bytes)):
            name = MODALITIES[modality].plural
            raise UsageError(f"{name} is a single string; pass a list with one entry per item")
    names = _label_names(labels, classes)
    lengths = {MODALITIES[modality].plural: len(source) for modality, source in sources.items()}
    lengths["labels"] = len(names)
    if ids is not None:
        lengths["ids"] = len(ids)
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise UsageError(f"{counts} items; each of them needs one entry per item, in one order")
    count = len(names)
    width = len(str(max(count - 1, 0)))
    records: list[dict[str, Any]] = [
        {"id": str(ids[row]) if ids is not None else f"{row:0{width}}", "labels": names[row]}
        for row in range(count)
    ]
    features: dict[Modality, NDArray[np.float32]] = {}
    for modality, source in sources.items():
        if _are_features(source):
            features[modality] = _feature_array(source, MODALITIES[modality].plural)
            continue
        for row, value in enumerate(source):
            if value is not None:
                records[row][modality] = _written(value, modality, row)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    write_text(folder / "items.jsonl", "\n".join(lines) + "\n")
    encoders = {}
    for made, values in features.items():
        # Looked for beside the manifest, so that the run folder can be moved.
        name = f"proxyhash_{made}_features.npy"
        with write_atomic(folder / name) as path:
            np.save(path, values)
        encoders[made] = f"features:{name}"
    return encoders


def _are_features(source: Any) -> bool:
    """Whether a source holds numbers instead of paths or strings."""
    kind = getattr(getattr(source, "dtype", None), "kind", None)
    if kind is not None and kind not in "OUS":
        return True
    first = next((each for each in source if each is not None), None)
    return first is not None and not isinstance(first, (str, os.PathLike))


def _feature_array(source: Any, name: str) -> NDArray[np.float32]:
    try:
        values = np.asarray(source, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} are neither all strings nor all numbers: {error}") from error
    if values.ndim != 2 or not values.shape[1]:
        raise DataError(
            f"{name} have shape {values.shape}; features are expected as (items, features)"
        )
    return values


def _written(value: Any, modality: Modality, row: int) -> str:
    """Return a source as the manifest has it; paths from here become absolute."""
    if MODALITIES[modality].is_file:
        if isinstance(value, (str, os.PathLike)):
            return str(Path(value).expanduser().absolute())
        expected = "a path"
    else:
        if isinstance(value, str):
            return value
        expected = "a string"
    raise DataError(
        f"{modality} {row} has the type {type(value).__name__}; {expected} or None is expected"
    )


def _label_names(labels: Any, classes: Sequence[str] | None) -> list[list[str]]:
    """Return the class names of each item."""
    if hasattr(labels, "toarray"):  # a sparse matrix
        labels = labels.toarray()
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        hot = labels != 0
        if not np.isin(labels, (0, 1)).all():
            raise DataError(
                "labels is a matrix with other values than 0 and 1; pass a multi-hot one, a "
                "column per class, or a list of classes for each item"
            )
        members: list[list[Any]] = [np.flatnonzero(row).tolist() for row in hot]
        columns = labels.shape[1]
    else:
        rows = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
        members = [
            list(row) if isinstance(row, (list, tuple, set, frozenset, np.ndarray)) else [row]
            for row in rows
        ]
        columns = 1 + max((one for row in members for one in row if _is_number(one)), default=-1)
    if classes is not None and len(classes) < columns:
        raise UsageError(f"classes has {len(classes)} names for {columns} classes; name each")
    width = len(str(max(columns - 1, 0)))
    return [
        [_class_name(one, row, classes, width) for one in members[row]]
        for row in range(len(members))
    ]


def _class_name(value: Any, row: int, classes: Sequence[str] | None, width: int) -> str:
    if isinstance(value, str):
        return value
    if _is_number(value) and value >= 0:
        return str(classes[value]) if classes is not None else f"class {int(value):0{width}}"
    raise DataError(f"label {value!r} of item {row} is neither a name nor a class number from 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
