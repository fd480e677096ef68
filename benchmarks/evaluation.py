"""Time and memory of mAP@all, compared with a plain numpy loop.

    python benchmarks/evaluation.py                      # 5,000 queries x 118,000 items x 64 bits
    python benchmarks/evaluation.py --queries 500 --loop-queries 50 --json

Random codes and labels of 80 classes (2.9 per item, as in MS COCO). Each figure is measured in a
separate process, after a warm-up that loads the compiled kernels, and its peak memory is what
the process needs beyond its inputs (Linux only). The loop sorts each query's distances with a
stable argsort, as released code does; it is timed on some of the queries and scaled to all of them,
and must give the same mAP as this package's stable ties.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.evaluation import Protocol, Ranking, evaluate_direction, mean_average_precision

if TYPE_CHECKING:
    from collections.abc import Callable

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

LABELS_AN_ITEM = 2.9


def draw(*, queries: int, items: int, bits: int, classes: int) -> Arrays:
    """Return random codes and labels of queries and gallery."""
    rng = np.random.default_rng(0)
    sizes = (queries, items)
    codes = [rng.integers(0, 256, (size, bits // 8), dtype=np.uint8) for size in sizes]
    labels = [rng.random((size, classes), np.float32) < LABELS_AN_ITEM / classes for size in sizes]
    return codes[0], codes[1], labels[0], labels[1]


def argsort_loop(arrays: Arrays, _: int) -> float:
    """Return the mAP with stable ties, one query at a time: distances, argsort, cumulative sum."""
    query, gallery, query_labels, gallery_labels = arrays
    scores = []
    places = np.arange(1, len(gallery) + 1)
    for code, labels in zip(query, query_labels, strict=True):
        distances = np.bitwise_count(code ^ gallery).sum(axis=1)
        relevant = (gallery_labels & labels).any(axis=1)[np.argsort(distances, kind="stable")]
        if relevant.any():
            scores.append((np.cumsum(relevant) / places)[relevant].mean())
    return float(np.mean(scores))


def mean_ap(ties: str) -> Callable[[Arrays, int], float]:
    """Return this package's mAP with a tie rule."""

    def run(arrays: Arrays, bits: int) -> float:
        return mean_average_precision(*arrays, bits=bits, protocol=Protocol(ties=ties)).value

    return run


def every_metric(arrays: Arrays, bits: int) -> float:
    """Return the mAP, having computed every metric of one direction."""
    return evaluate_direction(Ranking(*arrays, bits)).map


MEASURED: dict[str, Callable[[Arrays, int], float]] = {
    "mAP@all, expected ties": mean_ap("expected"),
    "mAP@all, stable ties": mean_ap("stable"),
    "every metric of one direction": every_metric,
    "argsort loop, stable ties": argsort_loop,
}


def measure(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds, MB beyond the inputs, and the value of one contender."""
    contender = MEASURED[name]
    loop = contender is argsort_loop
    arrays = draw(
        queries=options.queries, items=options.items, bits=options.bits, classes=options.classes
    )
    if loop:
        count = options.loop_queries
        arrays = (arrays[0][:count], arrays[1], arrays[2][:count], arrays[3])
    few = (arrays[0][:2], arrays[1][:100], arrays[2][:2], arrays[3][:100])
    contender(few, options.bits)
    before = reset_peak()
    started = time.perf_counter()
    value = contender(arrays, options.bits)
    seconds = time.perf_counter() - started
    result = {
        "seconds": seconds * (options.queries / len(arrays[0])),
        "megabytes": memory("VmHWM") - before,
        "map": value,
    }
    if loop and not np.isclose(value, mean_ap("stable")(arrays, options.bits), rtol=1e-9):
        raise AssertionError("the loop and the package disagree")
    return result


def reset_peak() -> float:
    """Forget the most memory this process has had, and return what it has now, in MB."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")
    return memory("VmRSS")


def memory(field: str) -> float:
    """Return a figure of this process's memory in MB; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def load() -> str:
    """Return the load averages of the machine, where it has them."""
    path = Path("/proc/loadavg")
    return path.read_text(encoding="utf-8").strip() if path.exists() else "unknown"


def main() -> None:
    """Measure each contender in a process of its own and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--items", type=int, default=118_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument(
        "--loop-queries", type=int, default=500, help="queries the loop is timed on"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.loop_queries = min(options.loop_queries, options.queries)
    before = load()
    # One fresh process a contender: the peak of one must not hide that of the next.
    context = multiprocessing.get_context("spawn")
    results = {}
    for name in MEASURED:
        with context.Pool(1) as pool:
            results[name] = pool.apply(measure, (name, options))
    slow, fast = (results[name]["seconds"] for name in (list(MEASURED)[-1], next(iter(MEASURED))))
    if options.json:
        print(json.dumps({"options": vars(options), "results": results, "ratio": slow / fast}))
        return
    print(
        f"{options.queries:,} queries x {options.items:,} items x {options.bits} bits, "
        f"{options.classes} classes; Python {platform.python_version()}, load {before}\n"
    )
    print(f"{'':<32}{'seconds':>9}{'MB over inputs':>16}{'mAP':>9}{'to the loop':>13}")
    for name, result in results.items():
        print(
            f"{name:<32}{result['seconds']:>9.2f}{result['megabytes']:>16.0f}"
            f"{result['map']:>9.4f}{slow / result['seconds']:>12.1f}x"
        )
    print(f"\nThe loop is timed on {options.loop_queries:,} queries and scaled to all of them.")


if __name__ == "__main__":
    main()
