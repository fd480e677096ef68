"""Damage and lack of room or rights: clear errors, and what is not touched stays readable."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.index.store import Store
from proxyhash.index.store.row_log import BLOCK_ROWS

ROWS = 2 * BLOCK_ROWS + 10
QUERY = np.zeros((1, 8), np.uint8)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures") / "index"
    codes = np.random.default_rng(0).integers(0, 256, (2, ROWS, 8), np.uint8)
    with Store.create(folder, bits=64) as store:
        ids = [f"{row:06d}" for row in range(ROWS)]
        payloads = [{"text": f"text {row}"} for row in range(ROWS)]
        store.add(ids, {"image": codes[0], "text": codes[1]}, payloads=payloads)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    shutil.copytree(original, tmp_path / "index")
    return tmp_path / "index"


def data(folder):
    return folder / "generation-000001"


def flip(path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_truncated_file_is_refused_and_what_comes_before_is_salvaged(folder, tmp_path) -> None:
    path = data(folder) / "text.codes"
    os.truncate(path, BLOCK_ROWS * 8 + 5)
    for write in (False, True):
        with pytest.raises(DataError, match=rf"text\.codes ends after row {BLOCK_ROWS} of {ROWS}"):
            Store.open(folder, write=write)
    with Store.open(folder, salvage=True) as store:
        assert len(store.search(QUERY, radius=64, modality="image")[0]) == ROWS
        assert len(store.search(QUERY, radius=64, modality="text")[0]) == BLOCK_ROWS
        assert store.get("000000").payload == {"text": "text 0"}
        assert list(store.get(f"{ROWS - 1:06d}").codes) == ["image"]
        assert len(store.verify()) == 2
        store.snapshot(tmp_path / "saved")
    with Store.open(tmp_path / "saved") as saved:
        assert len(saved) == ROWS
        assert len(saved.search(QUERY, radius=64, modality="text")[0]) == BLOCK_ROWS
        assert saved.verify() == []
    with pytest.raises(UsageError, match="a damaged index cannot be written"):
        Store.open(folder, salvage=True, write=True)


@pytest.mark.parametrize("name", ["image.codes", "order.rows"])
def test_a_flipped_byte_is_found_by_verify_and_not_copied(folder, tmp_path, name) -> None:
    with Store.open(folder) as store:
        expected = store.search(QUERY, k=30, modality="text")
    flip(data(folder) / name, 8 * BLOCK_ROWS + 3)
    with Store.open(folder, write=True) as store:
        problems = store.verify()
        where = f"{name}, rows {BLOCK_ROWS} to {2 * BLOCK_ROWS - 1}: the checksum does not match"
        assert any(where in problem for problem in problems)
        with pytest.raises(DataError, match="the checksum does not match"):
            store.compact()
        with pytest.raises(DataError, match="the checksum does not match"):
            store.snapshot(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        assert store.get("000001").payload == {"text": "text 1"}
    with Store.open(folder, salvage=True) as store:
        assert store.search(QUERY, k=30, modality="text") == expected
        store.snapshot(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as saved:
        assert saved.search(QUERY, k=30, modality="text") == expected
        assert saved.verify() == []


def test_a_flipped_byte_of_a_payload_is_found_by_verify(folder, tmp_path) -> None:
    path = data(folder) / "items.sqlite"
    flip(path, path.read_bytes().index(b"text 4711"))
    with Store.open(folder) as store:
        (problem,) = store.verify()
        assert "item '004711': the checksum does not match" in problem
    with Store.open(folder, salvage=True) as store:
        store.snapshot(tmp_path / "saved")
    with Store.open(tmp_path / "saved") as saved:
        assert len(saved) == ROWS - 1
        assert saved.verify() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged: .*not valid JSON"),
        (b"\xff{}", "is damaged: .*cannot be read"),
        (b"[]", "is damaged: it is not a header"),
    ],
)
def test_a_damaged_header_is_refused_and_the_rest_is_salvaged(folder, content, message) -> None:
    (folder / "header.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Store.open(folder)
    with Store.open(folder, salvage=True) as store:
        assert len(store) == ROWS
        assert "header.json is damaged" in store.verify()[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 128}, "its checksum is"),
        ({"crc32": "00000000"}, "its checksum is"),
        ({"version": 3}, "has format version 3; .* upgrade"),
    ],
)
def test_an_altered_header_is_refused(folder, changes, message) -> None:
    path = folder / "header.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DataError, match=message):
        Store.open(folder)


@pytest.mark.parametrize("name", ["items.sqlite", "image.codes", "order.rows"])
def test_a_missing_file_is_named(folder, name) -> None:
    (data(folder) / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing; restore a snapshot"):
        Store.open(folder)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 99])
def test_a_database_that_is_none_is_refused(folder, content) -> None:
    (data(folder) / "items.sqlite").write_bytes(content)
    with pytest.raises(DataError, match=r"items\.sqlite is damaged"):
        Store.open(folder)


def test_a_damaged_page_of_the_database_is_an_error_and_not_a_crash(folder) -> None:
    path = data(folder) / "items.sqlite"
    content = bytearray(path.read_bytes())
    size = len(content)
    content[size // 4 : size // 2] = os.urandom(size // 2 - size // 4)
    path.write_bytes(content)
    try:
        with Store.open(folder) as store:
            assert store.verify()
            with pytest.raises(DataError, match=r"items\.sqlite"):
                list(store.items())
    except DataError as error:
        assert "is damaged" in str(error)  # noqa: PT017


@contextmanager
def no_file_larger_than(size: int):
    """Let every write behind this many bytes of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 300, 70_000, 600_000, 900_000])
def test_a_full_disk_keeps_what_was_acknowledged(folder, room) -> None:
    codes = {"text": np.ones((500, 8), np.uint8)}
    payloads = [{"text": "long " * 40}] * 500
    done = 0

    def fill() -> None:
        nonlocal done
        with no_file_larger_than(room):
            for done in range(1000):
                ids = [f"new {done} {row}" for row in range(500)]
                store.add(ids, codes, payloads=payloads)

    with Store.open(folder, write=True) as store:
        with pytest.raises(ProxyhashError, match=r"(image\.codes|items\.sqlite).*free disk space"):
            fill()
        assert len(store) == ROWS + 500 * done
        assert store.verify() == []
        store.add(["one more"], {"text": codes["text"][:1]})
    with Store.open(folder) as store:
        assert len(store) == ROWS + 500 * done + 1
        assert store.verify() == []


def test_a_full_disk_leaves_no_half_a_copy(folder, tmp_path) -> None:
    with Store.open(folder, write=True) as store:
        with pytest.raises(ProxyhashError, match="free disk space"), no_file_larger_than(10_000):
            store.snapshot(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        with pytest.raises(ProxyhashError, match="free disk space"), no_file_larger_than(10_000):
            store.compact()
        assert [path.name for path in folder.glob("gen*")] == ["generation-000001"]
        assert store.verify() == []
        store.compact()
        assert store.verify() == []


# Everything is loaded before root becomes nobody, who may not be able to read it.
READ_ONLY = """
import os, sys
import numpy as np
from proxyhash.errors import ProxyhashError
from proxyhash.index.store import Store
folder = sys.argv[1]
def look():
    with Store.open(folder) as store:
        assert len(store.search(np.zeros((1, 8), np.uint8), k=3, modality="text")[0]) == 3
        assert store.verify() == []
look()
if os.getuid() == 0:
    os.setuid(65534)
look()
for work in (lambda: Store.open(folder, write=True), lambda: Store.create(folder + "/x", bits=8)):
    try:
        work()
    except ProxyhashError as error:
        print(error)
"""


def test_a_read_only_folder_is_read_and_not_written(folder) -> None:
    # Not in pytest's folders: each run of pytest closes them to others than root.
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)
        copy = Path(shutil.copytree(folder, Path(shared) / "index"))
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(copy)],
            capture_output=True,
            text=True,
            check=False,
        )
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "cannot be written (Permission denied)" in first
    assert "cannot be written (Permission denied)" in second
