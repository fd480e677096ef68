"""The processes that fill cells end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import multiprocessing, time
from proxyhash.bench import pool

def busy(connection):
    pool.Filler.try_to_fill = lambda self, cell: connection.send("at it") or time.sleep(600)
    pool.work(connection, 1, False)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=busy, args=(theirs,), daemon=True)
    worker.start()
    ours.send("a cell")
    ours.recv()
    print(worker.pid, flush=True)
    time.sleep(600)
"""


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_worker_at_a_cell_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert _is_there(worker)
        parent.kill()
    until = time.monotonic() + 20
    while _is_there(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _is_there(worker)
