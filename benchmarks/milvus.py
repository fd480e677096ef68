"""Speed of a Milvus index, written and searched, beside local indexes of the same codes.

    python benchmarks/milvus.py codes.db --items 200000
    python benchmarks/milvus.py http://127.0.0.1:19530 --items 1000000 --engine BIN_IVF_FLAT
    python benchmarks/milvus.py server --items 1000000 --json

`server` installs, starts and removes the server that the tests use. The codes are drawn around
random centers, each bit flipped with probability 0.1. Every item has a payload of two fields.
Times of one query are medians over single queries, with and without an asymmetric second look at
the 1,000 nearest; the batch is one call. Queries answered alike are those with the same 10 hits as
the scan's; clusters (`BIN_IVF_FLAT`) may miss some.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.codes.asymmetric import ONE
from proxyhash.index.memory import MemoryIndex
from proxyhash.index.milvus import MilvusIndex
from proxyhash.index.second_look import SecondLook
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.codes import Codes
    from proxyhash.index import Index

WRITE = 50_000
BATCH = 1_000
SINGLES = 20
K = 10
COLUMNS = {
    "single_ms": "one query, ms",
    "look_ms": "with a second look, ms",
    "batch_per_s": f"queries/s, a batch of {BATCH:,}",
    "writes_per_s": "items written/s",
    "same_answers": "queries answered alike",
}


def draw(items: int, *, bits: int, centers: int = 1_000) -> Codes:
    """Return clustered codes, uint8 (items, bits/8)."""
    rng = np.random.default_rng(0)
    parts = []
    middle = rng.random((centers, bits)) < 0.5
    for start in range(0, items, WRITE):
        count = min(WRITE, items - start)
        flipped = rng.random((count, bits)) < 0.1
        parts.append(np.packbits(middle[rng.integers(0, centers, count)] ^ flipped, axis=1))
    return np.concatenate(parts)


def fill(index: Index, codes: Codes) -> float:
    """Return how many items per second an index takes."""
    start = time.perf_counter()
    for first in range(0, len(codes), WRITE):
        rows = range(first, min(first + WRITE, len(codes)))
        index.upsert(
            [f"item-{row:09}" for row in rows],
            codes[rows.start : rows.stop],
            payloads=[{"split": "gallery", "n": row} for row in rows],
        )
    return len(codes) / (time.perf_counter() - start)


def timed(index: Index, queries: Codes) -> dict[str, float]:
    """Return median times of one query, and queries per second in a batch."""
    rng = np.random.default_rng(1)
    weights = rng.integers(1, ONE, (SINGLES, index.bits), dtype=np.uint16)
    looks = [SecondLook(row[None]) for row in weights]
    times = {}
    for name, look_of in (("single_ms", [None] * SINGLES), ("look_ms", looks)):
        index.search(queries[:1], k=K, look=look_of[0])
        taken = []
        for query, look in zip(queries, look_of, strict=False):
            start = time.perf_counter()
            index.search(query[None], k=K, look=look)
            taken.append(time.perf_counter() - start)
        times[name] = statistics.median(taken) * 1e3
    start = time.perf_counter()
    index.search(queries, k=K)
    return times | {"batch_per_s": len(queries) / (time.perf_counter() - start)}


def agreement(one: Index, other: Index, queries: Codes) -> float:
    """Return the part of queries for which two indexes give the same answer."""
    pairs = zip(one.search(queries, k=K), other.search(queries, k=K), strict=True)
    return statistics.mean(left == right for left, right in pairs)


@contextmanager
def place(uri: str) -> Iterator[str]:
    """Yield the URI, of a server that runs as long as the block where it is "server"."""
    if uri != "server":
        yield uri
        return
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.index.milvus.server import Server, install_server

    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), install_server(), settings=())
        server.start()
        try:
            yield server.uri
        finally:
            server.kill()


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the figures of each index by its name."""
    codes = draw(arguments.items, bits=arguments.bits)
    queries = draw(BATCH, bits=arguments.bits)
    options = {"bits": arguments.bits, "modalities": ("code",)}
    found: dict[str, dict[str, float]] = {}
    memory = MemoryIndex(**options)
    fill(memory, codes)
    found["scan in memory"] = timed(memory, queries)
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(Path(folder) / "index", **options) as store,
    ):
        written = fill(store, codes)
        store.compact()
        found["index folder, `auto`"] = timed(store, queries) | {
            "writes_per_s": written,
            "same_answers": agreement(memory, store, queries[:100]),
        }
    with place(arguments.uri) as uri:
        named = {"collection": "benchmark"}
        kinds = {"engine": arguments.engine, "nlist": arguments.nlist}
        milvus = MilvusIndex.create(uri, **named, **options, **kinds)
        try:
            written = fill(milvus, codes)
            for consistency in arguments.consistency:
                with MilvusIndex.open(uri, **named, consistency=consistency) as opened:
                    found[f"Milvus, `{arguments.engine}`, {consistency}"] = timed(
                        opened, queries
                    ) | {
                        "writes_per_s": written,
                        "same_answers": agreement(memory, opened, queries[:100]),
                    }
        finally:
            milvus.drop()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uri", help="a file *.db, http://host:19530, or server")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--engine", default="BIN_FLAT")
    parser.add_argument("--nlist", type=int, default=1024)
    parser.add_argument("--consistency", nargs="+", default=["Strong", "Bounded"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    figures = measure(arguments)
    if arguments.json:
        print(json.dumps(vars(arguments) | {"load": load, "figures": figures}))
        return
    print(f"{arguments.items:,} codes of {arguments.bits} bits, load {load:.1f}\n")
    print(f"| | {' | '.join(COLUMNS.values())} |")
    print(f"|---|{'---:|' * len(COLUMNS)}")
    for name, of in figures.items():
        cells = [f"{of[key]:,.2f}" if key in of else "" for key in COLUMNS]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
