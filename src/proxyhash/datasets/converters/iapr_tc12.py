"""IAPR TC-12 as downloaded: 20,000 travel images, a description each, region labels of SAIAPR.

Grubinger, Clough, Mueller and Deselaers, "The IAPR TC-12 Benchmark", OntoImage 2006: a file such as
`annotations_complete_eng/01/1000.eng` has the description and the path of an image between tags,
in Latin-1. Escalante et al., "The segmented and annotated IAPR TC-12 benchmark", CVIU 2010, adds
`saiapr_tc-12/01/labels.txt` (image, region and label, all numbers) and `wlist.txt` (the number
and name of a label, a tab between; where it is missing, the numbers are the names).
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.datasets.files import find_below, need_below, read_bytes, text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["IAPR_TC12"]

_VERSIONS = {
    "saiapr": "images with region labels of SAIAPR TC-12, 255 names: 20,000",
    "unlabeled": "every description, without labels",
}
_DESCRIPTIONS = "annotations_complete_eng"
_REGIONS = "saiapr_tc-12"
_ENTRY_BYTES = 1 << 16
_FIELD = re.compile(r"<(DESCRIPTION|IMAGE|TITLE|LOCATION)>(.*?)</\1>", re.DOTALL)
_IMAGE = re.compile(r"images/\d\d/\d+\.jpg")


def _recognizes(folder: Path) -> bool:
    return find_below(folder, _DESCRIPTIONS) is not None


def _read(folder: Path, options: ConvertOptions) -> Source:
    """Return the images by number; title and location are payload.

    An image with labels and without a description is an item without a text.

    Raises:
        DataError: a part is missing, or an entry or line is malformed.
    """
    version = options.version or next(iter(_VERSIONS))
    descriptions = need_below(folder, _DESCRIPTIONS, what="the descriptions")
    images = (options.images or descriptions.parent).resolve()
    entries = {
        int(path.stem): _entry(path)
        for path in descriptions.glob("*/*.eng")
        if path.stem.isdecimal()
    }
    labels = _labels(folder) if version == "saiapr" else dict.fromkeys(entries, ("", []))
    records: list[dict[str, Any]] = []
    for number in sorted(labels):
        part, names = labels[number]
        entry = entries.get(number, {"image": f"images/{part}/{number}.jpg"})
        image = f"{images}/{entry['image']}"
        records.append({"id": str(number), **entry, "image": image, "labels": names})
    return Source(f"IAPR TC-12, version {version}", tuple(records))


def _entry(path: Path) -> dict[str, str | None]:
    """Return the keys of a record that a file of a description fills."""
    content = read_bytes(path, limit=_ENTRY_BYTES).decode("latin-1")
    fields = {
        name: " ".join(html.unescape(value).split()) for name, value in _FIELD.findall(content)
    }
    if not _IMAGE.fullmatch(fields.get("IMAGE", "")):
        raise DataError(f"{path}: <IMAGE>images/NN/NUMBER.jpg</IMAGE> is expected in it")
    return {
        "image": fields["IMAGE"],
        "text": fields.get("DESCRIPTION") or None,
        "title": fields.get("TITLE") or None,
        "location": fields.get("LOCATION") or None,
    }


def _labels(folder: Path) -> dict[int, tuple[str, list[str]]]:
    """Return the folder's name and the labels' names of every image with regions."""
    regions = find_below(folder, _REGIONS)
    if regions is None:
        raise DataError(
            f"{folder} has no {_REGIONS} (the region labels), and neither have the folders in it; "
            "unpack it there, or convert without labels with --version unlabeled"
        )
    names = _names(folder)
    found: dict[int, tuple[str, list[str]]] = {}
    for path in sorted(regions.glob("*/labels.txt")):
        for row, line in enumerate(text_lines(path), start=1):
            if not line:
                continue
            fields = line.split()
            if len(fields) < 3 or not all(field.isdecimal() for field in fields[:3]):
                raise DataError(
                    f"{path}, line {row}: {line[:40]!r} is not the numbers of an image, a region "
                    "and a label"
                )
            name = names.get(fields[2]) or fields[2]
            _, labels = found.setdefault(int(fields[0]), (path.parent.name, []))
            if name not in labels:
                labels.append(name)
    if not found:
        raise DataError(f"{regions} has no NN/labels.txt with labels in it")
    return found


def _names(folder: Path) -> dict[str, str]:
    """Return the names of the labels by number; none where the list of them is missing."""
    words = find_below(folder, "wlist.txt")
    rows = (line.partition("\t") for line in text_lines(words)) if words else ()
    return {number: name.strip() for number, _, name in rows}


IAPR_TC12 = register_converter(
    Converter(
        name="iapr-tc12",
        recognizes=_recognizes,
        read=_read,
        expects="annotations_complete_eng/NN/*.eng, images/NN/*.jpg, saiapr_tc-12/NN/labels.txt",
        versions=_VERSIONS,
        options=frozenset({"images"}),
    )
)
