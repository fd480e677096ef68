"""Index folders from strangers: links and pipes lead nowhere and keep nobody waiting."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from proxyhash.errors import DataError
from proxyhash.index import open_index
from proxyhash.index.store import Store

CODES = np.arange(8, dtype=np.uint8)[:, None]
NAMES = ["items.sqlite", "items.sqlite-wal", "items.sqlite-shm", "text.codes", "order.rows"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strange") / "index"
    with Store.create(folder, bits=8, modalities=("text",), engine="scan") as store:
        store.add([f"i{number}" for number in range(8)], CODES)
        store.compact()
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "index"))


def attempts(folder: Path, tmp_path: Path) -> None:
    """Open the index in every way, and expect each to name what is wrong."""
    for write, salvage in ((False, False), (True, False), (False, True)):
        with pytest.raises(DataError, match=r"is a (symbolic link|pipe), not a"):
            Store.open(folder, write=write, salvage=salvage).snapshot(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", [*NAMES, "engines/text/files.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_regular_file_is_refused_and_what_it_leads_to_is_kept(
    name: str, kind: str, folder: Path, tmp_path: Path
) -> None:
    path = folder / "generation-000002" / name
    outside = tmp_path / "outside"
    if path.exists():
        path.rename(outside)
    outside.touch()
    before = outside.read_bytes()
    if kind == "link":
        path.symlink_to(outside)
    else:
        os.mkfifo(path)
    attempts(folder, tmp_path)
    assert outside.read_bytes() == before


def test_a_linked_generation_and_a_linked_lock_are_refused(folder: Path, tmp_path: Path) -> None:
    generation = folder / "generation-000002"
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    shutil.rmtree(generation)
    generation.symlink_to(other / generation.name)
    attempts(folder, tmp_path)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    (tmp_path / "outside").write_text("outside")
    (folder / "lock").unlink()
    (folder / "lock").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="lock is a symbolic link"):
        Store.open(folder, write=True)
    assert (tmp_path / "outside").read_text() == "outside"
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def test_a_header_that_is_a_link_or_a_pipe_is_not_read(folder: Path, tmp_path: Path) -> None:
    header = folder / "header.json"
    header.rename(tmp_path / "header.json")
    header.symlink_to(tmp_path / "header.json")
    with pytest.raises(DataError, match=r"header\.json is a symbolic link"):
        Store.open(folder)
    header.unlink()
    os.mkfifo(header)
    with pytest.raises(DataError, match=r"header\.json"):
        Store.open(folder)


def test_an_index_may_itself_be_reached_by_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with open_index(str(tmp_path / "link"), write=True) as index:
        assert index.delete(["i3"]) == 1
        index.compact()
        assert [hit.id for hit in index.search(CODES[3:4], k=1)[0]] == ["i1"]
    with Store.open(folder) as store:
        assert store.verify() == []
        assert len(store) == 7
