"""Small collections and manifests that the tests of this room are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data import Collection, Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["collection_of", "write_jsonl"]


def write_jsonl(path: Path, records: Sequence[Mapping[str, object]]) -> Path:
    """Write one object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def collection_of(
    count: int,
    *,
    labels: Sequence[Sequence[str]] = (("dog",), ("cat", "dog"), ("tree",)),
    image: bool = True,
    text: bool = True,
    splits: Sequence[str | None] = (None,),
) -> Collection:
    """A collection in memory; labels and splits are given out in turns."""
    items = [
        Item(
            id=f"item-{number}",
            sources=({"image": f"{number}.jpg"} if image else {})
            | ({"text": f"text {number}"} if text else {}),
            labels=tuple(labels[number % len(labels)]),
            split=splits[number % len(splits)],
            row=number + 1,
        )
        for number in range(count)
    ]
    return Collection.of(Path("somewhere/items.jsonl"), items)
