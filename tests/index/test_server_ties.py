"""Ties in order of the ids, however many there are and however few a server returns at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.index.filters import Not, Range
from proxyhash.index.milvus import MilvusIndex
from proxyhash.index.milvus.collection import MAX_LIMIT
from proxyhash.index.server_ties import Candidate, Request, TiedServer, search_nearest
from tests.index.backends import Backend, in_milvus, on_shuffling_servers
from tests.index.conftest import SERVER
from tests.index.shuffled import ShuffledIndex, Table

if TYPE_CHECKING:
    from proxyhash.index import Index

LIMITS = (2, 3, 7, 100)
MILVUS = ["lite_uri", pytest.param("milvus_server", marks=SERVER)]


@pytest.fixture(params=["shuffled", *MILVUS])
def backend(request: pytest.FixtureRequest):
    if request.param == "shuffled":
        made = on_shuffling_servers()
    else:
        place = request.getfixturevalue(request.param)
        made = in_milvus(getattr(place, "uri", place))
    yield made
    made.remove()


def server_of(index: Index) -> TiedServer:
    """What an index of one modality searches."""
    assert isinstance(index, MilvusIndex | ShuffledIndex)
    parts = index._collections if isinstance(index, MilvusIndex) else index._tables
    (part,) = parts.values()
    return part


def test_answers_are_in_order_for_any_limit(backend: Backend) -> None:
    index = backend.create(bits=8, modalities=("code",))
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, 60).tolist()
    ids = [f"i{number:02}" for number in rng.permutation(60)]
    payloads = [{"n": number % 7} for number in range(60)]
    index.add(ids, np.array(values, np.uint8)[:, None], payloads=payloads)
    server = server_of(index)
    for condition in (None, Not(Range("n", lt=5))):
        wanted = sorted(
            (value.bit_count(), id_)
            for id_, value, payload in zip(ids, values, payloads, strict=True)
            if condition is None or payload["n"] >= 5
        )
        for limit in LIMITS:
            for k, radius in ((1, None), (9, None), (80, None), (None, 0), (None, 1), (9, 1)):
                (rows,) = search_nearest(
                    server, [b"\0"], k=k, radius=radius, filter=condition, max_limit=limit
                )
                expected = [row for row in wanted if radius is None or row[0] <= radius][:k]
                assert [(row.distance, row.key) for row in rows] == expected


@pytest.mark.parametrize("backend", MILVUS, indirect=True)
def test_more_ties_than_milvus_gives_back_at_once(backend: Backend) -> None:
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


class Asked(Table):
    """A table that notes what it is asked for."""

    def __init__(self, *codes: int) -> None:
        super().__init__({f"i{place}": (bytes([code]), {}) for place, code in enumerate(codes)})
        self.requests: list[Request] = []

    def nearest(self, queries, request: Request) -> list[list[Candidate]]:
        self.requests.append(request)
        return super().nearest(queries, request)


def test_most_searches_take_one_call() -> None:
    table = Asked(*range(10))
    assert len(search_nearest(table, [b"\0", b"\1"], k=3)[1]) == 3
    assert table.requests == [Request(limit=16)]
    assert search_nearest(table, [], k=3) == []
    assert len(table.requests) == 1


def test_no_distance_beyond_the_bits_is_asked_for() -> None:
    table = Asked(*[255] * 40)
    (rows,) = search_nearest(table, [b"\0"], k=60)
    assert [row.key for row in rows] == sorted(table.rows)
    assert all((request.distances or (0, 8))[0] <= 8 for request in table.requests)


def test_ties_are_asked_for_by_ranges_of_keys() -> None:
    table = Asked(*[1] * 20, *[0] * 2)
    (rows,) = search_nearest(table, [b"\0"], k=12)
    assert [row.key for row in rows] == ["i20", "i21", *sorted(f"i{n}" for n in range(20))[:10]]
    first, *others = table.requests
    assert first == Request(limit=16)
    assert all(request.distances == (1, 1) and request.keys for request in others)
