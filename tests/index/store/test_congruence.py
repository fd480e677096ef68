"""The same random changes give the same answers on every exact engine and in a reopened store.

300 sequences run by default, 1,000 in CI (PROXYHASH_THOROUGH=1), any number by
PROXYHASH_SEQUENCES.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest

from proxyhash.codes.kernels import limit_threads
from proxyhash.errors import MissingExtraError
from proxyhash.index import MemoryIndex
from proxyhash.index.engines import ENGINES
from proxyhash.index.filters import Contains, Not, Range
from proxyhash.index.store import Store

from .model import BITS, LABELS, Model, random_batch, random_codes, stored

THOROUGH = bool(os.environ.get("PROXYHASH_THOROUGH"))
SEQUENCES = int(os.environ.get("PROXYHASH_SEQUENCES", "1000" if THOROUGH else "300"))
SHARDS = 10
MODALITIES = ("image", "text")
IDS = [f"{letter}{number}" for letter in "aé" for number in range(12)]


def exact_engines() -> list[str]:
    """The exact engines that can be used here; optional libraries may be missing."""
    usable = []
    for name, engine in ENGINES.items():
        if engine.exact:
            with suppress(MissingExtraError):
                engine.build(random_codes(random.Random(0), 3), bits=BITS)
                usable.append(name)
    return usable


def change(dice: random.Random, model: Model, indexes) -> None:
    """Make one random change to all."""
    batch = dice.sample(IDS, dice.randrange(1, 9))
    codes, payloads = random_batch(dice, batch)
    kind = dice.choice(("add", "upsert", "upsert", "delete"))
    if kind == "add" and model.items.keys() & set(batch):
        kind = "upsert"
    if kind == "delete":
        assert {index.delete(batch) for index in indexes} == {model.delete(batch)}
        return
    for index in indexes:
        getattr(index, kind)(batch, codes, payloads=payloads)
    model.put(batch, codes, payloads)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_sequences_are_answered_alike(tmp_path, shard) -> None:
    names = exact_engines()
    assert {"scan", "multi_index"} <= set(names)
    plain = [name for name in names if name not in {"auto", "segmented"}]  # made of the others
    for sequence in range(shard, SEQUENCES, SHARDS):
        dice, model = random.Random(sequence), Model()
        memory = [MemoryIndex(bits=BITS, modalities=MODALITIES, engine=name) for name in plain]
        folder = tmp_path / str(sequence)
        store = Store.create(folder, bits=BITS, modalities=MODALITIES)
        for _ in range(dice.randrange(1, 5)):
            change(dice, model, [*memory, store])
        if not dice.randrange(10):
            store.compact()
        store.close()
        with Store.open(folder, engine=names[sequence % len(names)]) as opened:
            assert stored(opened) == model.items
            with limit_threads(1):
                check(dice, model, [*memory, opened])


def check(dice: random.Random, model: Model, indexes) -> None:
    query = random_codes(dice, 2)
    k, radius = dice.randrange(1, 20), dice.choice((None, 1, 3))
    low = dice.randrange(100)
    label = dice.choice(LABELS)
    filter_, keep = dice.choice(
        (
            (None, lambda payload: True),
            (Range("n", ge=low), lambda payload: payload["n"] >= low),
            (Not(Contains("labels", label)), lambda payload: label not in payload["labels"]),
        )
    )
    for modality in MODALITIES:
        expected = [
            model.search(one, modality=modality, k=k, radius=radius, keep=keep) for one in query
        ]
        for index in indexes:
            found = index.search(query, k=k, radius=radius, modality=modality, filter=filter_)
            assert [[(hit.distance, hit.id) for hit in hits] for hits in found] == expected
