"""Sets in plain text, as DCPH and the methods after it pass them on: one line per item.

`label_hot.txt` has a row of 0 and 1 per item, `y_vector.txt` a bag of words, `images_name.txt` the
image's file; `test_ind.txt`, `train_ind.txt` and `database_ind.txt` number the items of a part.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.items import Items, part_items
from proxyhash.datasets.arrays.records import source_of
from proxyhash.datasets.arrays.tables import labels_of
from proxyhash.datasets.arrays.variable import MAX_BYTES
from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.datasets.files import text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.datasets.arrays.variable import Part

__all__ = ["TEXT_LISTS", "read_text_matrix"]

_LABELS = "label_hot.txt"
_TEXTS = "y_vector.txt"
_NAMES = "images_name.txt"
_LIST = re.compile(r"(test|query|train|database|retrieval)_ind(\w*)\.txt")
_PARTS: dict[str, Part] = {
    "test": "query",
    "query": "query",
    "train": "train",
    "database": "database",
    "retrieval": "database",
}


def _recognizes(path: Path) -> bool:
    return (path / _LABELS).is_file() and any((path / name).is_file() for name in (_TEXTS, _NAMES))


def _read(path: Path, options: ConvertOptions) -> Source:
    """Return the items in the lists' order, with a split where there are index lists.

    Images are looked for in `options.images`, in the data set's folder, and in `images` there.

    Raises:
        DataError: a file is damaged or has another number of lines than `label_hot.txt`.
    """
    values = read_text_matrix(path / _LABELS)
    features: dict[str, NDArray[np.float32]] = {}
    if (path / _TEXTS).is_file():
        features["text"] = read_text_matrix(path / _TEXTS)
        _check_rows(path / _TEXTS, len(features["text"]), len(values))
    names = None
    if (path / _NAMES).is_file():
        names = [line for line in text_lines(path / _NAMES) if line]
        _check_rows(path / _NAMES, len(names), len(values))
    items = Items(
        labels=labels_of(str(path / _LABELS), values),
        columns=values.shape[1],
        features=features,
        texts=None,
        names=names,
        images=None,
        splits=[None] * len(values),
    )
    notes = []
    if lists := _index_lists(path):
        parted = part_items(str(path), lists, len(items))
        items = items.keep(parted.kept)
        items.splits[:] = parted.splits
        notes.append(parted.note)
    return source_of(path, [items], options.images, notes, form="text lists")


def _check_rows(path: Path, rows: int, expected: int) -> None:
    if rows != expected:
        raise DataError(
            f"{path} has {rows:,} lines, but {_LABELS} has {expected:,}; one per item is expected "
            "of each: are they of one version of the data set?"
        )


def _index_lists(path: Path) -> dict[Part, NDArray[np.int64]]:
    """The numbers in each part's list; of several protocols beside each other, none is guessed."""
    found = {
        file: match for file in sorted(path.iterdir()) if (match := _LIST.fullmatch(file.name))
    }
    endings = sorted({match[2] for match in found.values()})
    parts = [_PARTS[match[1]] for match in found.values()]
    if len(endings) > 1 or len(set(parts)) < len(parts):
        raise DataError(
            f"{path} has the index lists of several protocols "
            f"({', '.join(file.name for file in found)}); move all but one of them elsewhere"
        )
    return {part: _numbers(file) for part, file in zip(parts, found, strict=True)}


def _numbers(path: Path) -> NDArray[np.int64]:
    numbers = []
    for row, line in enumerate(text_lines(path), start=1):
        for word in line.split():
            if not word.isdecimal() or len(word) > 15:
                raise DataError(f"{path}, line {row}: {word[:20]!r} is not the number of an item")
            numbers.append(int(word))
    if not numbers:
        raise DataError(f"{path} is empty; it should number the items of its part")
    return np.array(numbers, dtype=np.int64)


def read_text_matrix(path: Path) -> NDArray[np.float32]:
    """Return the numbers of a file, float32, one row per line, separated by blanks or commas.

    Raises:
        DataError: a line has other than the first line's number of columns, or is not numbers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has over {MAX_BYTES >> 30} GiB; is it the right file?")
        with path.open(encoding="utf-8-sig") as file:
            delimiter = "," if "," in file.readline(1 << 20) else None
        with warnings.catch_warnings(), path.open(encoding="utf-8-sig") as file:
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, refused below
            values = np.loadtxt(file, dtype=np.float32, delimiter=delimiter, comments=None, ndmin=2)
    except (OSError, ValueError) as error:
        reason = str(error).partition(";")[0]
        raise DataError(
            f"{path} cannot be read as a matrix ({reason}); rows of numbers are expected"
        ) from error
    if not values.size:
        raise DataError(f"{path} is empty; rows of numbers are expected")
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise DataError(f"{path}, line {int(bad.argmax()) + 1}: there is NaN or infinity")
    return np.asarray(values)


TEXT_LISTS = register_converter(
    Converter(
        name="text-lists",
        recognizes=_recognizes,
        read=_read,
        expects=f"{_LABELS}, {_TEXTS} or {_NAMES}, test_ind.txt, train_ind.txt, database_ind.txt",
        options=frozenset({"images"}),
    )
)
