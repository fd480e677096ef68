"""Thumbnails beside an index: killed writers, strangers' files, folders that cannot be written."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.manage import (
    compact_index,
    delete_items,
    describe_index,
    snapshot_index,
    verify_index,
)
from proxyhash.catalog.thumbnails import ThumbnailStore
from proxyhash.errors import DataError, ProxyhashError
from proxyhash.index.store import Store
from proxyhash.progress import silent
from proxyhash.search import Searcher

if TYPE_CHECKING:
    from collections.abc import Callable

OLD_FORM = "CREATE TABLE thumbnails (id TEXT PRIMARY KEY, jpeg BLOB NOT NULL) WITHOUT ROWID"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index of ten items with thumbnails."""
    folder = tmp_path / "x.index"
    with Store.create(folder, bits=8, modalities=("image",)) as store:
        ids = [f"i{row}" for row in range(10)]
        store.add(ids, np.arange(10, dtype=np.uint8)[:, None])
    Catalog(folder).make_thumbnails().put({id_: b"jpeg of " + id_.encode() for id_ in ids})
    return folder


def file_of(index: Path) -> Path:
    return index / "thumbnails.sqlite3"


WRITER = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from proxyhash.catalog.thumbnails import ThumbnailStore

    store, round = ThumbnailStore.create(Path(sys.argv[1])), 0
    while True:
        print("go", flush=True)
        store.put({f"i{row}": bytes([round % 256]) + os.urandom(40_000) for row in range(200)})
        round += 1
    """
)


def kill_a_writer(path: Path, *, after: float) -> bool:
    """Kill a process that writes thumbnails; return whether it left a journal behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "go\n"
    journal, limit = path.with_name(path.name + "-journal"), time.monotonic() + 30
    while not journal.exists():
        assert time.monotonic() < limit
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return journal.exists()


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_thumbnails_that_can_be_read(index: Path) -> None:
    left = 0
    for after in (0.0, 0.01):
        left += kill_a_writer(file_of(index), after=after)
        store = Catalog(index).thumbnails
        assert store is not None
        assert store.problem() is None
        assert verify_index(str(index)) == []
        assert store.present([f"i{row}" for row in range(10)]) == {f"i{row}" for row in range(10)}
        assert len({(store.get(f"i{row}") or b"")[:1] for row in range(10)}) == 1  # all or none
    assert left, "no kill came in the middle of a write"


DIES = textwrap.dedent(
    """
    import os, signal, sqlite3, sys

    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("PRAGMA cache_size = 10")  # pages reach the file before the commit
    connection.execute("BEGIN IMMEDIATE")
    rows = ((f"i{row}", os.urandom(40_000)) for row in range(200))
    connection.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, 0)", rows)
    os.kill(os.getpid(), signal.SIGKILL)
    """
)


def die_half_written(path: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(path)], check=False, timeout=60)
    assert path.with_name(path.name + "-journal").stat().st_size > 0


def test_what_a_killed_process_wrote_by_half_is_rolled_back_by_a_reader(index: Path) -> None:
    die_half_written(file_of(index))
    store = Catalog(index).thumbnails
    assert store is not None
    assert store.get("i1") == b"jpeg of i1"
    assert (len(store), verify_index(str(index))) == (10, [])


def as_nobody(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code that becomes a user who may not write here."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


READER = """
    import os, sys
    from pathlib import Path
    import proxyhash.hashing
    from proxyhash.catalog.catalog import Catalog
    from proxyhash.search import Searcher
    from proxyhash.catalog.manage import describe_index, verify_index

    uri = sys.argv[1]
    if os.getuid() == 0:  # once everything is imported
        os.setuid(65534)
    with Searcher.open(uri) as searcher:
        assert searcher.index.get("i1").codes
        thumbnails = searcher.thumbnails
        found = thumbnails.get("i1"), thumbnails.present(["i1"]), len(thumbnails)
    describe_index(uri)
    print(found, Catalog(Path(uri)).thumbnails_problem, verify_index(uri))
"""


@pytest.fixture
def shared() -> Any:
    """A folder that every user can enter."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


def read_only(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_folder_that_cannot_be_written_has_its_thumbnails(index: Path, shared: Path) -> None:
    index = index.rename(shared / "x.index")
    read_only(index)
    done = as_nobody(READER, index)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(b'jpeg of i1', {'i1'}, 10) None []\n"


def test_a_journal_that_cannot_be_rolled_back_costs_the_thumbnails_only(
    index: Path, shared: Path
) -> None:
    die_half_written(file_of(index))
    index = index.rename(shared / "x.index")
    read_only(index)
    done = as_nobody(READER, index)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(None, set(), 0)")
    assert "thumbnails.sqlite3" in done.stdout
    assert "check disk space and permissions" in done.stdout


def endless_view(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE thumbnails")
        connection.execute(
            "CREATE VIEW thumbnails AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1"
            " FROM n) SELECT CAST(id AS TEXT) AS id, x'ff' AS jpeg, NULL AS crc32 FROM n"
        )


def a_trigger(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER t AFTER INSERT ON thumbnails BEGIN DELETE FROM thumbnails; END"
        )


def other_columns(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE thumbnails")
        connection.execute("CREATE TABLE thumbnails (id INTEGER, jpeg TEXT, crc32)")


def a_virtual_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE thumbnails")
        connection.execute("CREATE VIRTUAL TABLE thumbnails USING fts5(id, jpeg, crc32)")


def a_generated_column(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE thumbnails")
        connection.execute(
            "CREATE TABLE thumbnails (id TEXT PRIMARY KEY, jpeg BLOB AS (zeroblob(900000000)))"
            " WITHOUT ROWID"
        )


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def a_linked_journal(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.write_bytes(b"precious")
    path.with_name(path.name + "-journal").symlink_to(outside)


def noise(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    path.write_bytes(content)


def text_only(path: Path) -> None:
    path.write_text("not a database at all" * 100)


@pytest.mark.parametrize(
    "spoil",
    [
        endless_view,
        a_trigger,
        other_columns,
        a_virtual_table,
        a_generated_column,
        a_pipe,
        a_folder,
        a_link,
        a_linked_journal,
        noise,
        text_only,
    ],
)
def test_a_stranger_s_thumbnails_cost_nothing_but_themselves(
    index: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(file_of(index))
    outside = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    start = time.monotonic()
    assert Catalog(index).thumbnails_problem
    with Searcher.open(str(index)) as searcher:
        assert searcher.thumbnails is not None
        assert searcher.thumbnails.get("i1") is None
        assert searcher.thumbnails.present(["i1"]) == set()
        assert len(searcher.thumbnails) == 0
    assert describe_index(str(index))["thumbnails"] == 0
    assert len(verify_index(str(index))) == 1
    assert delete_items(str(index), ["i1"], track=silent) == 1
    compact_index(str(index))
    report = snapshot_index(str(index), tmp_path / "copy")
    assert (report.items, report.lost, bool(report.problem)) == (9, 0, True)
    assert verify_index(str(tmp_path / "copy")) == []
    assert time.monotonic() - start < 20
    assert outside == {path: path.read_bytes() for path in outside}
    with pytest.raises(ProxyhashError):
        ThumbnailStore(file_of(index)).put({"i1": b"x"})


@pytest.mark.parametrize("value", [5, 10**12, "text", 1.5, "\ud800"])
def test_values_of_another_type_are_no_thumbnails(index: Path, value: Any) -> None:
    with sqlite3.connect(file_of(index)) as connection:
        raw = "CAST(x'ed a0 80' AS TEXT)".replace(" ", "", 2) if value == "\ud800" else "?"
        arguments = () if value == "\ud800" else (value,)
        connection.execute(f"UPDATE thumbnails SET jpeg = {raw} WHERE id = 'i1'", arguments)
    store = Catalog(index).thumbnails
    assert store is not None
    assert store.get("i1") is None
    assert verify_index(str(index))
    assert store.get("i2") == b"jpeg of i2"


def test_a_damaged_thumbnail_is_found_and_not_shown(index: Path) -> None:
    content = file_of(index).read_bytes()
    assert content.count(b"jpeg of i7") == 1
    file_of(index).write_bytes(content.replace(b"jpeg of i7", b"JPEG of i7"))
    store = Catalog(index).thumbnails
    assert store is not None
    assert store.get("i7") is None
    (problem,) = verify_index(str(index))
    assert "1 thumbnail is damaged ('i7')" in problem
    assert store.present(["i6", "i7"], sound=True) == {"i6"}


def test_files_of_earlier_versions_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "thumbnails.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute(OLD_FORM)
        connection.execute("INSERT INTO thumbnails VALUES ('a', x'01')")
    connection.close()
    store = ThumbnailStore(path)
    assert (store.get("a"), store.present(["a"], sound=True), len(store)) == (b"\x01", {"a"}, 1)
    assert store.verify() is None
    store.copy_to(tmp_path / "copy")
    assert ThumbnailStore(tmp_path / "copy").get("a") == b"\x01"
    store.put({"b": b"\x02"})
    assert [store.get(id_) for id_ in "ab"] == [b"\x01", b"\x02"]
    assert store.verify() is None


def test_an_empty_file_is_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    store = ThumbnailStore(tmp_path / "x")
    assert (store.get("a"), store.present(["a"]), len(store)) == (None, set(), 0)
    store.put({"a": b"1"})
    assert store.get("a") == b"1"


def test_reading_is_given_up_after_a_while(index: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("proxyhash.catalog.side_file.SECONDS", 0.2)
    store = ThumbnailStore(file_of(index))
    start = time.monotonic()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with (
        pytest.raises(ProxyhashError, match="given up"),
        store._file.open(seconds=0.2) as (connection, _),
    ):
        connection.execute(endless)
    assert time.monotonic() - start < 5


def test_links_and_pipes_in_a_model_are_not_copied(index: Path, tmp_path: Path) -> None:
    (index / "model").mkdir()
    (index / "model" / "model.json").write_text("{}")
    (index / "model" / "weights").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"weights is a link, a pipe or a device"):
        snapshot_index(str(index), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    report = snapshot_index(str(index), tmp_path / "copy", salvage=True)
    assert "weights is a link" in report.problem
    (index / "model" / "weights").unlink()
    (index / "model").rename(tmp_path / "model")
    (index / "model").symlink_to(tmp_path / "model")
    with pytest.raises(DataError, match=r"model is a link"):
        snapshot_index(str(index), tmp_path / "other")
    (index / "model" / "model.json").unlink()
    assert "has no model.json" in verify_index(str(index))[0]


def test_damaged_bytes_are_refused_or_found_and_never_shown(tmp_path: Path) -> None:
    import random

    path, chance = tmp_path / "x.sqlite3", random.Random(3)
    store = ThumbnailStore.create(path)
    wanted = {f"i{row}": chance.randbytes(chance.choice([10, 300, 5000])) for row in range(20)}
    store.put(wanted)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 30])):
            place = chance.randrange(chance.choice([200, 5000, len(whole)]))
            damaged[place] = chance.choice([0, 1, 127, 128, 255, damaged[place] ^ 8])
        path.write_bytes(damaged)
        found = {}
        for id_ in wanted:
            with suppress(ProxyhashError):
                found[id_] = store.get(id_)
        shown = {id_: jpeg for id_, jpeg in found.items() if jpeg is not None}
        assert shown.items() <= wanted.items()
        assert len(shown) == len(wanted) or store.verify() is not None
        with suppress(ProxyhashError):
            store.put({"i1": b"new"})
            assert store.get("i1") == b"new"
        path.with_name(path.name + "-journal").unlink(missing_ok=True)


def test_a_journal_that_names_another_file_does_not_delete_it(index: Path, tmp_path: Path) -> None:
    """SQLite takes the name at the end of a journal for a super-journal, and removes that file."""
    path, outside = file_of(index), tmp_path / "precious.txt"
    outside.write_text("years of work")
    magic, page = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", path.read_bytes()[16:18]
    size = int.from_bytes(page, "big")
    name = os.fsencode(outside)
    numbers = (0, 12345, path.stat().st_size // size, 512, size)
    header = magic + b"".join(number.to_bytes(4, "big") for number in numbers)
    trailer = (2**30 // size + 1, name, len(name), sum(name) % 2**32)
    end = b"".join(one if isinstance(one, bytes) else one.to_bytes(4, "big") for one in trailer)
    journal = path.with_name(path.name + "-journal")
    journal.write_bytes(header.ljust(512, b"\0") + end + magic)
    with pytest.raises(DataError, match="names another file"):
        ThumbnailStore(path).put({"a": b"jpeg"})
    assert outside.exists()
    (tmp_path / "plain.sqlite").write_bytes(path.read_bytes())
    journal.rename(tmp_path / "plain.sqlite-journal")
    with sqlite3.connect(tmp_path / "plain.sqlite") as plain:
        plain.execute("SELECT count(*) FROM sqlite_master")
    assert not outside.exists()  # what SQLite does when it is left to itself
