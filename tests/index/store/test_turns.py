"""Turns at an index: nobody starves, and long filters leave turns to others."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import DataError
from proxyhash.index.filters import Contains, Filter, Or
from proxyhash.index.store import Store
from proxyhash.index.store.columns import Column
from proxyhash.index.store.turns import Turns

if TYPE_CHECKING:
    from pathlib import Path


def test_who_waits_gets_a_turn_from_a_thread_that_always_wants_one() -> None:
    turns, taken, done = Turns(), threading.Event(), threading.Event()
    before = 0

    def greedy() -> None:
        nonlocal before
        while not done.is_set():
            with turns:
                taken.set()
                end = time.monotonic() + 0.005
                while time.monotonic() < end:
                    pass
                before += 1

    thread = threading.Thread(target=greedy)
    thread.start()
    assert taken.wait(10)
    for _ in range(5):
        start = before
        with turns:
            waited = before - start
        assert waited <= 3
    done.set()
    thread.join(10)
    assert not turns.taken


def test_one_thread_at_a_time_has_the_turn() -> None:
    turns, count = Turns(), 0

    def work() -> None:
        nonlocal count
        for _ in range(300):
            with turns, turns:
                seen = count
                time.sleep(0)
                count = seen + 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert count == 1800


def fill(folder: Path, count: int) -> Store:
    store = Store.create(folder, bits=8, modalities=["text"])
    payloads: list[dict[str, object]] = [{"labels": [f"label {n % 7}"]} for n in range(count)]
    codes = np.zeros((count, 1), np.uint8)
    store.upsert([f"{n:03}" for n in range(count)], {"text": codes}, payloads=payloads)
    return store


def test_a_long_filter_leaves_turns_to_plain_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions: list[Filter] = [Contains("labels", f"label {n}") for n in range(40)]
    meets, slow = Column.meets, threading.Event()

    def slowly(column: Column, condition: Contains, *, start: int = 0) -> object:
        slow.set()
        time.sleep(0.02)
        return meets(column, condition, start=start)

    with fill(tmp_path / "index", 50) as store:
        monkeypatch.setattr(Column, "meets", slowly)
        found: list[object] = []
        filter_ = Or(tuple(conditions))
        thread = threading.Thread(target=lambda: found.append(store.count("text", filter=filter_)))
        thread.start()
        assert slow.wait(10)
        assert store.get("001") is not None
        assert thread.is_alive()  # the plain question was answered in between
        thread.join(30)
        assert found == [50]
        start = time.monotonic()
        assert store.count("text", filter=filter_) == 50  # known already
        assert time.monotonic() - start < 0.4


def test_a_long_filter_sees_what_is_added_after_it_was_asked(tmp_path: Path) -> None:
    parts: list[Filter] = [Contains("labels", f"label {n}") for n in range(5)]
    filter_ = Or(tuple(parts))
    with fill(tmp_path / "index", 70) as store:
        assert store.count("text", filter=filter_) == 50
        for number in range(9):
            payload: dict[str, object] = {"labels": [f"label {number}"]}
            id_ = f"more {number}"
            store.upsert([id_], {"text": np.zeros((1, 1), np.uint8)}, payloads=[payload])
            wanted = 50 + min(number + 1, 5)
            assert store.count("text", filter=filter_) == wanted


def test_nothing_is_stored_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    with fill(tmp_path / "index", 3) as store:
        (tmp_path / "index").rename(tmp_path / "away")
        with pytest.raises(DataError, match="gone"):
            store.upsert(["a"], {"text": np.zeros((1, 1), np.uint8)})
        with pytest.raises(DataError, match="gone"):
            store.delete(["001"])
        (tmp_path / "away").rename(tmp_path / "index")
        assert store.delete(["001"]) == 1
