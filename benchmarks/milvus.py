"""Speed of a Milvus index, written and searched, beside a scan of the same codes in this process.

    python benchmarks/milvus.py codes.db --items 200000
    python benchmarks/milvus.py http://127.0.0.1:19530 --items 1000000 --engine BIN_IVF_FLAT --json

The codes are drawn around random centers, each bit flipped with probability 0.1. Every item has a
payload of two fields. Latencies are medians over single queries; the batch is one call.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.index.memory import MemoryIndex
from proxyhash.index.milvus import MilvusIndex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.codes import Codes
    from proxyhash.index import Index

WRITE = 50_000
BATCH = 1_000
SINGLES = 20
K = 10


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
    """Return the median time of one query, and queries per second in a batch."""
    index.search(queries[:1], k=K)
    singles = []
    for query in queries[:SINGLES]:
        start = time.perf_counter()
        index.search(query[None], k=K)
        singles.append(time.perf_counter() - start)
    start = time.perf_counter()
    index.search(queries, k=K)
    batch = len(queries) / (time.perf_counter() - start)
    return {"single_ms": statistics.median(singles) * 1e3, "batch_per_s": batch}


def agreement(one: Index, other: Index, queries: Codes) -> float:
    """Return the part of queries for which two indexes give the same answer."""
    pairs = zip(one.search(queries, k=K), other.search(queries, k=K), strict=True)
    return statistics.mean(left == right for left, right in pairs)


def measure(arguments: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield a name and a figure at a time."""
    codes = draw(arguments.items, bits=arguments.bits)
    queries = draw(BATCH, bits=arguments.bits)
    yield "load", os.getloadavg()[0]
    memory = MemoryIndex(bits=arguments.bits)
    fill(memory, codes)
    yield "scan", timed(memory, queries)
    milvus = MilvusIndex.create(
        arguments.uri,
        collection="benchmark",
        bits=arguments.bits,
        modalities=("code",),
        engine=arguments.engine,
        nlist=arguments.nlist,
        consistency=arguments.consistency,
    )
    try:
        yield "writes_per_s", fill(milvus, codes)
        yield "milvus", timed(milvus, queries)
        yield "same_answers", agreement(memory, milvus, queries[:100])
    finally:
        milvus.drop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uri", help="a file *.db, or http://host:19530")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--engine", default="BIN_FLAT")
    parser.add_argument("--nlist", type=int, default=1024)
    parser.add_argument("--consistency", default="Strong")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = dict(measure(arguments))
    if arguments.json:
        print(json.dumps(vars(arguments) | figures))
        return
    for name, figure in figures.items():
        print(f"{name:>14}  {figure}")


if __name__ == "__main__":
    main()
