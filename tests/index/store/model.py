"""What a store must hold, as a plain dict, and random changes made to both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import random

    from proxyhash.index.hit import IndexItem

BITS = 16
LABELS = ("dog", "cat", "dawn", "sea")


class Model:
    """Items by id: their codes by modality, and their payload."""

    def __init__(self) -> None:
        self.items: dict[str, tuple[dict[str, bytes], dict[str, Any]]] = {}

    def put(self, ids, codes, payloads) -> None:
        for row, id_ in enumerate(ids):
            parts = {name: rows[row].tobytes() for name, rows in codes.items()}
            self.items[id_] = (parts, payloads[row])

    def delete(self, ids) -> int:
        return sum(self.items.pop(id_, None) is not None for id_ in set(ids))

    def search(self, query, *, modality, k, radius=None, keep=lambda payload: True):
        """Every (distance, id), counted bit by bit, sorted, cut."""
        found = []
        for id_, (codes, payload) in self.items.items():
            if modality in codes and keep(payload):
                pairs = zip(codes[modality], query.tobytes(), strict=True)
                found.append((sum((a ^ b).bit_count() for a, b in pairs), id_))
        return [one for one in sorted(found) if radius is None or one[0] <= radius][:k]


def as_model(items: list[IndexItem]) -> dict[str, tuple[dict[str, bytes], dict[str, Any]]]:
    return {
        item.id: ({name: code.tobytes() for name, code in item.codes.items()}, dict(item.payload))
        for item in items
    }


def stored(index) -> dict[str, tuple[dict[str, bytes], dict[str, Any]]]:
    """Everything an index holds, in the shape of `Model.items`."""
    return as_model([item for batch in index.items(batch=7) for item in batch])


def random_codes(dice: random.Random, count: int, *, spread: int = 4) -> np.ndarray:
    """Codes with many equal distances among them."""
    return np.array(
        [[dice.randrange(1 << spread), dice.randrange(2)] for _ in range(count)], np.uint8
    ).reshape(count, BITS // 8)


def random_batch(dice: random.Random, ids: list[str]):
    """Codes of one or both modalities, and payloads, for these ids."""
    names = dice.choice((("image",), ("text",), ("image", "text")))
    codes = {name: random_codes(dice, len(ids)) for name in names}
    payloads = [
        {"n": dice.randrange(100), "labels": dice.sample(LABELS, dice.randrange(3))} for _ in ids
    ]
    return codes, payloads
