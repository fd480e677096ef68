"""Folders of images, with and without a table of captions."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from proxyhash.data import read_collection, scan_manifest
from proxyhash.data.check import check_collection
from proxyhash.errors import ManifestError
from tests.data.builders import write_jsonl

if TYPE_CHECKING:
    from pathlib import Path


def images(folder: Path, *names: str) -> Path:
    """Small images that can be read, all different."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path, format="PNG")
    return folder


def found(path: Path) -> dict[str, tuple[str | None, str | None, tuple[str, ...]]]:
    return {
        item.id: (item.sources.get("image"), item.sources.get("text"), item.labels)
        for item in read_collection(path).items
    }


class TestImagesAlone:
    def test_ids_are_paths_without_the_suffix(self, tmp_path: Path) -> None:
        images(tmp_path, "b.JPG", "a.b.jpeg", "2019/summer/x 1.png", "ü.webp")
        assert found(tmp_path) == {
            "2019/summer/x 1": ("2019/summer/x 1.png", None, ()),
            "a.b": ("a.b.jpeg", None, ()),
            "b": ("b.JPG", None, ()),
            "ü": ("ü.webp", None, ()),
        }
        report = check_collection(tmp_path)
        assert (report.format, report.errors, report.files["image"].read) == ("folder", 0, 4)

    def test_the_same_name_keeps_its_suffix(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg", "a.JPG", "a.png", "b.png")
        assert list(found(tmp_path)) == ["a", "a.jpg", "a.png", "b"]

    def test_what_was_deleted_on_a_network_disk_is_not_an_image(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg", "#recycle/b.jpg", "@Recycle/c.jpg", "$RECYCLE.BIN/d.jpg")
        images(tmp_path, "x/#snapshot/e.jpg", "System Volume Information/f.jpg", "a#recycle/g.jpg")
        assert sorted(found(tmp_path)) == ["a", "a#recycle/g"]
        assert "5 hidden or system files ignored" in scan_manifest(tmp_path).recognized

    def test_a_folder_per_class(self, tmp_path: Path) -> None:
        images(tmp_path / "pets", "dog/1.jpg", "cat/2.jpg", "cat/old/3.jpg")
        assert {id_: each[2] for id_, each in found(tmp_path / "pets").items()} == {
            "cat/2": ("cat",),
            "cat/old/3": ("cat",),
            "dog/1": ("dog",),
        }
        (tmp_path / "pets").rename(tmp_path / "inner")
        images(tmp_path / "outer")
        (tmp_path / "outer").mkdir()
        (tmp_path / "inner").rename(tmp_path / "outer" / "images")
        assert found(tmp_path / "outer")["images/dog/1"][2] == ("dog",)

    def test_folders_of_a_split(self, tmp_path: Path) -> None:
        images(tmp_path, "train/dog/1.jpg", "train/cat/2.jpg", "Test/dog/3.jpg")
        items = read_collection(tmp_path).items
        assert [(item.id, item.split, item.labels) for item in items] == [
            ("Test/dog/3", "test", ("dog",)),
            ("train/cat/2", "train", ("cat",)),
            ("train/dog/1", "train", ("dog",)),
        ]

    def test_images_beside_folders_are_no_classes(self, tmp_path: Path) -> None:
        images(tmp_path, "cover.jpg", "dog/1.jpg", "cat/2.jpg")
        assert all(each[2] == () for each in found(tmp_path).values())

    def test_what_is_no_image_is_counted(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg", ".hidden.jpg", "__MACOSX/a.jpg", ".cache/b.jpg")
        for name in ("Thumbs.db", ".DS_Store", "notes.txt", "movie.mp4", "README"):
            (tmp_path / name).write_text("x")
        collection = read_collection(tmp_path)
        assert collection.ids == ("a",)
        assert "1 images, no texts; no labels; 5 hidden or system files" in collection.recognized
        for word in ("1 .txt", "1 .mp4", "1 without suffix"):
            assert word in collection.recognized

    def test_links_are_followed_once(self, tmp_path: Path) -> None:
        images(tmp_path / "elsewhere", "x.jpg")
        images(tmp_path / "photos", "a.jpg")
        (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
        (tmp_path / "photos" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
        assert list(found(tmp_path / "photos")) == ["a", "gone", "more/x"]
        report = check_collection(tmp_path / "photos")
        assert [each.id for each in report.files["image"].missing] == ["gone"]

    def test_a_name_that_is_not_text(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg")
        try:
            (tmp_path / "a.jpg").rename(tmp_path / os.fsdecode(b"caf\xe9.jpg"))
        except OSError:
            pytest.skip("the file system has Unicode names only")
        images(tmp_path, "b.jpg")
        assert [item.id for item in scan_manifest(tmp_path).items] == ["b"]
        assert "is not UTF-8; rename the file" in scan_manifest(tmp_path).problems[0].message

    def test_nothing_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "movie.mp4").write_text("x")
        with pytest.raises(ManifestError, match=r"no manifest.*, or images"):
            read_collection(tmp_path)

    def test_a_manifest_comes_first(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg", "b.jpg")
        write_jsonl(tmp_path / "items.jsonl", [{"id": "only", "image": "a.jpg"}])
        assert list(found(tmp_path)) == ["only"]
        assert read_collection(tmp_path).recognized == ""


class TestCaptions:
    @pytest.mark.parametrize(
        "content",
        [
            "filename,caption\na.jpg,a dog\nb.jpg,a cat\n",
            "file_name;description\na.jpg;a dog\nb.jpg;a cat\n",
            "path\ttitle\na.jpg\ta dog\nb.jpg\ta cat\n",
            "Image|Text\na.jpg|a dog\nb.jpg|a cat\n",
            "file,comment\nimages/a.jpg,a dog\nimages/b.jpg,a cat\n",
            "image_path,caption\nimages\\a.jpg,a dog\nimages\\b.jpg,a cat\n",
        ],
    )
    @pytest.mark.parametrize("name", ["captions.csv", "captions.txt"])
    def test_a_table_in_the_folder(self, content: str, name: str, tmp_path: Path) -> None:
        images(tmp_path / "images", "a.jpg", "b.jpg", "c.jpg")
        (tmp_path / name).write_text(content)
        (tmp_path / "stats.csv").write_text("key,value\na,1\n")
        entries = list(found(tmp_path).values())
        assert entries == [("images/a.jpg", "a dog", ()), ("images/b.jpg", "a cat", ())]
        assert read_collection(tmp_path).ids[0].removeprefix("images/") == "a"

    @pytest.mark.parametrize("prefix", ["", "photos/"])
    def test_a_table_beside_the_folder(self, prefix: str, tmp_path: Path) -> None:
        images(tmp_path / "photos", "a.jpg", "b.jpg")
        (tmp_path / "captions.csv").write_text(f"filename;caption\n{prefix}a.jpg;a dog\n")
        (tmp_path / "other.csv").write_text("filename;caption\nelsewhere.jpg;x\n")
        assert list(found(tmp_path / "photos").values()) == [("photos/a.jpg", "a dog", ())]
        sentence = read_collection(tmp_path / "photos").recognized
        assert "captions.csv: 1 images, 1 texts, no labels" in sentence
        assert "image from column filename; text from column caption" in sentence
        assert "separated by semicolons; ids from file names" in sentence

    def test_several_tables_beside_it_are_no_choice(self, tmp_path: Path) -> None:
        images(tmp_path / "photos", "a.jpg")
        for name in ("one.csv", "two.csv"):
            (tmp_path / name).write_text("filename,caption\na.jpg,x\n")
        assert scan_manifest(tmp_path / "photos").format == "folder"
        (tmp_path / "photos.csv").write_text("filename,caption\na.jpg,this\n")
        assert found(tmp_path / "photos")["a"][1] == "this"

    def test_several_rows_about_one_image(self, tmp_path: Path) -> None:
        images(tmp_path / "Images", "a.jpg", "b.jpg")
        (tmp_path / "captions.txt").write_text(
            "image,caption,labels,n\na.jpg,a dog .,dog,1\nb.jpg,a cat,cat,2\na.jpg,runs,dog|run,3\n"
            "a.jpg,runs,,4\n"
        )
        collection = read_collection(tmp_path)
        first, second = collection.items
        assert (first.id, first.sources["text"], first.labels, first.payload, first.row) == (
            *("a", "a dog . runs", ("dog", "run")),
            *({"n": 1}, 2),
        )
        assert second.sources == {"image": "Images/b.jpg", "text": "a cat"}
        assert "2 further rows about the same images joined" in collection.recognized

    def test_with_an_id_rows_stay_apart(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg")
        (tmp_path / "t.csv").write_text("id,image,text\n1,a.jpg,x\n2,a.jpg,y\n")
        assert list(found(tmp_path)) == ["1", "2"]

    def test_a_row_without_image_and_id(self, tmp_path: Path) -> None:
        images(tmp_path, "a.jpg")
        (tmp_path / "t.csv").write_text("filename,caption\na.jpg,x\n,y\n")
        assert [str(each) for each in scan_manifest(tmp_path).problems] == [
            "row 3: the image is missing, and with it the id, which is its name"
        ]

    def test_images_that_are_away_stay_where_they_are_said_to_be(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("filename,caption\na.jpg,x\n")
        (tmp_path / "images").mkdir()
        assert found(tmp_path) == {"a": ("a.jpg", "x", ())}


class TestLabels:
    def write(self, folder: Path, *rows: dict[str, object]) -> Path:
        given = [{"id": n, **row} for n, row in enumerate(rows)]
        return write_jsonl(folder / "items.jsonl", given)

    def labels(self, path: Path, **options: str) -> list[tuple[str, ...]]:
        return [item.labels for item in read_collection(path, **options).items]  # type: ignore[arg-type]

    def test_class_numbers_with_names(self, tmp_path: Path) -> None:
        (tmp_path / "classes.txt").write_bytes("\ufeffdog\r\ncat\r\nbird\r\n\r\n".encode())
        rows = [[2, 0], 1, "cat", [0, 1, 1], [0, 0, 0], ["bird"], [], [1.0], "2|0"]
        path = self.write(tmp_path, *({"labels": row} for row in rows))
        assert self.labels(path) == [
            *(("bird", "dog"), ("cat",), ("cat",), ("cat", "bird"), (), ("bird",), (), ("cat",)),
            ("bird", "dog"),
        ]
        assert "names for the class numbers of" in read_collection(path).recognized

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            (3, "class number 3, but there are 3 class names, for 0 to 2"),
            ([-1], "class number -1"),
            ([0.5], "class number 0.5"),
            ([True], "a label is True, which is not a string"),
            ([0, "dog"], "a label is 0, which is not a string"),
        ],
    )
    def test_numbers_that_are_none(self, value: object, says: str, tmp_path: Path) -> None:
        (tmp_path / "classes.txt").write_text("dog\ncat\nbird\n")
        (problem,) = scan_manifest(self.write(tmp_path, {"labels": value})).problems
        assert says in problem.message

    def test_two_classes_are_ambiguous(self, tmp_path: Path) -> None:
        (tmp_path / "classes.txt").write_text("dog\ncat")
        path = self.write(tmp_path, {"labels": [0, 1]}, {"labels": [1, 1]}, {"labels": [1]})
        scan = scan_manifest(path)
        assert "may be class numbers or a 0 or 1 for each" in scan.problems[0].message
        assert [item.labels for item in scan.items] == [("dog", "cat"), ("cat",)]

    def test_digits_are_names_without_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("id,labels\na,3|7\nb,3\n")
        assert self.labels(tmp_path) == [("3", "7"), ("3",)]

    def test_a_blank_class_name(self, tmp_path: Path) -> None:
        (tmp_path / "classes.txt").write_text("dog\n\ncat\n")
        with pytest.raises(ManifestError, match=r"classes\.txt, line 2: blank"):
            read_collection(self.write(tmp_path, {"labels": 1}))

    def test_a_comma_is_asked_about(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_text('id,labels\n1,"dog,cat"\n2,dog\n3,"dog, cat"\n4,"a, b|c"\n')
        scan = scan_manifest(path)
        assert [item.labels for item in scan.items] == [
            *(("dog,cat",), ("dog",), ("dog, cat",), ("a, b", "c"))
        ]
        assert "2 items have one label with a comma in it, such as 'dog,cat'" in scan.hints[0]
        assert "--label-separator" in scan.hints[0]
        assert self.labels(path, label_separator=",")[:3] == [
            *(("dog", "cat"), ("dog",), ("dog", "cat"))
        ]
        assert scan_manifest(path, label_separator=",").hints == ()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("inside", ["", "images/"])
def test_names_are_found_in_either_normal_form(tmp_path: Path, form: str, inside: str) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = ["Café.jpg", "がぎ.jpg", "한글.jpg"]
    images(tmp_path, *(f"images/{unicodedata.normalize(form, name)}" for name in names))
    images(tmp_path, "images/plain.jpg")
    named = [f"{inside}{unicodedata.normalize(other, name)}" for name in (*names, "plain.jpg")]
    rows = [{"id": str(row), "image": name} for row, name in enumerate(named)]
    for some in (rows, rows[:3]):
        report = check_collection(write_jsonl(tmp_path / "items.jsonl", some))
        assert (report.errors, report.files["image"].read) == (0, len(some))


def test_some_paths_of_windows_among_others(tmp_path: Path) -> None:
    images(tmp_path, "images/1.jpg", "images/2.jpg")
    rows = [{"id": "1", "image": "images/1.jpg"}, {"id": "2", "image": "images\\2.jpg"}]
    assert check_collection(write_jsonl(tmp_path / "items.jsonl", rows)).errors == 0
