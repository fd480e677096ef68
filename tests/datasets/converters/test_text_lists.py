"""Plain text lists become a manifest with text features and a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.data import manifest_split
from proxyhash.datasets import ConvertOptions
from proxyhash.datasets.convert import Conversion, convert_data_set
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

LABEL_ROWS = "1 0 0\n0 1 0\n0 0 1\n1 1 0\n0 0 0\n"
TEXT_ROWS = "0 1.5\n2 0\n0 0\n1 1\n3 4\n"
NAMES = "0001/a.jpg\n0001/b.jpg\n0002/c.jpg\nd.jpg\ne.jpg\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As in the methods after DCPH, with images and without a split."""
    folder = tmp_path / "NUS-WIDE"
    for image in NAMES.split():
        (folder / "images" / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / image).touch()
    (folder / "label_hot.txt").write_text(LABEL_ROWS)
    (folder / "y_vector.txt").write_text(TEXT_ROWS)
    (folder / "images_name.txt").write_text(NAMES)
    (folder / "images_ind.txt").write_text("269648\n")  # no part of the split
    return folder


def convert(folder: Path, images: Path | None = None) -> Conversion:
    return convert_data_set(folder, folder.parent / "out", options=ConvertOptions(images=images))


def texts(conversion: Conversion) -> list[list[float]]:
    values: list[list[float]] = np.load(conversion.features["text"]).tolist()
    return values


def test_all_items(folder: Path) -> None:
    conversion = convert(folder)
    collection = conversion.collection
    assert collection.ids == ("a", "b", "c", "d", "e")
    assert collection.items[2].sources.get("image") == "../NUS-WIDE/images/0002/c.jpg"
    expected = [("label 0",), ("label 1",), ("label 2",), ("label 0", "label 1"), ()]
    assert [item.labels for item in collection.items] == expected
    assert texts(conversion) == [[0, 1.5], [2, 0], [0, 0], [1, 1], [3, 4]]
    assert [item.split for item in collection.items] == [None] * 5


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("ending", ["", "_ph", "_mh"])
def test_index_lists(base: int, ending: str, folder: Path) -> None:
    numbers = {"test": [0], "train": [3, 2], "database": [1, 2, 3]}
    for part, each in numbers.items():
        lines = "".join(f"{number + base}\n" for number in each)
        (folder / f"{part}_ind{ending}.txt").write_text(lines)
    (folder / "label_names.txt").write_text("sky\nsea\nboat\n")
    conversion = convert(folder)
    items = conversion.collection.items
    assert [item.split for item in items] == ["query", "database", "train", "train"]
    assert [item.id for item in items] == ["a", "b", "c", "d"]  # e is in no list
    assert items[3].labels == ("sky", "sea")
    assert texts(conversion) == [[0, 1.5], [2, 0], [0, 0], [1, 1]]
    assert f"count from {base}, 1 items in no list left out" in conversion.source
    assert manifest_split(conversion.collection, validation=0, seed=0).train.tolist() == [2, 3]


def test_lists_without_a_zero_count_from_one(folder: Path) -> None:
    """Neither 0 nor 5 occurs: the loaders of the literature take one off."""
    (folder / "test_ind.txt").write_text("2\n")
    (folder / "train_ind.txt").write_text("1 3\n")
    splits = [item.split for item in convert(folder).collection.items]
    assert splits == ["train", "query", "train", None, None]


def test_queries_in_the_database_list_are_queries(folder: Path) -> None:
    (folder / "test_ind.txt").write_text("1\n")
    (folder / "database_ind.txt").write_text("1\n2\n3\n4\n5\n")
    conversion = convert(folder)
    assert [item.split for item in conversion.collection.items] == ["query"] + ["database"] * 4
    assert "1 queries are in the database list too" in conversion.source


def test_texts_or_images_alone(folder: Path) -> None:
    (folder / "y_vector.txt").unlink()
    assert convert(folder).features == {}
    (folder / "images_name.txt").unlink()
    (folder / "y_vector.txt").write_text(TEXT_ROWS.replace(" ", ","))
    conversion = convert(folder)
    assert texts(conversion)[0] == [0, 1.5]
    assert conversion.collection.ids == ("1", "2", "3", "4", "5")


def test_images_elsewhere(folder: Path) -> None:
    (folder / "images").rename(folder.parent / "Flickr")
    with pytest.raises(DataError, match=r"has no image '0001/a\.jpg'"):
        convert(folder)
    items = convert(folder, images=folder.parent / "Flickr").collection.items
    assert items[0].sources.get("image") == "../Flickr/0001/a.jpg"


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("y_vector.txt", "0 1\n" * 4, "y_vector.txt has 4 lines, but label_hot.txt has 5"),
        ("images_name.txt", "a.jpg\n", "images_name.txt has 1 lines, but label_hot.txt has 5"),
        ("y_vector.txt", "0 1\n0\n", r"cannot be read as a matrix \(the number of columns changed"),
        ("y_vector.txt", "0 1\n0 x\n", "cannot be read as a matrix .*'x'.*rows of numbers"),
        ("y_vector.txt", "0 1\n0 nan\n", "y_vector.txt, line 2: there is NaN or infinity"),
        ("y_vector.txt", "", "y_vector.txt is empty"),
        ("label_hot.txt", LABEL_ROWS.replace("1", "2"), "label_hot.txt holds 2; 1 for a label"),
        ("test_ind.txt", "6\n", "index lists hold 6 to 6; for 5 items"),
        ("test_ind.txt", "1\nfoo\n", "test_ind.txt, line 2: 'foo' is not the number of an item"),
        ("test_ind.txt", "\n", "test_ind.txt is empty"),
    ],
)
def test_damage_is_named(file: str, content: str, says: str, folder: Path) -> None:
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=says):
        convert(folder)
    assert not (folder.parent / "out").exists()


def test_one_protocol_at_a_time(folder: Path) -> None:
    (folder / "test_ind_ph.txt").write_text("1\n")
    (folder / "test_ind_mh.txt").write_text("2\n")
    with pytest.raises(DataError, match=r"several protocols \(test_ind_mh.txt, test_ind_ph.txt\)"):
        convert(folder)
    (folder / "test_ind_mh.txt").rename(folder / "query_ind_ph.txt")
    with pytest.raises(DataError, match="several protocols"):
        convert(folder)


def test_files_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyhash.datasets.converters.text_lists.MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"label_hot\.txt has over 0 GiB"):
        convert(folder)
