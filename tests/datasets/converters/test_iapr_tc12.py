"""IAPR TC-12 and the labels of SAIAPR in the form of their archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.data import scan_manifest
from proxyhash.datasets import ConvertOptions
from proxyhash.datasets.convert import convert_data_set
from proxyhash.errors import DataError
from tests.datasets.recognized import recognized_by

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = """<DOC>
<DOCNO>annotations/{part}/{number}.eng</DOCNO>
<TITLE>In the Tafí del Valle</TITLE>
<DESCRIPTION>{text}</DESCRIPTION>
<NOTES></NOTES>
<LOCATION>Tucumán, Argentina</LOCATION>
<DATE>January 2002</DATE>
<IMAGE>images/{part}/{number}.jpg</IMAGE>
<THUMBNAIL>thumbnails/{part}/{number}.jpg</THUMBNAIL>
</DOC>
"""
TEXTS = {
    ("00", 25): "a lake &amp; a bald\r\nmountain;",
    ("02", 2808): "a señor;",
    ("02", 10): "",
    ("02", 999): "no regions;",
}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Four descriptions in Latin-1, and regions of three of them and of one without any."""
    folder = tmp_path / "downloads"
    for (part, number), text in TEXTS.items():
        place = folder / "iaprtc12" / "annotations_complete_eng" / part
        place.mkdir(parents=True, exist_ok=True)
        entry = ENTRY.format(part=part, number=number, text=text)
        (place / f"{number}.eng").write_bytes(entry.encode("latin-1"))
    regions = folder / "saiaprtc12ok" / "benchmark" / "saiapr_tc-12"
    for part in ("00", "02"):
        (regions / part).mkdir(parents=True)
    (regions / "00" / "labels.txt").write_text("25\t1\t7\r\n25\t2\t7\r\n25\t3\t12\r\n\r\n")
    (regions / "02" / "labels.txt").write_text("2808 1 12\n10 1 200\n11 1 7\n")
    (regions / "wlist.txt").write_text("7\tlake\r\n12\tsky-blue\r\n")
    return folder


def test_pairs_with_regions(published: Path, tmp_path: Path) -> None:
    assert recognized_by(published) == ["iapr-tc12"]
    conversion = convert_data_set(published, tmp_path / "out")
    assert scan_manifest(tmp_path / "out").blank["text"] == ()
    items = conversion.collection.items
    image = "../downloads/iaprtc12/images/{}.jpg"
    assert [
        (item.id, item.sources.get("image"), item.sources.get("text"), item.labels)
        for item in items
    ] == [
        ("10", image.format("02/10"), None, ("200",)),  # a number that has no name
        ("11", image.format("02/11"), None, ("lake",)),  # no description
        ("25", image.format("00/25"), "a lake & a bald mountain;", ("lake", "sky-blue")),
        ("2808", image.format("02/2808"), "a señor;", ("sky-blue",)),
    ]
    assert items[3].payload == {
        "title": "In the Tafí del Valle",
        "location": "Tucumán, Argentina",
    }


def test_descriptions_alone(published: Path, tmp_path: Path) -> None:
    (published / "saiaprtc12ok").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"no saiapr_tc-12 .*--version unlabeled"):
        convert_data_set(published, tmp_path / "out")
    options = ConvertOptions(version="unlabeled")
    items = convert_data_set(published, tmp_path / "out", options=options).collection.items
    assert [(item.id, item.labels) for item in items] == [
        (number, ()) for number in ("10", "25", "999", "2808")
    ]


def test_numbers_are_names_where_the_list_is_missing(published: Path, tmp_path: Path) -> None:
    next(published.rglob("wlist.txt")).unlink()
    items = convert_data_set(published, tmp_path / "out").collection.items
    assert items[2].labels == ("7", "12")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("25.eng", "<DOC>a dog</DOC>", r"25\.eng: <IMAGE>images/NN/NUMBER"),
        ("25.eng", "<IMAGE>../../etc/passwd</IMAGE>", r"25\.eng: <IMAGE>images/NN/NUMBER"),
        ("25.eng", "x" * 70_000, r"25\.eng is larger than 65,536 bytes"),
        ("labels.txt", "25 1\n", r"labels\.txt, line 1: '25 1' is not the numbers"),
        ("labels.txt", "25 1 sky\n", r"line 1: '25 1 sky' is not the numbers"),
    ],
)
def test_damage_is_named(
    file: str, content: str, says: str, published: Path, tmp_path: Path
) -> None:
    next(published.rglob(file)).write_text(content)
    with pytest.raises(DataError, match=says):
        convert_data_set(published, tmp_path / "out")


def test_no_labels_at_all(published: Path, tmp_path: Path) -> None:
    for path in published.rglob("labels.txt"):
        path.write_text("")
    with pytest.raises(DataError, match=r"saiapr_tc-12 has no NN/labels\.txt with labels"):
        convert_data_set(published, tmp_path / "out")
