"""A small collection with codes that follow its labels, in memory and as a run folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from proxyhash.codes import CodeFile, binarize
from proxyhash.data import Collection, Split, read_collection
from proxyhash.files import write_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Run", "make_run", "with_sound"]

ITEMS, BITS, CLASSES = 80, 16, 5


def with_sound(codes: CodeFile) -> CodeFile:
    """The codes with a third modality, whose codes are those of the images."""
    return replace(
        codes,
        codes={**codes.codes, "sound": codes.of("image")},
        present={**codes.present, "sound": codes.has("image")},
    )


@dataclass(frozen=True)
class Run:
    folder: Path
    collection: Collection
    split: Split
    codes: CodeFile
    proxies: np.ndarray


def make_run(root: Path, *, strict: bool = True) -> Run:
    """Write 80 items (of which some lack image, text or labels) and a run of 16 bits on them."""
    rng = np.random.default_rng(0)
    labels = rng.random((ITEMS, CLASSES)) < 0.3
    labels[:3] = False
    has_image, has_text = np.arange(ITEMS) % 11 != 4, np.arange(ITEMS) % 13 != 7
    lines = [
        json.dumps(
            {
                "id": f"item-{item}",
                "image": f"{item}.jpg" if has_image[item] else None,
                "text": "some words" if has_text[item] else None,
                "labels": [f"class {c}" for c in np.flatnonzero(labels[item])],
            }
        )
        for item in range(ITEMS)
    ]
    write_text(root / "data" / "items.jsonl", "\n".join(lines) + "\n")
    collection = read_collection(root / "data")
    proxies = np.where(rng.random((CLASSES, BITS)) < 0.5, 1, -1).astype(np.int8)
    both = labels @ proxies.astype(float)
    image, text = (binarize(both + rng.standard_normal(both.shape)) for _ in range(2))
    image[~has_image], text[~has_text] = 0, 0
    codes = CodeFile(
        collection.ids,
        {"image": image, "text": text},
        {"image": has_image, "text": has_text},
        bits=BITS,
        model="m1",
    )
    train = range(20, 60 if strict else ITEMS)
    split = Split.of(ITEMS, query=range(20), train=train, validation=[], seed=0, source="drawn")
    folder = root / "run"
    codes.save(folder / "codes.npz")
    split.save(folder / "split.json", collection)
    config = {"data": str(root / "data"), "bits": BITS, "method": "dchml"}
    write_json(folder / "config.json", config)
    (folder / "model").mkdir()
    save_file({"codes": proxies}, folder / "model" / "proxies.safetensors")
    return Run(folder, collection, split, codes, proxies)
