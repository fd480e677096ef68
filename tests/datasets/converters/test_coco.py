"""MS COCO in the form of its archives, with what is awkward in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.datasets import ConvertOptions
from proxyhash.datasets.convert import convert_data_set
from proxyhash.errors import DataError, UsageError
from tests.datasets.recognized import recognized_by

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = {
    "train": [
        {"license": 3, "file_name": "000000000009.jpg", "id": 9},
        {"license": 1, "file_name": "000000000002.jpg", "id": 2},
    ],
    "val": [{"file_name": "000000000005.jpg", "id": 5}],
}
CAPTIONS = {
    "train": [
        {"image_id": 9, "id": 1, "caption": "A dog on\na  beach. "},
        {"image_id": 2, "id": 2, "caption": "Nothing."},
        {"image_id": 9, "id": 3, "caption": "Un café."},
    ],
    "val": [{"image_id": 5, "id": 4, "caption": "A cat."}],
}
OBJECTS = {
    "train": [
        {"segmentation": [[1.5, 2e3, 3]], "image_id": 9, "category_id": 18, "iscrowd": 0},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 1, 1]},
        {"image_id": 9, "category_id": 18, "segmentation": {"counts": [1, 2], "size": [3, 4]}},
    ],
    "val": [{"image_id": 5, "category_id": 17}],
}
CATEGORIES = [
    {"supercategory": "animal", "id": 17, "name": "cat"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "person", "id": 1, "name": "person"},
]


def write(folder: Path, kind: str, part: str, content: dict[str, Any]) -> Path:
    """Write one annotation file with the other keys that the released ones have."""
    info = {"description": "COCO", "url": 'quoted "]" }', "nothing": None, "empty": []}
    path = folder / "annotations" / f"{kind}_{part}.json"
    path.write_text(json.dumps({"info": info, "licenses": [], **content}), encoding="utf-8")
    return path


def publish(folder: Path, year: str = "2017") -> Path:
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        images = IMAGES[part]
        write(folder, "captions", part + year, {"images": images, "annotations": CAPTIONS[part]})
        write(
            folder,
            "instances",
            part + year,
            {"images": images, "annotations": OBJECTS[part], "categories": CATEGORIES},
        )
        (folder / (part + year)).mkdir(exist_ok=True)
    return folder


def convert(folder: Path, out: Path, **options: str) -> list[tuple[object, ...]]:
    conversion = convert_data_set(folder, out, options=ConvertOptions(**options))
    return [
        (
            item.id,
            item.sources.get("image"),
            item.sources.get("text"),
            item.labels,
            item.payload["part"],
        )
        for item in conversion.collection.items
    ]


NINE = ("000000000009", "../coco/train2017/000000000009.jpg", "A dog on a beach. Un café.")
TWO = ("000000000002", "../coco/train2017/000000000002.jpg", "Nothing.")
FIVE = ("000000000005", "../coco/val2017/000000000005.jpg", "A cat.")


def test_records(tmp_path: Path) -> None:
    folder = publish(tmp_path / "coco")
    assert recognized_by(folder) == ["coco"]
    labeled = [
        (*NINE, ("person", "dog"), "train2017"),  # in the order of the categories' ids
        (*FIVE, ("cat",), "val2017"),
    ]
    assert convert(folder, tmp_path / "out") == labeled
    everything = convert(folder, tmp_path / "out", version="all")
    assert everything == [(*TWO, (), "train2017"), *labeled]


def test_first_caption(tmp_path: Path) -> None:
    folder = publish(tmp_path / "coco")
    rows = convert(folder, tmp_path / "out", captions="first")
    assert [row[2] for row in rows] == ["A dog on a beach.", "A cat."]
    with pytest.raises(UsageError, match=r"captions is 'frist'.*did you mean 'first'"):
        convert(folder, tmp_path / "out", captions="frist")


def test_years(tmp_path: Path) -> None:
    folder = publish(tmp_path / "coco", "2014")
    assert convert(folder, tmp_path / "out")[0][4] == "train2014"
    conversion = convert_data_set(publish(folder, "2017"), tmp_path / "out")
    assert conversion.source == "MS COCO 2017, version labeled"
    renamed = ConvertOptions(version="labelled")
    again = convert_data_set(folder, tmp_path / "again", options=renamed)
    assert again.collection.fingerprint == conversion.collection.fingerprint


@pytest.mark.parametrize("name", ["captions_val2017.json", "instances_train2017.json"])
def test_a_file_is_missing(name: str, tmp_path: Path) -> None:
    folder = publish(tmp_path / "coco")
    (folder / "annotations" / name).unlink()
    with pytest.raises(DataError, match=f"has no {name}; unpack annotations_trainval2017.zip"):
        convert(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("captions", {"images": [{"id": "9", "file_name": "a"}]}, "id is '9'; int is expected"),
        ("captions", {"images": [], "annotations": CAPTIONS["train"]}, "caption refers to image 9"),
        ("captions", {"annotations": [7]}, "caption is None; str is expected"),
        (
            "instances",
            {"annotations": [{"image_id": 3, "category_id": 18}]},
            "to image 3 and",
        ),
        (
            "instances",
            {"annotations": OBJECTS["train"]},
            r"to image 9 and classes \[1, 18\]",
        ),
    ],
)
def test_damage_is_named(kind: str, content: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = publish(tmp_path / "coco")
    write(folder, kind, "train2017", content)
    with pytest.raises(DataError, match=rf"{kind}_train2017\.json: .*{says}"):
        convert(folder, tmp_path / "out")
