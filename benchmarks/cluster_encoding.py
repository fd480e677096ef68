"""Cost of encoding in several processes: `encode` alone, under torchrun, and on a Ray cluster.

    python benchmarks/cluster_encoding.py ../shared
    python benchmarks/cluster_encoding.py ../shared --images 512 --repeats 1 --json

MobileNetV2 and MiniLM with untrained networks encode photos and captions on two cores: one process
with two threads, two processes of torchrun with one each, and two workers of a Ray that is started
for it. Ways take turns. Rate and processor time count from the first shards to the last but two, as
a collection that needs a cluster takes hours and the start half a minute; the start is reported
beside. Processor time is that of all processes that the command started, Ray's own included, and
hardly depends on other load. In the end all code files must be the same, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from proxyhash.data import read_collection
from proxyhash.encoders import TransformersImageEncoder, TransformersTextEncoder
from proxyhash.hashing import HashModel
from proxyhash.networks import HashingNetwork

SHARD = 32
WARM, LEFT = 4, 2  # shards before and after what is measured
PROXYHASH = [sys.executable, "-m", "proxyhash"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WAYS = {
    "one process": ([*PROXYHASH, "encode"], []),
    "torchrun, two processes": ([*TORCHRUN, "-m", "proxyhash", "encode"], []),
    "Ray, two workers": ([*PROXYHASH, "encode"], ["--ray", "local", "--ray-workers", "2"]),
}


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        start: seconds until the first shards are there.
        rate: items per second after that.
        processor: milliseconds of processor time per item after that, of all processes.
    """

    start: float
    rate: float
    processor: float


def processor_seconds(root: int) -> float:
    """Return the processor time of a process and all below it, those that ended included."""
    parents, times = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)] = int(fields[1])
            times[int(folder.name)] = sum(map(int, fields[11:15]))

    def below(pid: int) -> bool:
        while pid > 1:
            if pid == root:
                return True
            pid = parents.get(pid, 0)
        return False

    return sum(used for pid, used in times.items() if below(pid)) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], shards: Path, total: int, environment: dict[str, str]) -> Measured:
    """Run a command to its end, and watch the shards that it writes."""
    began = time.perf_counter()
    marks: list[tuple[int, float, float]] = []
    with tempfile.TemporaryFile() as errors:
        run = subprocess.Popen(command, stdout=errors, stderr=errors, env=os.environ | environment)
        while run.poll() is None:
            wanted = (WARM, total - LEFT)[len(marks)] if len(marks) < 2 else total + 1
            there = len(list(shards.glob("0*.npz")))
            if there >= wanted:
                marks.append((there, time.perf_counter(), processor_seconds(run.pid)))
            time.sleep(0.05)
        if run.returncode:
            errors.seek(0)
            raise SystemExit(errors.read().decode()[-2000:])
    (first, then, used), (last, later, more) = marks
    items = (last - first) * SHARD
    return Measured(then - began, items / (later - then), 1000 * (more - used) / items)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shared", type=Path, help="folder with data/flickr8k and models")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    found: dict[str, list[Measured]] = {name: [] for name in WAYS}
    load = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = options.shared.resolve() / "data" / "flickr8k"
        rows = (data / "items.jsonl").read_text().splitlines()[: options.images]
        items = [json.loads(row) for row in rows]
        manifest = folder / "items.jsonl"
        manifest.write_text(
            "".join(json.dumps(row | {"image": str(data / row["image"])}) + "\n" for row in items)
        )
        total = -(-len(read_collection(manifest)) // SHARD)
        models = options.shared / "models"
        HashModel(
            bits=64,
            classes=["none"],
            method="random-projection",
            networks={"image": HashingNetwork(1280, 64), "text": HashingNetwork(384, 64)},
            encoders={
                "image": TransformersImageEncoder.from_source(models / "mobilenet_v2_1.0_224"),
                "text": TransformersTextEncoder.from_source(models / "all-MiniLM-L6-v2"),
            },
        ).save(folder / "model")
        for repeat in range(options.repeats):
            for name in list(WAYS)[:: -1 if repeat % 2 else 1]:
                load.append(os.getloadavg()[0])
                before, after = WAYS[name]
                out = folder / f"{name}.npz"
                with tempfile.TemporaryDirectory() as cache:  # every feature is computed
                    found[name].append(
                        measure(
                            [
                                *(*before, str(folder / "model"), str(manifest)),
                                *("--out", str(out), "--shard-items", str(SHARD), *after),
                            ],
                            Path(f"{out}.shards"),
                            total,
                            {"PROXYHASH_CACHE": cache},
                        )
                    )
        contents = {(folder / f"{name}.npz").read_bytes() for name in WAYS}
    if len(contents) > 1:
        raise SystemExit("the code files differ")

    local = found["one process"]
    results = [
        {
            "way": name,
            "start_s": statistics.median(each.start for each in runs),
            "items_per_second": statistics.median(each.rate for each in runs),
            "processor_ms": statistics.median(each.processor for each in runs),
            "rate_over_one_process": statistics.median(
                each.rate / one.rate for each, one in zip(runs, local, strict=True)
            ),
            "processor_over_one_process": statistics.median(
                each.processor / one.processor for each, one in zip(runs, local, strict=True)
            ),
        }
        for name, runs in found.items()
    ]
    if options.json:
        print(json.dumps({"load": load, "rows": results}))
        return
    print(f"{len(items):,} images and captions, {SHARD} items per shard, {os.cpu_count()} cores,")
    print(f"load {min(load):.1f}-{max(load):.1f}; the code files are the same\n")
    print("| | start, s | items/s | of one process | processor ms | of one process |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in results:
        print(
            f"| {row['way']} | {row['start_s']:.0f} | {row['items_per_second']:.1f} "
            f"| {row['rate_over_one_process']:.2f} | {row['processor_ms']:.1f} "
            f"| {row['processor_over_one_process']:.2f} |"
        )


if __name__ == "__main__":
    main()
