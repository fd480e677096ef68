"""Speed of the durable store: written, opened, searched and changed.

    python benchmarks/store.py                      # 1,000,000 items, images and texts of 64 bits
    python benchmarks/store.py --items 10000000 --json

Items have random ids, a caption, three labels of 80, a price and a year. Each `add` is on the disk
when it returns. Beside it, the same ids and payloads go into a plain SQLite table with the same
durability, batch by batch in turns, so that the ratio holds on a busy machine. Codes are drawn
around 1,000 centers with every bit flipped with a chance of .1. What a fresh process needs to open
the compacted folder is measured in one, after the imports.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.index.filters import Contains, Range
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

BITS = 64
LABELS = [f"label {number}" for number in range(80)]

OPEN = """
import sys, time
import numpy as np
from proxyhash.index.store import Store
start = time.perf_counter()
store = Store.open(sys.argv[1])
opened = time.perf_counter()
store.search(np.zeros((1, 8), np.uint8), k=10, modality="image")
print(opened - start, time.perf_counter() - opened)
"""


class Clock:
    """Seconds by the name of what took them."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Take the time of a block."""
        start = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)

    def total(self, name: str) -> float:
        """Return all seconds of a name."""
        return sum(self.seconds[name])

    def median_ms(self, name: str) -> float:
        """Return the middle time of a name, in milliseconds."""
        return 1000 * statistics.median(self.seconds[name])


class Drawn:
    """Items drawn from a seed."""

    def __init__(self) -> None:
        self._dice = random.Random(0)
        self._rng = np.random.default_rng(0)
        self._centers = self._rng.integers(0, 256, (1000, BITS // 8), np.uint8)

    def codes(self, count: int) -> np.ndarray:
        """Return codes around the centers."""
        flips = np.packbits(self._rng.random((count, BITS), np.float32) < 0.1, axis=1)
        return self._centers[self._rng.integers(0, 1000, count)] ^ flips

    def items(self, count: int) -> tuple[list[str], dict[str, np.ndarray], list[dict[str, Any]]]:
        """Return ids, codes and payloads."""
        dice = self._dice
        payloads = [
            {
                "text": f"an image of {dice.randrange(10**6)} things beside something else",
                "labels": dice.sample(LABELS, 3),
                "price": round(100 * dice.random(), 2),
                "year": dice.randrange(1980, 2026),
            }
            for _ in range(count)
        ]
        ids = [f"{dice.getrandbits(64):016x}" for _ in range(count)]
        return ids, {"image": self.codes(count), "text": self.codes(count)}, payloads


def plain_table(path: Path) -> sqlite3.Connection:
    """Return a table of ids and payloads that is as durable as the store."""
    table = sqlite3.connect(path, isolation_level=None)
    table.execute("PRAGMA journal_mode = WAL")
    table.execute("PRAGMA synchronous = FULL")
    table.execute("CREATE TABLE items (id TEXT UNIQUE, payload TEXT)")
    return table


def fill(store: Store, table: sqlite3.Connection, drawn: Drawn, clock: Clock, options: Any) -> None:
    """Add the items to both, in turns."""
    for start in range(0, options.items, options.batch):
        ids, codes, payloads = drawn.items(min(options.batch, options.items - start))
        with clock("add"):
            store.add(ids, codes, payloads=payloads)
        with clock("plain table"):
            rows = [(id_, json.dumps(one)) for id_, one in zip(ids, payloads, strict=True)]
            table.execute("BEGIN")
            table.executemany("INSERT INTO items VALUES (?, ?)", rows)
            table.execute("COMMIT")


def use(store: Store, drawn: Drawn, clock: Clock) -> None:
    """Search and change the full store."""
    ids, codes, payloads = drawn.items(1000)
    queries = drawn.codes(200)
    with clock("first search"):
        store.search(queries[:1], k=10, modality="image")
    with clock("add 1,000"):
        store.add(ids, codes, payloads=payloads)
    for place in range(100):
        one = slice(place, place + 1)
        with clock("search"):
            store.search(queries[one], k=10, modality="image")
        with clock("upsert 1"):
            store.upsert(
                ids[one],
                {name: rows[one] for name, rows in codes.items()},
                payloads=payloads[one],
            )
        with clock("search after a change"):
            store.search(queries[one], k=10, modality="image")
    with clock("delete 900"):
        store.delete(ids[100:])
    with clock("first filter on labels"):
        store.search(queries[:1], k=10, modality="image", filter=Contains("labels", LABELS[0]))
    for label in LABELS[1:21]:
        with clock("another filter on labels"):
            store.search(queries[:1], k=10, modality="image", filter=Contains("labels", label))
    for number in range(2):
        with clock(f"filter on prices, {('first', 'again')[number]}"):
            bounds = Range("price", ge=10 + number, lt=20)
            store.search(queries[:1], k=10, modality="image", filter=bounds)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return every figure."""
    clock, drawn = Clock(), Drawn()
    with Store.create(folder / "index", bits=BITS) as store:
        table = plain_table(folder / "plain.sqlite")
        fill(store, table, drawn, clock, options)
        table.close()
        with clock("compact"):
            store.compact()
        use(store, drawn, clock)
        with clock("verify"):
            problems = store.verify()
        size = store.info()["bytes"]
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder / "index")],
        check=True,
        capture_output=True,
        text=True,
    )
    opened, searched = map(float, done.stdout.split())
    return {
        "items": options.items,
        "problems": problems,
        "bytes": size,
        "add_seconds": clock.total("add"),
        "plain_table_seconds": clock.total("plain table"),
        "open_seconds": opened,
        "first_search_seconds": searched,
        "compact_seconds": clock.total("compact"),
        "verify_seconds": clock.total("verify"),
        "median_ms": {
            name: clock.median_ms(name)
            for name in clock.seconds
            if name not in {"add", "plain table", "compact", "verify"}
        },
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    ratio = figures["add_seconds"] / figures["plain_table_seconds"]
    print(f"{figures['items']:,} items, {figures['bytes'] / 2**20:,.0f} MB on the disk")
    print(f"add              {figures['add_seconds']:8.1f} s, {ratio:.2f} x a plain table")
    for name in ("compact", "verify", "open", "first_search"):
        print(f"{name.replace('_', ' '):16} {figures[name + '_seconds']:8.2f} s")
    for name, milliseconds in figures["median_ms"].items():
        print(f"{name:32} {milliseconds:10.3f} ms")


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(options, Path(folder))
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()
