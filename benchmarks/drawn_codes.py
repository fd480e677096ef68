"""Codes to measure search on: random, clustered, and drawn around the logits of a real run.

    python benchmarks/drawn_codes.py RUN --count 1000000     # how often learned codes repeat

- *random*: every bit 0 or 1 with equal chance. Nothing can be left out: the worst case.
- *clustered*: 1,000 random centers; every bit of a center flipped with p = 0.1.
- *learned*: around the logits of a trained run. The logits of its collection's images are taken;
  images with the same set of labels form a group. The noise is normal and independent by bit; its
  standard deviation is, bit by bit, that of the logits around their group's mean, pooled over all
  groups of two or more: sqrt(sum of squared differences / (images - groups)). A code is drawn by
  picking one of the images, all equally likely, adding noise to the mean of its group and taking
  the signs. That the noise is independent makes codes more various than real ones.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proxyhash.codes import Codes, binarize, code_bytes
from proxyhash.codes.kernels import as_words
from proxyhash.data import read_collection
from proxyhash.files import read_json

CENTERS = 1_000
FLIPPED = 0.1
BLOCK = 1 << 18


@dataclass(frozen=True)
class LogitGroups:
    """Distribution of learned codes: the mean of each image's group, and the noise around it.

    Attributes:
        means: (G, K).
        group_of: (N,), the group of each image.
        spread: (K,), the standard deviation by bit.
    """

    means: np.ndarray
    group_of: np.ndarray
    spread: np.ndarray


def random_codes(count: int, *, bits: int, seed: int) -> Codes:
    """Return codes of independent fair bits; `bits` is a multiple of 8."""
    return np.random.default_rng(seed).integers(0, 256, (count, code_bytes(bits)), dtype=np.uint8)


def clustered_codes(count: int, *, bits: int, seed: int) -> Codes:
    """Return codes around 1,000 random centers, each bit flipped with p = 0.1."""
    rng = np.random.default_rng(seed)
    centers = rng.integers(0, 256, (CENTERS, code_bytes(bits)), dtype=np.uint8)
    codes = np.empty((count, code_bytes(bits)), np.uint8)
    for start in range(0, count, BLOCK):
        block = codes[start : start + BLOCK]
        flips = rng.random((len(block), bits), np.float32) < FLIPPED
        block[:] = centers[rng.integers(0, CENTERS, len(block))] ^ np.packbits(flips, axis=1)
    return codes


def learned_codes(count: int, groups: LogitGroups, *, seed: int) -> Codes:
    """Return codes drawn around the logits of a real run."""
    rng = np.random.default_rng(seed)
    bits = groups.means.shape[1]
    codes = np.empty((count, code_bytes(bits)), np.uint8)
    for start in range(0, count, BLOCK):
        block = codes[start : start + BLOCK]
        means = groups.means[groups.group_of[rng.integers(0, len(groups.group_of), len(block))]]
        noise = rng.standard_normal(means.shape, np.float32) * groups.spread
        block[:] = binarize(means + noise)
    return codes


def logit_groups(run: Path) -> LogitGroups:
    """Return the groups of a trained run's images."""
    from proxyhash.encoders import FeatureCache, encode_collection
    from proxyhash.hashing import HashModel

    collection = read_collection(read_json(run / "config.json")["data"])
    model = HashModel.load(run / "model")
    encoder = model.encoder("image")
    if encoder is None:
        raise SystemExit(f"{run} has no image encoder; train one with --image-encoder")
    features = encode_collection(encoder, collection, cache=FeatureCache())
    logits = model.logits(features.values[features.present], modality="image")
    members: dict[frozenset[str], list[int]] = defaultdict(list)
    items = [item for item, there in zip(collection.items, features.present, strict=True) if there]
    for row, item in enumerate(items):
        members[frozenset(item.labels)].append(row)
    group_of = np.empty(len(logits), np.int64)
    means = np.empty((len(members), logits.shape[1]), np.float32)
    for group, rows in enumerate(members.values()):
        group_of[rows] = group
        means[group] = logits[rows].mean(axis=0)
    differences = logits - means[group_of]
    freedom = len(logits) - len(members)  # groups of one add nothing to either
    spread = np.sqrt((differences.astype(np.float64) ** 2).sum(axis=0) / freedom)
    return LogitGroups(means, group_of, spread.astype(np.float32))


def main() -> None:
    """Say what is drawn around a run, and how often it repeats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    groups = logit_groups(options.run)
    codes = learned_codes(options.count, groups, seed=0)
    report = {
        "images": len(groups.group_of),
        "label sets": len(groups.means),
        "mean |logit| of a group": float(np.abs(groups.means).mean()),
        "mean spread": float(groups.spread.mean()),
        "codes": len(codes),
        "distinct": len(np.unique(as_words(codes), axis=0)),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
