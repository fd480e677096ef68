"""Latency and throughput of a service, measured over loopback by another process.

    python benchmarks/serving.py RUN                       # quick, about two minutes
    python benchmarks/serving.py RUN --mixed 600 --json    # the record: ten minutes of mixed load

RUN is a run folder of `proxyhash train` with a bag of words and an image encoder: its model
encodes, and its collection gives texts and images. The index has `--items` random codes.

Text searches are sent at a fixed rate whether or not earlier answers have arrived, and latency is
measured from when a request was due, so that a stall of the service counts. The other requests are
sent as fast as answers arrive, by several clients. Image search is compared with the encoder's own
rate: the same images through `encode_images` in a separate process, alternating with the service,
`--rounds` times; the share is the median over the rounds. Server and clients share the machine; the
load average is reported too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from http_load import Load, as_fast_as_answered, at_a_rate, multipart

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PROXYHASH = Path(sys.executable).parent / "proxyhash"

_ENCODER = """
import json, sys, time
from pathlib import Path
from proxyhash.hashing import HashModel
model = HashModel.load(sys.argv[1])
images = [Path(path).read_bytes() for path in json.load(sys.stdin)]
model.encode_images(images[:32])
start = time.perf_counter()
for _ in range(3):
    model.encode_images(images)
print(3 * len(images) / (time.perf_counter() - start))
"""


def build(run: Path, folder: Path, items: int) -> None:
    """Write an index of random codes with small payloads, of the run's model."""
    from proxyhash.catalog.catalog import Catalog
    from proxyhash.hashing import HashModel
    from proxyhash.index.store import Store

    model = HashModel.load(run / "model")
    rng = np.random.default_rng(0)
    with Store.create(folder, bits=model.bits, model=model.fingerprint) as store:
        for start in range(0, items, 50_000):
            count = min(50_000, items - start)
            codes = rng.integers(0, 256, (2, count, -(-model.bits // 8)), np.uint8)
            ids = [f"{start + place:08}" for place in range(count)]
            payloads = [{"text": f"text of item {id_}", "labels": ["a"]} for id_ in ids]
            store.add(ids, {"image": codes[0], "text": codes[1]}, payloads=payloads)
    Catalog(folder).put_model(run / "model")


def start(index: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a service, and return it with its port once requests can come."""
    process = subprocess.Popen(
        [PROXYHASH, "serve", index, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, int(line.strip().rpartition(":")[2])


def labels(port: int) -> list[object]:
    """Return the labels that the service has counted so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/info") as answer:
        return list(json.load(answer)["labels"])


def memory(process: subprocess.Popen[str]) -> dict[str, int]:
    """Return the memory of a process in MB: its own, and pages of mapped files beside it."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return {
        name: int(status[field].split()[0]) // 1024
        for name, field in (("own", "RssAnon"), ("of_files", "RssFile"))
    }


async def watch_memory(
    process: subprocess.Popen[str], load: Coroutine[Any, Any, Load], *, every: float
) -> tuple[Load, list[dict[str, int]]]:
    """Return what came of a load, and the memory of the service from its first to its last."""
    samples = [memory(process)]
    task = asyncio.create_task(load)
    while not (await asyncio.wait([task], timeout=every))[0]:
        samples.append(memory(process))
    return task.result(), [*samples, memory(process)]


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """Return the processor time that a process has used."""
    fields = (
        Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    )
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def encoder_rate(run: Path, images: list[Path]) -> float:
    """Return how many images per second the encoder takes by itself."""
    done = subprocess.run(
        [sys.executable, "-c", _ENCODER, run / "model"],
        input=json.dumps([str(path) for path in images]),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def beside(alone: float, service: dict[str, Any]) -> dict[str, Any]:
    """Return figures of the service with what share of the encoder's own rate it reaches."""
    share = service["per_second"] / alone
    return service | {"encoder_alone": round(alone, 1), "share": round(share, 3)}


class Requests:
    """Draws requests for one index and one collection.

    Args:
        items: how many the index has.
        texts: what is searched for.
        images: files that are searched with.
        bits: the code length.
    """

    def __init__(self, items: int, texts: list[str], images: list[Path], bits: int) -> None:
        self.rng = np.random.default_rng(1)
        self.items, self.texts, self.bits = items, texts, bits
        self.images = [multipart(path.read_bytes()) for path in images]

    def text(self) -> tuple[str, str, bytes]:
        """Return method and address, kind and body of a search by text."""
        return _json({"text": self.texts[self.rng.integers(len(self.texts))], "target": "image"})

    def id(self) -> tuple[str, str, bytes]:
        """Return a search by item."""
        return _json({"id": f"{self.rng.integers(self.items):08}", "target": "text"})

    def code(self) -> tuple[str, str, bytes]:
        """Return a search by code."""
        return _json({"code": self.rng.bytes(-(-self.bits // 8)).hex(), "target": "text"})

    def id_or_code(self) -> tuple[str, str, bytes]:
        """Return a search by item or by code."""
        return self.id() if self.rng.random() < 0.5 else self.code()

    def image(self) -> tuple[str, str, bytes]:
        """Return a search by image."""
        kind, body = self.images[self.rng.integers(len(self.images))]
        return "POST /v1/search/image", kind, body

    def mixed(self) -> tuple[str, str, bytes]:
        """Return what a page full of people asks."""
        draw = self.rng.random()
        if draw < 0.5:
            return self.text()
        if draw < 0.8:
            return self.id_or_code()
        if draw < 0.9:
            return self.image()
        return f"GET /v1/items/{self.rng.integers(self.items):08}", "", b""


def _json(body: dict[str, Any]) -> tuple[str, str, bytes]:
    return "POST /v1/search", "application/json", json.dumps(body).encode()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=15, help="of each measurement")
    parser.add_argument("--rate", type=float, default=50, help="text searches per second")
    parser.add_argument("--clients", type=int, default=16, help="at once, where it is about speed")
    parser.add_argument("--rounds", type=int, default=5, help="of images beside the encoder")
    parser.add_argument("--mixed", type=float, default=20, help="seconds of mixed load")
    parser.add_argument("--index", type=Path, help="folder to keep the index in, or to find it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = options.index or Path(folder) / "index"
        if not index.exists():
            build(options.run, index, options.items)
        figures = measure(options, index)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name, each in figures.items():
        print(f"{name}: {each}")


def measure(options: argparse.Namespace, index: Path) -> dict[str, Any]:
    """Return all figures."""
    from proxyhash.data.run_data import read_run

    run = read_run(options.run)
    texts = [text for text in run.collection.sources("text")[:2000] if text and " in " in text]
    images = [path for path in run.collection.sources("image")[:256] if path]
    requests = Requests(options.items, texts, images, run.codes.bits)
    clients, seconds = options.clients, options.seconds
    process, port = start(index)
    try:
        figures: dict[str, Any] = {"items": options.items, "memory_mb": {"begin": memory(process)}}

        def summary(load: Coroutine[Any, Any, Load]) -> dict[str, Any]:
            before = cpu_seconds(process)
            done, samples = asyncio.run(
                watch_memory(process, load, every=max(1.0, options.mixed / 10))
            )
            figures["memory_mb"]["latest"] = samples
            used = 1000 * (cpu_seconds(process) - before) / max(len(done.times), 1)
            return done.summary() | {"server_cpu_ms_each": round(used, 2)}

        def fast(make: Callable[[], Any], clients: int, seconds: float) -> dict[str, Any]:
            return summary(as_fast_as_answered(port, make, clients=clients, seconds=seconds))

        while not labels(port):  # they are counted in the background after each start
            time.sleep(0.1)
        fast(requests.mixed, 4, 3)
        text = at_a_rate(port, requests.text, rate=options.rate, seconds=seconds)
        figures[f"text at {options.rate:g}/s"] = summary(text)
        figures["id or code"] = fast(requests.id_or_code, clients, seconds)
        figures["image"] = [
            beside(encoder_rate(options.run, images), fast(requests.image, clients, seconds))
            for _ in range(options.rounds)
        ]
        shares = [each["share"] for each in figures["image"]]
        figures["image share, median"] = statistics.median(shares)
        figures["mixed"] = fast(requests.mixed, 8, options.mixed)
        figures["memory_mb"]["during mixed load"] = figures["memory_mb"].pop("latest")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    figures["load_average"] = [round(value, 1) for value in os.getloadavg()]
    figures["cores"] = os.cpu_count()
    figures["at"] = time.strftime("%Y-%m-%d")
    return figures


if __name__ == "__main__":
    main()
