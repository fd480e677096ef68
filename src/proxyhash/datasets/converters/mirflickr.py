"""MIRFLICKR-25K as downloaded: 25,000 images, a file of tags each, 24 lists of annotations.

Huiskes and Lew, "The MIR Flickr Retrieval Evaluation", ACM MIR 2008. `mirflickr25k.zip` holds
`im1.jpg` ..., `meta/tags/tags1.txt` ... (one tag per line) and `doc/common_tags.txt` (the tags of
at least 20 images, each with its count); `mirflickr25k_annotations_v080.zip` holds a list of image
numbers for each of 24 concepts. Fourteen of these have a stricter list besides, such as
`baby_r1.txt`, whose images the wide list has too; the hashing literature leaves these lists out.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.datasets.files import find_below, need_below, text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MIRFLICKR"]

_VERSIONS = {
    "dcmh": "pairs with a label and a common tag; the text is its common tags: 20,015",
    "dchmt": "pairs with a label; the text is all tags: 24,581",
    "all": "every pair; the text is all tags: 25,000",
}
_IMAGES = 20  # that a common tag has at least
_TAGS = re.compile(r"tags([1-9]\d{0,8})\.txt")
_A_CONCEPT = "plant_life.txt"  # by which the folder of annotations is found


def _recognizes(folder: Path) -> bool:
    return find_below(folder, "tags1.txt") is not None and (
        find_below(folder, _A_CONCEPT) is not None
    )


def _read(folder: Path, options: ConvertOptions) -> Source:
    """Return the pairs in order of image number.

    Raises:
        DataError: a part is missing, a list names no image number, or one without tags.
    """
    version = options.version or next(iter(_VERSIONS))
    tag_folder = need_below(folder, "tags1.txt", what="the tags of the first image").parent
    annotations = need_below(folder, _A_CONCEPT, what="one of the lists of annotations").parent
    tags = _tags(tag_folder)
    labels = _labels(annotations, tags)
    common = _common_tags(folder, tags) if version == "dcmh" else None
    images = (options.images or tag_folder.parent.parent).resolve()
    records: list[dict[str, Any]] = []
    for number, words in tags.items():
        text = words if common is None else [word for word in words if word in common]
        if (version != "all" and not labels[number]) or (version == "dcmh" and not text):
            continue
        records.append(
            {
                "id": f"im{number}",
                "image": str(images / f"im{number}.jpg"),
                "text": " ".join(text) or None,
                "labels": labels[number],
            }
        )
    return Source(f"MIRFLICKR-25K, version {version}", tuple(records))


def _tags(folder: Path) -> dict[int, list[str]]:
    """Return the tags of every image by its number, in order."""
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := _TAGS.fullmatch(path.name))
    }
    return {
        number: [tag for tag in text_lines(path) if tag] for number, path in sorted(found.items())
    }


def _labels(folder: Path, tags: Mapping[int, list[str]]) -> dict[int, list[str]]:
    labels: dict[int, list[str]] = {number: [] for number in tags}
    for path in sorted(folder.glob("*.txt")):
        if path.stem.endswith("_r1") or path.stem.lower().startswith("readme"):
            continue
        for row, line in enumerate(text_lines(path), start=1):
            if not line:
                continue
            if not line.isdecimal() or int(line) not in labels:
                raise DataError(
                    f"{path}, line {row}: {line[:40]!r} is not the number of an image with tags; "
                    f"there are {len(tags):,}"
                )
            if path.stem not in labels[int(line)]:
                labels[int(line)].append(path.stem)
    return labels


def _common_tags(folder: Path, tags: Mapping[int, list[str]]) -> set[str]:
    """Return the tags of the released list, or where that is missing those it was made of."""
    listed = find_below(folder, "common_tags.txt")
    if listed is not None:
        return {line.split()[0] for line in text_lines(listed) if line}
    counts = Counter(tag for words in tags.values() for tag in set(words))
    return {tag for tag, count in counts.items() if count >= _IMAGES}


MIRFLICKR = register_converter(
    Converter(
        name="mirflickr",
        recognizes=_recognizes,
        read=_read,
        expects="im1.jpg ..., meta/tags/tags1.txt ..., animals.txt ... (annotations v080)",
        versions=_VERSIONS,
        options=frozenset({"images"}),
    )
)
