"""A program that forks migrations, one after another, each to be killed in the middle of its work.

    python -m tests.catalog.migrate_killed INDEX MODEL MODEL

Forking skips the seconds that starting Python, loading the libraries and their first use take: it
migrates INDEX to both models itself before it forks anything, and prints how many milliseconds the
second of these took. For every line
"INDEX MODEL MILLISECONDS EVENT" on standard input it forks a migration, and prints the report of
one that came to its end, or null, as one line of JSON. Before that the migration is killed when the
time is over, or at the EVENT-th change of names on the disk since the swap began (0 for none).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from proxyhash.catalog import catch_up
from proxyhash.catalog.migrate import migrate_index
from proxyhash.hashing import HashModel  # noqa: F401 -- loaded before forking
from proxyhash.index.store import Store

catch_up.AT_ONCE = 8


_NAMES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect"}


def die_at(event: int) -> None:
    """Let this process be killed at a change of names since the swap began."""
    begun, left = False, event
    real = Store.adopt

    def adopt(self: Store, folder: Path) -> None:
        nonlocal begun
        begun = True
        real(self, folder)

    def hook(name: str, _: object) -> None:
        nonlocal left
        if begun and name in _NAMES:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    Store.adopt = adopt  # type: ignore[method-assign]
    sys.addaudithook(hook)


def migrate(index: str, model: str, output: int, *, event: int) -> None:
    if event:
        die_at(event)
    report = migrate_index(index, Path(model))
    os.write(output, json.dumps(asdict(report)).encode())


def main() -> None:
    torch.set_num_threads(1)  # threads of a parent are not there after a fork
    index, *models = sys.argv[1:]
    for model in models:
        begun = time.monotonic()
        migrate_index(index, Path(model))
    print(round(1000 * (time.monotonic() - begun)), flush=True)
    for line in sys.stdin:
        index, model, milliseconds, event = line.split()
        reading, output = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                migrate(index, model, output, event=int(event))
            finally:
                os._exit(0)
        os.close(output)
        end = time.monotonic() + int(milliseconds) / 1000
        while (
            time.monotonic() < end
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading) as answer:
            print(answer.read() or "null", flush=True)


if __name__ == "__main__":
    main()
