from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.encoders import FeatureCache, cache, default_cache_folder
from proxyhash.encoders.cache import CachedFeatures, content_key

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIM = 5


def row(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).normal(size=DIM).astype(np.float32)


def key(number: int) -> bytes:
    return content_key(f"item {number}")


def fill(folder: Path, numbers: range) -> None:
    with CachedFeatures(folder, dim=DIM) as kept:
        for number in numbers:
            kept.add(key(number), row(number))


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def assert_has(folder: Path, numbers: range) -> None:
    kept = CachedFeatures(folder, dim=DIM)
    assert len(kept) == len(numbers)
    for number in numbers:
        found = kept.get(key(number))
        assert found is not None
        assert found.tobytes() == row(number).tobytes()
    assert kept.get(key(10**6)) is None


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROXYHASH_CACHE", str(tmp_path / "here"))
    assert default_cache_folder() == tmp_path / "here"
    assert FeatureCache().folder == tmp_path / "here"
    monkeypatch.delenv("PROXYHASH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "proxyhash"


def test_the_key_is_the_sha256_of_the_content() -> None:
    # echo -n abc | sha256sum
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_key("abc").hex() == content_key(b"abc").hex() == wanted


def test_what_was_added_is_there_at_once_and_later(tmp_path: Path) -> None:
    with CachedFeatures(tmp_path, dim=DIM) as kept:
        assert kept.get(key(1)) is None
        kept.add(key(1), row(1))
        found = kept.get(key(1))
        assert found is not None
        np.testing.assert_array_equal(found, row(1))
    fill(tmp_path, range(2, 8))
    assert_has(tmp_path, range(1, 8))


def test_encoders_do_not_share(tmp_path: Path) -> None:
    features = FeatureCache(tmp_path)
    with features.open("a" * 64, dim=DIM) as kept:
        kept.add(key(1), row(1))
    assert len(features.open("b" * 64, dim=DIM)) == 0
    assert len(features.open("a" * 64, dim=DIM)) == 1


def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_FLUSH_ROWS", 10)
    with CachedFeatures(tmp_path, dim=DIM) as kept:
        for number in range(25):
            kept.add(key(number), row(number))
        assert_has(tmp_path, range(20))
        monkeypatch.setattr(cache, "_FLUSH_SECONDS", -1.0)
        kept.add(key(25), row(25))
        assert_has(tmp_path, range(26))


def test_what_was_done_before_an_error_is_kept(tmp_path: Path) -> None:
    def fail() -> None:
        with CachedFeatures(tmp_path, dim=DIM) as kept:
            kept.add(key(0), row(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert_has(tmp_path, range(1))


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "header", "other width"])
def test_a_damaged_shard_is_left_out_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(4))
    fill(tmp_path, range(4, 6))
    bad = next(path for path in shards(tmp_path) if path.stat().st_size > 400)
    content = bytearray(bad.read_bytes())
    if damage == "truncated":
        bad.write_bytes(content[:-7])
    elif damage == "empty":
        bad.write_bytes(b"")
    elif damage == "flipped":
        content[-3] ^= 1
        bad.write_bytes(content)
    elif damage == "header":
        bad.write_bytes(b"\xff" * 8 + content[8:])
    else:
        bad.unlink()
        with CachedFeatures(tmp_path, dim=DIM + 1) as kept:
            kept.add(key(0), np.zeros(DIM + 1, dtype=np.float32))
        caplog.clear()
        bad = shards(tmp_path)[-1]
    kept = CachedFeatures(tmp_path, dim=DIM)
    assert [kept.get(key(number)) is None for number in range(6)] == [True] * 4 + [False] * 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "damaged cache file" in caplog.text
    assert "encoded again" in caplog.text


def test_many_shards_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MANY_SHARDS", 4)
    for start in range(0, 10, 2):
        fill(tmp_path, range(start, start + 3))  # neighbors overlap
    reader = CachedFeatures(tmp_path, dim=DIM)
    assert len(shards(tmp_path)) == 1
    assert_has(tmp_path, range(11))
    assert len(reader) == 11


def test_merging_leaves_other_readers_their_rows_and_drops_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(6):
        fill(tmp_path, range(number, number + 1))
    reader = CachedFeatures(tmp_path, dim=DIM)  # has read no values yet
    monkeypatch.setattr(cache, "_MANY_SHARDS", 3)
    content = bytearray(shards(tmp_path)[0].read_bytes())
    content[-1] ^= 1
    shards(tmp_path)[0].write_bytes(content)
    merged = CachedFeatures(tmp_path, dim=DIM)
    assert len(merged) == 5
    assert "does not match its checksum" in caplog.text
    assert len(shards(tmp_path)) == 2  # the merged one, and the damaged one to be looked at
    for number in range(6):
        found = reader.get(key(number))
        assert found is None or found.tobytes() == row(number).tobytes()
    assert sum(reader.get(key(number)) is not None for number in range(6)) >= 5


def test_a_shard_that_went_away_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(3))
    gone = [*shards(tmp_path), tmp_path / "merged-away.safetensors"]
    monkeypatch.setattr(CachedFeatures, "_paths", lambda self: gone)
    assert len(CachedFeatures(tmp_path, dim=DIM)) == 3
    assert not caplog.records


def test_leftovers_of_killed_processes_are_ignored_and_in_time_removed(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    fresh, old = tmp_path / ".fresh.safetensors", tmp_path / ".old.safetensors"
    for leftover in (fresh, old):
        leftover.write_bytes(b"half a shard")
    os.utime(old, (0, time.time() - 7 * 24 * 3600))
    assert_has(tmp_path, range(2))
    assert fresh.exists()
    assert not old.exists()


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with CachedFeatures(tmp_path / "file" / "folder", dim=DIM) as kept:
        kept.add(key(0), row(0))
    assert "cannot be cached" in caplog.text


WRITER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from proxyhash.encoders import cache
    from tests.encoders.test_cache import DIM, key, row

    cache._FLUSH_ROWS = 10
    folder, start, stop, pause = Path(sys.argv[1]), *map(int, sys.argv[2:4]), float(sys.argv[4])
    with cache.CachedFeatures(folder, dim=DIM) as kept:
        for number in range(start, stop):
            kept.add(key(number), row(number))
            time.sleep(pause)
    """
)


def writer(folder: Path, start: int, stop: int, pause: float) -> subprocess.Popen[bytes]:
    arguments = [str(value) for value in (folder, start, stop, pause)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments])


def test_two_processes_write_side_by_side(tmp_path: Path) -> None:
    processes = [writer(tmp_path, 0, 150, 0.001), writer(tmp_path, 50, 200, 0.001)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert_has(tmp_path, range(200))


def test_a_killed_process_leaves_what_it_had_written(tmp_path: Path) -> None:
    process = writer(tmp_path, 0, 10**6, 0.0005)
    try:
        limit = time.monotonic() + 60
        while not tmp_path.is_dir() or len(shards(tmp_path)) < 5:
            assert time.monotonic() < limit
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    kept = CachedFeatures(tmp_path, dim=DIM)
    assert len(kept) >= 50
    assert len(kept) % 10 == 0
    assert_has(tmp_path, range(len(kept)))
