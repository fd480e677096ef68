"""A run folder made by hand: eight items whose codes are known, and a model that is a stub."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from proxyhash.codes import CodeFile
from proxyhash.data import Split, read_collection
from proxyhash.files import write_json
from proxyhash.search import RunSearcher

if TYPE_CHECKING:
    from pathlib import Path

WORDS = ("red", "green", "blue")

ITEMS: list[dict[str, Any]] = [
    {"id": "q", "image": "q.png", "text": "a red query", "labels": ["red"]},
    {"id": "b", "image": "b.png", "text": "red b", "labels": ["red"]},
    {"id": "a", "image": "a.png", "text": "red a", "labels": ["red", "green"]},
    {"id": "c", "image": "c.png", "text": "green c", "labels": ["green"], "price": 3},
    {"id": "only-text", "text": "blue <b>bold</b> & more", "labels": ["blue"]},
    {"id": "only-image", "image": "i.png", "labels": []},
    {"id": "gone", "image": "gone.png", "text": "blue gone", "labels": ["blue"]},
    {"id": "plain", "image": "p.png", "text": "blue plain", "labels": ["blue"]},
]

# One byte a code: red, green and blue are three bits apart from each other.
IMAGE_CODES = [0b0001, 0b0001, 0b0001, 0b1110, 0, 0b1111, 0b0111, 0b0111]
TEXT_CODES = [0b0001, 0b0001, 0b0011, 0b1110, 0b0111, 0, 0b0110, 0b0111]


class StubEncoder:
    """Counts the three words it knows; every image is green."""

    def encode(self, inputs: list[Any], **_: Any) -> np.ndarray:
        if isinstance(inputs[0], str):
            return np.array([[word in text for word in WORDS] for text in inputs], np.float32)
        assert all(image.is_file() for image in inputs)
        return np.array([[0, 1, 0]] * len(inputs), np.float32)


@dataclass
class StubModel:
    """Gives inputs the code of their color."""

    fingerprint: str = "m1"
    bits: int = 8
    modalities: tuple[str, ...] = ("image", "text")
    encoders: dict[str, StubEncoder] = field(
        default_factory=lambda: {"image": StubEncoder(), "text": StubEncoder()}
    )

    def encoder(self, modality: str) -> StubEncoder | None:
        return self.encoders.get(modality)

    def query_weights(self, features: np.ndarray, *, modality: str) -> np.ndarray:
        """All bits are sure but the last three of texts, each less than the one before."""
        weights = np.full((len(features), 8), 65535, np.uint16)
        if modality == "text":
            weights[:, 5:] = 30000, 20000, 10000
        return weights

    def encode_features(self, features: np.ndarray, *, modality: str) -> np.ndarray:
        assert modality in self.modalities
        codes = {0: 0b0001, 1: 0b1110, 2: 0b0111}
        return np.array([[codes[int(row.argmax())]] for row in features], np.uint8)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder over eight items; `q` is the query, `gone` names an image that is not there."""
    data = tmp_path / "data"
    data.mkdir()
    for item in ITEMS:
        if "image" in item and item["id"] != "gone":
            Image.new("RGB", (40, 30), item["labels"][0] if item["labels"] else "white").save(
                data / item["image"]
            )
    lines = "".join(json.dumps(item) + "\n" for item in ITEMS)
    (data / "items.jsonl").write_text(lines, encoding="utf-8")
    collection = read_collection(data)
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "config.json", {"data": str(data), "on_bad_item": "fail"})
    split = Split.of(len(ITEMS), query=[0], train=[1], validation=[], seed=0, source="drawn")
    split.save(run / "split.json", collection)
    CodeFile(
        ids=collection.ids,
        codes={
            "image": np.array(IMAGE_CODES, np.uint8)[:, None],
            "text": np.array(TEXT_CODES, np.uint8)[:, None],
        },
        present={name: collection.has(name) for name in ("image", "text")},
        bits=8,
        model="m1",
    ).save(run / "codes.npz")
    return run


@pytest.fixture
def searcher(run: Path, monkeypatch: pytest.MonkeyPatch) -> RunSearcher:
    """The run, opened, with the stub in place of a model."""
    searcher = RunSearcher.open(run)
    stub = StubModel()
    monkeypatch.setitem(searcher.__dict__, "model", stub)
    return searcher
