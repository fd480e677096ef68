"""MS COCO as downloaded: 123,287 images of 2014 or 2017, five captions each, 80 classes.

Lin, Maire, Belongie, Bourdev, Girshick, Hays, Perona, Ramanan, Zitnick and Dollar, "Microsoft COCO:
Common Objects in Context", ECCV 2014; Chen et al., "Microsoft COCO Captions", 2015. The 2014 and
2017 releases are the same images in other parts. Labels are the classes of an image's
objects; the literature leaves out the images without any, and takes both parts as one collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.datasets.files import array_elements, find_below
from proxyhash.errors import DataError, check_option

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["COCO"]

_VERSIONS = {
    "labeled": "images with a labeled object: 122,218",
    "all": "every image: 123,287",
}
_YEARS = ("2017", "2014")
_PARTS = ("train", "val")


def _recognizes(folder: Path) -> bool:
    return _year(folder) is not None


def _year(folder: Path) -> str | None:
    for year in _YEARS:
        if any(find_below(folder, f"instances_{part}{year}.json") for part in _PARTS):
            return year
    return None


def _read(folder: Path, options: ConvertOptions) -> Source:
    """Return the images of both parts, train first, each part by image id.

    An item's id is the stem of its image's name, its text all captions with a space between, or
    the first one. `part` (such as train2017) is payload: the literature draws its own splits.

    Raises:
        DataError: a file is missing or malformed, or an annotation names an unknown image.
    """
    version = options.version or next(iter(_VERSIONS))
    captions = check_option("captions", options.captions or "all", ("all", "first"))
    year = _year(folder) or _YEARS[0]
    records: list[dict[str, Any]] = []
    for part in (f"{part}{year}" for part in _PARTS):
        images = _images(folder, part, first_only=captions == "first")
        _add_labels(_annotation_file(folder, "instances", part), images)
        records.extend(
            record for _, record in sorted(images.items()) if version == "all" or record["labels"]
        )
    return Source(f"MS COCO {year}, version {version}", tuple(records))


def _annotation_file(folder: Path, kind: str, part: str) -> Path:
    name = f"{kind}_{part}.json"
    found = find_below(folder, name)
    if found is None:
        raise DataError(f"{folder} has no {name}; unpack annotations_trainval{part[-4:]}.zip there")
    return found


def _images(folder: Path, part: str, *, first_only: bool) -> dict[int, dict[str, Any]]:
    """Return records without labels by image id."""
    path = _annotation_file(folder, "captions", part)
    names: dict[int, str] = {}
    texts: dict[int, list[str]] = {}
    for key, each in array_elements(path, ("images", "annotations")):
        if key == "images":
            names[_get(path, each, "id", int)] = _get(path, each, "file_name", str)
        else:
            words = " ".join(_get(path, each, "caption", str).split())
            texts.setdefault(_get(path, each, "image_id", int), []).append(words)
    unknown = next((id_ for id_ in texts if id_ not in names), None)
    if unknown is not None:
        raise DataError(f"{path}: a caption refers to image {unknown}, which is not listed")
    root = (find_below(folder, part) or path.parent.parent / part).resolve()
    return {
        id_: {
            "id": name.rpartition(".")[0] or name,
            "image": str(root / name),
            "text": " ".join(texts.get(id_, [])[: 1 if first_only else None]) or None,
            "labels": [],
            "part": part,
        }
        for id_, name in names.items()
    }


def _add_labels(path: Path, images: dict[int, dict[str, Any]]) -> None:
    """Add the names of the classes, in the file's order, to the images that show them."""
    names: dict[int, str] = {}
    found: dict[int, set[int]] = {}
    for key, each in array_elements(path, ("categories", "annotations")):
        if key == "categories":
            names[_get(path, each, "id", int)] = _get(path, each, "name", str)
        else:
            category = _get(path, each, "category_id", int)
            found.setdefault(_get(path, each, "image_id", int), set()).add(category)
    for image, categories in found.items():
        unknown = categories.difference(names)
        if image not in images or unknown:
            raise DataError(
                f"{path}: an object refers to image {image} and classes {sorted(categories)}; "
                "both must be listed in the files"
            )
        images[image]["labels"] = [names[category] for category in sorted(categories)]


def _get(path: Path, entry: Any, key: str, kind: type) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise DataError(f"{path}: {key} is {value!r}; {kind.__name__} is expected")
    return value


COCO = register_converter(
    Converter(
        name="coco",
        recognizes=_recognizes,
        read=_read,
        expects="annotations/captions_train2017.json, instances_train2017.json, both for val2017, "
        "train2017/, val2017/ (or 2014)",
        versions=_VERSIONS,
        options=frozenset({"captions"}),
    )
)
