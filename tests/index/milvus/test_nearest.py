"""Ties in order of the ids, however many there are and however few Milvus gives back at a time."""

from __future__ import annotations

import numpy as np
import pytest

from proxyhash.index.filters import Not, Range
from proxyhash.index.milvus.collection import MAX_LIMIT
from proxyhash.index.milvus.nearest import Nearest
from tests.index.backends import InMilvus
from tests.index.conftest import SERVER

LIMITS = {"lite_uri": (2, 3, 7, 100), "milvus_server": (20, 100)}
"""A server takes a fifth of a second for an answer, and a low limit takes many."""


@pytest.fixture(params=["lite_uri", pytest.param("milvus_server", marks=SERVER)])
def backend(request: pytest.FixtureRequest):
    place = request.getfixturevalue(request.param)
    made = InMilvus(getattr(place, "uri", place))
    made.limits = LIMITS[request.param]
    yield made
    made.remove()


def test_answers_are_in_order_for_any_limit(backend: InMilvus) -> None:
    index = backend.create(bits=8, modalities=("code",))
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, 60).tolist()
    ids = [f"i{number:02}" for number in rng.permutation(60)]
    payloads = [{"n": number % 7} for number in range(60)]
    index.add(ids, np.array(values, np.uint8)[:, None], payloads=payloads)
    keep = Not(Range("n", lt=5))
    (part,) = index._collections.values()
    for condition in (None, keep):
        wanted = sorted(
            (value.bit_count(), id_)
            for id_, value, payload in zip(ids, values, payloads, strict=True)
            if condition is None or payload["n"] >= 5
        )
        for limit in backend.limits:
            for k, radius in ((1, None), (9, None), (80, None), (None, 0), (None, 1), (9, 1)):
                search = Nearest(part, k=k, radius=radius, filter=condition, limit=limit)
                (rows,) = search.of([b"\0"])
                expected = [row for row in wanted if radius is None or row[0] <= radius][:k]
                assert [(row.distance, row.key) for row in rows] == expected


def test_more_ties_than_milvus_gives_back_at_once(backend: InMilvus) -> None:
    index = backend.create(bits=8, modalities=("code",))
    rng = np.random.default_rng(0)
    count = MAX_LIMIT + 4_000
    ids = [f"i{number:05}" for number in range(count)]
    codes = np.full((count, 1), 3, np.uint8)
    codes[-5:] = 1
    shuffled = rng.permutation(count)
    index.add([ids[row] for row in shuffled], codes[shuffled])
    query = np.zeros((1, 1), np.uint8)
    wanted = [*ids[-5:], *ids[:-5]]
    assert [hit.id for hit in index.search(query, k=30)[0]] == wanted[:30]
    assert [hit.id for hit in index.search(query, radius=2)[0]] == wanted
    assert [hit.id for hit in index.search(query, k=count - 1)[0]] == wanted[:-1]
