"""The Wikipedia featured-articles set: 2,866 pairs, ten classes, features instead of files.

Rasiwasia, Costa Pereira, Coviello, Doyle, Lanckriet, Levy and Vasconcelos, "A New Approach to
Cross-Modal Multimedia Retrieval", ACM Multimedia 2010. An image is a histogram of 128 SIFT words,
a text the proportions of 10 LDA topics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["WIKIPEDIA"]

_MATRICES = "raw_features.mat"
_CATEGORIES = "categories.list"
_PARTS = (  # list of pairs, suffix of the matrices, part of the split
    ("trainset_txt_img_cat.list", "tr", "train"),
    ("testset_txt_img_cat.list", "te", "query"),
)


def _recognizes(folder: Path) -> bool:
    """Return whether `folder` holds the files of this set."""
    names = (_MATRICES, _CATEGORIES, *(part[0] for part in _PARTS))
    return all((folder / name).is_file() for name in names)


def _read(folder: Path, options: ConvertOptions) -> Source:  # noqa: ARG001  (has no options)
    """Return the pairs of both lists, train first, with the rows of the matrices that are theirs.

    A list has one pair per line: text id, image id and class, counted from 1, between tabs. Row i
    of `T_tr` and `I_tr` belongs to line i of the train list, as in the released files. The text id
    becomes the item's id; test pairs become queries.

    Raises:
        DataError: a file is unreadable, a line is malformed, or lines and rows differ in number.
    """
    categories = _read_lines(folder / _CATEGORIES)
    matrices = _read_matrices(folder / _MATRICES)
    records: list[dict[str, Any]] = []
    rows: dict[str, list[NDArray[np.float32]]] = {"image": [], "text": []}
    for name, suffix, split in _PARTS:
        path = folder / name
        pairs = [
            _record(f"{path}, line {number}", line, categories=categories, split=split)
            for number, line in enumerate(_read_lines(path), start=1)
        ]
        for modality, prefix in (("image", "I"), ("text", "T")):
            matrix = _matrix(folder / _MATRICES, matrices, f"{prefix}_{suffix}")
            if len(matrix) != len(pairs):
                raise DataError(
                    f"{path} has {len(pairs):,} lines, but {prefix}_{suffix} in {_MATRICES} has "
                    f"{len(matrix):,} rows"
                )
            rows[modality].append(matrix)
        records.extend(pairs)
    return Source(
        name="Wikipedia (Rasiwasia 2010)",
        records=tuple(records),
        features={modality: np.concatenate(parts) for modality, parts in rows.items()},
    )


def _record(where: str, line: str, *, categories: list[str], split: str) -> dict[str, Any]:
    fields = line.split("\t")
    if len(fields) != 3:
        raise DataError(f"{where}: text id, image id and category are expected between tabs")
    text, image, category = fields
    if not category.isdecimal() or not 1 <= int(category) <= len(categories):
        raise DataError(
            f"{where}: category is {category!r}; a number from 1 to {len(categories)} is expected"
        )
    return {
        "id": text,
        "labels": [categories[int(category) - 1]],
        "split": split,
        "image_id": image,
    }


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _read_matrices(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return dict(loadmat(path))
    except Exception as error:  # damaged bytes make the reader raise nearly anything
        raise DataError(f"{path} cannot be read as a MATLAB file: {error}") from error


def _matrix(path: Path, matrices: dict[str, Any], name: str) -> NDArray[np.float32]:
    matrix = matrices.get(name)
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise DataError(f"{path} has no numeric matrix {name!r}")
    return matrix.astype(np.float32)


WIKIPEDIA = register_converter(
    Converter(
        name="wikipedia",
        recognizes=_recognizes,
        read=_read,
        expects=", ".join((_MATRICES, _CATEGORIES, *(part[0] for part in _PARTS))),
    )
)
