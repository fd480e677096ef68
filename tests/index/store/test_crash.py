"""Writers that die at any moment, and many that read meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from proxyhash.index.store import Store

from .crash_writer import operations
from .model import BITS, Model, stored

KILLS = 100 if os.environ.get("PROXYHASH_THOROUGH") else 40


def apply(model: Model, operation) -> None:
    kind, ids, codes, payloads = operation
    if kind == "delete":
        model.delete(ids)
    elif kind == "upsert":
        model.put(ids, codes, payloads)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_half_written_is_seen(tmp_path) -> None:
    folder, dice, model = tmp_path / "index", random.Random(0), Model()
    Store.create(folder, bits=BITS).close()
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.index.store.crash_writer", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    done = 0
    for seed in range(KILLS):
        print(seed, dice.randrange(120), file=writer.stdin, flush=True)
        answer = json.loads(writer.stdout.readline())
        assert answer["killed"]
        made = list(itertools.islice(operations(seed), answer["acknowledged"] + 1))
        for operation in made[:-1]:
            apply(model, operation)
        done += len(made) - 1
        with Store.open(folder) as store:
            found = stored(store)
            assert store.verify() == []
        if found != model.items:
            # The one that was under way may have been committed, but not acknowledged any more.
            apply(model, made[-1])
        assert found == model.items, f"after kill {seed}"
    writer.stdin.close()
    assert writer.wait(10) == 0
    writer.stdout.close()
    assert done > KILLS


def test_a_reader_sees_all_of_a_change_or_nothing(tmp_path) -> None:
    folder = tmp_path / "index"
    ids = [f"id{number}" for number in range(20)]
    stop, wrong, seen = threading.Event(), [], set()

    def read() -> None:
        with Store.open(folder) as reader:
            while not stop.is_set():
                hits = reader.search(np.zeros((1, 1), np.uint8), k=99)[0]
                rounds = {hit.payload["round"] for hit in hits}
                seen.update(rounds)
                if len(rounds) != 1 or [hit.id for hit in hits] != sorted(ids):
                    wrong.append(hits)

    with Store.create(folder, bits=8, modalities=("text",)) as writer:
        writer.add(ids, np.zeros((20, 1), np.uint8), payloads=[{"round": -1}] * 20)
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in itertools.takewhile(lambda number: number < 60 or len(seen) < 5, range(5000)):
            codes = np.zeros((20, 1), np.uint8)
            writer.upsert(ids, codes, payloads=[{"round": number}] * 20)
            if number == 20:
                writer.compact()
            if number == 40:
                writer.snapshot(tmp_path / "copy")
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(seen) >= 5
    with Store.open(tmp_path / "copy") as copy:
        assert {hit.payload["round"] for hit in copy.search(codes[:1], k=99)[0]} == {40}


def test_what_a_dead_writer_left_behind_is_rolled_back(tmp_path) -> None:
    folder = tmp_path / "index"
    with Store.create(folder, bits=8, modalities=("text",)) as store:
        store.add(["a"], np.array([[1]], np.uint8))
    data = folder / "generation-000001"
    for name in ("text.codes", "order.rows"):
        with (data / name).open("ab") as file:
            file.write(b"\x07" * 11)
    (folder / "generation-000002").mkdir()
    with Store.open(folder) as store:
        assert stored(store) == {"a": ({"text": b"\1"}, {})}
        assert store.verify() == []
    with Store.open(folder, write=True) as store:
        assert (data / "text.codes").stat().st_size == 1
        assert not (folder / "generation-000002").exists()
        store.add(["b"], np.array([[2]], np.uint8))
        assert store.verify() == []
