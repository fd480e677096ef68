"""What every exact engine must do, against a slow loop over Python integers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import DataError, UsageError
from proxyhash.index.engines import ENGINES
from tests.index.engines.needs_triton import needs_triton
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.codes import Codes
    from proxyhash.index.engines import Engine

# Other settings that a registered engine is tested with, beside its defaults.
OPTIONS: dict[str, list[dict[str, Any]]] = {"multi_index": [{"economy": True}]}

EXACT = [
    pytest.param(
        name,
        options,
        id="-".join([name, *map(str, options.values())]),
        marks=needs_triton if name == "cuda" else (),
    )
    for name, engine in ENGINES.items()
    if engine.exact
    for options in [{}, *OPTIONS.get(name, [])]
]
every_engine = pytest.mark.parametrize(("name", "options"), EXACT)

WIDTHS = [8, 12, 16, 31, 32, 64, 96, 128, 256, 1024]


def build(name: str, options: dict[str, Any], codes: Codes, bits: int, **given: Any) -> Engine:
    return ENGINES[name].build(codes, bits=bits, **given, **options)


def check(engine: Engine, codes: Codes, query: Codes, order: Any = None, **search: Any) -> None:
    expected = slow_search(
        query, codes, order=order, **{k: v for k, v in search.items() if k != "threads"}
    )
    assert as_answer(engine.search(query, **search)) == expected, search


@every_engine
@pytest.mark.parametrize("kind", ["random", "equal", "clustered"])
@pytest.mark.parametrize("bits", WIDTHS)
def test_every_width_and_kind_of_search(
    name: str, options: dict[str, Any], bits: int, kind: str
) -> None:
    rng = np.random.default_rng(bits)
    codes = draw_codes(400, bits, 1, kind=kind)
    order = rng.permutation(400).astype(np.uint64) * np.uint64(2**40)
    query = np.concatenate([codes[:2], draw_codes(2, bits, 2)])
    plain = build(name, options, codes, bits)
    ordered = build(name, options, codes, bits, order=order)
    some, few = rng.random(400) < 0.6, rng.random(400) < 0.03
    for search in (
        {"k": 1},
        {"k": 10},
        {"k": 390},
        {"k": 1000},
        {"k": 7, "mask": some},
        {"k": 7, "mask": few},
        {"k": None, "radius": 0},
        {"k": None, "radius": bits // 4, "mask": some},
        {"k": None, "radius": bits},
        {"k": 5, "radius": bits // 4},
        {"k": 300, "radius": bits // 2},
        {"k": 3, "radius": 10 * bits, "mask": np.zeros(400, bool)},
    ):
        check(plain, codes, query, **search)
        check(ordered, codes, query, order, **search)


@settings(max_examples=60)
@given(data=st.data())
@every_engine
def test_any_search(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    draw = data.draw
    bits = draw(st.sampled_from([4, 8, 16, 24, 64, 128]), label="bits")
    count, seed = draw(st.integers(0, 300), label="count"), draw(st.integers(0, 999), label="seed")
    rng = np.random.default_rng(seed)
    codes = draw_codes(count, bits, seed, kind=draw(st.sampled_from(["random", "equal"])))
    query = draw_codes(draw(st.integers(0, 4)), bits, draw(st.sampled_from([seed, seed + 1])))
    order = rng.permutation(count).astype(np.uint64) if draw(st.booleans()) else None
    k = draw(st.none() | st.integers(1, 320), label="k")
    limit = st.integers(0, bits)
    radius = draw(limit if k is None else st.none() | limit, label="radius")
    mask = rng.random(count) < draw(st.floats(0, 1)) if draw(st.booleans()) else None
    engine = build(name, options, codes, bits, order=order)
    check(
        engine, codes, query, order, k=k, radius=radius, mask=mask, threads=draw(st.integers(1, 2))
    )


@every_engine
@pytest.mark.parametrize("count", [0, 1, 3])
def test_hardly_any_rows(name: str, options: dict[str, Any], count: int) -> None:
    codes, query = draw_codes(count, 64, 0), draw_codes(2, 64, 1)
    engine = build(name, options, codes, 64)
    assert engine.count == count
    for search in ({"k": 5}, {"k": 1}, {"k": None, "radius": 64}, {"k": 2, "radius": 30}):
        check(engine, codes, query, **search)
    assert as_answer(engine.search(query[:0], k=5)) == []


@every_engine
@pytest.mark.parametrize("kind", ["random", "clustered"])
def test_threads_and_concurrent_calls_agree(name: str, options: dict[str, Any], kind: str) -> None:
    codes, query = draw_codes(5000, 64, 0, kind=kind), draw_codes(200, 64, 0, kind=kind)
    engine = build(name, options, codes, 64)

    def run(threads: int) -> list[object]:
        return [
            as_answer(engine.search(query, k=9, threads=threads)),
            as_answer(engine.search(query[:1], k=9, threads=threads)),
            as_answer(engine.search(query[:40], k=None, radius=12, threads=threads)),
        ]

    expected = run(1)
    assert expected[1] == slow_search(query[:1], codes, k=9)
    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(run, [2, 1, 2, 3]):
            assert other == expected


@every_engine
def test_what_was_saved_answers_the_same(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    codes, query = draw_codes(3000, 64, 0, kind="clustered"), draw_codes(5, 64, 0)
    order = np.random.default_rng(0).permutation(3000).astype(np.uint64)
    engine = build(name, options, codes, 64, order=order)
    engine.save(tmp_path)
    again = type(engine).load(tmp_path, codes, order=order)
    assert (again.bits, again.count, again.nbytes) == (64, 3000, engine.nbytes)
    for search in ({"k": 20}, {"k": None, "radius": 9}):
        check(again, codes, query, order, **search)


@every_engine
def test_a_folder_of_something_else_is_refused(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    codes = draw_codes(50, 64, 0)
    engine = build(name, options, codes, 64)
    with pytest.raises(DataError, match=r"engine\.json"):
        type(engine).load(tmp_path, codes)
    engine.save(tmp_path)
    with pytest.raises(DataError, match="50 codes and there are 49"):
        type(engine).load(tmp_path, codes[:49])
    header = tmp_path / "engine.json"
    text = header.read_text()
    header.write_text(text.replace(f'"{name}"', '"other"'))
    with pytest.raises(DataError, match=f"of the engine 'other', not of '{name}'"):
        type(engine).load(tmp_path, codes)
    header.write_text(text.replace('"version": 1', '"version": 99'))
    with pytest.raises(DataError, match="another version"):
        type(engine).load(tmp_path, codes)


@every_engine
def test_codes_mapped_from_a_file_and_an_order_renumbered_in_place(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    codes = draw_codes(300, 64, 0, kind="equal")
    np.save(tmp_path / "codes.npy", codes)
    order = np.random.default_rng(1).permutation(300).astype(np.uint64)
    mapped = np.load(tmp_path / "codes.npy", mmap_mode="r")
    engine = build(name, options, mapped, 64, order=order)
    order *= np.uint64(1000)
    check(engine, codes, codes[:3], order, k=20)
    assert engine.nbytes >= codes.nbytes + order.nbytes


@every_engine
def test_arguments_out_of_range_are_refused(name: str, options: dict[str, Any]) -> None:
    codes = draw_codes(10, 16, 0)
    engine = build(name, options, codes, 16)
    for arguments, error, message in (
        ({"k": None}, UsageError, "neither k nor a radius"),
        ({"k": 0}, UsageError, "k is 0"),
        ({"k": 1, "radius": -1}, UsageError, "radius is -1"),
        ({"k": 1, "threads": 0}, UsageError, "threads is 0"),
        ({"k": 1, "mask": np.ones(9, bool)}, DataError, r"bool of shape \(10,\)"),
    ):
        with pytest.raises(error, match=message):
            engine.search(codes[:1], **arguments)
    with pytest.raises(DataError, match="from another model"):
        engine.search(draw_codes(1, 64, 0), k=1)
    with pytest.raises(DataError, match="order must be uint64"):
        build(name, options, codes, 16, order=np.arange(10))
    with pytest.raises(UsageError, match=f"engine {name} has no option 'color'"):
        ENGINES[name].build(codes, bits=16, color=3)
