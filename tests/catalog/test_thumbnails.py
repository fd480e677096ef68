"""Thumbnails: small, and never a reason to fail."""

from __future__ import annotations

import base64
import io
import os
import threading
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from proxyhash.catalog.thumbnails import Thumbnails, ThumbnailStore
from proxyhash.errors import DataError, ProxyhashError

if TYPE_CHECKING:
    from pathlib import Path


def opened(address: str | None) -> Image.Image:
    assert address is not None
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("mode", "size", "wanted"),
    [
        ("RGB", (800, 400), (100, 50)),
        ("RGBA", (40, 30), (40, 30)),
        ("P", (1, 1), (1, 1)),
        ("I;16", (200, 200), (100, 100)),
    ],
)
def test_size_and_colors(tmp_path: Path, mode, size, wanted) -> None:
    Image.new(mode, size).save(tmp_path / "x.png")
    image = opened(Thumbnails(edge=100).of(tmp_path / "x.png"))
    assert (image.mode, image.size) == ("RGB", wanted)


def test_nothing_but_pixels_is_taken_over(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 20), "red")
    exif = image.getexif()
    exif[0x010E] = "a secret description"
    image.save(tmp_path / "x.jpg", exif=exif, comment=b"a secret comment")
    address = Thumbnails().of(tmp_path / "x.jpg")
    assert address is not None
    assert b"secret" not in base64.b64decode(address.partition(",")[2])


def test_what_cannot_be_shown_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("<svg onload=alert(1)>")
    thumbnails = Thumbnails()
    assert thumbnails.of(tmp_path / "text.png") is None
    assert thumbnails.of(tmp_path / "missing.png") is None
    assert thumbnails.of(tmp_path) is None


def test_the_budget_ends(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "x.png")
    thumbnails = Thumbnails(budget=1000)
    made = [thumbnails.of(tmp_path / "x.png") for _ in range(5)]
    assert made[0] is not None
    assert made[-1] is None


@pytest.fixture
def store(tmp_path: Path) -> ThumbnailStore:
    store = ThumbnailStore.create(tmp_path / "thumbnails.sqlite3")
    store.put({"a": b"1", "b": b"2", "it's; --": b"3"})
    return store


def test_keeps_what_was_put(store: ThumbnailStore) -> None:
    assert [store.get(id_) for id_ in ("a", "b", "it's; --", "c")] == [b"1", b"2", b"3", None]
    store.put({"a": b"9", "c": b"4"})
    assert (store.get("a"), len(store)) == (b"9", 4)
    assert ThumbnailStore.create(store.path).get("a") == b"9"  # what is there stays
    store.delete(["a", "nope"])
    assert store.get("a") is None
    assert store.present(["a", "b", "zzz", *map(str, range(2000))]) == {"b"}


def test_compacting_removes_what_nothing_refers_to(store: ThumbnailStore) -> None:
    store.put({str(row): os.urandom(5000) for row in range(200)})
    before = store.path.stat().st_size
    assert store.compact(keep={"a", "b"}.__contains__) == 201
    assert len(store) == 2
    assert store.path.stat().st_size < before / 10


def test_a_copy_is_a_store_of_its_own(store: ThumbnailStore, tmp_path: Path) -> None:
    store.copy_to(tmp_path / "copy.sqlite3")
    store.delete(["a"])
    assert ThumbnailStore(tmp_path / "copy.sqlite3").get("a") == b"1"


def test_threads_share_it(store: ThumbnailStore) -> None:
    def write(name: str) -> None:
        for row in range(10):
            store.put({f"{name}{row}": b"x"})
            assert store.get(f"{name}{row}") == b"x"

    threads = [threading.Thread(target=write, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 33


def test_damage_is_found(store: ThumbnailStore, tmp_path: Path) -> None:
    assert store.verify() is None
    with store.path.open("r+b") as file:
        file.write(b"no database")
    assert "is damaged" in (store.verify() or "")
    with pytest.raises(DataError, match=r"damaged .*delete it"):
        store.get("a")
    with pytest.raises(ProxyhashError, match="check disk space and permissions"):
        ThumbnailStore(tmp_path / "nowhere" / "x.sqlite3").get("a")
