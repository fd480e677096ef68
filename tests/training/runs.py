"""Small runs on the generated scenes, and what is the same about two of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from proxyhash.training import read_config
from proxyhash.training.history import read_history

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SMALL", "assert_same_run", "config_of", "rewrite"]

SMALL = {
    "bits": 16,
    "hidden": [32],
    "epochs": 3,
    "batch_size": 32,
    "query": 30,
    "train": 110,
    "validation": 20,
    "threads": 1,
}


def config_of(data, out, **values):
    return read_config({**SMALL, "data": str(data), "out": str(out), **values})


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("codes.npz", "split.json", "model/networks.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    left, right = (read_history(folder / "history.jsonl") for folder in (one, other))
    assert [(r.epoch, r.terms, r.validation) for r in left] == [
        (r.epoch, r.terms, r.validation) for r in right
    ]


def rewrite(scenes, folder, change):
    """Write a manifest beside the scenes' images with every item changed by `change`."""
    lines = (scenes.root / "items.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    for position, item in enumerate(items):
        change(position, item)
    shutil.copytree(scenes.root, folder)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder
