"""Speed of exact search beside FAISS, on random, clustered and learned codes.

    python benchmarks/search.py --run RUN                          # every table of performance.md
    python benchmarks/search.py --run RUN --curve search.png       # and a plot
    python benchmarks/search.py --million 20000 --ten-million 50000 --json # a look in a minute

RUN is a run folder of `proxyhash train`; without it there are no learned codes. What is drawn how
is said in drawn_codes.py, queries are drawn as the codes are. All contenders of a table are built
in one process and measured in turn, several times over; the medians and their ratios are reported.
A batch has 1,000 queries; the time of a single query is the median over many. Whoever is measured
runs alone, but whatever else the machine does is in the figures: the load average stands beside.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drawn_codes import clustered_codes, learned_codes, logit_groups, random_codes
from proxyhash.codes.kernels import kernel, run_blocks
from search_contenders import FAISS, OURS, Contender, Task, contenders

if TYPE_CHECKING:
    from drawn_codes import LogitGroups
    from proxyhash.codes import Codes

QUERIES = 1_000
SINGLES = 20  # single queries in each round
REST = 0.05  # seconds in which the threads of the one measured before fall asleep


def without_avx512() -> None:
    """Start again with compiled loops for a processor that has AVX2 and no AVX-512."""
    if "NUMBA_CPU_FEATURES" in os.environ:
        return
    from llvmlite import binding

    has = dict(binding.get_host_cpu_features())
    kept = {name: on and "avx512" not in name and name != "vpclmulqdq" for name, on in has.items()}
    os.environ["NUMBA_CPU_NAME"] = "znver3"
    os.environ["NUMBA_CPU_FEATURES"] = ",".join("-+"[on] + name for name, on in kept.items())
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.argv])


def draw(kind: str, count: int, bits: int, groups: LogitGroups | None) -> Codes:
    """Return codes followed by as many queries as a batch has."""
    count += QUERIES
    if kind == "learned":
        assert groups is not None
        return learned_codes(count, groups, seed=0)
    drawn = random_codes if kind == "random" else clustered_codes
    return drawn(count, bits=bits, seed=0)


def make_task(codes: Codes, options: argparse.Namespace) -> Task:
    """Return the task to find the last codes among the others."""
    return Task(
        codes=codes[:-QUERIES],
        queries=codes[-QUERIES:].copy(),
        k=options.k,
        threads=options.threads,
        avx2=options.avx2,
        lists=options.lists,
        hnsw_up_to=options.million,
    )


def measure(task: Task, entrants: list[Contender], rounds: int) -> list[dict[str, Any]]:
    """Return queries/s in batches and microseconds of a single query, measured in turn."""
    batch: dict[str, list[float]] = {contender.name: [] for contender in entrants}
    single: dict[str, list[float]] = {contender.name: [] for contender in entrants}
    for turn in range(rounds):
        for contender in entrants:
            contender.search(task.queries[:1])
            time.sleep(REST)
            batch[contender.name].append(seconds_of(contender, task.queries))
            time.sleep(REST)
            for number in range(turn * SINGLES, (turn + 1) * SINGLES):
                place = number % len(task.queries)
                query = task.queries[place : place + 1]
                single[contender.name].append(seconds_of(contender, query))
    return [
        {
            "name": contender.name,
            "queries_per_second": len(task.queries) / float(np.median(batch[contender.name])),
            "single_microseconds": 1e6 * float(np.median(single[contender.name])),
            "recall": contender.recall,
            "memory": contender.memory,
            "build_seconds": contender.build_seconds,
            "note": contender.note,
        }
        for contender in entrants
    ]


def seconds_of(contender: Contender, queries: Codes) -> float:
    """Return what one search takes."""
    start = time.perf_counter()
    contender.search(queries)
    return time.perf_counter() - start


@kernel
def _sum(words: np.ndarray) -> np.uint64:
    total = np.uint64(0)
    for word in words:
        total += word
    return total


def bandwidth(threads: int, rounds: int) -> float:
    """Return the bytes/s at which threads can read memory: the sum of 512 MiB."""
    words = np.ones(2**26, np.uint64)
    block = 2**18
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run_blocks(lambda a, b: _sum(words[a:b]), len(words), threads=threads, block=block)
        times.append(time.perf_counter() - start)
    return words.nbytes / float(np.median(times[1:]))


def run_table(title: str, codes: Codes, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one set of codes."""
    task = make_task(codes, options)
    before = os.getloadavg()[0]
    entrants = list(contenders(task, options.engines))
    rows = measure(task, entrants, options.rounds)
    table = {"title": title, "rows": rows, "load": [round(before, 2), os.getloadavg()[0]]}
    scan = next((row for row in rows if row["name"] == "scan"), None)
    if scan is not None:
        speed = bandwidth(options.threads, options.rounds)
        table["read_bandwidth"] = speed
        table["scan_part_of_bandwidth"] = (
            1e6 * task.codes.nbytes / scan["single_microseconds"] / speed
        )
    del entrants, task
    gc.collect()
    return table


def markdown(table: dict[str, Any]) -> str:
    """Return a table as Markdown: figures, and ratios to each FAISS index."""
    rows = {row["name"]: row for row in table["rows"]}
    rivals = [name for name in FAISS if name in rows]
    head = ["", "queries/s", "one query, µs", "recall", "memory", "build, s"]
    head += [f"times {name.removeprefix('faiss ')}" for name in rivals]
    lines = [f"**{table['title']}**", "", f"| {' | '.join(head)} |"]
    lines.append(f"|---|{'---:|' * (len(head) - 1)}")
    for name, row in rows.items():
        cells = [
            f"{name}{' (' + row['note'] + ')' if row['note'] else ''}",
            f"{row['queries_per_second']:,.0f}",
            f"{row['single_microseconds']:,.0f}",
            f"{row['recall']:.4f}",
            f"{row['memory']:.2f}",
            f"{row['build_seconds']:.1f}",
        ]
        for rival in rivals:
            batch = row["queries_per_second"] / rows[rival]["queries_per_second"]
            single = rows[rival]["single_microseconds"] / row["single_microseconds"]
            cells.append("" if name in rivals else f"{batch:.3g} / {single:.3g}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Load average {table['load'][0]:.1f} before and {table['load'][1]:.1f} after."]
    if "read_bandwidth" in table:
        lines[-1] += (
            f" The scan of one query read {table['scan_part_of_bandwidth']:.2f} of the "
            f"{table['read_bandwidth'] / 1e9:.1f} GB/s that {table['threads']} threads can read."
        )
    return "\n".join(lines)


def run_curve(kind: str, codes: Codes, options: argparse.Namespace) -> dict[str, Any]:
    """Return the queries/s of every engine for growing numbers of codes."""
    sizes = [10**power for power in range(4, 10) if 10**power <= len(codes) - QUERIES]
    points: dict[str, list[tuple[int, float]]] = {}
    for size in sizes or [len(codes) - QUERIES]:
        part = np.concatenate([codes[:size], codes[-QUERIES:]])
        task = make_task(part, options)
        for row in measure(task, list(contenders(task, options.engines)), options.rounds):
            points.setdefault(row["name"], []).append((size, row["queries_per_second"]))
        gc.collect()
    return {"kind": kind, "points": points}


def plot(curves: list[dict[str, Any]], path: Path) -> None:
    """Draw queries/s against the number of codes, one panel a kind of codes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(curves), figsize=(4.2 * len(curves), 4), sharey=True, squeeze=False
    )
    for panel, curve in zip(panels[0], curves, strict=True):
        for name, points in curve["points"].items():
            style = "--" if name.startswith("faiss") else "-"
            panel.loglog(*zip(*points, strict=True), style, marker="o", markersize=4, label=name)
        panel.set(title=f"{curve['kind']} codes", xlabel="codes of 64 bits")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("queries/s in batches of 1,000, k = 10")
    panels[0][-1].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="run folder of `proxyhash train`")
    parser.add_argument("--tables", default="c1,r10,c10,l10,w10", help="which tables, by letters")
    parser.add_argument("--million", type=int, default=10**6, help="codes of the small table")
    parser.add_argument("--ten-million", type=int, default=10**7, help="codes of the others")
    parser.add_argument("--engines", default=",".join([*OURS, *FAISS]))
    parser.add_argument("--lists", default="1024,4096", help="numbers of lists that IVF tries")
    parser.add_argument("--curve", type=Path, metavar="PNG", help="draw queries/s against N too")
    parser.add_argument("--curve-kinds", default="random,clustered,learned", help="its panels")
    parser.add_argument("--curve-to", type=int, help="codes of its last point")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--avx2", action="store_true", help="all of them without AVX-512")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.avx2:
        without_avx512()
    options.engines = options.engines.split(",")
    options.lists = [int(lists) for lists in options.lists.split(",")]
    if options.curve and options.curve_kinds == "learned" and not options.run:
        parser.error("learned codes are drawn around a run; give --run")
    groups = logit_groups(options.run) if options.run else None
    large = options.ten_million
    tables = {
        "c1": ("clustered", options.million, 64),
        "r10": ("random", large, 64),
        "c10": ("clustered", large, 64),
        "l10": ("learned", large, groups.means.shape[1] if groups else 64),
        "w10": ("clustered", large, 128),
    }
    report: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": options.threads,
        "k": options.k,
        "tables": [],
        "curves": [],
    }
    for key in filter(None, options.tables.split(",")):
        kind, count, bits = tables[key]
        if kind == "learned" and groups is None:
            continue
        codes = draw(kind, count, bits, groups)
        title = f"{count:,} {kind} codes of {bits} bits, k = {options.k}"
        table = run_table(title, codes, options) | {"threads": options.threads}
        report["tables"].append(table)
        if not options.json:
            print(markdown(table), end="\n\n", flush=True)
    if options.curve:
        for kind in options.curve_kinds.split(","):
            if kind == "learned" and groups is None:
                continue
            codes = draw(kind, options.curve_to or large, 64, groups)
            report["curves"].append(run_curve(kind, codes, options))
        plot(report["curves"], options.curve)
    if options.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
