"""Collections in memory with features of our choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from proxyhash.data import Collection, Item
from proxyhash.encoders import Features
from proxyhash.labeling import Inputs

WORDS = (
    ("dog", "puppy", "leash", "bone"),
    ("boat", "sailing", "harbor", "anchor"),
    ("tower", "bricks", "roof", "stairs"),
)
"""Words of three subjects."""


def topics(count: int = 60) -> tuple[list[str], np.ndarray]:
    """Texts about three subjects, two words of four each, and the subject of each."""
    subject = np.arange(count) % 3
    texts = []
    for number, each in enumerate(subject):
        words = [WORDS[each][(number // 3 + step) % 4] for step in (0, 1)]
        texts.append(f"a photo of the {' and '.join(words)} {number}")
    return texts, subject


def inputs_of(
    texts: list[str | None],
    subject: np.ndarray,
    *,
    seed: int = 0,
    spread: float = 0.3,
    image: np.ndarray | None = None,
    **more: object,
) -> Inputs:
    """Inputs whose features lie around one center per subject; an item without a text has none."""
    draw = np.random.default_rng(seed)
    centers = draw.normal(size=(int(subject.max()) + 1, 8))
    there = np.array([text is not None for text in texts])
    shown = np.ones(len(texts), np.bool_) if image is None else image
    features = {}
    for modality, present in (("text", there), ("image", shown)):
        values = centers[subject] + spread * draw.normal(size=(len(texts), 8))
        values = np.where(present[:, None], values, 0).astype(np.float32)
        features[modality] = Features(values, present)
    items = [
        Item(
            f"item-{row}",
            ({"text": text} if text is not None else {}) | ({"image": f"{row}.png"} if has else {}),
            (),
            row=row + 1,
        )
        for row, (text, has) in enumerate(zip(texts, shown, strict=True))
    ]
    collection = Collection.of(Path("somewhere/items.jsonl"), items)
    return Inputs(collection, features, np.arange(len(texts)), **more)  # type: ignore[arg-type]
