"""NUS-WIDE in the form of its archives, with what is awkward in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.data import scan_manifest
from proxyhash.datasets import ConvertOptions
from proxyhash.datasets.convert import convert_data_set
from proxyhash.datasets.converters import nus_wide as module
from proxyhash.errors import DataError
from tests.datasets.recognized import recognized_by

if TYPE_CHECKING:
    from pathlib import Path

CONCEPTS = [f"concept{number:02d}" for number in range(23)]
"""Concept i is that of the first 23 - i images, so that the last ones are the rarest."""
COUNT = 25


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """25 images, three tags, 23 concepts; the last two images have no label."""
    folder = tmp_path / "NUS-WIDE"
    for name in ("ImageList", "NUS_WID_Tags", "Groundtruth/AllLabels", "Flickr/actor"):
        (folder / name).mkdir(parents=True)
    names = [rf"actor\{number:04d}_9{number}.jpg" for number in range(COUNT)]
    (folder / "ImageList" / "Imagelist.txt").write_bytes("\r\n".join(names).encode() + b"\r\n\r\n")
    (folder / "NUS_WID_Tags" / "TagList1k.txt").write_bytes(b"nature\r\ncaf\xe9\nsky\n")
    rows = ["1\t0\t1\t", "0 1 0", *["0\t0\t0\t"] * (COUNT - 3), "1 1 1"]
    (folder / "NUS_WID_Tags" / "AllTags1k.txt").write_text("\n".join(rows) + "\n\n")
    for column, concept in enumerate(CONCEPTS):
        ones = [int(number < 23 - column) for number in range(COUNT)]
        text = "".join(f"{one} \r\n" for one in ones)
        (folder / "Groundtruth" / "AllLabels" / f"Labels_{concept}.txt").write_text(text)
    return folder


def convert(folder: Path, out: Path, version: str | None = None) -> list[tuple[object, ...]]:
    conversion = convert_data_set(folder, out, options=ConvertOptions(version=version))
    return [
        (item.id, item.sources.get("text"), item.labels) for item in conversion.collection.items
    ]


def test_every_pair(published: Path, tmp_path: Path) -> None:
    assert recognized_by(published) == ["nus-wide"]
    rows = convert(published, tmp_path / "out", "all")
    assert scan_manifest(tmp_path / "out").blank["text"] == ()
    assert len(rows) == COUNT
    assert rows[0] == ("actor/0000_90", "nature sky", tuple(CONCEPTS))
    assert rows[1] == ("actor/0001_91", "café", tuple(CONCEPTS[:22]))
    assert rows[22] == ("actor/0022_922", None, ("concept00",))
    assert rows[24] == ("actor/0024_924", "nature café sky", ())


@pytest.mark.parametrize(
    ("version", "kept", "classes"),
    [(None, 23, 21), ("tc21", 23, 21), ("tc21-tagged", 2, 21), ("tc10", 23, 10)],
)
def test_most_frequent_concepts(
    version: str | None, kept: int, classes: int, published: Path, tmp_path: Path
) -> None:
    rows = convert(published, tmp_path / "out", version)
    assert len(rows) == kept
    assert rows[0][2] == tuple(CONCEPTS[:classes])


def test_pairs_of_rare_concepts_alone_are_left_out(published: Path, tmp_path: Path) -> None:
    labels = published / "Groundtruth" / "AllLabels"
    (labels / "Labels_concept22.txt").write_text("0\n" * (COUNT - 1) + "1\n")
    assert [row[0] for row in convert(published, tmp_path / "out")][-1] == "actor/0022_922"


def test_images(published: Path, tmp_path: Path) -> None:
    collection = convert_data_set(published, tmp_path / "out").collection
    assert collection.items[3].sources.get("image") == "../NUS-WIDE/Flickr/actor/0003_93.jpg"
    (published / "Flickr" / "actor").rmdir()
    (published / "Flickr").rmdir()
    with pytest.raises(DataError, match=r"have no Flickr \(images; else --images FOLDER"):
        convert_data_set(published, tmp_path / "other")
    options = ConvertOptions(images=tmp_path / "big")
    collection = convert_data_set(published, tmp_path / "out", options=options).collection
    assert collection.items[3].sources.get("image") == "../big/actor/0003_93.jpg"


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("AllTags1k.txt", "1 0\n", r"AllTags1k\.txt, line 1: 3 values of 0 or 1 are expected"),
        ("AllTags1k.txt", "1 0 1\n0 2 0\n", "line 2: 3 values"),
        ("AllTags1k.txt", "1 0 1\n" * 24, "has 24 rows for 25 images"),
        ("AllTags1k.txt", "1 0 1\n" * 26, "has more rows for 25 images"),
        ("AllTags1k.txt", "1 " * 600_000, "line 1: longer than 1,048,576 bytes"),
        ("Labels_concept03.txt", "1\n" * 24, "has 24 lines for 25 images"),
        ("Labels_concept03.txt", "1\n-1130179\n", "line 2: '-1130179' is neither 0 nor 1"),
    ],
)
def test_damage_is_named(
    file: str, content: str, says: str, published: Path, tmp_path: Path
) -> None:
    next(published.rglob(file)).write_text(content)
    with pytest.raises(DataError, match=says):
        convert_data_set(published, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parts_that_are_missing(published: Path, tmp_path: Path) -> None:
    for path in (published / "Groundtruth" / "AllLabels").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"AllLabels has no Labels_\*\.txt"):
        convert_data_set(published, tmp_path / "out")
    (published / "ImageList" / "Imagelist.txt").unlink()
    with pytest.raises(DataError, match=r"have no Imagelist\.txt \(the names of the images\)"):
        convert_data_set(published, tmp_path / "out")


def test_absurd_sizes(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LABEL_BYTES", 10)
    with pytest.raises(DataError, match=r"Labels_concept00\.txt is larger than 10 bytes"):
        convert_data_set(published, tmp_path / "out")
    monkeypatch.setattr(module, "_MOST_IMAGES", 3)
    with pytest.raises(DataError, match="has 25 lines; the set has 269,648 images"):
        convert_data_set(published, tmp_path / "out")
