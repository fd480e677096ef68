"""The measured table of the README: methods x bits x data sets, mean and spread over seeds.

    python benchmarks/quality.py ../shared                    # everything, seeds 0, 1, 2
    python benchmarks/quality.py ../shared --only flickr8k --seeds 0

Each cell is a run folder of its own under `--out`, made with the package's defaults for everything
the table does not name. A finished cell is not trained again, so a stopped table goes on where it
was. Queries play no part in training: the epoch is chosen on a validation split of the train items.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data.convert import convert_data_set
from proxyhash.evaluation.report import markdown_table, spread
from proxyhash.files import read_json
from proxyhash.training import read_config, train

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COLUMNS = ("literature I→T", "literature T→I", "strict I→T", "strict T→I")


@dataclass(frozen=True)
class Row:
    """One row of the table: the same run over several seeds."""

    data: str
    method: str
    bits: int
    texts: str
    options: Mapping[str, Any]

    def folder(self, out: Path, seed: int) -> Path:
        """Return the run folder of one cell."""
        texts = self.texts.replace(" ", "-")
        return out / f"{self.data}-{self.method}-{self.bits}-{texts}-s{seed}"


def rows(shared: Path, out: Path) -> Iterator[Row]:
    """Yield the rows of the table in order."""
    pictures = {
        "image_encoder": str(shared / "models/mobilenet_v2_1.0_224"),
        "query": 1000,
        "train": 5000,
    }
    flickr = {"data": str(shared / "data/flickr8k"), **pictures}
    words = {"bag of words": "bow", "MiniLM": str(shared / "models/all-MiniLM-L6-v2")}
    for bits in (16, 64):
        for method in ("dchml", "psldh", "dcmh"):
            options = {**flickr, "text_encoder": "bow"}
            yield Row("flickr8k", method, bits, "bag of words", options)
    for method in ("dchml", "psldh", "dcmh"):
        yield Row("flickr8k", method, 64, "MiniLM", {**flickr, "text_encoder": words["MiniLM"]})
    fashion = {"data": str(shared / "data/fashion10k"), **pictures, "text_encoder": "bow"}
    for method in ("dchml", "psldh", "dcmh"):
        yield Row("fashion10k", method, 64, "bag of words", fashion)
    wikipedia = out / "wikipedia"
    features = {
        f"{modality}_encoder": f"features:{wikipedia / f'{modality}_features.npy'}"
        for modality in ("image", "text")
    }
    for method in ("dchml", "psldh", "dcmh"):
        # Topic shares and word counts of a few hundredths teach nothing unscaled.
        options = {"data": str(wikipedia), "standardize": True, **features}
        yield Row("wikipedia", method, 64, "10 topics", options)


def measure(row: Row, out: Path, seed: int) -> dict[str, Any]:
    """Return metrics.json of a cell, training it where that was not done before."""
    folder = row.folder(out, seed)
    if (folder / "metrics.json").exists():
        return read_json(folder / "metrics.json")
    config = read_config(
        {**row.options, "out": str(folder), "method": row.method, "bits": row.bits, "seed": seed}
    )
    return train(config, resume=folder.exists()).metrics


def cells(metrics: Mapping[str, Any]) -> list[float | None]:
    """Return the figures of a run in the order of `COLUMNS`."""
    galleries = [metrics, metrics["strict"]]
    directions = ("image_to_text", "text_to_image")
    return [part and part["map"][direction] for part in galleries for direction in directions]


def main() -> None:
    """Fill and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shared", type=Path, help="folder with data/ and models/")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", help="one data set")
    arguments = parser.parse_args()
    wikipedia = arguments.out / "wikipedia"
    if not wikipedia.exists():
        convert_data_set(arguments.shared / "data/wikipedia", out=wikipedia)
    lines = []
    for row in rows(arguments.shared, arguments.out):
        if arguments.only not in (None, row.data):
            continue
        started = time.perf_counter()
        metrics = [measure(row, arguments.out, seed) for seed in arguments.seeds]
        figures = [
            "-" if None in column else str(spread(column))
            for column in zip(*map(cells, metrics), strict=True)
        ]
        seconds = spread(run["training"]["seconds"] for run in metrics)
        lines.append((row.data, row.texts, row.method, row.bits, *figures, f"{seconds.mean:.0f}"))
        print(lines[-1], f"({time.perf_counter() - started:.0f} s)", flush=True)
    headings = ("data", "texts", "method", "bits", *COLUMNS, "seconds")
    print(markdown_table(headings, lines, right=("bits", *COLUMNS, "seconds")))


if __name__ == "__main__":
    main()
