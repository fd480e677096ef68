"""MIRFLICKR-25K in the form of its archives, with what is awkward in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.datasets import CONVERTERS, ConvertOptions
from proxyhash.datasets.convert import convert_data_set
from proxyhash.errors import DataError
from tests.datasets.recognized import recognized_by

if TYPE_CHECKING:
    from pathlib import Path

TAGS = {
    1: b"beach\nrarity\nsea\n",
    2: b"caf\xe9\r\nbeach\r\n\r\n",  # Latin-1, Windows line ends, a blank line at the end
    3: b"",
    4: b"rarity\n",
    10: b"sea\n",
}
LABELS = {
    "plant_life.txt": b"1\r\n10\r\n10\r\n",
    "sky.txt": b"1\n2\n3\n4\n\n",
    "sky_r1.txt": b"1\n",
    "README.txt": b"not a list\n",
}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Both archives, unpacked side by side."""
    folder = tmp_path / "downloads"
    tags = folder / "mirflickr" / "meta" / "tags"
    tags.mkdir(parents=True)
    for number, content in TAGS.items():
        (tags / f"tags{number}.txt").write_bytes(content)
        (folder / "mirflickr" / f"im{number}.jpg").touch()
    (folder / "mirflickr" / "doc").mkdir()
    (folder / "mirflickr" / "doc" / "common_tags.txt").write_text("beach 412\nsea 220\ncafé 21\n")
    annotations = folder / "mirflickr25k_annotations_v080"
    annotations.mkdir()
    for name, content in LABELS.items():
        (annotations / name).write_bytes(content)
    return folder


def rows(folder: Path, out: Path, version: str | None = None) -> list[tuple[object, ...]]:
    conversion = convert_data_set(folder, out, options=ConvertOptions(version=version))
    return [
        (item.id, item.sources.get("text"), item.labels) for item in conversion.collection.items
    ]


def test_versions(published: Path, tmp_path: Path) -> None:
    assert recognized_by(published) == ["mirflickr"]
    out = tmp_path / "out"
    assert rows(published, out, "all") == [
        ("im1", "beach rarity sea", ("plant_life", "sky")),
        ("im2", "café beach", ("sky",)),
        ("im3", None, ("sky",)),
        ("im4", "rarity", ("sky",)),
        ("im10", "sea", ("plant_life",)),
    ]
    (published / "mirflickr25k_annotations_v080" / "sky.txt").write_text("1\n2\n3\n")
    assert [row[0] for row in rows(published, out, "dchmt")] == ["im1", "im2", "im3", "im10"]
    expected = [
        ("im1", "beach sea", ("plant_life", "sky")),
        ("im2", "café beach", ("sky",)),
        ("im10", "sea", ("plant_life",)),
    ]
    assert rows(published, out) == rows(published, out, "dcmh") == expected


def test_images_are_named_from_the_manifest(published: Path, tmp_path: Path) -> None:
    collection = convert_data_set(published, tmp_path / "deep" / "out").collection
    assert collection.items[0].sources.get("image") == "../../downloads/mirflickr/im1.jpg"
    assert all(path is not None and path.is_file() for path in collection.sources("image"))
    elsewhere = ConvertOptions(images=tmp_path / "images")
    collection = convert_data_set(published, tmp_path / "out", options=elsewhere).collection
    assert collection.items[0].sources.get("image") == "../images/im1.jpg"


def test_links_and_drives(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "er")
    (tmp_path / "flickr").symlink_to(published)
    collection = convert_data_set(tmp_path / "flickr", tmp_path / "link" / "out").collection
    assert collection.items[0].sources.get("image") == "../../../downloads/mirflickr/im1.jpg"
    assert all(path is not None and path.is_file() for path in collection.sources("image"))

    def other_drive(path: object, start: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", other_drive)
    collection = convert_data_set(published, tmp_path / "out").collection
    assert (
        collection.items[0].sources.get("image") == (published / "mirflickr" / "im1.jpg").as_posix()
    )


def test_common_tags_are_those_of_twenty_images(published: Path, tmp_path: Path) -> None:
    (published / "mirflickr" / "doc" / "common_tags.txt").unlink()
    tags = published / "mirflickr" / "meta" / "tags"
    for number in range(11, 11 + 20):
        (tags / f"tags{number}.txt").write_text("sea\nsea\n" if number < 29 else "rarity\n")
    assert rows(published, tmp_path / "out") == [  # sea: 18 and 2 above; rarity: 2 and 2
        ("im1", "sea", ("plant_life", "sky")),
        ("im10", "sea", ("plant_life",)),
    ]


@pytest.mark.parametrize("line", ["11", "x", "-1", "1.jpg"])
def test_numbers_of_no_image(line: str, published: Path, tmp_path: Path) -> None:
    (published / "mirflickr25k_annotations_v080" / "sky.txt").write_text(f"1\n{line}\n")
    says = rf"sky\.txt, line 2: '{line}' is not the number of an image"
    with pytest.raises(DataError, match=says):
        convert_data_set(published, tmp_path / "out")


def test_a_part_is_missing(published: Path, tmp_path: Path) -> None:
    (published / "mirflickr25k_annotations_v080" / "plant_life.txt").unlink()
    assert not CONVERTERS["mirflickr"].recognizes(published)
    with pytest.raises(DataError, match=r"have no plant_life\.txt \(one of the lists"):
        convert_data_set(published, tmp_path / "out", kind="mirflickr")
