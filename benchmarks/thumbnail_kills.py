"""Kill a process while it writes thumbnails, again and again, and read the index after each time.

    python benchmarks/thumbnail_kills.py --kills 120

Prints how many kills left a journal behind, how many left an index that something could not read
or verify, and the longest time until a thumbnail was read again. Exit code 1 if any index was
unreadable.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.manage import compact_index, describe_index, snapshot_index, verify_index
from proxyhash.index.store import Store

ITEMS = 150

WRITER = f"""
import os, sys
from pathlib import Path
from proxyhash.catalog.thumbnails import ThumbnailStore

store, turn = ThumbnailStore.create(Path(sys.argv[1])), 0
while True:
    print("go", flush=True)
    store.put({{f"i{{row}}": bytes([turn % 256]) + os.urandom(30_000) for row in range({ITEMS})}})
    turn += 1
"""


def kill_a_writer(path: Path, *, after: float) -> bool:
    """Kill a process that writes thumbnails; return whether it left a journal behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return path.with_name(path.name + "-journal").exists()


def read(index: Path, scratch: Path) -> None:
    """Do with the index what everybody does; raise where something does not work."""
    store = Catalog(index).thumbnails
    assert store is not None
    first = {(store.get(f"i{row}") or b"")[:1] for row in range(ITEMS)}
    assert len(first) == 1, "a write is there by half"
    assert verify_index(str(index)) == []
    assert describe_index(str(index))["items"] == ITEMS
    compact_index(str(index))
    assert snapshot_index(str(index), scratch).problem == ""


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=120)
    kills: int = parser.parse_args().kills
    journals = failures = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "x.index"
        with Store.create(index, bits=8, modalities=("image",)) as store:
            codes = np.arange(ITEMS, dtype=np.uint8)[:, None]
            store.add([f"i{row}" for row in range(ITEMS)], codes)
        for turn in range(kills):
            delay = random.Random(turn).uniform(0, 0.15)
            journals += kill_a_writer(index / "thumbnails.sqlite3", after=delay)
            start = time.perf_counter()
            try:
                read(index, Path(folder) / f"copy-{turn}")
            except Exception as error:
                failures += 1
                print(f"kill {turn}: {type(error).__name__}: {error}", file=sys.stderr)
            slowest = max(slowest, time.perf_counter() - start)
    print(
        f"{kills} kills, {journals} left a journal behind, {failures} left an index that cannot be "
        f"read; reading, verify, compact and snapshot took at most {slowest:.2f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
