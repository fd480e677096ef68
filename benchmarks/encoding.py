"""Images encoded per second from files, compared with the bare model on tensors in memory.

    python benchmarks/encoding.py ../shared
    python benchmarks/encoding.py ../shared --images 128 --repeats 3 --json

Three ways through the same MobileNetV2 on the same cores, alternating, so that other load on the
machine affects all of them:

* *bare, one batch over all cores*: `module(pixels)` with torch's own threads, the usual way;
* *bare, two images per core*: the same on two images at a time, a stream for each core;
* *from files*: `encoder.encode(paths)`: reading, decoding, resizing, and the model as before, but
  recorded, so that the streams do not wait for each other in the interpreter.

The ratios are medians over the repeats; each is taken within a repeat. Processor time is reported
too, which is more reliable than the clock on a shared machine. Decoding alone is the time of one
core to open and resize an image.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxyhash.encoders import TransformersImageEncoder
from proxyhash.encoders.batches import encode_batches
from proxyhash.encoders.pretrained import CPU_BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

BATCH = 64


class Contenders:
    """The ways of getting features, each a function without arguments."""

    def __init__(self, encoder: TransformersImageEncoder, paths: Sequence[Path]) -> None:
        self.encoder = encoder
        self.paths = paths
        ready = [encoder.prepare(path) for path in paths]
        self.pixels = [encoder.pixels(ready[i : i + BATCH]) for i in range(0, len(ready), BATCH)]

    def bare(self) -> None:
        """Run the model batch by batch, each split over all cores by torch."""
        with torch.inference_mode():
            for pixels in self.pixels:
                self.encoder.module(pixels)

    def bare_streams(self) -> None:
        """Run the model on two images at a time, each core on its own."""

        def forward(numbers: NDArray[np.int64]) -> list[None]:
            with torch.inference_mode():
                for number in numbers:
                    for pixels in self.pixels[number].split(CPU_BATCH):
                        self.encoder.module(pixels)
            return [None] * len(numbers)

        for _ in encode_batches(forward, np.arange(len(self.pixels)), batch_size=1):
            pass

    def from_files(self) -> None:
        """Encode the image files."""
        self.encoder.encode(self.paths, batch_size=BATCH)

    def decoding(self) -> None:
        """Open and resize the images, on one core."""
        for path in self.paths:
            self.encoder.prepare(path)


def measure(run: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds one run takes by the clock, and of processor time on all cores."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shared", type=Path, help="folder with data/flickr8k and models")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    source = options.shared / "models" / "mobilenet_v2_1.0_224"
    paths = sorted((options.shared / "data/flickr8k/images").iterdir())[: options.images]
    contenders = Contenders(TransformersImageEncoder.from_source(source), paths)
    ways = {
        "bare, one batch over all cores": contenders.bare,
        "bare, two images per core": contenders.bare_streams,
        "from files": contenders.from_files,
        "decoding alone, one core": contenders.decoding,
    }
    contenders.encoder.encode(paths[:BATCH])
    load: list[float] = []
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(options.repeats):
        load.append(os.getloadavg()[0])
        for name in list(ways)[:: -1 if repeat % 2 else 1]:
            taken[name].append(measure(ways[name]))

    rows = []
    for name, times in taken.items():
        clock, processor = (statistics.median(column) for column in zip(*times, strict=True))
        pairs = zip(times, taken["from files"], strict=True)
        ratios = [[bare / files for bare, files in zip(*pair, strict=True)] for pair in pairs]
        rows.append(
            {
                "way": name,
                "images_per_second": len(paths) / clock,
                "processor_ms": 1000 * processor / len(paths),
                "from_files_by_clock": statistics.median(ratio[0] for ratio in ratios),
                "from_files_by_processor": statistics.median(ratio[1] for ratio in ratios),
            }
        )
    if options.json:
        print(json.dumps({"threads": torch.get_num_threads(), "load": load, "rows": rows}))
        return
    print(f"{len(paths)} images, batches of {BATCH}, {torch.get_num_threads()} threads,")
    print(
        f"{platform.machine()}, torch {torch.__version__}, load {min(load):.1f}-{max(load):.1f}\n"
    )
    print("| | images/s | processor ms | from files reaches, by clock | by processor |")
    print("|---|---|---|---|---|")
    for row in rows:
        reached = [row["from_files_by_clock"], row["from_files_by_processor"]]
        cells = [f"{ratio:.2f}" if row["way"].startswith("bare") else "" for ratio in reached]
        print(
            f"| {row['way']} | {row['images_per_second']:.1f} | {row['processor_ms']:.1f} "
            f"| {cells[0]} | {cells[1]} |"
        )


if __name__ == "__main__":
    main()
