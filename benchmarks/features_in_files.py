r"""Seconds per epoch from features in memory, and from features that stay in their files.

    python benchmarks/features_in_files.py                        # a million items, two methods
    python benchmarks/features_in_files.py --items 200000 --rounds 5 --methods dchml

Features are random, 128 values for images and texts, labels two of 24 classes. Both ways walk over
all items once per epoch, with equal networks, batches and steps; epochs of both take turns, so that
other work on the machine meets both. The files are in the cache of the system after the first
epoch, which is not counted. Where they are not, a disk has to give the bytes of an epoch once, in
blocks of 1,024 items.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
from pathlib import Path

import numpy as np

WIDTH, CLASSES, BATCH = 128, 24, 512


def draw(folder: Path, items: int) -> np.ndarray:
    """Write the features of images and texts; return labels, bool (n, C)."""
    rng = np.random.default_rng(0)
    labels = np.zeros((items, CLASSES), np.bool_)
    for _ in range(2):
        labels[np.arange(items), rng.integers(0, CLASSES, items)] = True
    for name in ("image", "text"):
        centers = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
        shape = (items, WIDTH)
        rows = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
        for start in range(0, items, 65536):
            some = labels[start : start + 65536]
            noise = rng.standard_normal((len(some), WIDTH), dtype=np.float32)
            rows[start : start + len(some)] = some @ centers + noise
        rows.flush()
    return labels


def main() -> None:
    """Time both ways in turns and print a table."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does
    import torch

    from proxyhash.methods import Rows
    from proxyhash.training.build import build_state
    from proxyhash.training.config import read_config
    from proxyhash.training.folder import RunFolder
    from proxyhash.training.loop import run_epochs
    from proxyhash.training.mapped import MappedFeatures

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["dchml", "dchml-plus"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").mkdir()
        labels = torch.from_numpy(draw(folder, arguments.items))
        everything = np.arange(arguments.items)
        present = np.ones(arguments.items, np.bool_)
        has = dict.fromkeys(("image", "text"), torch.from_numpy(present))

        def mapped(modality: str) -> MappedFeatures:
            values = np.load(folder / f"{modality}.npy", mmap_mode="r")
            return MappedFeatures(values, everything, present, device="cpu")

        ways = {
            "memory": {m: torch.from_numpy(np.load(folder / f"{m}.npy")) for m in has},
            "files": {m: mapped(m) for m in has},
        }
        nothing = Rows({m: torch.zeros(0, WIDTH) for m in has}, {m: has[m][:0] for m in has},
                       labels[:0])  # fmt: skip
        print(f"{arguments.items:,} items, batches of {BATCH}; seconds per epoch, median and range")
        print("method       memory                files                 files / memory")
        for method in arguments.methods:
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(arguments.rounds + 1):
                for way, features in ways.items():
                    options = {"data": name, "out": str(folder / "run"), "method": method}
                    options |= {"epochs": 1, "epoch_items": 0, "batch_size": BATCH, "seed": number}
                    config = read_config(options)
                    rows = Rows(features, has, labels)
                    state = build_state(config, rows, inputs={})
                    run_epochs(
                        state, rows, nothing, config=config, folder=RunFolder(folder / "run"),
                        report=lambda _: None, stop=lambda: False, checkpoints=False,
                    )  # fmt: skip
                    if number:
                        seconds[way].append(state.seconds)
            shown = [
                f"{statistics.median(s):7.1f} ({min(s):.1f} to {max(s):.1f})"
                for s in seconds.values()
            ]
            ratios = [f / m for m, f in zip(seconds["memory"], seconds["files"], strict=True)]
            print(f"{method:<12} {shown[0]:<21} {shown[1]:<21} {statistics.median(ratios):.2f}",
                  flush=True)  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of this process: {peak:,.0f} MB, the features in memory included")


if __name__ == "__main__":
    main()
