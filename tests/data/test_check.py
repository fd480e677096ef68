"""What checking a manifest finds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

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
    assert (report.items, report.with_image, report.with_text) == (5, 4, 2)
    assert (report.with_both, report.with_neither, report.without_labels) == (2, 1, 3)
    assert list(report.labels.items()) == [("color", 2), ("plain", 1)]
    assert report.splits == {"train": 1}
    assert report.images_read == 2
    assert [str(each) for each in report.bad_rows] == [
        "row 6: there is no id; every item needs one of its own"
    ]
    assert [str(each) for each in report.duplicate_ids] == [
        "row 5: id 'red' is that of row 1 already"
    ]
    (missing,) = report.missing_images
    assert (missing.row, missing.id, missing.image) == (3, "gone", "gone.png")
    assert missing.message == f"{messy / 'gone.png'}: no such file"
    (unreadable,) = report.unreadable_images
    assert (unreadable.row, unreadable.id) == (4, "cut")
    assert "cut.png: not an image that can be read" in unreadable.message
    assert report.empty_texts == (3,)
    assert report.duplicate_images == (("red", "same"),)
    assert report.hints == ("1 items have a key 'lables' and no 'labels'; is 'labels' meant?",)
    assert report.errors == 4


def test_the_report_is_json(messy: Path) -> None:
    report = check_collection(messy).to_dict()
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again["errors"] == 4
    assert again["missing_images"][0]["row"] == 3


def test_images_can_be_left_closed(messy: Path) -> None:
    report = check_collection(messy, images=False)
    assert report.images_read == 0
    assert report.errors == 2
    assert report.duplicate_images == ()


def test_labels_that_look_alike(tmp_path: Path) -> None:
    rows = [{"id": number, "labels": [name]} for number, name in enumerate(["Dog", "dog ", "cat"])]
    report = check_collection(write_jsonl(tmp_path / "items.jsonl", rows))
    assert report.hints == ("labels 'Dog', 'dog ' differ only in case or blanks",)
    assert report.errors == 0


def test_a_name_that_is_too_long_for_a_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "items.jsonl", [{"id": 1, "image": "x" * 5000}])
    assert [finding.row for finding in check_collection(path).missing_images] == [1]


def test_pixels_are_bounded(messy: Path) -> None:
    report = check_collection(messy, max_pixels=63)
    assert "8x8 has more than 63 pixels" in report.unreadable_images[0].message


def test_a_clean_set(scenes: Collection) -> None:
    report = check_collection(scenes.path, threads=2)
    assert report.errors == 0
    assert report.images_read == report.with_both == len(scenes)
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


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        check_collection(tmp_path)


@pytest.mark.shared
def test_the_real_photos_have_no_errors() -> None:
    report = check_collection(shared_path("data/flickr8k"), threads=2)
    assert (report.errors, report.items, report.images_read) == (0, 7957, 7957)
    assert report.labels["dog"] == 2006
