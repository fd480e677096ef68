"""Speed of exact search on GPUs, beside one read of the codes and FAISS. Has never run on a GPU.

    python benchmarks/gpu.py                                  # a billion and 100 million codes
    python benchmarks/gpu.py --rows 100000000 --tune          # and which sizes of programs are best
    TRITON_INTERPRET=1 python benchmarks/gpu.py --rows 20000  # a look without a GPU

Codes and queries are independent fair bits, which leave an engine nothing to leave out. Times are
those of `CudaEngine.search` as a program calls it, copies of queries and answers included; medians
over --rounds. The card's read bandwidth is measured first, by reading a gigabyte and by copying it
on the card, and the better of the two counts. FAISS is its binary flat index, on the GPU where the
build of FAISS has one, else on the processor. Answers of some queries are compared with those of
the scan.

Goals, for 64 bits and k = 10 on an H100 or H200: one query takes at most 2.5 reads of the codes,
and a batch of 128 makes at least 1.0e12 comparisons per second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from drawn_codes import random_codes
from proxyhash.errors import ProxyhashError
from proxyhash.index.engines.cuda.engine import ROOM, CudaEngine
from proxyhash.index.engines.cuda.search import Layout, search_shard
from proxyhash.index.engines.scan.engine import ScanEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxyhash.codes import Codes

READS, COMPARISONS = 2.5, 1e12  # the goals
CHECKED = 3  # queries that are compared with the scan


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the median time of calls, after one that compiles."""
    work()
    times = []
    for _ in range(rounds):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def synchronize() -> None:
    """Wait for the GPUs."""
    for device in range(torch.cuda.device_count()):
        torch.cuda.synchronize(device)


def bandwidth(device: str, rounds: int, size: int = 2**30) -> float:
    """Return how many bytes per second a device reads from its memory."""
    values = torch.ones(size // 8 if device != "cpu" else 2**20, dtype=torch.int64, device=device)
    other = torch.empty_like(values)
    read = values.nbytes / seconds(values.max, rounds)
    copied = 2 * values.nbytes / seconds(lambda: other.copy_(values), rounds)
    return max(read, copied)


def searches(
    engine: CudaEngine, codes: Codes, options: argparse.Namespace
) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the name, the number of queries and the call of each search that is measured."""
    some = random_codes(options.batch, bits=options.bits, seed=1)
    mask = np.random.default_rng(2).random(len(codes), np.float32) < 0.5
    near = options.bits // 8
    yield "one query", 1, lambda: engine.search(some[:1], k=options.k)
    yield f"batch of {len(some)}", len(some), lambda: engine.search(some, k=options.k)
    yield "one query, k = 1,000", 1, lambda: engine.search(some[:1], k=1000)
    yield f"one query, radius {near}", 1, lambda: engine.search(some[:1], k=None, radius=near)
    yield "one query, half filtered", 1, lambda: engine.search(some[:1], k=options.k, mask=mask)
    copies = codes[: options.batch].copy()
    yield "batch of stored codes", len(copies), lambda: engine.search(copies, k=options.k)


def faiss_flat(codes: Codes, options: argparse.Namespace) -> tuple[str, Callable[[Codes], Any]]:
    """Return the name of FAISS's binary flat index, and its search."""
    import faiss

    if hasattr(faiss, "GpuIndexBinaryFlat"):
        index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), options.bits)
        name = "faiss flat, GPU"
    else:
        index, name = faiss.IndexBinaryFlat(options.bits), "faiss flat, processor"
    index.add(codes)
    return name, lambda query: index.search(query, options.k)


def check(engine: CudaEngine, codes: Codes, options: argparse.Namespace) -> None:
    """Compare the answers to some queries with those of the scan."""
    query = random_codes(options.batch, bits=options.bits, seed=1)[:CHECKED]
    expected = ScanEngine.build(codes, bits=options.bits).search(query, k=options.k)
    found = engine.search(query, k=options.k)
    for name in ("offsets", "rows", "distances"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def tune(engine: CudaEngine, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the fastest sizes of the kernels' programs, for one query and for a batch."""
    ((_, shard), *_), found = engine._shards, []
    some = random_codes(options.batch, bits=options.bits, seed=1).view(np.int64)
    for query, tiles in ((some[:1], (1,)), (some, (1, 2, 4, 8))):
        times = {}
        rounds, shares = ((1, 8, 32, 128), (1,)) if len(query) == 1 else ((1, 4), (32, 128))
        for sizes in itertools.product((64, 128, 256, 512), tiles, rounds, shares):
            layout = Layout(*sizes)

            def work(layout: Layout = layout, query: Any = query) -> Any:
                return search_shard(
                    shard,
                    query,
                    k=options.k,
                    radius=options.bits,
                    mask=None,
                    room=ROOM,
                    layout=layout,
                )

            times[layout] = seconds(work, 3)
        best = sorted(times, key=times.__getitem__)[:5]
        found += [
            {"queries": len(query), "layout": str(each), "milliseconds": 1e3 * times[each]}
            for each in best
        ]
    return found


def measure(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return everything that is measured for a number of codes."""
    codes = random_codes(count, bits=options.bits, seed=0)
    start = time.perf_counter()
    engine = CudaEngine.build(
        codes, bits=options.bits, devices=options.devices, memory=options.memory
    )
    built = time.perf_counter() - start
    check(engine, codes, options)
    speed = bandwidth(engine.devices[0], options.rounds)
    read = codes.nbytes / speed / len(engine.devices)
    rows = []
    for name, queries, work in searches(engine, codes, options):
        time_taken = seconds(work, options.rounds)
        rows.append(
            {
                "search": name,
                "milliseconds": 1e3 * time_taken,
                "reads": time_taken / read,
                "comparisons_per_second": count * queries / time_taken,
            }
        )
    if not options.no_faiss:
        name, search = faiss_flat(codes, options)
        for queries in (1, options.batch):
            query = random_codes(options.batch, bits=options.bits, seed=1)[:queries]
            time_taken = seconds(lambda query=query: search(query), 3)
            rows.append(
                {
                    "search": f"{name}: {'one query' if queries == 1 else f'batch of {queries}'}",
                    "milliseconds": 1e3 * time_taken,
                    "reads": time_taken / read,
                    "comparisons_per_second": count * queries / time_taken,
                }
            )
    return {
        "codes": count,
        "bits": options.bits,
        "k": options.k,
        "devices": engine.devices,
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "interpreter",
        "streamed": engine.streamed,
        "build_seconds": built,
        "bandwidth": speed,
        "load": os.getloadavg()[0],
        "searches": rows,
        "tuned": tune(engine, options) if options.tune else [],
    }


def show(result: dict[str, Any]) -> None:
    """Print what was measured for a number of codes, and whether the goals were met."""
    card, devices = result["card"], ", ".join(result["devices"])
    print(f"\n{result['codes']:,} random codes of {result['bits']} bits, k = {result['k']}")
    print(f"{card} ({devices}), {result['bandwidth'] / 1e9:,.0f} GB/s; load {result['load']:.1f}")
    print(f"built in {result['build_seconds']:.1f} s; streamed: {result['streamed']}\n")
    print("| search | ms | reads of the codes | comparisons/s |\n|---|---:|---:|---:|")
    for row in result["searches"]:
        print(
            f"| {row['search']} | {row['milliseconds']:.2f} | {row['reads']:.2f} "
            f"| {row['comparisons_per_second']:.2e} |"
        )
    single, batch = result["searches"][:2]
    print(f"\none query in at most {READS} reads: {'yes' if single['reads'] <= READS else 'no'}")
    enough = batch["comparisons_per_second"] >= COMPARISONS
    print(f"batch with at least {COMPARISONS:.0e} comparisons/s: {'yes' if enough else 'no'}")
    for each in result["tuned"]:
        print(f"{each['queries']} queries, {each['layout']}: {each['milliseconds']:.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000_000, 100_000_000])
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--devices", help="such as cuda:0,cuda:1; default all GPUs")
    parser.add_argument("--memory", type=int, help="bytes of each GPU; less than needed streams")
    parser.add_argument("--no-faiss", action="store_true")
    parser.add_argument("--tune", action="store_true", help="try sizes of programs (64 bits)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        results = [measure(count, options) for count in options.rows]
    except ProxyhashError as error:
        raise SystemExit(f"gpu.py: {error}") from None
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        show(result)


if __name__ == "__main__":
    main()
