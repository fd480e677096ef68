"""What cannot be read is not what is not there: an index keeps what it has of such items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.catalog.build import add_to_index, build_index
from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.ingest import ingest_collection
from proxyhash.codes import CodeFile
from proxyhash.data import read_collection
from proxyhash.errors import DataError, ImageError, SourceError
from proxyhash.index import MemoryIndex
from tests.catalog.conftest import contents, write

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection


def test_nothing_is_lost_while_the_images_are_away(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path, caplog: Any
) -> None:
    index = tmp_path / "x.index"
    build_index(small_run, write(tmp_path, items), index, thumbnails=True)
    before = contents(index)
    assert all(set(codes) == {"image", "text"} for codes, _, _ in before.values())
    (tmp_path / "data" / "images").rename(tmp_path / "data" / "away")
    items[0] |= {"text": "a boat on the sea", "price": 3}
    items[1] |= {"image": None}
    manifest = write(tmp_path, [*items, {"id": "new", "image": "images/7.png", "text": "a cat"}])
    with pytest.raises(ImageError, match=r"row 1, item 'i0': .*no such file; --on-bad-item skip"):
        add_to_index(str(index), manifest)
    assert contents(index) == before
    report = add_to_index(str(index), manifest, on_bad_item="skip")
    assert (report.added, report.replaced, report.unchanged) == (1, 2, 4)
    assert (report.kept, report.incomplete, report.skipped) == (5, 1, 0)
    assert "6 images cannot be read" in caplog.text
    after = contents(index)
    assert {id_: after[id_] for id_ in ("i2", "i3", "i4", "i5")} == {
        id_: before[id_] for id_ in ("i2", "i3", "i4", "i5")
    }
    codes, payload, thumbnail = after["i0"]
    assert (codes["image"], thumbnail) == (before["i0"][0]["image"], before["i0"][2])
    assert codes["text"] != before["i0"][0]["text"]
    assert (payload["text"], payload["price"]) == ("a boat on the sea", 3)
    assert set(after["i1"][0]) == {"text"}  # its image is not named any more: that is absent
    assert after["i1"][2] is None
    (tmp_path / "data" / "away").rename(tmp_path / "data" / "images")
    assert add_to_index(str(index), write(tmp_path, items)).unchanged == 6


def test_what_is_skipped_and_stored_nowhere_is_counted(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path, proxyhash_command
) -> None:
    (tmp_path / "data" / "images" / "2.png").write_bytes(b"no image")
    bad = [{"image": "images/2.png", "id": "i2"}, {"image": "images/2.png", "id": "gone"}]
    manifest = write(tmp_path, [items[0], *bad, {"id": ""}, items[3] | {"n": 2**70}])
    skip = ["--out", tmp_path / "x.index", "--on-bad-item", "skip"]
    result = proxyhash_command("index", "build", small_run, manifest, *skip)
    assert result.code == 3
    assert f"{tmp_path / 'x.index'}: 1 added, 4 skipped" in result.out
    assert "row 5" in result.err
    assert "'n'" in result.err
    assert f"4 items of {manifest} cannot be read, and what they hold is not stored" in result.err
    write(tmp_path, [items[0], items[3]])
    assert proxyhash_command("index", "add", tmp_path / "x.index", manifest).code == 0
    manifest = write(tmp_path, [items[0], items[3] | {"n": 2**70}])
    add = ["index", "add", tmp_path / "x.index", manifest, "--on-bad-item", "skip", "--json"]
    result = proxyhash_command(*add)
    assert (result.code, result.json["unchanged"], result.json["skipped"]) == (3, 1, 1)
    assert f"1 item of {manifest} cannot be read, and what it holds is not stored" in result.err
    assert contents(tmp_path / "x.index").keys() == {"i0", "i3"}  # it stays as it is stored


@pytest.mark.parametrize(
    "value", [float("nan"), "joe \ud83d", {"k\ud83d": 1}, -(2**80), [[[]] * 2], {1: 2}, b"x"]
)
def test_one_row_that_cannot_be_stored_does_not_cost_its_batch(tmp_path: Path, value: Any) -> None:
    from dataclasses import replace

    for item in (records := [{"id": f"i{n}", "text": "x" * n} for n in range(1, 21)]):
        item["n"] = 1
    (tmp_path / "data").mkdir()
    collection = read_collection(write(tmp_path, records))
    if value == [[[]] * 2]:
        for _ in range(40):
            value = [value]
    rows = list(collection.items)
    rows[7] = replace(rows[7], payload={"m": 2, "n": value})
    collection = replace(collection, items=tuple(rows))
    index = MemoryIndex(bits=8, modalities=("image", "text"))
    with pytest.raises(DataError, match=r"row 8, item 'i8': .*\(field 'n'\)"):
        ingest_collection(index, Lengths(), collection)
    assert len(index) == 0
    report = ingest_collection(index, Lengths(), collection, on_bad_item="skip")
    assert (report.added, report.skipped, len(index)) == (19, 1, 19)
    assert "i8" not in index


def test_an_index_that_refuses_one_row_gets_the_others(tmp_path: Path, caplog: Any) -> None:
    class Picky(MemoryIndex):
        """Takes short payloads only, as Milvus does."""

        def _put(self, ids: Any, codes: Any, payloads: Any, *, new: bool) -> None:
            for id_, payload in zip(ids, payloads, strict=True):
                if len(payload["text"]) > 15:
                    raise DataError(f"the payload of {id_!r} is too long")
            super()._put(ids, codes, payloads, new=new)

    (tmp_path / "data").mkdir()
    texts = ["short", "l" * 16, "x", "l" * 17, "y"]
    records = [{"id": f"i{row}", "text": text} for row, text in enumerate(texts)]
    collection = read_collection(write(tmp_path, records))
    index = Picky(bits=8, modalities=("image", "text"))
    report = ingest_collection(index, Lengths(), collection, on_bad_item="skip")
    assert (report.added, report.skipped, len(index)) == (3, 2, 3)
    assert "row 2, item 'i1': the payload of 'i1' is too long" in caplog.text
    with pytest.raises(DataError, match="'i1' is too long"):
        ingest_collection(index, Lengths(), collection)


def test_rows_that_a_feature_file_lacks_keep_their_codes(tmp_path: Path) -> None:
    from proxyhash.encoders import PrecomputedFeatures, encode_collection

    (tmp_path / "data").mkdir()
    records = [{"id": name, "image": f"{name}.png"} for name in "ab"] + [{"id": "c", "text": "c"}]
    collection = read_collection(write(tmp_path, records))
    values = np.ones((2, 3), np.float32)
    np.savez(tmp_path / "features.npz", features=values, ids=np.array(["a", "z"]))
    encoder = PrecomputedFeatures.from_file(tmp_path / "features.npz", modality="image")
    features = encode_collection(encoder, collection)
    assert features.present.tolist() == [True, False, False]
    assert features.unreadable is not None
    assert features.unreadable.tolist() == [False, True, False]  # "c" names no image


class Lengths:
    """Gives a text its length as code."""

    def encode_collection(self, collection: Collection, **_: Any) -> CodeFile:
        codes = np.array([len(text or "") for text in collection.sources("text")], np.uint8)
        has = {"text": collection.has("text")}
        return CodeFile(ids=collection.ids, codes={"text": codes[:, None]}, present=has, bits=8)


@pytest.mark.parametrize("way", ["name too long", "a file for a folder", "a link to itself"])
def test_images_that_cannot_be_reached_are_unreadable(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path, way: str
) -> None:
    index = tmp_path / "x.index"
    build_index(small_run, write(tmp_path, items), index)
    before = contents(index)
    images = tmp_path / "data" / "images"
    if way == "name too long":
        items[0] |= {"image": "x" * 5000 + ".png"}
    elif way == "a file for a folder":
        images.rename(tmp_path / "away")
        images.write_bytes(b"")
    else:
        (images / "0.png").unlink()
        (images / "0.png").symlink_to("0.png")
    manifest = write(tmp_path, items)
    with pytest.raises(SourceError, match="row 1, item 'i0'"):
        add_to_index(str(index), manifest)
    report = add_to_index(str(index), manifest, on_bad_item="skip")
    assert (report.kept, report.skipped) == (6 if way == "a file for a folder" else 1, 0)
    after = contents(index)
    assert [after[id_][0] for id_ in sorted(after)] == [before[id_][0] for id_ in sorted(before)]
    assert [after[id_][2] for id_ in sorted(after)] == [before[id_][2] for id_ in sorted(before)]


def test_thumbnails_are_there_unless_told_otherwise(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path
) -> None:
    manifest = write(tmp_path, items)
    report = build_index(small_run, manifest, tmp_path / "x.index")
    assert (report.thumbnails, report.thumbnail_bytes > 1000) == (6, True)
    without = tmp_path / "without.index"
    assert build_index(small_run, manifest, without, thumbnails=False).thumbnails == 0
    assert add_to_index(str(without), manifest).thumbnails == 0  # as the index was built
    assert Catalog(without).thumbnails is None
    assert add_to_index(str(without), manifest, thumbnails=True).thumbnails == 6
    changed = write(tmp_path, [items[0] | {"image": "images/1.png"}, *items[1:]])
    report = add_to_index(str(without), changed, thumbnails=False)
    assert (report.replaced, report.thumbnails) == (1, 0)
    assert [image is None for _, _, image in contents(without).values()] == [True] + [False] * 5
    texts = write(tmp_path, [{"id": "a", "text": "a dog"}])
    build_index(small_run, texts, tmp_path / "texts.index")
    assert Catalog(tmp_path / "texts.index").thumbnails is None
    first = add_to_index(str(tmp_path / "texts.index"), write(tmp_path, items[:2]))
    assert first.thumbnails == 2  # the first images of this index


def test_items_are_stored_where_thumbnails_cannot_be(
    small_run: Path, items: list[dict[str, Any]], tmp_path: Path, caplog: Any
) -> None:
    from proxyhash.catalog.manage import copy_index
    from proxyhash.progress import silent

    index = tmp_path / "x.index"
    build_index(small_run, write(tmp_path, items[:3]), index)
    (index / "thumbnails.sqlite3").write_bytes(b"no database" * 100)
    report = add_to_index(str(index), write(tmp_path, items))
    assert (report.added, report.unchanged, report.thumbnails) == (3, 3, 0)
    assert "no more thumbnails are stored" in caplog.text
    assert copy_index(str(index), str(tmp_path / "copy"), track=silent).items == 6
    assert "the thumbnails are not copied" in caplog.text
