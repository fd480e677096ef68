"""Sets in plain text, as DCPH and the methods after it pass them on: a line an item.

`label_hot.txt` has a row of 0 and 1 an item, `y_vector.txt` a bag of words, `images_name.txt` the
image's file; `test_ind.txt`, `train_ind.txt` and `database_ind.txt` number the items of a part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.datasets.arrays.index_lists import part_items
from proxyhash.datasets.arrays.items import Items
from proxyhash.datasets.arrays.label_matrix import labels_of
from proxyhash.datasets.arrays.records import source_of
from proxyhash.datasets.arrays.text_matrix import read_text_matrix
from proxyhash.datasets.converter import Converter, ConvertOptions
from proxyhash.datasets.files import text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.data.source import Source
    from proxyhash.datasets.arrays.naming import Part

__all__ = ["TEXT_LISTS"]

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
            f"{path} has {rows:,} lines, but {_LABELS} has {expected:,}; one an item is expected "
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
                raise DataError(f"{path}, line {row}: {word[:20]!r} is no number of an item")
            numbers.append(int(word))
    if not numbers:
        raise DataError(f"{path} is empty; it should number the items of its part")
    return np.array(numbers, dtype=np.int64)


TEXT_LISTS = Converter(
    name="text-lists",
    recognizes=_recognizes,
    read=_read,
    expects=f"{_LABELS}, {_TEXTS} or {_NAMES}, test_ind.txt, train_ind.txt, database_ind.txt",
    options=frozenset({"images"}),
)
