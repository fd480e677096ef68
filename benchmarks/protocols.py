"""What each rule of a protocol does to the figure of one trained run, each switched alone.

    python benchmarks/protocols.py --data ../shared/data/flickr8k \
        --image-encoder ../shared/models/mobilenet_v2_1.0_224 --write docs/protocols.md

Two runs are trained, one of `--bits` and one of four times as many, with the same seed and split.
After every epoch all items are encoded, as papers do that choose epochs by their test items; the
epoch that validation items choose gives the figure that everything is compared with: expected mAP
over the whole gallery, training items included. Prints a Markdown table, and writes it between the
markers of a page.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.evaluation import Protocol, mean_average_precision
from proxyhash.evaluation.report import markdown_table
from proxyhash.files import write_text
from proxyhash.progress import silent
from proxyhash.training.build import build_state, complete_networks
from proxyhash.training.config import TrainConfig, read_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.loop import run_epochs
from proxyhash.training.prepare import Prepared, prepare
from proxyhash.training.sources import with_settings
from proxyhash.training.state import Networks, load_best
from proxyhash.training.validation import _codes

if TYPE_CHECKING:
    from proxyhash.codes import Codes
    from proxyhash.training.history import EpochRecord

DIRECTIONS = (("image", "text"), ("text", "image"))
CUTOFFS = (50, 500, 5000)
BASE = Protocol()
MARKERS = ("<!-- protocols -->", "<!-- /protocols -->")


@dataclass(frozen=True)
class Run:
    """Codes of all items after every epoch, and of the epoch that validation chose."""

    prepared: Prepared
    bits: int
    epochs: list[dict[str, Codes]]
    chosen: dict[str, Codes]
    labels: np.ndarray


def run_of(config: TrainConfig) -> Run:
    """Train, and keep the codes of every epoch."""
    prepared = prepare(config)
    train = prepared.rows(prepared.split.train, device="cpu")
    validation = prepared.rows(prepared.split.validation, device="cpu")
    everything = prepared.rows(np.arange(len(prepared.collection.items)), device="cpu")
    state = build_state(config, train, inputs={})
    epochs: list[dict[str, Codes]] = []

    def codes_of(networks: Networks) -> dict[str, Codes]:
        networks.eval()
        return {each: _codes(networks, everything, each)[0] for each in everything.modalities}

    def keep(record: EpochRecord) -> None:
        del record
        epochs.append(codes_of(state.final_networks))

    with TemporaryDirectory() as name:
        run_epochs(
            state,
            train,
            validation,
            config=config,
            folder=RunFolder(Path(name)),
            report=keep,
            stop=lambda: False,
            checkpoints=False,
        )
        networks = load_best(Path(name) / "none", state)
    complete_networks(config, state, train, networks, track=silent)
    labels = everything.labels.numpy() >= 0.5
    return Run(prepared, config.bits, epochs, codes_of(networks), labels)


def figures(run: Run, codes: dict[str, Codes], protocol: Protocol = BASE) -> list[float]:
    """Return mAP of both directions."""
    split = run.prepared.split
    gallery = split.gallery
    if protocol.gallery == "strict":
        gallery = np.setdiff1d(gallery, np.union1d(split.train, split.validation))
    return [
        mean_average_precision(
            codes[asking][split.query],
            codes[found][gallery],
            run.labels[split.query],
            run.labels[gallery],
            bits=run.bits,
            protocol=protocol,
        ).value
        for asking, found in DIRECTIONS
    ]


def table(run: Run, longer: Run) -> str:
    """Return the table as Markdown."""
    base = figures(run, run.chosen)
    lines: list[list[object]] = []

    def add(what: str, values: list[float]) -> None:
        changes = [
            f"{value - other:+.3f}".replace("0.", ".", 1)
            for value, other in zip(values, base, strict=True)
        ]
        lines.append([what, *(f"{value:.3f}".lstrip("0") for value in values), " / ".join(changes)])

    add("**expected mAP over the whole gallery**", base)
    for ties in ("stable", "optimistic", "pessimistic"):
        add(f"ties: {ties}", figures(run, run.chosen, replace(BASE, ties=ties)))
    for cutoff in CUTOFFS:
        for divisor in ("hits", "min", "relevant"):
            protocol = replace(BASE, cutoff=cutoff, divisor=divisor)
            add(f"first {cutoff:,}, divided by: {divisor}", figures(run, run.chosen, protocol))
    add(
        "no training items in the gallery",
        figures(run, run.chosen, replace(BASE, gallery="strict")),
    )
    by_epoch = [figures(run, codes) for codes in run.epochs]
    add("last epoch", by_epoch[-1])
    add("epoch chosen by the queries", max(by_epoch, key=sum))
    add("... for each direction another", [max(column) for column in zip(*by_epoch, strict=True)])
    add("one query in ten has nothing relevant, and counts as 0", [0.9 * value for value in base])
    add(f"four codes of {run.bits} bits per item", figures(longer, longer.chosen))
    return markdown_table(
        ["what is done", "image → text", "text → image", "difference"],
        lines,
        right=["image → text", "text → image", "difference"],
    )


def main() -> None:
    """Train, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-encoder", required=True)
    parser.add_argument("--text-encoder", default="bow")
    parser.add_argument("--method", default="dchml")
    parser.add_argument("--bits", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--query", type=int, default=1000)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    given = parser.parse_args()

    def config(bits: int) -> TrainConfig:
        values = {
            "data": given.data,
            "encoders": {"image": given.image_encoder, "text": given.text_encoder},
            "out": "unused",
            **{key: getattr(given, key) for key in ("method", "seed", "query", "train")},
            "bits": bits,
        }
        return with_settings(read_config(values))

    found = table(run_of(config(given.bits)), run_of(config(4 * given.bits)))
    print(found)
    if given.write:
        page = given.write.read_text(encoding="utf-8")
        start, end = MARKERS
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        write_text(given.write, pattern.sub(lambda _: f"{start}\n\n{found}\n\n{end}", page))


if __name__ == "__main__":
    main()
