"""NUS-WIDE as downloaded: 269,648 images of Flickr, 1,000 tags, 81 concepts.

Chua, Tang, Hong, Li, Luo and Zheng, "NUS-WIDE: A Real-World Web Image Database from National
University of Singapore", CIVR 2009. `Imagelist.txt` names the images, which are in the folder
`Flickr` (as `actor/0001_2124494179.jpg`, with either slash). `AllTags1k.txt` has a row of 0 and 1
for each of them, with a column for each line of `TagList1k.txt`; `AllLabels/Labels_*.txt` has a 0
or 1 per line. TC-21 and TC-10 are the pairs with one of the 21 or 10 concepts most images have.

Rows of tags are read one at a time; the labels of all images take 81 bytes each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.datasets.files import find_below, need_below, read_bytes, text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NUS_WIDE"]

_VERSIONS = {
    "tc21": "pairs with one of the 21 most frequent concepts: 195,834",
    "tc21-tagged": "of these, the pairs with one of the 1,000 tags: 190,421",
    "tc10": "pairs with one of the 10 most frequent concepts: 186,577",
    "tc10-tagged": "of these, the pairs with one of the 1,000 tags: 181,365",
    "all": "every pair, 81 concepts: 269,648",
}
_MOST_IMAGES = 1_000_000
_LABEL_BYTES = 8 * _MOST_IMAGES
_PREFIX = "Labels_"


def _recognizes(folder: Path) -> bool:
    return all(find_below(folder, name) is not None for name in ("AllTags1k.txt", "AllLabels"))


def _read(folder: Path, options: ConvertOptions) -> Source:
    """Return the pairs of a version in the order of the image list; an id is FOLDER/STEM.

    Raises:
        DataError: a part is missing, or its lines are malformed or differ in number from the
            images.
    """
    version = options.version or next(iter(_VERSIONS))
    image_list = need_below(folder, "Imagelist.txt", what="the names of the images")
    names = [line.replace("\\", "/") for line in text_lines(image_list) if line]
    if len(names) > _MOST_IMAGES:
        raise DataError(f"{image_list} has {len(names):,} lines; the set has 269,648 images")
    concepts, labels = _labels(need_below(folder, "AllLabels", what="labels"), len(names))
    kept = _columns(version, labels)
    images = options.images or need_below(folder, "Flickr", what="images; else --images FOLDER")
    images = images.resolve()
    tags = _tags(folder, len(names))
    records: list[dict[str, Any]] = []
    for name, row, words in zip(names, labels[:, kept], tags, strict=True):
        if (version != "all" and not row.any()) or (version.endswith("tagged") and not words):
            continue
        records.append(
            {
                "id": name.rpartition(".")[0] or name,
                "image": str(images / name),
                "text": " ".join(words) or None,
                "labels": [concepts[kept[column]] for column in np.flatnonzero(row)],
            }
        )
    return Source(f"NUS-WIDE, version {version}", tuple(records))


def _labels(folder: Path, count: int) -> tuple[list[str], NDArray[np.bool_]]:
    """Return the concepts by name and the labels, bool (count, concepts)."""
    files = sorted(folder.glob(f"{_PREFIX}*.txt"))
    if not files:
        raise DataError(f"{folder} has no {_PREFIX}*.txt, one for each concept")
    labels = np.zeros((count, len(files)), dtype=np.bool_)
    for column, path in enumerate(files):
        values = read_bytes(path, limit=_LABEL_BYTES).split()
        strange = next((row for row, value in enumerate(values) if value not in (b"0", b"1")), None)
        if strange is not None:
            shown = values[strange][:20].decode("latin-1")
            raise DataError(f"{path}, line {strange + 1}: {shown!r} is neither 0 nor 1")
        if len(values) != count:
            raise DataError(f"{path} has {len(values):,} lines for {count:,} images")
        labels[:, column] = np.array(values) == b"1"
    return [path.stem.removeprefix(_PREFIX) for path in files], labels


def _columns(version: str, labels: NDArray[np.bool_]) -> list[int]:
    """Return the columns of the concepts that a version keeps, in order."""
    if version == "all":
        return list(range(labels.shape[1]))
    most = int(version.removeprefix("tc").partition("-")[0])
    by_count = np.argsort(-labels.sum(axis=0), kind="stable")
    return sorted(int(column) for column in by_count[:most])


def _tags(folder: Path, count: int) -> Iterator[list[str]]:
    """Yield the tags of each image."""
    tag_list = need_below(folder, "TagList1k.txt", what="the names of the tags")
    path = need_below(folder, "AllTags1k.txt", what="the tags of the images")
    names = [line for line in text_lines(tag_list) if line]
    rows = 0
    for number, line in enumerate(text_lines(path), start=1):
        if not line:
            continue
        rows += 1
        if rows > count:
            break
        bits = "".join(line.split())
        if len(bits) != len(names) or bits.strip("01"):
            raise DataError(
                f"{path}, line {number}: {len(names):,} values of 0 or 1 are expected, one for "
                f"each line of {tag_list.name}"
            )
        ones = np.frombuffer(bits.encode(), dtype=np.uint8) == ord("1")
        yield [names[column] for column in np.flatnonzero(ones)]
    if rows != count:
        found = f"{rows:,}" if rows < count else "more"
        raise DataError(f"{path} has {found} rows for {count:,} images")


NUS_WIDE = register_converter(
    Converter(
        name="nus-wide",
        recognizes=_recognizes,
        read=_read,
        expects="Imagelist.txt, AllTags1k.txt, TagList1k.txt, AllLabels/Labels_*.txt, Flickr/",
        versions=_VERSIONS,
        options=frozenset({"images"}),
    )
)
