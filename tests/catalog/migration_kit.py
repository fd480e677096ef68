"""Two cheap models of random weights, and an index that one of them made of some scenes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from proxyhash.catalog.build import build_index
from proxyhash.encoders.bow import BagOfWords
from proxyhash.encoders.descriptor import ImageDescriptor
from proxyhash.hashing import HashModel
from proxyhash.networks import HashingNetwork
from tests.catalog.conftest import contents

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data import Collection

COUNT = 60


@dataclass(frozen=True)
class Kit:
    """Folders that tests copy, and do not write into.

    Attributes:
        models: by name; "old" has 64 bits, "new" 64 other ones, "short" 16.
        contents: of an index that was built with the model, by its name.
        fingerprints: of the models.
    """

    data: Path
    models: dict[str, Path]
    indexes: dict[str, Path]
    contents: dict[str, dict[str, Any]]
    fingerprints: dict[str, str]


def make_kit(folder: Path, scenes: Collection) -> Kit:
    """Write the data, the models, and an index by each of them."""
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    records = []
    for row in range(COUNT):
        shutil.copy(str(scenes.sources("image")[row]), data / "images" / f"{row}.png")
        records.append(
            {
                "id": f"i{row:03}",
                "image": f"images/{row}.png",
                "text": scenes.items[row].sources["text"],
                "labels": list(scenes.items[row].labels),
                "price": row,
            }
        )
    del records[7]["image"], records[8]["text"]
    write_manifest(data, records)
    texts = [str(text) for text in scenes.sources("text") if text]
    models, indexes, found, fingerprints = {}, {}, {}, {}
    for name, bits, words in (("old", 64, 100), ("new", 64, 60), ("short", 16, 80)):
        model = make_model(texts, bits=bits, words=words, seed=bits + words)
        model.save(folder / name)
        models[name], fingerprints[name] = folder / name, model.fingerprint
        indexes[name] = folder / f"{name}.index"
        build_index(folder / name, data / "items.jsonl", indexes[name])
        found[name] = contents(indexes[name])
    return Kit(data, models, indexes, found, fingerprints)


def write_manifest(data: Path, records: list[dict[str, Any]]) -> Path:
    """Write a manifest into a folder."""
    path = data / "items.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read_manifest(data: Path) -> list[dict[str, Any]]:
    """Return what `write_manifest` wrote."""
    return [json.loads(line) for line in (data / "items.jsonl").read_text().splitlines()]


def make_model(texts: list[str], *, bits: int, words: int, seed: int) -> HashModel:
    """Return a model with random weights."""
    torch.manual_seed(seed)
    encoders = {"image": ImageDescriptor(), "text": BagOfWords.fit(texts, words=words)}
    networks = {
        name: HashingNetwork(encoder.dim, bits, hidden=(16,)).eval()
        for name, encoder in encoders.items()
    }
    return HashModel(bits=bits, classes=(), method="dchml", networks=networks, encoders=encoders)
