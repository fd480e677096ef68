"""The index in memory against a dictionary that is searched by sorting."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.errors import DataError, UsageError
from proxyhash.index import Hit, Index, MemoryIndex
from proxyhash.index.engines import ENGINES
from proxyhash.index.filters import Contains, Equals, Filter, Not, Range, matches


def codes_of(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], np.uint8)


@dataclass
class Reference:
    """Items in a dictionary; every search sorts every item."""

    items: dict[str, tuple[dict[str, int], dict[str, Any]]] = field(default_factory=dict)

    def search(
        self,
        query: int,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[tuple[int, str]]:
        pairs = [
            ((codes[modality] ^ query).bit_count(), id_)
            for id_, (codes, payload) in self.items.items()
            if modality in codes and (filter is None or matches(filter, payload))
        ]
        near = [pair for pair in sorted(pairs) if radius is None or pair[0] <= radius]
        return near if k is None else near[:k]


ids = st.lists(st.sampled_from("abcdefghij"), max_size=5, unique=True)
byte = st.integers(0, 255)
payload = st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 3), "labels": st.lists(st.sampled_from("xy"), max_size=2)}
)
filters = st.sampled_from(
    [None, Contains("labels", "x"), Range("n", ge=1, lt=3), Not(Equals("n", 0)), Equals("z", 1)]
)


@given(st.data())
def test_agrees_with_sorting_after_any_operations(data: st.DataObject) -> None:
    index, reference = MemoryIndex(bits=8, modalities=("image", "text")), Reference()
    for _ in range(data.draw(st.integers(1, 8))):
        operation = data.draw(st.sampled_from(["add", "upsert", "upsert", "delete"]))
        chosen = data.draw(ids)
        if operation == "delete":
            there = [id_ for id_ in chosen if reference.items.pop(id_, None) is not None]
            assert index.delete(chosen) == len(there)
        else:
            names = data.draw(st.sampled_from([("image",), ("text",), ("image", "text")]))
            rows = {
                name: data.draw(st.lists(byte, min_size=len(chosen), max_size=len(chosen)))
                for name in names
            }
            payloads = [data.draw(payload) for _ in chosen]
            arrays = {
                name: np.array(values, np.uint8).reshape(-1, 1) for name, values in rows.items()
            }
            if operation == "add" and any(id_ in reference.items for id_ in chosen):
                with pytest.raises(DataError, match="already in the index"):
                    index.add(chosen, arrays, payloads=payloads)
            else:
                getattr(index, operation)(chosen, arrays, payloads=payloads)
                for row, id_ in enumerate(chosen):
                    codes = {name: values[row] for name, values in rows.items()}
                    reference.items[id_] = (codes, payloads[row])
        assert len(index) == len(reference.items)
        found = {item.id: item for batch in index.items(batch=3) for item in batch}
        assert list(found) == sorted(reference.items)
        for id_, (codes, wanted) in reference.items.items():
            assert {name: int(code[0]) for name, code in found[id_].codes.items()} == codes
            assert found[id_].payload == index.get(id_).payload == wanted
        queries = data.draw(st.lists(byte, min_size=1, max_size=3))
        k, radius = data.draw(st.sampled_from([(1, None), (3, None), (99, 3), (None, 2), (2, 4)]))
        modality, condition = data.draw(st.sampled_from(["image", "text"])), data.draw(filters)
        hits = index.search(
            codes_of(*queries), k=k, modality=modality, radius=radius, filter=condition
        )
        for query, answer in zip(queries, hits, strict=True):
            assert [(hit.distance, hit.id) for hit in answer] == reference.search(
                query, k=k, modality=modality, radius=radius, filter=condition
            )
            assert all(hit.payload == reference.items[hit.id][1] for hit in answer)


def test_ties_are_ordered_by_id_whatever_the_order_of_adding() -> None:
    index = MemoryIndex(bits=8)
    index.add(["c", "a"], codes_of(0, 0))
    index.add(["b"], codes_of(0))
    assert [hit.id for hit in index.search(codes_of(1), k=3)[0]] == ["a", "b", "c"]
    index.upsert(["a"], codes_of(0))
    assert [hit.id for hit in index.search(codes_of(1), k=2)[0]] == ["a", "b"]


def test_hits_carry_distance_and_payload() -> None:
    index = MemoryIndex(bits=8)
    index.add(["far", "near"], codes_of(0b111, 0b1), payloads=[{"text": "f"}, {"text": "n"}])
    assert index.search(codes_of(0), k=2) == [
        [Hit("near", 1, {"text": "n"}), Hit("far", 3, {"text": "f"})]
    ]


def test_gives_at_most_as_many_hits_as_there_are_items() -> None:
    index = MemoryIndex(bits=8)
    assert index.search(codes_of(0, 1), k=4) == [[], []]
    index.add(["a"], codes_of(0))
    assert [len(hits) for hits in index.search(codes_of(0, 1), k=4)] == [1, 1]
    assert index.search(np.empty((0, 1), np.uint8), k=4) == []
    assert index.search(codes_of(0), k=4, filter=Equals("no", 1)) == [[]]


@pytest.mark.parametrize("engine", sorted(name for name, each in ENGINES.items() if each.exact))
def test_every_exact_engine_gives_the_same_answers(engine: str) -> None:
    if engine.startswith("faiss"):
        pytest.importorskip("faiss", reason="the extra `faiss` is not installed")
    draw = np.random.default_rng(0)
    codes, queries = (draw.integers(0, 4, (n, 8)).astype(np.uint8) for n in (600, 10))
    names = [str(row * 7919 % 600) for row in range(600)]
    answers = []
    for name in ("scan", engine):
        index = MemoryIndex(bits=64, engine=name)
        index.add(names, codes, payloads=[{"n": row} for row in range(600)])
        index.delete(names[:50])
        index.upsert(names[40:60], codes[:20])
        answers.append(index.search(queries, k=17))
        answers.append(index.search(queries, radius=9, filter=Range("n", gt=100)))
        assert index.info()["exact"] is True
    assert answers[:2] == answers[2:]


def test_behaves_like_a_collection() -> None:
    index: Index = MemoryIndex(bits=12, model="abc")
    index.add(["x"], np.array([[1, 0xF0]], np.uint8))
    assert len(index) == 1
    assert "x" in index
    assert "y" not in index
    assert index.get("x").codes["code"].tolist() == [1, 0xF0]
    assert (index.bits, index.model, index.modalities) == (12, "abc", ("code",))
    with pytest.raises(UsageError, match="no item 'y'"):
        index.get("y")
    assert index.info() == {
        "kind": "memory",
        "bits": 12,
        "model": "abc",
        "items": 1,
        "modalities": {"code": 1},
        "engine": "scan",
        "exact": True,
    }
    index.close()


def test_what_goes_in_and_comes_out_is_a_copy() -> None:
    index = MemoryIndex(bits=8)
    codes, payload = codes_of(7), {"labels": ["a"], "deep": {"x": (1, 2)}}
    index.add(["a"], codes, payloads=[payload])
    codes[:] = 0
    payload["labels"].append("b")  # type: ignore[attr-defined]
    expected = {"labels": ["a"], "deep": {"x": [1, 2]}}
    item, hit = index.get("a"), index.search(codes_of(7), k=1)[0][0]
    assert item.payload == hit.payload == expected
    assert hit.distance == 0
    item.codes["code"][:] = 0
    item.payload["labels"].clear()  # type: ignore[attr-defined]
    hit.payload["deep"]["x"].clear()  # type: ignore[index]
    assert index.get("a").payload == expected
    assert index.search(codes_of(7), k=1)[0][0].distance == 0


@pytest.mark.parametrize(
    ("ids", "codes", "payloads", "message"),
    [
        (["new", "a"], codes_of(1, 2), None, "id 'a' is already in the index"),
        (["new", "new"], codes_of(1, 2), None, "id 'new' is given twice"),
        (["new"], codes_of(1, 2), None, "1 ids, 2 codes and 1 payloads"),
        (["new"], codes_of(1), [], "1 ids, 1 codes and 0 payloads"),
        (["new"], np.zeros((1, 2), np.uint8), None, "2 bytes wide"),
        (["new"], np.zeros((1, 1), np.int64), None, "uint8"),
        (["new"], {}, None, "no codes are given"),
        (["new"], {"text": codes_of(1)}, None, "codes are given of 'text'; the index has code"),
        (["new", 3], codes_of(1, 2), None, "id 3 is not a string"),
        (["new", ""], codes_of(1, 2), None, "id '' has 0 characters; 1 to 512"),
        (["new", "x" * 513], codes_of(1, 2), None, "has 513 characters"),
        (["new", "a\0"], codes_of(1, 2), None, "null character"),
        (["new", "\ud800"], codes_of(1, 2), None, "an id holds '.ud800', which is not valid"),
        (["new"], codes_of(1), [[]], r"the payload of 'new' is \[\]; it must be a JSON object"),
        (["new"], codes_of(1), [{"x": float("nan")}], "the payload of 'new' holds nan"),
        (["new"], codes_of(1), [{"x": {1, 2}}], "holds {1, 2}, which is not JSON"),
        (["new"], codes_of(1), [{"x": [b"y"]}], "holds b'y', which is not JSON"),
        (["new"], codes_of(1), [{"x": {1: 2}}], "has a key that is not a string"),
        (["new"], codes_of(1), [{"x": "\udfff"}], "which is not valid Unicode"),
        (["new"], codes_of(1), [{"x": 2**63}], "integer of more than 64 bits"),
    ],
)
def test_a_refused_batch_changes_nothing(ids, codes, payloads, message) -> None:
    index = MemoryIndex(bits=8)
    index.add(["a"], codes_of(7))
    with pytest.raises(DataError, match=message):
        index.add(ids, codes, payloads=payloads)
    if "already" not in message:
        with pytest.raises(DataError, match=message):
            index.upsert(ids, codes, payloads=payloads)
    assert len(index) == 1
    assert "new" not in index


def test_a_payload_that_holds_itself_is_refused() -> None:
    payload: dict[str, Any] = {}
    payload["self"] = payload
    with pytest.raises(DataError, match="nested more than 32 deep"):
        MemoryIndex(bits=8).add(["a"], codes_of(7), payloads=[payload])


def test_plain_codes_need_a_single_modality() -> None:
    index = MemoryIndex(bits=8, modalities=("image", "text"))
    with pytest.raises(DataError, match="the modalities image and text; give a mapping"):
        index.add(["a"], codes_of(7))
    with pytest.raises(DataError, match="text codes are 2 bytes wide"):
        index.add(["a"], {"image": codes_of(7), "text": np.zeros((1, 2), np.uint8)})


def test_refuses_wrong_queries() -> None:
    index = MemoryIndex(bits=8, modalities=("image", "text"))
    for arguments, message in (
        ({"k": 0}, "k is 0"),
        ({}, "neither k nor a radius"),
        ({"radius": -1}, "radius is -1"),
        ({"k": 1, "modality": "audio"}, "modality is 'audio'; it must be one of image, text"),
        ({"k": 1, "modality": None}, "the modalities image and text; say which is searched"),
    ):
        with pytest.raises(UsageError, match=message):
            index.search(codes_of(0), **{"modality": "text"} | arguments)
    with pytest.raises(DataError, match="query codes are 2 bytes wide"):
        index.search(np.zeros((1, 2), np.uint8), k=1, modality="text")
    with pytest.raises(UsageError, match="batch is 0"):
        index.items(batch=0)


@pytest.mark.parametrize("modalities", [(), ("a", "a"), "text", ("a b",), ("x" * 33,), (3,)])
def test_refuses_modalities_that_are_none(modalities: Any) -> None:
    with pytest.raises(UsageError, match="modalit"):
        MemoryIndex(bits=8, modalities=modalities)


def test_refuses_an_unknown_engine_at_once() -> None:
    with pytest.raises(UsageError, match="engine is 'warp'; it must be one of"):
        MemoryIndex(bits=8, engine="warp")


def test_searches_meet_all_of_a_change_or_none_of_it() -> None:
    """A writer swaps whole generations of items while readers look."""
    index = MemoryIndex(bits=8)
    names = [f"{row:03}" for row in range(50)]
    index.add(names, codes_of(*[0] * 50), payloads=[{"generation": 0}] * 50)
    torn: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            (hits,) = index.search(codes_of(0), k=100)
            generations = {hit.payload["generation"] for hit in hits}
            items = [item for batch in index.items(batch=7) for item in batch]
            if len(hits) != 50 or len(generations) != 1 or len(items) != 50:
                torn.append((len(hits), generations))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for generation in range(1, 40):
        index.upsert(
            names, codes_of(*[generation] * 50), payloads=[{"generation": generation}] * 50
        )
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_writers_in_several_threads_lose_nothing() -> None:
    index = MemoryIndex(bits=8)

    def write(first: int) -> None:
        for row in range(first, first + 20):
            index.add([str(row)], codes_of(row % 256))

    writers = [threading.Thread(target=write, args=(start,)) for start in range(0, 80, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(index) == 80
