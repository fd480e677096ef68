"""Paths, strings, features and labels at hand, checked and written as a manifest with features."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.data import MODALITIES
from proxyhash.errors import DataError, UsageError, check_option
from proxyhash.files import write_atomic, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from proxyhash.data import Modality

__all__ = ["ArrayInputs", "read_arrays"]

_MANIFEST = "items.jsonl"
_WHOLE = (bool, int, np.bool_, np.integer)


@dataclass(frozen=True)
class ArrayInputs:
    """A manifest and features, not yet in files."""

    manifest: str
    features: Mapping[Modality, NDArray[np.float32]]

    @property
    def encoders(self) -> dict[Modality, str]:
        """The encoders that read the features, looked for beside the manifest.

        So the run folder can be moved.
        """
        return {modality: f"features:{_feature_file(modality)}" for modality in self.features}

    def write(self, folder: Path) -> None:
        """Write manifest and features."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _MANIFEST, self.manifest)
        for modality, values in self.features.items():
            with write_atomic(folder / _feature_file(modality)) as path:
                np.save(path, values)

    def check_stored(self, folder: Path) -> None:
        """Check that the folder of a run that is resumed holds the same.

        Raises:
            UsageError: it does not.
        """
        same = self.manifest == _text(folder / _MANIFEST) and all(
            _same(values, folder / _feature_file(modality))
            for modality, values in self.features.items()
        )
        if not same:
            raise UsageError(
                f"the run in {folder.parent} was trained on other arrays, so it cannot be resumed "
                "with these; pass the same ones, or train into a new folder"
            )


def _feature_file(modality: Modality) -> str:
    return f"proxyhash_{modality}_features.npy"


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _same(values: NDArray[np.float32], path: Path) -> bool:
    return path.is_file() and np.array_equal(
        values, np.load(path, mmap_mode="r", allow_pickle=False), equal_nan=True
    )


def read_arrays(
    sources: Mapping[Modality, Any],
    *,
    labels: Any,
    ids: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> ArrayInputs:
    """Return the arrays as a manifest and features."""
    sources = {modality: _dense(source) for modality, source in sources.items()}
    _check_given(sources, labels, classes)
    for modality in sources:
        check_option("modality", modality, MODALITIES)
    lengths = {MODALITIES[modality].plural: len(source) for modality, source in sources.items()}
    if labels is None:
        names: list[list[str]] = [[] for _ in range(max(lengths.values()))]
    else:
        names = _label_names(labels, classes)
        lengths["labels"] = len(names)
    if ids is not None:
        ids = [str(each) for each in ids]
        lengths["ids"] = len(ids)
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise UsageError(f"{counts} items; each of them needs one entry per item, in one order")
    count = len(names)
    if ids is None:
        width = len(str(max(count - 1, 0)))
        ids = [f"{row:0{width}}" for row in range(count)]
    _check_distinct("ids", ids)
    records: list[dict[str, Any]] = [
        {"id": id_, "labels": its} for id_, its in zip(ids, names, strict=True)
    ]
    features: dict[Modality, NDArray[np.float32]] = {}
    for modality, source in sources.items():
        if _are_features(source):
            features[modality] = _feature_array(source, MODALITIES[modality].plural)
            continue
        for row, value in enumerate(source):
            if value is not None:
                records[row][modality] = _written(value, modality, row)
    lines = [_line(row, record) for row, record in enumerate(records)]
    return ArrayInputs("\n".join(lines) + "\n", features)


def _check_given(sources: Mapping[Modality, Any], labels: Any, classes: Any) -> None:
    """Refuse what is missing, and sources that are not one entry per item."""
    if not sources:
        raise UsageError("there are no images and no texts; pass one of them, or both")
    if labels is None and classes is not None:
        raise UsageError("classes names the columns of labels, which are missing; pass both")
    for modality, source in sources.items():
        name = MODALITIES[modality].plural if modality in MODALITIES else modality
        if isinstance(source, (str, bytes)):
            raise UsageError(f"{name} is a single string; pass a list with one entry per item")
        if not hasattr(source, "__len__"):
            raise UsageError(
                f"{name} is a {type(source).__name__}; pass a list with one entry per item"
            )


def _dense(source: Any) -> Any:
    return source.toarray() if hasattr(source, "toarray") else source


def _line(row: int, record: Mapping[str, Any]) -> str:
    line = json.dumps(record, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"item {row} holds {line[error.start : error.end]!r}, which is not valid Unicode"
        ) from error
    return line


def _check_distinct(name: str, values: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for row, value in enumerate(values):
        if first.setdefault(value, row) != row:
            raise DataError(
                f"{name} {first[value]} and {row} are both {value!r}; each must be distinct"
            )


def _are_features(source: Any) -> bool:
    """Whether a source holds numbers instead of paths or strings."""
    kind = getattr(getattr(source, "dtype", None), "kind", None)
    if kind is not None and kind not in "OUS":
        return True
    first = next((each for each in source if each is not None), None)
    return first is not None and not isinstance(first, (str, os.PathLike))


def _feature_array(source: Any, name: str) -> NDArray[np.float32]:
    try:
        given = np.asarray(source)
        kind = given.dtype.kind
        with np.errstate(over="ignore"):  # infinite features are refused with their item's name
            values = given.astype(np.float32, casting="same_kind" if kind in "cmM" else "unsafe")
    except (TypeError, ValueError, RuntimeError) as error:  # the last from tensors with a gradient
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
    labels = _dense(labels)
    if isinstance(labels, (str, bytes)) or not hasattr(labels, "__iter__"):
        raise UsageError(f"labels is {labels!r:.40}; pass the classes of each item")
    if hasattr(labels, "__array__"):  # tensors and data frames, too
        labels = np.asarray(labels)
        if labels.ndim not in (1, 2):
            raise DataError(
                f"labels has the shape {labels.shape}; a multi-hot array (n, classes), or one "
                "class per item is expected"
            )
    elif _is_multi_hot(labels := list(labels)):
        labels = np.array(labels)
    if isinstance(classes, str):
        raise UsageError(f"classes is the string {classes!r:.40}; pass a list of names")
    if classes is not None:
        classes = [str(each) for each in classes]
        _check_distinct("classes", classes)
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
        rows = labels.tolist() if isinstance(labels, np.ndarray) else labels
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


def _is_multi_hot(rows: Sequence[Any]) -> bool:
    """Whether lists are the rows of a multi-hot matrix.

    As lists of class numbers they would say that each item has both of two classes.
    """
    return (
        bool(rows)
        and all(isinstance(row, (list, tuple, np.ndarray)) for row in rows)
        and len(rows[0]) > 1
        and all(len(row) == len(rows[0]) for row in rows)
        and all(isinstance(one, _WHOLE) and one in (0, 1) for row in rows for one in row)
    )


def _class_name(value: Any, row: int, classes: Sequence[str] | None, width: int) -> str:
    if isinstance(value, str):
        return value
    if _is_number(value) and value >= 0:
        return classes[value] if classes is not None else f"class {int(value):0{width}}"
    raise DataError(f"label {value!r} of item {row} is neither a name nor a class number from 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
