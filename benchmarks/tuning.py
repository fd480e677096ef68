"""Training items per second of encoders that learn from image files, against a bare loop of torch.

    python benchmarks/tuning.py                                    # MobileNetV2 from its config
    python benchmarks/tuning.py --model ../shared/models/mobilenet_v2_1.0_224 --image-size 160
    python benchmarks/tuning.py --device cuda --precision bfloat16 --items 4096 --batch-size 256

*Ours* is `proxyhash.training.train` with `tune = image` on JPEG files of 500 x 375 pixels: its
loop, pixel cache, augmentation, objective, moving average and optimizer. The *bare loop* is the
same network and heads, batch, image size and precision on one batch of random tensors that is on
the device from the start: forward, a mean of squares, backward, AdamW. Both run in one process in
alternating rounds, an epoch of ours between two of the bare loop, so that other load on the
machine affects both. The first epoch of ours, which decodes the files, is reported apart. The
ratio is ours / bare, the median over the rounds, with the least and the greatest; that of processor
time tells more on a shared machine.

Peak memory is that of two more processes, one that only trains and one that only runs the bare
loop: the resident set of the process on a processor, the allocator's peak on a GPU. Ours has the
pixel cache mapped, which counts as resident; its stated size may be taken off.

Bars: at least 0.85 of the bare loop's speed on two cores, 0.80 on a GPU; at most 1.1 times its
memory beside the cache.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from proxyhash.training.history import EpochRecord

WORDS, HIDDEN, BITS, CLASSES, QUERIES = 2000, 1024, 64, 25, 16
WIDTH, HEIGHT = 500, 375
BAR = {"cpu": 0.85, "cuda": 0.80}
MEMORY_BAR = 1.1


@dataclass(frozen=True)
class Job:
    """What both train, picklable for the processes that measure memory."""

    data: str
    model: str
    device: str
    precision: str
    image_size: int
    batch_size: int
    items: int
    threads: int | None
    method: str

    def config(self, *, epochs: int, out: str) -> Any:
        """Return the configuration of our training."""
        from proxyhash.training import read_config

        values = {
            "data": self.data, "out": out, "method": self.method, "bits": BITS, "tune": ["image"],
            "image_encoder": self.model, "device": self.device, "precision": self.precision,
            "image_size": self.image_size, "batch_size": self.batch_size, "hidden": [HIDDEN],
            "query": QUERIES, "train": self.items, "validation": 0, "epochs": epochs,
            "head_epochs": 0, "final_epochs": 0, "threads": self.threads,
        }  # fmt: skip
        return read_config(values)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return math.ceil(self.items / self.batch_size)


def make_images(folder: Path, items: int) -> None:
    """Write a manifest and JPEG files of random smooth color, as large as photos on the web."""
    from PIL import Image

    rng = np.random.default_rng(0)
    lines = []
    for row in range(items):
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        image = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        image.save(folder / f"{row:05}.jpg", quality=90)
        labels = [f"class{label}" for label in rng.choice(CLASSES, size=2, replace=False)]
        words = " ".join(f"word{word}" for word in rng.integers(0, WORDS, 12))
        item = {"id": f"{row:05}", "image": f"{row:05}.jpg", "text": words, "labels": labels}
        lines.append(json.dumps(item))
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")


def make_model(folder: Path) -> None:
    """Write MobileNetV2 with random weights of the usual size, so that nothing is downloaded."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.MobileNetV2Model(transformers.MobileNetV2Config())
    for layer in model.modules():  # weights that let a signal through 50 layers
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    model.save_pretrained(folder)
    transformers.MobileNetV2ImageProcessorPil().save_pretrained(folder)


class BareLoop:
    """The same network, heads, batch and precision without anything around them."""

    def __init__(self, job: Job) -> None:
        import torch
        from torch import nn

        from proxyhash.encoders import TransformersImageEncoder

        self._torch, self._job = torch, job
        encoder = TransformersImageEncoder.from_source(Path(job.model), device=job.device)
        self.network = encoder.module.train().requires_grad_()
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):  # as in ours: statistics stay
                layer.eval()
        torch.manual_seed(0)
        size = (job.batch_size, 3, job.image_size, job.image_size)
        self.pixels = torch.randn(size).to(job.device)
        self.words = (torch.rand(job.batch_size, WORDS) < 12 / WORDS).float().to(job.device)

        def head(width: int) -> nn.Module:
            layers = [nn.Linear(width, HIDDEN), nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN, BITS)]
            return nn.Sequential(*layers, nn.BatchNorm1d(BITS)).to(job.device)

        self.heads = [head(encoder.dim), head(WORDS)]
        learning = [self.network, *self.heads]
        self.optimizer = torch.optim.AdamW([p for each in learning for p in each.parameters()])
        self.scaler = torch.amp.GradScaler(job.device, enabled=job.precision == "float16")

    def run(self, steps: int) -> None:
        """Do some steps."""
        torch, job = self._torch, self._job
        dtype = torch.float32 if job.precision == "float32" else getattr(torch, job.precision)
        kind = torch.device(job.device).type
        for _ in range(steps):
            with torch.autocast(kind, dtype, enabled=job.precision != "float32"):
                output = self.network(self.pixels)
                features = output.pooler_output  # (b, d)
                outputs = [self.heads[0](features), self.heads[1](self.words)]
            loss = sum(each.float().square().mean() for each in outputs)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        float(loss.detach())  # waits for the device


def measure_speed(job: Job, rounds: int) -> dict[str, Any]:
    """Return items per second of both, in alternating rounds, and the ratios."""
    from proxyhash.training import train

    bare = BareLoop(job)
    ours, theirs = Laps(), Laps()

    def report(_record: EpochRecord) -> None:
        ours.stop()
        with theirs:
            bare.run(job.steps)
        ours.start()

    with tempfile.TemporaryDirectory() as folder:
        bare.run(2)
        config = job.config(epochs=rounds + 1, out=str(Path(folder) / "run"))
        train(config, report=report, track=ours.track, checkpoints=False)
    own = ours.laps[1:]  # the first one decodes
    pairs = [theirs.laps[place : place + 2] for place in range(len(own))]
    ratios = [
        [(one[clock] + two[clock]) / 2 / mine[clock] for clock in (0, 1)]
        for mine, (one, two) in zip(own, pairs, strict=True)
    ]
    by_clock, by_processor = zip(*ratios, strict=True)
    return {
        "first_epoch": job.items / ours.laps[0][0],
        "ours": job.items / statistics.median(lap[0] for lap in own),
        "bare": job.steps * job.batch_size / statistics.median(lap[0] for lap in theirs.laps),
        "ratio": statistics.median(by_clock),
        "least": min(by_clock),
        "greatest": max(by_clock),
        "processor_ratio": statistics.median(by_processor),
    }


class Laps:
    """Seconds by the clock and of processor time, lap by lap."""

    def __init__(self) -> None:
        self.laps: list[tuple[float, float]] = []
        self._began = (0.0, 0.0)

    def start(self) -> None:
        """Begin a lap."""
        self._began = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """End it."""
        clock, processor = time.perf_counter(), time.process_time()
        self.laps.append((clock - self._began[0], processor - self._began[1]))

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def track(self, steps: Any, description: str, _total: int | None = None, /) -> Any:
        """Begin the first lap where the first epoch begins."""
        if description.startswith("epoch 1") and not self.laps:
            self.start()
        return iter(steps)


def peak_of_ours(job: Job) -> int:
    """Return the peak memory of a process that trains, in bytes."""
    from proxyhash.training import train

    with tempfile.TemporaryDirectory() as folder:
        train(job.config(epochs=2, out=str(Path(folder) / "run")), checkpoints=False)
    return peak(job)


def peak_of_bare(job: Job) -> int:
    """Return the peak memory of a process that runs the bare loop, in bytes."""
    import torch

    if job.threads:
        torch.set_num_threads(job.threads)
    BareLoop(job).run(4)
    return peak(job)


def peak(job: Job) -> int:
    """Return the most bytes that this process has had, on the device that trains."""
    import torch

    from proxyhash.bench.machine import peak_memory

    if torch.device(job.device).type == "cuda":
        return torch.cuda.max_memory_allocated(job.device)
    return peak_memory()


def cache_bytes(folder: Path) -> int:
    """Return the size of the pixel cache below a cache folder."""
    return sum(each.stat().st_size for each in (folder / "pixels").rglob("*") if each.is_file())


def in_process(function: Any, *arguments: Any) -> Any:
    """Run a function in a process of its own, and return what it returns."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="transformers image model; MobileNetV2 by default")
    parser.add_argument("--data", help="collection; generated images by default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--items", type=int, default=512, help="training items per epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--method", default="dchml-plus")
    parser.add_argument("--no-memory", action="store_true", help="measure speed alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("images", "model", "cache"):
            (folder / each).mkdir()
        os.environ["PROXYHASH_CACHE"] = str(folder / "cache")
        if not options.data:
            make_images(folder / "images", options.items + QUERIES)
        if not options.model:
            in_process(make_model, folder / "model")
        job = Job(
            data=options.data or str(folder / "images"),
            model=options.model or str(folder / "model"),
            device=options.device,
            precision=options.precision,
            image_size=options.image_size,
            batch_size=options.batch_size,
            items=options.items,
            threads=options.threads,
            method=options.method,
        )
        found = in_process(measure_speed, job, options.rounds)
        found["cache"] = cache_bytes(folder / "cache")
        if not options.no_memory:
            found["peak_ours"] = in_process(peak_of_ours, job)
            found["peak_bare"] = in_process(peak_of_bare, job)
            cached = found["cache"] if options.device == "cpu" else 0
            found["memory_ratio"] = (found["peak_ours"] - cached) / found["peak_bare"]
    found |= {"machine": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    if options.json:
        print(json.dumps(found | {"job": vars(options)}))
        return
    bar = BAR["cpu" if options.device == "cpu" else "cuda"]
    print(
        f"{Path(job.model).name}, {options.image_size} pixels, batches of {options.batch_size}, "
        f"{options.precision}, {options.device}, {os.cpu_count()} cores, load {found['load']:.1f}\n"
        f"first epoch, with decoding: {found['first_epoch']:.1f} items/s\n"
        f"ours {found['ours']:.1f}, bare loop {found['bare']:.1f} items/s: ratio "
        f"{found['ratio']:.2f} ({found['least']:.2f} to {found['greatest']:.2f}), bar {bar}; "
        f"by processor time {found['processor_ratio']:.2f}"
    )
    if not options.no_memory:
        print(
            f"peak memory: ours {found['peak_ours'] / 2**20:.0f} MiB, of them pixel cache "
            f"{found['cache'] / 2**20:.0f} MiB; bare loop {found['peak_bare'] / 2**20:.0f} MiB: "
            f"ratio beside the cache {found['memory_ratio']:.2f}, bar {MEMORY_BAR}"
        )


if __name__ == "__main__":
    main()
