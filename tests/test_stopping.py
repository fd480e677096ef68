"""Work that is told to stop, and what it leaves behind."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import StoppedError
from proxyhash.index import parse_filter
from proxyhash.index.store import Store
from proxyhash.stopping import Stop, check_stop, stoppable

if TYPE_CHECKING:
    from pathlib import Path


def test_only_the_work_that_is_told_stops() -> None:
    check_stop()
    stop, other = Stop(), Stop()
    with stoppable(stop):
        check_stop()
        with stoppable(other):
            other.stop()
            with pytest.raises(StoppedError):
                check_stop()
        check_stop()
        stop.stop()
        with pytest.raises(StoppedError, match="nobody waits"):
            check_stop()
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append("went on" if not check_stop() else ""))
        thread.start()
        thread.join()
        assert seen == ["went on"]
    check_stop()


def test_it_stops_at_its_deadline_and_where_nobody_wants_it() -> None:
    late = Stop(time.monotonic() - 1)
    assert late.stopped
    assert not Stop(time.monotonic() + 60).stopped
    wanted = [True]
    stop = Stop(unwanted=lambda: not wanted[0])
    assert not stop.stopped
    wanted.clear()
    wanted.append(False)
    assert stop.stopped


def test_a_filter_that_was_stopped_is_read_to_its_end_by_the_next_search(tmp_path: Path) -> None:
    count = 9000
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (count, 2), np.uint8)
    price = parse_filter({"field": "price", "lt": 700})
    with Store.create(tmp_path / "index", bits=16, modalities=("text",)) as store:
        payloads = [{f"f{place}": 1 for place in range(30)} | {"price": n} for n in range(count)]
        store.add([f"{n:05}" for n in range(count)], codes, payloads=payloads)
        wide = parse_filter(
            {
                "and": [{"field": f"f{n}", "eq": 1} for n in range(30)]
                + [{"field": "price", "lt": 7}]
            }
        )
        asked = 0

        def unwanted() -> bool:
            nonlocal asked
            asked += 1
            return asked > 3

        with stoppable(Stop(unwanted=unwanted)), pytest.raises(StoppedError):
            store.search(codes[:1], k=5, filter=wide)
        assert store.count("text", filter=price) == 700
        assert store.count("text", filter=wide) == 7
