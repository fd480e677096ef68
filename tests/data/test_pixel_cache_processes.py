"""The pixel cache with several processes, killed processes and a full disk, all of them real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from proxyhash.data import pixel_job
from proxyhash.data.pixel_cache import PixelCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from proxyhash.data.pixel_rows import PixelRows

SHAPE = (3, 8, 8)
IMAGES = 24  # in shards of four

PROGRAM = textwrap.dedent(
    """
    import logging, os, resource, signal, sys, time
    from pathlib import Path
    import numpy as np
    from proxyhash.data import pixel_job
    from proxyhash.data.pixel_cache import PixelCache

    logging.basicConfig()
    sources, cache, log = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    pause = float(sys.argv[4])
    pixel_job._SHARD_BYTES = 4 * 3 * 8 * 8
    if sys.argv[5] == "no room":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    if sys.argv[5] == "nobody":
        os.setgid(65534)
        os.setuid(65534)

    def decode(source):
        time.sleep(pause)
        with log.open("a") as file:
            file.write(source.name + "\\n")
        number = int(source.name)
        return np.full((3, 8, 8), number, np.uint8), (number + 1, 9)

    paths = sorted(sources.iterdir(), key=lambda path: int(path.name))
    rows = PixelCache(cache).rows(paths, recipe="number", shape=(3, 8, 8), decode=decode)
    pixels, sizes = rows.read(np.arange(len(rows)))
    assert (pixels == np.arange(len(rows))[:, None, None, None]).all()
    assert (sizes[:, 0] == np.arange(len(rows)) + 1).all()
    print(rows.stored.sum())
    """
)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / str(number)).write_text(f"file {number}")
    return folder


def start(
    sources: Path, log: str = "log", pause: float = 0.0, become: str = ""
) -> subprocess.Popen[str]:
    folder = sources.parent
    arguments = [sources, folder / "cache", folder / log, pause, become]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How many images the cache had in the end, and the warnings."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return int(out), err


def decoded(sources: Path, log: str = "log") -> list[int]:
    path = sources.parent / log
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def wait_for(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def shards(sources: Path) -> list[Path]:
    return [
        path
        for path in (sources.parent / "cache").rglob("*.safetensors")
        if not path.name.startswith(".")
    ]


def own_rows(sources: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PixelRows, list[int]]:
    """The rows in this process, and what it had to decode."""
    monkeypatch.setattr(pixel_job, "_SHARD_BYTES", 4 * 3 * 8 * 8)
    numbers: list[int] = []

    def decode(source: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        numbers.append(int(source.name))
        return np.full(SHAPE, int(source.name), np.uint8), (int(source.name) + 1, 9)

    paths = [sources / str(number) for number in range(IMAGES)]
    cache = PixelCache(sources.parent / "cache")
    return cache.rows(paths, recipe="number", shape=SHAPE, decode=decode), numbers


def assert_right(rows: PixelRows) -> None:
    pixels, sizes = rows.read(np.arange(IMAGES))
    assert (pixels == np.arange(IMAGES)[:, None, None, None]).all()
    assert (sizes[:, 0] == np.arange(IMAGES) + 1).all()


def test_two_processes_at_once_share_the_work(sources: Path) -> None:
    both = [start(sources, f"log-{name}", pause=0.03) for name in "ab"]
    assert [finish(process) for process in both] == [(IMAGES, ""), (IMAGES, "")]
    first, second = decoded(sources, "log-a"), decoded(sources, "log-b")
    assert sorted(first + second) == list(range(IMAGES))  # every image once, by either
    assert first
    assert second
    assert len(shards(sources)) == IMAGES // 4


def test_a_killed_process_leaves_what_it_had_written(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(sources, pause=0.02)
    wait_for(lambda: len(shards(sources)) >= 2)
    process.kill()
    process.communicate()
    there = 4 * len(shards(sources))
    assert 8 <= there < IMAGES
    rows, numbers = own_rows(sources, monkeypatch)
    assert numbers == list(range(there, IMAGES))
    assert_right(rows)


@pytest.mark.slow
def test_killed_again_and_again_it_comes_to_its_end(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any time, also in the middle of writing, of renaming or of reading."""
    for round_ in range(4):
        log = f"log-{round_}"
        process = start(sources, log, pause=0.004)
        wait_for((sources.parent / log).exists)
        time.sleep(0.003 * round_)
        process.kill()
        process.communicate()
    rows, _ = own_rows(sources, monkeypatch)
    assert rows.stored.all()
    assert_right(rows)


def test_what_a_killed_process_had_claimed_is_taken_over(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = start(sources, "slow", pause=30)
    locks = sources.parent / "cache"
    wait_for(lambda: any(locks.rglob("*.lock")))
    fast = start(sources, "fast")
    wait_for(lambda: len(decoded(sources, "fast")) == IMAGES - 4)
    time.sleep(0.3)
    assert fast.poll() is None  # it waits for the last shard
    slow.kill()
    slow.communicate()
    assert finish(fast) == (IMAGES, "")
    assert sorted(decoded(sources, "fast")) == list(range(IMAGES))


def test_a_stopped_process_is_not_waited_for_forever(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_job, "_PATIENCE", 0.5)
    stopped = start(sources, pause=30)
    wait_for(lambda: any((sources.parent / "cache").rglob("*.lock")))
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        rows, numbers = own_rows(sources, monkeypatch)
        assert sorted(numbers) == list(range(IMAGES))
        assert_right(rows)
    finally:
        stopped.kill()
        stopped.communicate()


def test_a_full_disk_costs_time_only(sources: Path) -> None:
    """A limit of file sizes fails in the middle of a write, as a full disk does."""
    count, warnings = finish(start(sources, become="no room"))
    assert count == 0
    assert len(warnings.splitlines()) == 1
    assert "24 of 24 images are decoded whenever they are used" in warnings
    assert "cannot be written (File too large; free some space" in warnings
    left = [path for path in (sources.parent / "cache").rglob("*") if path.is_file()]
    assert left == []


def test_a_folder_of_others_is_read_and_costs_time_only(sources: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user who may not write")
    for folder in sources.parents:
        if folder.stat().st_mode & 0o005 != 0o005:  # pytest's own temporary folders
            folder.chmod(0o755)
    finish(start(sources))
    folder = shards(sources)[0].parent
    shards(sources)[0].unlink()
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o555)
    (sources.parent / "other").touch()
    (sources.parent / "other").chmod(0o666)
    count, warnings = finish(start(sources, "other", become="nobody"))
    assert count == IMAGES - 4
    assert len(warnings.splitlines()) == 1
    assert "4 of 24 images are decoded whenever they are used" in warnings
    assert "Permission denied" in warnings


WORKERS = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import numpy as np
    from proxyhash.data import pixel_job
    from proxyhash.data.pixel_cache import PixelCache
    from proxyhash.data.pixel_decoding import SquashedImages

    def track(steps, description, total=None, /):
        for step in steps:
            if description == "decoding images":
                print("step", flush=True)
            yield step

    sources = [Path(sys.argv[1]) / f"{number}.png" for number in range(400)]
    squashed = SquashedImages(600, workers=2)
    cache = PixelCache(sys.argv[2], max_bytes=0 if sys.argv[3] == "reading" else 20 << 30)
    rows = cache.rows(
        sources,
        recipe=squashed.recipe,
        shape=squashed.shape,
        decode=squashed,
        workers=2,
        track=track,
    )
    while True:
        rows.read(np.arange(2))
        print("step", flush=True)
        rows.read(np.arange(400))
    """
)


def children(pid: int) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(400):
        Image.new("RGB", (40, 30), (number % 256, number // 256, 0)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("number", "when"),
    [(signal.SIGINT, "reading"), (signal.SIGINT, "filling"), (signal.SIGKILL, "filling")],
)
def test_no_worker_outlives_ctrl_c_or_a_kill(
    folder_of_images: Path, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKERS, str(folder_of_images), str(tmp_path), when],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -number, errors
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
