"""What checking a manifest finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from proxyhash.data import MODALITIES, register_modality
from proxyhash.data.check import check_collection
from proxyhash.errors import ManifestError
from tests.data.builders import write_jsonl
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import TypeVar

    from proxyhash.data import Collection

    T = TypeVar("T")


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A folder with one fault of each kind."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "also-red.png")
    Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 50).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    rows = [
        {"id": "red", "image": "red.png", "text": "red", "labels": ["color", "plain"]},
        {"id": "same", "image": "also-red.png", "labels": ["color"], "split": "train"},
        {"id": "gone", "image": "gone.png", "text": " "},
        {"id": "cut", "image": "cut.png", "text": "cut", "lables": ["color"]},
        {"id": "red", "text": "twice"},
        {"id": None},
        {"id": "bare"},
    ]
    write_jsonl(tmp_path / "items.jsonl", rows)
    return tmp_path


def test_everything_is_found(messy: Path) -> None:
    report = check_collection(messy)
    assert (report.path, report.format) == (str(messy / "items.jsonl"), "jsonl")
    assert (report.items, report.having) == (5, {"image": 4, "text": 2})
    assert (report.complete, report.without_sources, report.without_labels) == (2, 1, 3)
    assert list(report.labels.items()) == [("color", 2), ("plain", 1)]
    assert report.splits == {"train": 1}
    assert list(report.files) == ["image"]
    images = report.files["image"]
    assert images.read == 2
    assert [str(each) for each in report.bad_rows] == [
        "row 6: the id is missing; every item needs a unique one"
    ]
    assert [str(each) for each in report.duplicate_ids] == [
        "row 5: id 'red' is already used by row 1"
    ]
    (missing,) = images.missing
    assert (missing.row, missing.id, missing.file) == (3, "gone", "gone.png")
    assert missing.message == f"{messy / 'gone.png'}: no such file"
    (unreadable,) = images.unreadable
    assert (unreadable.row, unreadable.id) == (4, "cut")
    assert "cut.png: not an image that can be read" in unreadable.message
    assert report.blank == {"text": (3,)}
    assert images.duplicates == (("red", "same"),)
    assert report.hints == ("1 item has a key 'lables' and no 'labels'; did you mean 'labels'?",)
    assert report.errors == 4


def test_the_report_is_json(messy: Path) -> None:
    report = check_collection(messy).to_dict()
    again = json.loads(json.dumps(report, allow_nan=False))
    assert list(again) == [
        *("errors", "path", "format", "items", "with_image", "with_text", "with_both"),
        *(
            "with_neither",
            "without_labels",
            "with_probabilities",
            "labels",
            "splits",
            "images_read",
            "bad_rows",
        ),
        *("duplicate_ids", "missing_images", "unreadable_images", "empty_texts"),
        *("duplicate_images", "pictures_read", "hints", "types", "recognized"),
    ]
    assert again["errors"] == 4
    assert (again["with_image"], again["with_text"]) == (4, 2)
    assert (again["with_both"], again["with_neither"], again["images_read"]) == (2, 1, 2)
    assert again["pictures_read"] == again["images_read"]
    assert again["missing_images"][0]["row"] == 3
    assert again["missing_images"][0]["image"] == "gone.png"
    assert again["bad_rows"][0] == {
        "row": 6,
        "message": "the id is missing; every item needs a unique one",
        "id": None,
        "image": None,
    }
    assert again["empty_texts"] == [3]
    assert again["duplicate_images"] == [["red", "same"]]


def test_images_can_be_left_closed(messy: Path) -> None:
    report = check_collection(messy, files=False)
    assert report.files["image"].read == 0
    assert report.errors == 2
    assert report.files["image"].duplicates == ()


def test_labels_that_look_alike(tmp_path: Path) -> None:
    rows = [{"id": number, "labels": [name]} for number, name in enumerate(["Dog", "dog ", "cat"])]
    report = check_collection(write_jsonl(tmp_path / "items.jsonl", rows))
    assert report.hints == ("labels 'Dog', 'dog ' differ only in case or spaces",)
    assert report.errors == 0


def test_a_name_that_is_too_long_for_a_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "items.jsonl", [{"id": 1, "image": "x" * 5000}])
    assert [finding.row for finding in check_collection(path).files["image"].missing] == [1]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("images/img_1.jpg", "; did you mean images/IMG_1.JPG?"),
        (" images/IMG_1.JPG ", "; did you mean images/IMG_1.JPG?"),
        ("images/IMG_1", "; did you mean images/IMG_1.JPG?"),
        ("images/IMG_1.png", "; did you mean images/IMG_1.JPG?"),
        ("images%2FIMG%5F1.JPG", "; did you mean images/IMG_1.JPG?"),
        ("images\\img_1.JPG", "; did you mean images/IMG_1.JPG?"),
        ("images/link.jpg", "; it is a link, and what it points to is not there"),
        ("images/TWICE", ""),
        ("images/IMG_2.JPG", ""),
        ("elsewhere/IMG_1.JPG", ""),
    ],
)
def test_a_missing_image_names_the_one_that_was_meant(tmp_path: Path, name: str, hint: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for each in ("IMG_1.JPG", "twice.jpg", "twice.png"):
        Image.new("RGB", (8, 8)).save(folder / each)
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    rows = [{"id": "a", "image": name}, {"id": "b", "image": "images/IMG_1.JPG"}]
    report = check_collection(write_jsonl(tmp_path / "items.jsonl", rows))
    (missing,) = report.files["image"].missing
    assert missing.message.endswith(f"no such file{hint}")


def test_pixels_are_bounded(messy: Path) -> None:
    report = check_collection(messy, max_pixels=63)
    assert "8x8 has more than 63 pixels" in report.files["image"].unreadable[0].message


def test_a_clean_set(scenes: Collection) -> None:
    report = check_collection(scenes.path, threads=2)
    assert report.errors == 0
    assert report.files["image"].read == report.complete == len(scenes)
    assert sum(report.labels.values()) == scenes.labels.sum()


def test_progress_is_told(messy: Path) -> None:
    told: list[tuple[str, int | None]] = []

    def track(steps: Iterable[T], description: str, total: int | None = None, /) -> Iterator[T]:
        told.append((description, total))
        yield from steps

    check_collection(messy, track=track)
    assert told == [("check images", 4)]


def test_stopping_half_way_does_not_wait_for_the_rest(scenes: Collection) -> None:
    def stop(steps: Iterable[T], description: str, total: int | None = None, /) -> Iterator[T]:
        yield next(iter(steps))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_collection(scenes.path, track=stop)


def test_a_third_modality_has_keys_of_its_own(tmp_path: Path) -> None:
    register_modality("audio", plural="sounds", is_file=True)
    try:
        for name in ("a.wav", "b.wav"):
            (tmp_path / name).write_bytes(b"RIFF")
        rows = [
            {"id": "a", "audio": "a.wav", "text": "rain"},
            {"id": "b", "audio": "b.wav"},
            {"id": "c", "audio": "gone.wav"},
            {"id": "d"},
        ]
        report = check_collection(write_jsonl(tmp_path / "items.jsonl", rows))
        found = report.to_dict()
    finally:
        MODALITIES.remove("audio")
    assert report.errors == 1
    assert (found["with_image"], found["with_text"], found["with_audio"]) == (0, 1, 3)
    assert (found["with_both"], found["with_neither"]) == (0, 1)
    assert (found["images_read"], found["sounds_read"]) == (0, 2)
    assert found["duplicate_sounds"] == [["a", "b"]]
    (missing,) = found["missing_sounds"]
    assert (missing["row"], missing["id"], missing["audio"]) == (3, "c", "gone.wav")


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        check_collection(tmp_path)


@pytest.mark.shared
def test_the_real_photos_have_no_errors() -> None:
    report = check_collection(shared_path("data/flickr8k"), threads=2)
    assert (report.errors, report.items, report.files["image"].read) == (0, 7957, 7957)
    assert report.labels["dog"] == 2006
