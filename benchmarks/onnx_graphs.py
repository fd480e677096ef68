"""Codes per second from prepared inputs: exported ONNX graphs against the model's own encoder.

    proxyhash export onnx runs/f64 onnx/ --int8
    python benchmarks/onnx_graphs.py runs/f64 onnx/
    python benchmarks/onnx_graphs.py runs/f64 onnx/ --batch 1 --repeats 9 --json

Images are decoded and resized before the clock starts; normalizing them and tokenizing texts is the
same in all ways. What differs is the network: the model's encoder and hashing network in torch
(recorded where that applies), and each graph in onnxruntime on the CPU, all on one thread. The ways
alternate, and the ratios are medians over the repeats, each taken within a repeat, since other work
on the machine affects all of them. Processor time is reported, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from proxyhash.data.run_data import read_run_collection
from proxyhash.hashing import HashModel, model_folder
from proxyhash.hashing.onnx_graph import Graph, open_session, run_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WARM = 64  # inputs before the clock starts: the encoder records its layers after 32 images


def ways_of(
    model: HashModel, graph: Graph, sources: Sequence[Any], folder: Path, batch: int
) -> dict[str, Callable[[], None]]:
    """Return the ways to turn the inputs of a modality into codes, by name."""
    encoder: Any = graph.encoder
    parts = [sources[start : start + batch] for start in range(0, len(sources), batch)]
    prepared = [[encoder.prepare(each) for each in part] for part in parts]

    def feeds(part: Sequence[Any]) -> dict[str, np.ndarray]:
        if graph.kind == "counts":
            return {"counts": encoder.counts(part)}
        tensors = encoder.tensors(part)
        return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}

    def ours() -> None:
        for part in prepared:
            model.encode_features(encoder.embed(part), modality=graph.modality)

    def through(session: Any) -> Callable[[], None]:
        def run() -> None:
            for part in prepared:
                run_graph(session, feeds(part))

        return run

    told = json.loads((folder / f"{graph.modality}.json").read_text("utf-8"))["graphs"]
    sessions = {name: open_session(folder / each["file"], threads=1) for name, each in told.items()}
    return {"torch": ours} | {
        f"onnxruntime, {name}": through(session) for name, session in sessions.items()
    }


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds one run takes by the clock, and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("folder", type=Path, help="what `proxyhash export onnx` wrote of it")
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(1)
    model = HashModel.load(model_folder(options.run))
    collection = read_run_collection(options.run)
    rows = []
    for modality in model.modalities:
        if not (options.folder / f"{modality}.json").is_file():
            continue
        there = [each for each in collection.sources(modality) if each is not None]
        spread = np.linspace(0, len(there) - 1, options.items).astype(int)
        graph = Graph.of(model, modality)
        if graph.kind == "features":
            continue
        sources = [there[row] for row in spread]
        ways = ways_of(model, graph, sources, options.folder, options.batch)
        for run in ways.values():
            for _ in range(-(-WARM // options.items)):
                run()
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for repeat in range(options.repeats):
            for name in list(ways)[:: -1 if repeat % 2 else 1]:
                taken[name].append(measure(ways[name]))
        for name, times in taken.items():
            pairs = list(zip(taken["torch"], times, strict=True))
            rows.append(
                {
                    "modality": modality,
                    "way": name,
                    "processor_ms": 1000
                    * statistics.median(processor for _, processor in times)
                    / options.items,
                    "speed_by_clock": statistics.median(a[0] / b[0] for a, b in pairs),
                    "speed_by_processor": statistics.median(a[1] / b[1] for a, b in pairs),
                }
            )
    if options.json:
        print(json.dumps({"batch": options.batch, "load": os.getloadavg()[0], "rows": rows}))
        return
    print(f"{options.items} items, batches of {options.batch}, one thread, ", end="")
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    print("| | processor ms per item | speed, by clock | by processor |")
    print("|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['modality']}, {row['way']} | {row['processor_ms']:.2f} "
            f"| {row['speed_by_clock']:.2f} | {row['speed_by_processor']:.2f} |"
        )


if __name__ == "__main__":
    main()
