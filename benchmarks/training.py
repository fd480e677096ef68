r"""Seconds per training run from cached features: the epochs alone, and the whole run.

    python benchmarks/training.py                               # random features, sizes of flickr8k
    python benchmarks/training.py ../shared/data/flickr8k --bits 16 64 --threads 1 2 \
        --image-encoder ../shared/models/mobilenet_v2_1.0_224

Without a collection, features and labels are random: 7,957 items, 1,280 image and 2,000
text features, 25 classes, two labels per item. With one, features are encoded (or found in the
cache) before the clock starts. The whole run counts reading, the features from the cache, training
with validation and a checkpoint after every epoch, and writing and evaluating the codes. Each run
is a separate process, so that threads and compiled kernels start fresh.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ITEMS, IMAGE_FEATURES, WORDS, CLASSES = 7957, 1280, 2000, 25


def draw_collection(folder: Path) -> dict[str, Any]:
    """Write a manifest with random labels and features; return the options that name them."""
    rng = np.random.default_rng(0)
    labels = [rng.choice(CLASSES, size=2, replace=False) for _ in range(ITEMS)]
    lines = [
        json.dumps({"id": f"{row:05}", "labels": [f"class{label}" for label in pair]})
        for row, pair in enumerate(labels)
    ]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    np.save(folder / "image.npy", rng.random((ITEMS, IMAGE_FEATURES), np.float32))
    np.save(folder / "text.npy", (rng.random((ITEMS, WORDS)) < 0.005).astype(np.float32))
    encoders = {f"{name}_encoder": f"features:{folder / name}.npy" for name in ("image", "text")}
    return {"data": str(folder), **encoders}


def time_run(values: dict[str, Any]) -> dict[str, float]:
    """Train once and return seconds and scores; runs in a process of its own."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does
    from proxyhash.training import read_config, train

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = train(read_config({**values, "out": str(Path(folder) / "run")}))
        return {
            "epochs": result.epochs,
            "training_seconds": result.seconds,
            "whole_seconds": time.perf_counter() - started,
            "image_to_text": result.metrics["map"]["image_to_text"],
            "text_to_image": result.metrics["map"]["text_to_image"],
        }


def main() -> None:
    """Time every combination and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="?", help="collection; random features by default")
    parser.add_argument("--image-encoder", default="descriptor")
    parser.add_argument("--text-encoder", default="bow")
    parser.add_argument("--methods", nargs="+", default=["dchml", "psldh", "dcmh"])
    parser.add_argument("--bits", nargs="+", type=int, default=[64])
    parser.add_argument("--threads", nargs="+", type=int, default=[os.cpu_count() or 1])
    parser.add_argument("--epochs", type=int, help="default: the package's")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data:
            names = ("data", "image_encoder", "text_encoder")
            values = {name: getattr(arguments, name) for name in names}
        else:
            values = draw_collection(Path(folder))
        values |= {"query": 1000, "train": 5000}
        if arguments.epochs:
            values["epochs"] = arguments.epochs
        if arguments.data:  # fill the feature cache
            with processes.Pool(1) as pool:
                pool.apply(time_run, ({**values, "epochs": 1},))
        if not arguments.json:
            print(f"{platform.machine()}, {os.cpu_count()} processors, {values['data']}")
            print("method  bits  threads  epochs  training s   whole run s  I->T   T->I")
        for method in arguments.methods:
            for bits in arguments.bits:
                for threads in arguments.threads:
                    setting = {"method": method, "bits": bits, "threads": threads}
                    with processes.Pool(1) as pool:
                        figures = pool.apply(time_run, ({**values, **setting},))
                    if arguments.json:
                        print(json.dumps(setting | figures), flush=True)
                    else:
                        print(
                            f"{method:<7} {bits:4} {threads:8} {figures['epochs']:7} "
                            f"{figures['training_seconds']:11.1f} {figures['whole_seconds']:13.1f}"
                            f"  {figures['image_to_text']:.3f}  {figures['text_to_image']:.3f}",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
