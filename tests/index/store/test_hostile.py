"""Databases from strangers, and damaged files: an error that names the file, and never a hang."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from proxyhash.errors import DataError, StoppedError
from proxyhash.index.store import Store
from proxyhash.stopping import Stop, stoppable

DAMAGES = 300 if os.environ.get("PROXYHASH_THOROUGH") == "1" else 12
MEMORY = Path("/dev/shm")
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store.create(tmp_path / "index", bits=8, modalities=("text",), engine="scan") as store:
        store.add(["a", "b"], np.zeros((2, 1), np.uint8))
    return tmp_path / "index"


@pytest.mark.slow
def test_no_damage_raises_anything_else_hangs_or_gives_wrong_answers() -> None:
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "tests.index.store.hostile", scratch, "0", str(DAMAGES)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"done {DAMAGES} ")
    assert "DataError" in line
    assert "answer" in line


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        (f"ALTER TABLE items RENAME TO o; CREATE VIEW items AS {ENDLESS}", "items"),
        ("CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END", "trigger 't'"),
        ("ALTER TABLE items ADD COLUMN more AS (zeroblob(900000000))", "table 'items'"),
        ("CREATE TABLE more (x)", "table 'more'"),
        ("DROP TABLE runs", "table 'runs'"),
    ],
)
def test_another_schema_is_refused_before_it_is_asked(schema, named, folder, tmp_path) -> None:
    path = folder / "generation-000001" / "items.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(schema)
    for write, salvage in ((False, False), (True, False), (False, True)):
        with pytest.raises(DataError, match=named):
            Store.open(folder, write=write, salvage=salvage)


def test_items_of_other_types_are_named_and_left_out_of_what_is_salvaged(folder, tmp_path) -> None:
    path = folder / "generation-000001" / "items.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE items SET payload = x'7b7d' WHERE id = 'a'")
    with Store.open(folder) as store:
        (problem,) = store.verify()
        assert "item 'a': the checksum does not match" in problem
    with Store.open(folder, salvage=True) as store:
        store.snapshot(tmp_path / "saved")
    with Store.open(tmp_path / "saved") as saved:
        assert [hit.id for hit in saved.search(np.zeros((1, 1), np.uint8), k=5)[0]] == ["b"]


def test_all_items_of_one_kind_may_be_lost(tmp_path) -> None:
    with Store.create(tmp_path / "index", bits=8) as store:
        store.add(["a", "b"], {"image": np.zeros((2, 1), np.uint8)})
        store.add(["c"], {"text": np.ones((1, 1), np.uint8)})
    with closing(sqlite3.connect(tmp_path / "index/generation-000001/items.sqlite")) as database:
        database.execute("UPDATE items SET crc32 = 7 WHERE id < 'c'")
        database.commit()
    with Store.open(tmp_path / "index", salvage=True) as store:
        store.snapshot(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        assert copy.verify() == []
        assert [item.id for some in copy.items() for item in some] == ["c"]


def test_what_analyze_adds_is_taken(folder) -> None:
    path = folder / "generation-000001" / "items.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("ANALYZE")
    with Store.open(folder) as store:
        assert len(store.search(np.zeros((1, 1), np.uint8), k=5)[0]) == 2


def test_a_journal_that_names_another_file_is_not_played_back(folder, tmp_path) -> None:
    """SQLite deletes the file that a left-behind journal names as its super-journal."""
    path = folder / "generation-000001" / "items.sqlite"
    path.with_name("items.sqlite-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" * 200)
    with pytest.raises(DataError, match=r"items\.sqlite-journal does not belong to an index"):
        Store.open(folder)


def test_an_endless_statement_ends_by_itself_on_request_and_by_ctrl_c(folder, monkeypatch) -> None:
    monkeypatch.setattr("proxyhash.index.store.database._MOST_STEPS", 2_000_000)
    with Store.open(folder) as store:

        def ask() -> None:
            with store._access.reading() as generation:
                generation.database.execute(ENDLESS).fetchone()

        with pytest.raises(DataError, match="reading it does not end"):
            ask()
        monkeypatch.setattr("proxyhash.index.store.database._MOST_STEPS", 10**15)
        with stoppable(Stop(time.monotonic() + 0.1)), pytest.raises(StoppedError):
            ask()
        main = threading.main_thread().ident
        assert main is not None
        alarm = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
        alarm.start()
        with pytest.raises(KeyboardInterrupt):
            ask()
        alarm.join()
        assert len(store.search(np.zeros((1, 1), np.uint8), k=5)[0]) == 2


def test_saved_answers_stay_when_a_copy_of_the_folder_is_used(folder, tmp_path) -> None:
    """A copy without SQLite's empty files opens as well, and makes them again."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for path in copy.rglob("items.sqlite-*"):
        path.unlink()
    with Store.open(copy, write=True) as store:
        assert store.delete(["a"]) == 1
    assert len(list(copy.rglob("items.sqlite-*"))) == 2
