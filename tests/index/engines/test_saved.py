"""What is read of a saved engine is compared with the codes before any of it is used."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.errors import DataError
from proxyhash.files import write_json
from proxyhash.index.engines import ENGINES
from proxyhash.index.engines.segmented.engine import SegmentedEngine
from tests.fuzz.forked import run_forked
from tests.index.engines.reference import as_answer, draw_codes, slow_search

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT, BITS = 600, 64


def codes_of() -> tuple[Any, Any]:
    codes = draw_codes(COUNT, BITS, 0, kind="clustered")
    codes[300:] = codes[:300]  # equal ones are stored once
    return codes, np.random.default_rng(0).permutation(COUNT).astype(np.uint64)


def swap(array: Any) -> None:
    array[..., [3, 4]] = array[..., [4, 3]]


def put(place: Any, value: Any) -> Callable[[Any], None]:
    def change(array: Any) -> None:
        array[place] = value

    return change


CRAFTED: dict[str, list[tuple[str, Callable[[Any], None]]]] = {
    "multi_index": [
        ("starts", put((0, 5), COUNT + 1)),
        ("starts", put((0, 0), 1)),
        ("starts", put((0, -1), COUNT - 1)),
        ("starts", put((1, slice(3, 9)), 2**32 - 1)),
        ("pointers", put((0, 2), 255)),
        ("pointers", put((0, slice(0, 3)), 0)),
        ("pointers", lambda array: array.__setitem__((0, slice(None)), np.roll(array[0], 3))),
        ("beside", put((0, 7), 12345)),
        ("words", put(0, 1)),
        ("words", put(0, -1)),
        ("words", put(0, 2**62)),
        ("shifts", put(1, 0)),  # the first substring twice
        ("shifts", put(-1, 64)),
        ("shifts", put(0, -1)),
    ],
    "clustered": [
        ("table", put((0, 5), COUNT + 1)),
        ("table", put((-1, -1), 2**32 - 1)),
        ("table", put((0, 0), 1)),
        ("table", lambda array: array.__setitem__(slice(None), array[::-1])),
        ("spans", put((0, 0), 63)),
        ("spans", put((1, 0), 0)),
        ("centers", put((0, 0), 0)),
        ("words", put((3, 0), 7)),
        ("starts", put(1, 0)),
        ("starts", put(2, COUNT + 5)),
        ("starts", put(-1, COUNT - 1)),
        ("rows", put(0, COUNT)),
        ("rows", put(0, 2**32 - 1)),
        ("rows", swap),
        ("rows", put(slice(0, 2), 0)),
    ],
}
EVERY = [(name, file, change) for name, some in CRAFTED.items() for file, change in some]


@pytest.mark.parametrize(
    ("name", "file", "change"), EVERY, ids=[f"{n}-{f}-{i}" for i, (n, f, _) in enumerate(EVERY)]
)
def test_arrays_that_differ_from_the_codes_are_refused(
    tmp_path: Path, name: str, file: str, change: Callable[[Any], None]
) -> None:
    codes, order = codes_of()
    ENGINES[name].build(codes, bits=BITS, order=order).save(tmp_path)
    assert (name, len(np.load(tmp_path / "starts.npy"))) != ("clustered", 0)
    ENGINES[name].load(tmp_path, codes, order=order)
    array = np.load(tmp_path / f"{file}.npy")
    change(array)
    np.save(tmp_path / f"{file}.npy", array)
    with pytest.raises(DataError, match=r"is damaged: its .*; rebuild the engine"):
        ENGINES[name].load(tmp_path, codes, order=order)


@pytest.mark.parametrize("bits", [64, 128])
def test_repeated_codes_out_of_their_order_are_refused(tmp_path: Path, bits: int) -> None:
    codes = draw_codes(COUNT, bits, 0)
    codes[5] = codes[3]
    ENGINES["clustered"].build(codes, bits=bits, centers=1).save(tmp_path)
    assert not np.load(tmp_path / "starts.npy").size
    ENGINES["clustered"].load(tmp_path, codes)
    rows, words = np.load(tmp_path / "rows.npy"), np.load(tmp_path / "words.npy")
    first, second = np.flatnonzero(rows == 3)[0], np.flatnonzero(rows == 5)[0]
    assert second == first + 1
    np.save(tmp_path / "rows.npy", np.where(rows == 3, 5, np.where(rows == 5, 3, rows)))
    with pytest.raises(DataError, match="its lists are not those of the codes"):
        ENGINES["clustered"].load(tmp_path, codes)
    # The codes of one distance from the center in the sequence of their rows.
    table = np.load(tmp_path / "table.npy")[0]
    for start, stop in pairwise(table):
        rows[start:stop].sort()
        words[start:stop] = codes[rows[start:stop]].view(np.uint64)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "words.npy", words)
    with pytest.raises(DataError, match="its lists are not those of the codes"):
        ENGINES["clustered"].load(tmp_path, codes)


@pytest.mark.parametrize("name", list(CRAFTED))
def test_an_engine_of_other_codes_or_another_order_is_refused(tmp_path: Path, name: str) -> None:
    codes, order = codes_of()
    ENGINES[name].build(codes, bits=BITS, order=order).save(tmp_path)
    other = codes.copy()
    other[17, 3] ^= 1
    with pytest.raises(DataError, match="rebuild the engine"):
        ENGINES[name].load(tmp_path, other, order=order)
    if name == "clustered":  # rows of equal codes are stored by their order
        with pytest.raises(DataError, match="rebuild the engine"):
            ENGINES[name].load(tmp_path, codes, order=order[::-1].copy())


@pytest.mark.parametrize(
    "header",
    [
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<u4', 'fortran_order': False, 'shape': (1L",
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<u4', 'shape': (2,), }",
        b"\x93NUMPY\x03\x00\x76\x00\x00\x00{}",
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}",
        b"\x93NUM",
        b"",
    ],
)
@pytest.mark.parametrize("name", list(CRAFTED))
def test_headers_that_numpy_stumbles_over_are_refused(
    tmp_path: Path, name: str, header: bytes
) -> None:
    codes, order = codes_of()
    ENGINES[name].build(codes, bits=BITS, order=order).save(tmp_path)
    path = tmp_path / "starts.npy"
    path.write_bytes(header.ljust(len(header) and 128, b" "))
    with pytest.raises(DataError, match=r"starts\.npy cannot be read: it is not a numpy array"):
        ENGINES[name].load(tmp_path, codes, order=order)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("segments.json", {"engine": "faiss_flat"}),
        ("segments.json", {"engine": "segmented"}),
        ("segments.json", {"engine": "tree"}),
        ("segments.json", {"engine": ["scan"]}),
        ("segments.json", {"stops": [COUNT, COUNT]}),
        ("segments.json", {"stops": [COUNT + 1]}),
        ("segments.json", {"stops": [0.5, COUNT]}),
        ("segments.json", {"stops": True}),
        ("segments.json", {"tail_rows": 0}),
        ("segments.json", {"settings": {"centers": [1]}}),
        ("0/plan.json", {"engines": ["scan", "auto"]}),
        ("0/plan.json", {"engines": ["scan", "faiss_flat"]}),
        ("0/plan.json", {"engines": []}),
        ("0/plan.json", {"engines": ["scan", "clustered"], "costs": []}),
        ("0/plan.json", {"engines": ["scan", "scan"]}),
        ("0/plan.json", {"reason": "x" * 5000}),
        ("0/plan.json", {"reason": "\x1b[2J"}),
        ("0/plan.json", {"costs": [{"engine": "scan"}]}),
        ("0/engine.json", {"bits": 60}),
        ("0/engine.json", {"bits": None}),
        ("engine.json", {"bits": 2**70}),
        ("engine.json", {"count": -1}),
    ],
)
def test_settings_out_of_range_are_refused(
    tmp_path: Path, file: str, changes: dict[str, Any]
) -> None:
    codes, order = codes_of()
    engine = SegmentedEngine.build(codes, bits=BITS, order=order, tail_rows=1)
    engine.save(tmp_path)
    SegmentedEngine.load(tmp_path, codes, order=order)
    path = tmp_path / file
    write_json(path, json.loads(path.read_text()) | changes)
    with pytest.raises(DataError, match=r"rebuild the engine|they are not codes of 60 bits"):
        SegmentedEngine.load(tmp_path, codes, order=order)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "1", None, True])
def test_costs_that_are_none_are_refused(tmp_path: Path, value: Any) -> None:
    codes, order = codes_of()
    engine = ENGINES["auto"].build(codes, bits=BITS, order=order, scan_below=2)
    engine.save(tmp_path)
    path = tmp_path / "plan.json"
    plan = json.loads(path.read_text())
    plan["costs"][0]["seconds"] = value
    path.write_text(json.dumps(plan))
    with pytest.raises(DataError, match="does not hold the costs of its engines; rebuild"):
        ENGINES["auto"].load(tmp_path, codes, order=order)


@pytest.mark.parametrize("bits", [64, 96])
@pytest.mark.parametrize("options", [{}, {"economy": True}, None])
@pytest.mark.parametrize("cached", [True, False])
def test_files_that_change_after_they_were_checked_end_no_process(
    tmp_path: Path,
    options: dict[str, Any] | None,
    bits: int,
    cached: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = draw_codes(COUNT, bits, 0, kind="clustered")
    if cached:  # equal codes are stored once
        codes[300:] = codes[:300]
    else:
        monkeypatch.setattr("proxyhash.index.engines.clustered.engine._CACHE_BYTES", 0)
        codes[:40] = codes[50]
    name = "clustered" if options is None else "multi_index"
    engine = ENGINES[name].build(codes, bits=bits, **(options or {}))
    engine.save(tmp_path)
    rng = np.random.default_rng(0)

    def search(engine: Any) -> None:
        for k, radius in ((9, None), (200, None), (None, 12)):
            engine.search(codes[:40], k=k, radius=radius)
            engine.search(codes[:1], k=k, radius=radius)

    search(engine)  # what is compiled here is there in the other process
    search(ENGINES[name].load(tmp_path, codes))

    def work() -> str:
        engine = ENGINES[name].load(tmp_path, codes)
        for path in sorted(tmp_path.glob("*.npy")):
            content = path.read_bytes()
            rest = len(content) - 128
            for garbage in (b"\xff" * rest, b"\0" * rest, rng.bytes(rest)):
                with path.open("r+b") as file:  # in place, as mapped
                    file.seek(128)
                    file.write(garbage)
                search(engine)
            with path.open("r+b") as file:
                file.write(content)
        return "survived"

    assert run_forked(work) == "survived"


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    import os

    codes, order = codes_of()
    folder = tmp_path / "engine"
    folder.mkdir()
    ENGINES["clustered"].build(codes, bits=BITS, order=order).save(folder)
    rows = folder / "rows.npy"
    rows.rename(tmp_path / "elsewhere.npy")
    rows.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(DataError, match=r"rows\.npy is a symbolic link, not a regular file"):
        ENGINES["clustered"].load(folder, codes, order=order)
    rows.unlink()
    os.mkfifo(rows)
    with pytest.raises(DataError, match=r"rows\.npy is a pipe, not a regular file"):
        ENGINES["clustered"].load(folder, codes, order=order)


def test_dead_rows_may_have_obsolete_labels(tmp_path: Path) -> None:
    """An engine is loaded with the labels that were written, and orders by them as ever."""
    codes, order = codes_of()
    SegmentedEngine.build(codes, bits=BITS, order=order, engine="clustered", tail_rows=1).save(
        tmp_path
    )
    dead = np.arange(0, COUNT, 3)
    today = (order + np.uint64(5)) * np.uint64(1000)
    today[dead] = order[dead]
    mask = np.ones(COUNT, bool)
    mask[dead] = False
    engine = SegmentedEngine.load(tmp_path, codes, order=order)
    engine.extend(codes, order=today)
    found = as_answer(engine.search(codes[:5], k=9, mask=mask))
    assert found == slow_search(codes[:5], codes, k=9, mask=mask, order=today)
