"""`proxyhash up`: from a folder to a page, killed half-way, and brought up to date later."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from proxyhash.files import read_json
from tests.cli.conftest import PROXYHASH

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection

COUNT = 60


@pytest.fixture
def photos(scenes: Collection, tmp_path: Path) -> Path:
    """Images with a semicolon table of captions and without labels; one image is broken."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["filename", "caption"])
        for row in range(COUNT):
            source: Any = scenes.sources("image")[row]
            shutil.copy(source, folder / source.name)
            table.writerow([source.name, scenes.sources("text")[row]])
    (folder / source.name).write_bytes(b"<html>not found</html>")
    return folder


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROXYHASH, "up", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.enable_socket
def test_from_a_folder_to_a_page(photos: Path, tmp_path: Path, proxyhash_process: Any) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    # Killed as soon as the run folder is there.
    process = start(photos, "--bits", 16, "--no-open", folder=tmp_path)
    assert process.stderr is not None
    while not (tmp_path / "proxyhash-my-photos" / "run" / "config.json").exists():
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    _, told = process.communicate()
    assert "no labels: cca-itq learns from the pairing" in told
    assert "image" in told
    assert "cannot be read" in told or "not an image" in told

    process = start(photos, "--bits", 16, "--no-open", "--port", 0, folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        address = next(line.split()[-1] for line in process.stdout if " at http" in line)
        page = httpx.get(address)
        assert page.status_code == 200
        found = httpx.post(f"{address}/v1/search", json={"text": "a red car", "k": 3}).json()
        assert len(found["hits"]) == 3
        assert all(hit["thumbnail"] for hit in found["hits"])
    finally:
        process.terminate()
        _, told = process.communicate(timeout=60)
    work = tmp_path / "proxyhash-my-photos"
    assert read_json(work / "run" / "config.json")["method"] == "cca-itq"
    for words in ("proxyhash train --resume", "proxyhash index build", "ready after"):
        assert words in told
    assert "its meaning and its words together" in told
    assert "next:" not in told

    # What changed since is taken over, without training again; the photos are as they were.
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    trained = (work / "run" / "metrics.json").stat().st_mtime_ns
    gone = sorted(path for path in photos.iterdir() if path.suffix != ".csv")[:2]
    lines = (photos / "captions.csv").read_text().splitlines(keepends=True)
    (photos / "captions.csv").write_text(
        "".join(line for line in lines if not line.startswith(tuple(path.name for path in gone)))
    )
    for path in gone:
        path.unlink()
    done = proxyhash_process("up", photos, "--no-serve", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "2 removed" in done.out
    page = f"serve proxyhash-my-photos/index --originals '{photos}' --open"
    assert f"next: proxyhash {page}" in done.err
    assert "`proxyhash search --mode codes|words`" in done.err
    assert (work / "run" / "metrics.json").stat().st_mtime_ns == trained
    done = proxyhash_process("up", photos, "--no-serve", "--bits", 32, cwd=tmp_path)
    assert done.code == 2
    assert "is trained with bits 16, not 32" in done.err


def test_a_folder_that_is_not_there_leaves_nothing_behind(
    proxyhash_process: Any, tmp_path: Path
) -> None:
    done = proxyhash_process("up", "nowhere", cwd=tmp_path)
    assert done.code == 3
    assert "nowhere does not exist" in done.err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_says_how_to_go_on(
    proxyhash_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("proxyhash.data.check.check_collection", stop)
    stopped = proxyhash_command("up", tmp_path / "photos", "--out", tmp_path / "work")
    assert stopped.code == 130
    assert "stopped by Ctrl-C; the same command goes on where it was" in stopped.err
