"""Readers without permission to write, in a process of their own, beside a live writer."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from proxyhash.index.filters import Equals
from proxyhash.index.store import Store

ITEMS = 50
CODES = np.zeros((ITEMS, 1), np.uint8)
IDS = [f"i{number:02d}" for number in range(ITEMS)]

# Everything is loaded before root becomes nobody, who may not be able to read it; another user
# than root is told that nothing can be written. `told` has the last change that was acknowledged.
READER = """
import os, sys
from pathlib import Path
import numpy as np
from proxyhash.index.filters import Equals
from proxyhash.index.store import Store, database

folder, told, ends = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

def look(store):
    after = int(told.read_text() or -1)
    hits = store.search(np.zeros((1, 1), np.uint8), k=100, filter=Equals("kind", "x"))[0]
    changes = {hit.payload["change"] for hit in hits}
    assert len(hits) == 50 and len(changes) == 1, (len(hits), changes)
    assert changes.pop() >= after
    return after

with Store.open(folder) as store:
    look(store)
if os.getuid() == 0:
    os.setuid(65534)
else:
    database._writable = lambda path: False
with Store.open(folder) as store:
    print("ready", flush=True)
    seen, count = set(), 0
    while ends not in seen:
        seen.add(look(store))
        count += 1
    assert store.verify() == []
print(count, len(seen))
"""


def change(store: Store, number: int, told: Path) -> None:
    store.upsert(IDS, CODES, payloads=[{"kind": "x", "change": number}] * ITEMS)
    told.write_text(str(number))


@pytest.mark.parametrize(
    "bare",
    [
        pytest.param(True, id="never-locked"),
        pytest.param(False, id="as-writers-leave-it", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_may_not_write_sees_every_change_whole_and_at_once(bare: bool) -> None:
    # Not in pytest's folders: each run of pytest closes them to others than root.
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o755)
        folder, told = Path(shared) / "index", Path(shared) / "told"
        with Store.create(folder, bits=8, modalities=("text",), engine="scan") as store:
            change(store, 0, told)
        beside = sorted(folder.glob("generation-*/items.sqlite-*"))
        assert [path.name for path in beside] == ["items.sqlite-shm", "items.sqlite-wal"]
        for path in beside if bare else []:
            path.unlink()
        with subprocess.Popen(
            [sys.executable, "-c", READER, str(folder), str(told), "30"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as reader:
            assert reader.stdout is not None
            started = reader.stdout.readline() == "ready\n"
            for first in range(1, 31, 6) if started else []:
                with Store.open(folder, write=True) as store:
                    for number in range(first, first + 6):
                        change(store, number, told)
                    if first % 4 == 1:
                        store.compact()
            out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
        count, changes = map(int, out.split())
        assert count >= changes > 1


def test_what_was_read_while_the_file_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer comes, writes and goes within one search that has no locks."""
    folder, told = tmp_path / "index", tmp_path / "told"
    with Store.create(folder, bits=8, modalities=("text",), engine="scan") as store:
        change(store, 0, told)
    for path in folder.glob("generation-*/items.sqlite-*"):
        path.unlink()
    monkeypatch.setattr("proxyhash.index.store.database._writable", lambda path: False)
    reader = Store.open(folder)
    monkeypatch.undo()
    answers: list[int] = []
    original = type(reader._access._generation).hits  # type: ignore[union-attr]

    def hits(self: object, found: object) -> object:
        answers.append(1)
        if len(answers) == 1:
            with Store.open(folder, write=True) as store:
                change(store, 1, told)
        return original(self, found)  # type: ignore[arg-type]

    monkeypatch.setattr(type(reader._access._generation), "hits", hits)
    found = reader.search(CODES[:1], k=99, filter=Equals("kind", "x"))[0]
    assert {hit.payload["change"] for hit in found} == {1}
    assert len(answers) == 2
    reader.close()
