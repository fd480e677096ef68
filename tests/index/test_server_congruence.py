"""Random sequences of operations, with the same answers from a server and an index in memory.

A sequence takes a ninth of a second in Milvus Lite and .6 s on a server, so 150 run by default;
PROXYHASH_SEQUENCES=1000 runs a thousand.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import DataError
from proxyhash.index import MemoryIndex
from proxyhash.index.filters import And, Contains, Equals, Not, Range
from tests.index.backends import Backend, in_milvus, on_shuffling_servers
from tests.index.conftest import SERVER

if TYPE_CHECKING:
    from proxyhash.index import Index

SEQUENCES = int(os.environ.get("PROXYHASH_SEQUENCES", "150"))
MODALITIES = ("image", "text")
SETS = [("image",), ("text",), ("image", "text")]
IDS = [f"{letter}{number}" for letter in "ab'é" for number in range(4)]
FILTERS = [
    None,
    Equals("n", 1),
    Not(Equals("n", 1)),
    And((Contains("labels", "x"), Range("n", le=1))),
]


def payload(dice: random.Random) -> dict[str, object]:
    return {"n": dice.randrange(3), "labels": dice.sample(["x", "y"], dice.randrange(3))}


def codes(dice: random.Random, count: int) -> np.ndarray:
    """Codes of 8 bits that are often equal."""
    return np.array([[dice.randrange(8)] for _ in range(count)], np.uint8)


def outcome(function):
    try:
        return function()
    except DataError as error:
        return str(error)


def same_write(dice: random.Random, one: MemoryIndex, other: Index) -> None:
    ids = dice.sample(IDS, dice.randrange(1, 5))
    verb = dice.choice(("add", "upsert", "upsert", "delete"))
    if verb == "delete":
        assert one.delete(ids) == other.delete(ids)
        return
    new = {name: codes(dice, len(ids)) for name in dice.choice(SETS)}
    payloads = [payload(dice) for _ in ids]
    assert outcome(lambda: getattr(one, verb)(ids, new, payloads=payloads)) == outcome(
        lambda: getattr(other, verb)(ids, new, payloads=payloads)
    )


def same_search(dice: random.Random, one: MemoryIndex, other: Index) -> None:
    k, radius = dice.choice(((1, None), (3, None), (50, None), (None, 1), (2, 1)))
    options = {
        "k": k,
        "radius": radius,
        "modality": dice.choice(MODALITIES),
        "filter": dice.choice(FILTERS),
    }
    query = codes(dice, 2)
    assert one.search(query, **options) == other.search(query, **options), options


def everything(index) -> list[object]:
    return [
        (item.id, {name: code.tobytes() for name, code in item.codes.items()}, item.payload)
        for items in index.items(batch=5)
        for item in items
    ]


def run_sequences(backend: Backend, *, sequences: int, steps: int) -> None:
    """Sequences of writes, a search after each, and a look at all that is stored at the end.

    They run one after the other in one index, emptied in between.
    """
    options = {"bits": 8, "modalities": MODALITIES}
    there = backend.create(**options)
    for seed in range(sequences):
        dice = random.Random(seed)
        memory = MemoryIndex(**options)
        for _ in range(steps):
            same_write(dice, memory, there)
            same_search(dice, memory, there)
        assert everything(memory) == everything(there), seed
        assert len(memory) == len(there), seed
        there.delete(IDS)
    backend.remove()


def test_milvus_lite_and_memory_agree(lite_uri: str) -> None:
    run_sequences(in_milvus(lite_uri), sequences=SEQUENCES, steps=4)


def test_a_server_that_shuffles_ties_and_memory_agree() -> None:
    run_sequences(on_shuffling_servers(), sequences=SEQUENCES, steps=4)


@pytest.mark.parametrize("marked", [pytest.param("milvus_server", marks=SERVER)])
def test_a_server_and_memory_agree(marked: str, request: pytest.FixtureRequest) -> None:
    run_sequences(in_milvus(request.getfixturevalue(marked).uri), sequences=SEQUENCES, steps=4)
