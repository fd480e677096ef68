"""Time of a second look at a short-list, side by side with the plain search that it refines.

    python benchmarks/second_look.py                         # 1 and 10 million codes, both kinds
    python benchmarks/second_look.py --run RUN               # and codes drawn around a trained run
    python benchmarks/second_look.py --folder                # and through an index folder
    python benchmarks/second_look.py --sizes 100000 --json   # a look in a minute

Plain is a search by Hamming distance for `k` items. The second look ranks the `--shortlist` nearest
of them by asymmetric distance and returns `k`; the weights of the queries are drawn. Both are asked
in turn, one pair after the other in one process, so that whatever else the machine does is in both:
the ratio is taken pair by pair, and its minimum, median and maximum are shown; so are the ratios of
the fastest times and of the medians of processor time, which depend less on what else runs. Where
the time goes stands beside: the plain search for as many items as the short-list has.
Drawn_codes.py says how the codes are drawn; equal distances go by an order, as in an index.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drawn_codes import logit_groups
from proxyhash.index.engines import ENGINES
from proxyhash.index.second_look import SecondLook, look_again
from proxyhash.index.store import Store
from search import QUERIES, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.codes import Codes, Weights

BITS = 64
ADDED = 100_000  # items that an index folder is given at a time


def engine_searches(name: str, codes: Codes, options: argparse.Namespace) -> dict[str, Callable]:
    """Return what is measured of one engine, by name: functions of queries and their weights."""
    order = np.random.default_rng(1).permutation(len(codes)).astype(np.uint64)
    engine = ENGINES[name].build(codes, bits=BITS, order=order)

    def plain(query: Codes, _: Weights) -> Any:
        return engine.search(query, k=options.k)

    def shortlist(query: Codes, _: Weights) -> Any:
        return engine.search(query, k=options.shortlist)

    def look(query: Codes, weights: Weights) -> Any:
        return look_again(
            query,
            SecondLook(weights, options.shortlist),
            codes,
            partial(engine.search, query),
            k=options.k,
            radius=None,
            order=order,
        )

    return {"plain": plain, "shortlist": shortlist, "look": look}


def folder_searches(folder: Path, codes: Codes, options: argparse.Namespace) -> dict[str, Callable]:
    """Return what is measured of an index folder with these codes, which is made and compacted."""
    with Store.create(folder, bits=BITS, modalities=("image",)) as store:
        for start in range(0, len(codes), ADDED):
            ids = [f"{row:09}" for row in range(start, min(start + ADDED, len(codes)))]
            store.add(ids, codes[start : start + ADDED], payloads=[{"text": id_} for id_ in ids])
        store.compact()
    store = Store.open(folder)
    return {
        "plain": lambda query, _: store.search(query, k=options.k),
        "shortlist": lambda query, _: store.search(query, k=options.shortlist),
        "look": lambda query, weights: store.search(
            query, k=options.k, look=SecondLook(weights, options.shortlist)
        ),
    }


def measure(
    searches: dict[str, Callable], queries: Codes, *, batch: int, rounds: int
) -> dict[str, Any]:
    """Return microseconds per query of each search, and the ratios of look to plain."""
    weights = np.random.default_rng(2).integers(0, 65_536, (len(queries), BITS)).astype(np.uint16)
    times: dict[str, list[float]] = {name: [] for name in searches}
    work: dict[str, list[float]] = {name: [] for name in searches}
    for turn in range(-2, rounds):  # two to warm up
        first = (turn % rounds) * batch % (len(queries) - batch + 1)
        part = slice(first, first + batch)
        for name, search in searches.items():
            start, begun = time.perf_counter(), time.process_time()
            search(queries[part], weights[part])
            if turn >= 0:
                times[name].append((time.perf_counter() - start) / batch * 1e6)
                work[name].append(time.process_time() - begun)
    ratios = np.array(times["look"]) / np.array(times["plain"])
    return {
        "batch": batch,
        **{name: float(np.median(each)) for name, each in times.items()},
        "ratio": [float(each) for each in (ratios.min(), np.median(ratios), ratios.max())],
        "fastest": min(times["look"]) / min(times["plain"]),
        "work": float(np.median(work["look"]) / np.median(work["plain"])),
    }


def markdown(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Return the figures as a Markdown table."""
    head = [
        "codes",
        "through",
        "queries",
        f"plain, k = {options.k}, µs",
        f"plain, k = {options.shortlist:,}, µs",
        "second look, µs",
        "ratio: min / median / max",
        "of the fastest",
        "of processor time",
    ]
    lines = [f"| {' | '.join(head)} |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        ratio = " / ".join(f"{each:.2f}" for each in row["ratio"])
        cells = [f"{row['size']:,} {row['kind']}", row["through"], f"{row['batch']}"]
        cells += [f"{row[name]:,.0f}" for name in ("plain", "shortlist", "look")]
        cells += [ratio, *(f"{row[name]:.2f}" for name in ("fastest", "work"))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000000,10000000", help="numbers of codes")
    parser.add_argument("--kinds", default="random,clustered", help="of random, clustered")
    parser.add_argument("--run", type=Path, help="run folder of `proxyhash train`: learned codes")
    parser.add_argument("--engines", default="scan,auto")
    parser.add_argument("--folder", action="store_true", help="also through an index folder")
    parser.add_argument("--shortlist", type=int, default=1_000)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--batches", default="1,100", help="queries that are asked together")
    parser.add_argument("--rounds", type=int, default=100, help="pairs; of a batch, a tenth")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    groups = logit_groups(options.run) if options.run else None
    kinds = [*filter(None, options.kinds.split(",")), *(["learned"] if groups else [])]
    rows = []
    for kind in kinds:
        for size in map(int, options.sizes.split(",")):
            drawn = draw(kind, size, BITS, groups)
            codes, queries = drawn[:-QUERIES], drawn[-QUERIES:].copy()
            with tempfile.TemporaryDirectory() as folder:
                ways = [*options.engines.split(","), *(["folder"] if options.folder else [])]
                for through in filter(None, ways):
                    searches = (
                        folder_searches(Path(folder) / "index", codes, options)
                        if through == "folder"
                        else engine_searches(through, codes, options)
                    )
                    for batch in map(int, options.batches.split(",")):
                        rounds = options.rounds if batch == 1 else max(5, options.rounds // 10)
                        found = measure(searches, queries, batch=batch, rounds=rounds)
                        rows.append({"kind": kind, "size": size, "through": through, **found})
                    del searches
                    gc.collect()
    report = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "rows": rows}
    print(json.dumps(report, indent=2) if options.json else markdown(rows, options))
    if not options.json:
        print(f"\n{report['cores']} cores; load average {report['load']:.1f} at the end.")


if __name__ == "__main__":
    main()
