"""Whatever happens to its files, a cache costs time at most: no error and no wrong feature."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.encoders import FeatureCache, cache
from proxyhash.encoders.cache import CachedFeatures
from tests.encoders.test_cache import DIM, fill, key, row, shards

if TYPE_CHECKING:
    from pathlib import Path


def assert_right(folder: Path, count: int) -> int:
    """Every feature is the right one or none; return how many there are."""
    with CachedFeatures(folder, dim=DIM) as kept:
        found = {number: kept.get(key(number)) for number in range(count)}
        for number, values in found.items():
            assert values is None or values.tobytes() == row(number).tobytes()
            if values is None:
                kept.add(key(number), row(number))
    return sum(values is not None for values in found.values())


def test_damaged_bytes_never_give_a_wrong_feature(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0)
    fill(tmp_path / "whole", range(6))
    (whole,) = shards(tmp_path / "whole")
    content = whole.read_bytes()
    folder = tmp_path / "damaged"
    folder.mkdir()
    places = [*range(260), *noise.integers(0, len(content), 240).tolist()]
    changes = [(place, value) for place in places for value in (0, 34)]
    for place, value in changes:
        damaged = bytearray(content)
        damaged[place] = value
        (folder / "a.safetensors").write_bytes(damaged)
        for length in (len(content), place) if value else (len(content),):
            os.truncate(folder / "a.safetensors", length)
            kept = CachedFeatures(folder, dim=DIM)
            for number in range(6):
                values = kept.get(key(number))
                assert values is None or values.tobytes() == row(number).tobytes()
    caplog.clear()


def test_many_damaged_files_are_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_MANY_SHARDS", 100)
        for number in range(40):
            fill(tmp_path, range(number, number + 1))
    assert len(shards(tmp_path)) == 40
    for path in shards(tmp_path):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    caplog.clear()
    assert assert_right(tmp_path, 40) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert assert_right(tmp_path, 40) == 40


def test_a_cache_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_MANY_SHARDS", 100)
        for number in range(40):
            fill(tmp_path, range(number, number + 1))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "write_bytes", refuse)
    monkeypatch.setattr(cache.Path, "unlink", refuse)
    assert assert_right(tmp_path, 40) == 40
    assert not caplog.records
    with CachedFeatures(tmp_path, dim=DIM) as kept:
        for number in range(40, 3000):
            kept.add(key(number), row(number))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "continuing without" in caplog.text


@pytest.mark.parametrize("what", ["pipe", "link", "folder", "socket"])
def test_what_is_no_file_is_left_out(
    tmp_path: Path,
    what: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(tmp_path, range(3))
    other = tmp_path / "0.safetensors"
    if what == "pipe":
        os.mkfifo(other)
    elif what == "link":
        other.symlink_to("/dev/zero")
    elif what == "folder":
        other.mkdir()
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(tmp_path)  # the address of a socket is short
            listener.bind(other.name)
    assert assert_right(tmp_path, 3) == 3
    assert len(caplog.records) == 1


def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(tmp_path: Path) -> None:
    """A mapped file would: touching what is gone is a SIGBUS."""
    fill(tmp_path, range(1000))
    (shard,) = shards(tmp_path)
    code = (
        "import os, sys; from pathlib import Path;"
        "from proxyhash.encoders.cache import CachedFeatures, content_key;"
        f"kept = CachedFeatures(Path(sys.argv[1]), dim={DIM});"
        "os.truncate(sys.argv[2], 4096);"
        "assert kept.get(content_key('item 999')) is None"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path, shard], check=True)


def test_others_corrupt_and_delete_the_folder_meanwhile(tmp_path: Path) -> None:
    folder, stop = tmp_path / "cache", threading.Event()
    noise = np.random.default_rng(0)

    def vandal() -> None:
        while not stop.is_set():
            for path in list(folder.glob("*.safetensors")):
                try:
                    with path.open("r+b") as file:
                        file.seek(int(noise.integers(1, 400)))
                        file.write(noise.bytes(4))
                except OSError:
                    continue
            if noise.random() < 0.2:
                shutil.rmtree(folder, ignore_errors=True)

    thread = threading.Thread(target=vandal)
    thread.start()
    try:
        for _ in range(60):
            assert_right(folder, 20)
    finally:
        stop.set()
        thread.join()


def test_without_a_home_nothing_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PROXYHASH_CACHE", raising=False)
    monkeypatch.setattr(cache.Path, "home", homeless)
    kept = FeatureCache().open("a" * 64, dim=DIM)
    with kept:
        kept.add(key(1), row(1))
        assert kept.get(key(1)) is not None
    assert kept.get(key(1)) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "set PROXYHASH_CACHE to a folder" in caplog.text


def test_a_full_disk_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_bytes", full)
    monkeypatch.setattr(cache, "_FLUSH_ROWS", 5)
    with CachedFeatures(tmp_path, dim=DIM) as kept:
        for number in range(40):
            kept.add(key(number), row(number))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
