"""What every index must do, wherever it keeps its items, against loops over a dictionary."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.index import FieldKind
from proxyhash.index.base import CAPABILITIES
from proxyhash.index.filters import And, Contains, Equals, Filter, Not, Or, Range, matches
from proxyhash.index.second_look import SecondLook
from proxyhash.index.words import WordQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxyhash.index import Index
    from tests.index.backends import Backend

BITS = 12
FILTERS: list[Filter] = [
    Equals("kind", "a"),
    Equals("kind", None),
    Equals("n", 3.0),
    Not(Equals("kind", "a")),
    Range("n", ge=2, lt=9),
    Range("kind", gt="a"),
    Not(Range("n", gt=4)),
    Contains("labels", 'it\'s "odd"'),
    Contains("labels", 2),
    And((Equals("kind", "a"), Not(Range("n", gt=4)))),
    Or((Equals("kind", "b"), Equals("n", 0))),
    Or((Equals("kind", "b"), Not(Equals("n", 0)))),
    And(()),
    Or(()),
]
ODD_IDS = ["it's", 'say "a"', "back\\slash", "a/b", "ünï🙂", " ", "%", "tab\t", "new\nline", "id]"]
ODD_PAYLOADS: list[dict[str, object]] = [
    {},
    {"deep": {"a": [1, [2, {"b": None}]]}},
    {"numbers": [0, -1, 1.5, 1.0, 2**53 + 1, -(2**63) + 1, 1e300, 5e-324]},
    {"text": 'it\'s "odd" \\ \n \t ünï🙂', 'key "a"/b': True, "~": False},
    {"": ""},
]


def codes_of(*values: int) -> np.ndarray:
    """Codes of 12 bits, whose numbers are the values."""
    return np.array([[value >> 4, (value & 15) << 4] for value in values], np.uint8)


@contextmanager
def empty(backend: Backend, **options: Any) -> Iterator[Index]:
    yield backend.create(**{"bits": BITS, "modalities": ("image",), **options})
    backend.remove()


def everything(index: Index, *, batch: int = 100) -> list[tuple[str, dict[str, bytes], Any]]:
    return [
        (item.id, {name: code.tobytes() for name, code in item.codes.items()}, item.payload)
        for items in index.items(batch=batch)
        for item in items
    ]


def found(hits: list[Any]) -> list[tuple[int, str]]:
    return [(hit.distance, hit.id) for hit in hits]


def by_loop(items, query: int, *, k=None, radius=None, condition=None):
    """(distance, id) of items {id: (value, payload)}, by looking at each."""
    rows = sorted(
        ((value ^ query).bit_count(), id_)
        for id_, (value, payload) in items.items()
        if condition is None or matches(condition, payload)
    )
    return [row for row in rows if radius is None or row[0] <= radius][:k]


def test_answers_are_the_smallest_by_distance_and_id(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    items = {
        f"i{number}": (
            int(rng.integers(64)),
            {
                "n": int(rng.integers(10)),
                "labels": [["x", 2], ['it\'s "odd"'], []][int(rng.integers(3))],
            }
            | [{"kind": "a"}, {"kind": "b"}, {"kind": None}, {}][int(rng.integers(4))],
        )
        for number in rng.permutation(150)
    }
    queries = [0, 5, 4095, 63]
    with empty(backend) as index:
        index.add(
            list(items),
            codes_of(*(value for value, _ in items.values())),
            payloads=[payload for _, payload in items.values()],
        )
        for k, radius in ((1, None), (7, None), (1000, None), (None, 0), (None, 3), (5, 2)):
            answers = index.search(codes_of(*queries), k=k, radius=radius)
            for query, hits in zip(queries, answers, strict=True):
                assert found(hits) == by_loop(items, query, k=k, radius=radius)
                assert all(hit.payload == items[hit.id][1] for hit in hits)
        for condition in FILTERS:
            wanted_count = sum(matches(condition, payload) for _, payload in items.values())
            assert index.count("image", filter=condition) in (wanted_count, None)
            for k, radius in ((6, None), (None, 4)):
                answers = index.search(codes_of(*queries), k=k, radius=radius, filter=condition)
                for query, hits in zip(queries, answers, strict=True):
                    wanted = by_loop(items, query, k=k, radius=radius, condition=condition)
                    assert found(hits) == wanted, condition


def looked_by_loop(items, query: int, weights, *, k, shortlist=None, radius=None, condition=None):
    """(asymmetric distance, id, distance), by weighing each bit of each item on its own."""
    listed = by_loop(
        items,
        query,
        k=None if shortlist is None else max(k or 0, shortlist),
        radius=radius,
        condition=condition,
    )
    rows = []
    for distance, id_ in listed:
        differing = items[id_][0] ^ query
        total = sum(int(weights[bit]) for bit in range(BITS) if differing >> (BITS - 1 - bit) & 1)
        rows.append((total / 65535, id_, distance))
    return sorted(rows)[:k]


def test_a_second_look_orders_by_asymmetric_distance_and_id(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    items: dict[str, tuple[int, dict[str, object]]] = {
        f"i{number}": (int(rng.integers(4096)), {"n": int(rng.integers(10))})
        for number in rng.permutation(150)
    }
    queries = [0, 5, 4095, 63]
    weights = rng.integers(0, 4, (4, BITS)).astype(np.uint16) * 21845  # few values: ties
    with empty(backend) as index:
        index.add(
            list(items),
            codes_of(*(value for value, _ in items.values())),
            payloads=[payload for _, payload in items.values()],
        )
        items["i7"] = (items["i9"][0], {"n": 1})
        index.upsert(["i7"], codes_of(items["i7"][0]), payloads=[{"n": 1}])
        index.delete(["i3"])
        del items["i3"]
        cases = [(1, 20, None), (30, 10, None), (7, 60, 6), (5, 1000, None), (None, 10, 4)]
        cases += [(4, None, 5)]
        if index.kind not in ("memory", "store"):  # they would have to send every code
            with pytest.raises(UsageError, match="give shortlist a number"):
                index.search(codes_of(*queries), k=9, look=SecondLook(weights, None))
        else:
            cases += [(9, None, None), (200, None, None)]
        for k, shortlist, radius in cases:
            for condition in (None, Range("n", ge=2, lt=7)):
                answers = index.search(
                    codes_of(*queries), k=k, radius=radius, filter=condition,
                    look=SecondLook(weights, shortlist),
                )  # fmt: skip
                for row, hits in enumerate(answers):
                    wanted = looked_by_loop(
                        items, queries[row], weights[row], k=k, radius=radius,
                        shortlist=None if k is None else shortlist, condition=condition,
                    )  # fmt: skip
                    assert [(each.asymmetric, each.id, each.distance) for each in hits] == wanted
                    assert all(hit.payload == items[hit.id][1] for hit in hits)


def test_a_second_look_refuses_what_does_not_fit(backend: Backend) -> None:
    with empty(backend) as index:
        index.add(["a"], codes_of(1))
        look = SecondLook(np.zeros((2, BITS), np.uint16))
        assert index.search(codes_of(1, 2), k=3, look=look)[1][0].asymmetric == 0
        with pytest.raises(DataError, match=r"weights must be uint16 of shape \(1, 12\)"):
            index.search(codes_of(1), k=3, look=look)
        with pytest.raises(UsageError, match="shortlist is 0"):
            SecondLook(look.weights, 0)


def test_an_empty_index_answers(backend: Backend) -> None:
    with empty(backend) as index:
        assert len(index) == 0
        assert index.count("image") == 0
        assert "a" not in index
        assert everything(index) == []
        assert index.search(codes_of(0, 1), k=3) == [[], []]
        assert index.search(codes_of(0), radius=3) == [[]]
        assert index.search(np.empty((0, 2), np.uint8), k=3) == []
        assert index.delete(["a"]) == 0
        index.add([], np.empty((0, 2), np.uint8))
        assert len(index) == 0


def test_items_have_codes_in_one_or_several_modalities(backend: Backend) -> None:
    with empty(backend, modalities=("image", "text"), model="m1") as index:
        assert (index.bits, index.model, index.modalities) == (BITS, "m1", ("image", "text"))
        both = {"image": codes_of(1, 2), "text": codes_of(3, 4)}
        index.add(["b", "a"], both, payloads=[{"n": 1}, {"n": 2}])
        index.add(["c"], {"text": codes_of(5)})
        assert len(index) == 3
        assert found(index.search(codes_of(1), k=9, modality="image")[0]) == [(0, "b"), (2, "a")]
        assert [hit.id for hit in index.search(codes_of(3), k=9, modality="text")[0]] == [
            "b",
            "c",
            "a",
        ]
        assert set(index.get("a").codes) == {"image", "text"}
        assert index.get("c").codes["text"].tolist() == codes_of(5)[0].tolist()
        several = index.get_many(["c", "x", "a", "c"])
        assert several.keys() == {"a", "c"}
        assert set(several["a"].codes) == {"image", "text"}
        assert several["c"].codes["text"].tolist() == codes_of(5)[0].tolist()
        assert several["a"].payload == {"n": 2}
        assert index.get_many([]) == {}
        assert (index.count("image"), index.count("text")) == (2, 3)
        with pytest.raises(UsageError, match="modality is 'sound'"):
            index.count("sound")
        info = json.loads(json.dumps(index.info()))
        assert (info["bits"], info["model"], info["items"]) == (BITS, "m1", 3)

        index.upsert(["a", "c"], {"image": codes_of(9, 9)}, payloads=[{"new": 1}, {"new": 2}])
        assert len(index) == 3
        assert set(index.get("a").codes) == {"image"}
        assert index.get("c").payload == {"new": 2}
        assert found(index.search(codes_of(9), k=9, modality="text")[0]) == [(2, "b")]

        assert index.delete(["a", "x", "b", "a"]) == 2
        assert [id_ for id_, _, _ in everything(index)] == ["c"]
        with pytest.raises(UsageError, match="no item 'a' in the index"):
            index.get("a")
        with pytest.raises(UsageError, match="say which is searched"):
            index.search(codes_of(0), k=1)
        with pytest.raises(UsageError, match="modality is 'sound'"):
            index.search(codes_of(0), k=1, modality="sound")


def test_any_id_and_payload_comes_back_as_it_was(backend: Backend) -> None:
    with empty(backend) as index:
        payloads = [ODD_PAYLOADS[row % len(ODD_PAYLOADS)] for row in range(len(ODD_IDS))]
        index.add(ODD_IDS, codes_of(*range(len(ODD_IDS))), payloads=payloads)
        again = backend.reopen()
        wanted = sorted(
            (id_, {"image": codes_of(row)[0].tobytes()}, payload)
            for row, (id_, payload) in enumerate(zip(ODD_IDS, payloads, strict=True))
        )
        for batch in (1, 3, 100):
            assert everything(again, batch=batch) == wanted
        assert json.dumps([row[2] for row in everything(again)]) == json.dumps(
            [row[2] for row in wanted]
        )
        assert [len(items) for items in again.items(batch=4)] == [4, 4, 2]
        for id_, _, payload in wanted:
            assert id_ in again
            assert again.get(id_).payload == payload
        ties = again.search(codes_of(0), radius=BITS)[0]
        assert found(ties) == sorted(found(ties))
        assert again.delete(ODD_IDS) == len(ODD_IDS)
        assert len(again) == 0


def test_a_refused_write_leaves_nothing(backend: Backend) -> None:
    with empty(backend) as index:
        index.add(["a"], codes_of(1))
        with pytest.raises(DataError, match="id 'a' is already in the index"):
            index.add(["b", "a"], codes_of(2, 3))
        with pytest.raises(DataError, match="id 'b' is given twice"):
            index.upsert(["b", "b"], codes_of(2, 3))
        with pytest.raises(DataError, match="1 bytes wide"):
            index.add(["b"], np.zeros((1, 1), np.uint8))
        with pytest.raises(DataError, match="set after bit 12"):
            index.add(["b"], np.full((1, 2), 255, np.uint8))
        with pytest.raises(DataError, match="codes are given of 'text'"):
            index.add(["b"], {"text": codes_of(2)})
        with pytest.raises(DataError, match="which is not JSON"):
            index.add(["b"], codes_of(2), payloads=[{"n": float("nan")}])
        with pytest.raises(DataError, match="2 ids, 1 codes"):
            index.add(["b", "c"], codes_of(2))
        assert everything(index) == [("a", {"image": codes_of(1)[0].tobytes()}, {})]


def test_a_search_that_makes_no_sense_is_refused(backend: Backend) -> None:
    with empty(backend) as index:
        index.add(["a"], codes_of(1))
        with pytest.raises(UsageError, match="radius"):
            index.search(codes_of(0))
        with pytest.raises(UsageError, match="k is 0"):
            index.search(codes_of(0), k=0)
        with pytest.raises(UsageError, match="radius is -1"):
            index.search(codes_of(0), radius=-1)
        with pytest.raises(DataError, match="query codes"):
            index.search(np.zeros((1, 8), np.uint8), k=1)
        with pytest.raises(UsageError, match="batch is 0"):
            index.items(batch=0)


@pytest.mark.parametrize("given", ["kind = a", {"field": "kind", "equals": "a"}])
def test_a_filter_that_is_none_is_refused(backend: Backend, given: Any) -> None:
    with empty(backend) as index:
        with pytest.raises(UsageError, match="parse_filter_text"):
            index.search(codes_of(0), k=1, modality="image", filter=given)
        with pytest.raises(UsageError, match="parse_filter_text"):
            index.count("image", filter=given)


@pytest.mark.parametrize("limits", [{"k": 2.5}, {"k": "2"}, {"k": True}, {"radius": 1.5}])
def test_a_limit_that_is_no_whole_number_is_refused(backend: Backend, limits: Any) -> None:
    with empty(backend) as index, pytest.raises(UsageError, match="whole number"):
        index.search(codes_of(0), modality="image", **limits)


def test_what_was_acknowledged_is_there_when_it_is_opened_again(backend: Backend) -> None:
    with empty(backend, model="m1") as index:
        index.add(["a", "b", "c"], codes_of(1, 2, 3), payloads=[{"n": 1}, {"n": 2}, {"n": 3}])
        index.upsert(["b"], codes_of(7), payloads=[{"n": 9}])
        index.delete(["c"])
        before = everything(index), index.search(codes_of(0), k=5)
        again = backend.reopen()
        assert (again.bits, again.model, again.modalities) == (BITS, "m1", ("image",))
        assert (everything(again), again.search(codes_of(0), k=5)) == before
        assert len(again) == 2


def test_what_an_index_supports_works_and_the_rest_is_refused(
    backend: Backend, tmp_path: Path
) -> None:
    with empty(backend) as index:
        index.add(["a", "b"], codes_of(1, 7), payloads=[{"labels": ["x", 1]}, {"labels": ["x"]}])
        assert index.supports("write")
        calls: dict[str, Callable[[], object]] = {
            "changes": lambda: index.changes,
            "count_distances": lambda: index.count_distances(codes_of(0)),
            "count_values": lambda: index.count_values("labels"),
            "fields": index.fields,
            "verify": index.verify,
            "compact": index.compact,
            "snapshot": lambda: index.snapshot(tmp_path / "copy"),
            "drop": index.drop,
            "search_words": lambda: index.search_words(codes_of(0), [WordQuery.of("x")], k=1),
        }
        assert {"write", *calls} == set(CAPABILITIES) >= index.capabilities
        for name, call in calls.items():
            if index.supports(name):
                continue
            with pytest.raises(UsageError, match=f"does not support {name}; it supports .*write"):
                call()
        if index.supports("changes"):
            before = index.changes
            assert index.changes == before
            index.upsert(["b"], codes_of(3), payloads=[{"labels": [True]}])
            assert index.changes != before
            index.upsert(["b"], codes_of(7), payloads=[{"labels": ["x"]}])
        if index.supports("count_distances"):
            for condition, wanted in ((None, [0, 1, 0, 1]), (Contains("labels", 1), [0, 1, 0, 0])):
                counts = index.count_distances(codes_of(0), modality="image", filter=condition)
                assert counts.dtype == np.int64
                assert counts.tolist() == [*wanted, *[0] * (BITS - 3)]
            with pytest.raises(DataError, match="query codes"):
                index.count_distances(np.zeros((1, 8), np.uint8))
        if index.supports("count_values"):
            while (values := index.count_values("labels")) is None:
                pass
            assert {("x", 2), (1, 1)} <= set(values)
        if index.supports("fields"):
            assert index.fields() == {"labels": FieldKind(frozenset({"list"}), 2)}
            odd = {'a"b\\': None, "é": 1, "x y": 1.5, "s": "", "t": True, "o": {}, "labels": 1}
            index.add(["c"], codes_of(9), payloads=[odd])
            fields = index.fields()
            assert fields.complete
            types = {name: set(kind.types) for name, kind in fields.items()}
            assert types == {
                'a"b\\': {"null"},
                "é": {"number"},
                "x y": {"number"},
                "s": {"string"},
                "t": {"boolean"},
                "o": {"object"},
                "labels": {"list", "number"},
            }
            index.delete(["c"])
            assert index.fields() == {"labels": FieldKind(frozenset({"list"}), 2)}
        for name in ("compact", "verify", "snapshot"):
            if index.supports(name):
                assert calls[name]() in (None, [], 2)  # a snapshot tells its items
        assert [hit.id for hit in index.search(codes_of(7), k=1)[0]] == ["b"]
        with pytest.raises(UsageError, match="capability is 'fly'; it must be one of"):
            index.supports("fly")


def test_a_string_is_no_list_of_ids(backend: Backend) -> None:
    with empty(backend) as index:
        index.add(["a", "b"], codes_of(1, 2))
        for call in (index.delete, index.get_many):
            with pytest.raises(UsageError, match="ids is the string 'ab'; give a list"):
                call("ab")
        with pytest.raises(DataError, match="ids is the string 'cd'; give a list"):
            index.add("cd", codes_of(1, 2))
        assert 3 not in index
        assert "\ud800" not in index
        assert index.delete(["\ud800", "a"]) == 1
