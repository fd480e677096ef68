"""Saved search structures, labels that move, and what `verify` compares."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.index.store import Store
from proxyhash.index.store.database import connect, database_errors
from proxyhash.index.store.header import Header
from proxyhash.index.store.modality_engine import _note_files
from tests.fuzz.forked import run_forked

ROWS = 9000
QUERY = np.full((3, 8), 0x0F, np.uint8)


@pytest.fixture(scope="module")
def compacted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upkeep") / "index"
    codes = np.random.default_rng(0).integers(0, 256, (ROWS, 8), np.uint8)
    with Store.create(folder, bits=64, modalities=("text",), engine="multi_index") as store:
        store.add([f"{row:05d}" for row in range(ROWS)], codes)
        store.compact()
    return folder


@pytest.fixture
def folder(compacted, tmp_path):
    shutil.copytree(compacted, tmp_path / "index")
    return tmp_path / "index"


def engine_folder(folder):
    return folder / "generation-000002" / "engines" / "text"


def largest(folder):
    files = [path for path in engine_folder(folder).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def test_a_saved_engine_is_used_with_what_came_since(folder, caplog) -> None:
    with Store.open(folder, write=True, engine="multi_index") as store:
        store.add(["new"], QUERY[:1])
        store.delete(["00007"])
        found = store.search(QUERY, k=50)
        assert found[0][0].id == "new"
        assert store.info()["engines"] == {
            "text": {"engine": "multi_index", "saved": True, "segments": [ROWS]}
        }
    with Store.open(folder, engine="scan") as store:
        assert store.search(QUERY, k=50) == found
    assert not caplog.records


@pytest.mark.parametrize("damage", ["cut", "removed", "no note", "no files", "odd note"])
def test_a_damaged_saved_engine_is_built_again(folder, caplog, damage) -> None:
    with Store.open(folder, engine="scan") as store:
        expected = store.search(QUERY, k=50)
    note = engine_folder(folder) / "files.json"
    match damage:
        case "cut":
            largest(folder).write_bytes(largest(folder).read_bytes()[:-9])
        case "removed":
            largest(folder).unlink()
        case "no note":
            note.unlink()
        case "no files":
            note.write_text("[]")
        case "odd note":
            note.write_text('{"a": 1}')
    with (
        caplog.at_level(logging.WARNING),
        Store.open(folder, write=True, engine="multi_index") as store,
    ):
        assert store.search(QUERY, k=50) == expected
        assert "rebuilding the search structure" in caplog.text
        assert any("`proxyhash index compact` rebuilds it" in one for one in store.verify())


def test_a_flipped_byte_of_a_saved_engine_is_found(folder) -> None:
    content = bytearray(largest(folder).read_bytes())
    content[len(content) // 2] ^= 4
    largest(folder).write_bytes(content)
    with Store.open(folder) as store:
        (problem,) = store.verify()
        assert f"{largest(folder).name}: the checksum does not match" in problem


def warned(folder, engine):
    """Search, cut the saved engine short under the open index, search again; return how it went."""
    log = logging.getLogger("proxyhash")
    heard = []
    log.addHandler(handler := logging.Handler())
    handler.emit = lambda record: heard.append(record.getMessage())
    with Store.open(folder, engine=engine) as store:
        expected = store.search(QUERY, k=50)
        assert not heard
        os.truncate(largest(folder), 100)
        assert store.search(QUERY, k=50) == expected
        assert store.search(QUERY, k=50) == expected
        assert store.verify()
    assert sum("was cut short; rebuilding" in one for one in heard) == len(heard) == 1
    return "survived"


def test_a_saved_engine_that_is_cut_short_under_a_reader_is_built_again(folder) -> None:
    assert run_forked(lambda: warned(folder, "multi_index")) == "survived"


def test_codes_that_are_cut_short_under_a_reader_are_an_error(folder) -> None:
    def work() -> str:
        with Store.open(folder, engine="scan") as store:
            store.search(QUERY, k=50)
            os.truncate(folder / "generation-000002" / "text.codes", 100)
            with pytest.raises(DataError, match=r"text\.codes ends after row 12 of 9000"):
                store.search(QUERY, k=50)
        return "survived"

    assert run_forked(work) == "survived"


def test_verify_compares_a_saved_engine_with_the_codes_and_a_scan(folder) -> None:
    told: list[str] = []
    with Store.open(folder) as store:
        assert store.verify(report=told.append) == []
    (sentence,) = told
    assert sentence.startswith("text: the saved engine (multi_index, 9,000 rows) was compared")
    folder = engine_folder(folder)
    array = np.load(folder / "0" / "starts.npy")
    array[0, 3] += 1
    np.save(folder / "0" / "starts.npy", array)
    (folder / "files.json").unlink()
    _note_files(folder)  # checksums that fit
    with Store.open(folder.parents[2]) as store:
        (problem,) = store.verify()
    assert "its tables are not those of the codes; rebuild the engine" in problem


def test_names_of_files_outside_of_the_folder_are_not_read(folder, caplog) -> None:
    note = engine_folder(folder) / "files.json"
    for name in ("../../../../../../dev/zero", "/dev/zero", "0/../../text", "a\0b"):
        note.write_text(json.dumps(json.loads(note.read_text()) | {name: [1, 0]}))
        with Store.open(folder) as store:
            assert "files.json is damaged" in store.verify()[0]


def test_engines_that_trust_what_they_read_are_not_saved(folder, caplog) -> None:
    with Store.open(folder, write=True, engine="faiss_flat") as store:
        expected = store.search(QUERY, k=20)
        store.compact()
        assert (
            not engine_folder(folder)
            .parents[1]
            .with_name("generation-000003")
            .joinpath("engines")
            .exists()
        )
        assert store.search(QUERY, k=20) == expected
    assert not caplog.records


def test_readers_follow_labels_that_move(tmp_path) -> None:
    query = np.zeros((1, 1), np.uint8)
    with Store.create(tmp_path / "index", bits=8, modalities=("text",)) as store:
        ids = ["a", "b"]
        store.add(ids, np.zeros((2, 1), np.uint8))
        with Store.open(tmp_path / "index") as reader:
            for number in range(120):
                # Always between the two that came last, which uses gaps up fastest.
                ids.append("a" + "01" * (number // 2) + "0" * (1 - number % 2))
                store.upsert(ids[-1:], query)
                if number % 10 == 0:
                    assert [hit.id for hit in reader.search(query, k=200)[0]] == sorted(set(ids))
            assert reader.verify() == []
    with closing(sqlite3.connect(tmp_path / "index/generation-000001/items.sqlite")) as database:
        moved = database.execute("SELECT count(*) FROM changes WHERE kind = 'relabelled'")
        assert moved.fetchone()[0] > 0
    with Store.open(tmp_path / "index") as store:
        assert [hit.id for hit in store.search(query, k=200)[0]] == sorted(set(ids))
        assert store.verify() == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE state SET items = 7", "holds 9000 items, but counts 7"),
        ("DELETE FROM items WHERE row = 5", "row 5: the list of changes and the items differ"),
        ("UPDATE items SET row = 9999 WHERE row = 5", "an item in row 9999, but counts 9000 rows"),
        ("UPDATE items SET id = 'x' WHERE row = 5", "item 'x': the checksum does not match"),
        ("UPDATE items SET crc32 = 0", "8980 more items whose checksums do not match"),
        ("UPDATE items SET id = 'z' || id WHERE row < 9", "ranks are not in the ids' order"),
        ("DELETE FROM blocks WHERE block = 1", "rows 4096 to 8191: the checksum does not match"),
    ],
)
def test_verify_compares_what_must_fit(folder, statement, message) -> None:
    path = folder / "generation-000002" / "items.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    with Store.open(folder) as store:
        assert any(message in problem for problem in store.verify())


def test_what_cannot_be_made_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="9 modalities; a store has at most eight"):
        Store.create(tmp_path / "index", bits=8, modalities=tuple("abcdefghi"))
    with pytest.raises(UsageError, match="engine is 'nothing'"):
        Store.create(tmp_path / "index", bits=8, engine="nothing")
    assert not (tmp_path / "index").exists()
    with (
        Store.create(tmp_path / "index", bits=8) as store,
        pytest.raises(UsageError, match="batch"),
    ):
        store.items(batch=0)


def test_a_compaction_that_fails_at_its_end_goes_on_where_it_counts(folder, monkeypatch) -> None:
    import proxyhash.index.store.folder as module

    sync = module.sync

    def full(path) -> None:
        if path == folder:  # the last step, after the header names the new generation
            raise OSError(28, "No space left on device", str(path))
        sync(path)

    with Store.open(folder, write=True) as store:
        with monkeypatch.context() as patch:
            patch.setattr(module, "sync", full)
            with pytest.raises(ProxyhashError, match=r"No space left on device.*free disk space"):
                store.compact()
        store.add(["later"], QUERY[:1])
        assert store.verify() == []
    with Store.open(folder) as store:
        assert "later" in store
        assert store.info()["generation"] == 3


def test_opening_follows_a_compaction_that_comes_in_between(folder, monkeypatch) -> None:
    import proxyhash.index.store.folder as module

    stale = [Header.load(folder).with_(generation=1)]
    load = Header.load
    with Store.open(folder) as store:
        expected = store.search(QUERY, k=5)
    monkeypatch.setattr(
        module.Header, "load", lambda folder: stale.pop() if stale else load(folder)
    )
    generation = module.open_generation(folder, write=False, salvage=False, engine="auto")
    assert generation.header.generation == 2
    generation.close()
    monkeypatch.undo()
    with Store.open(folder) as store:
        assert store.search(QUERY, k=5) == expected


def test_errors_of_the_database_are_sentences(folder) -> None:
    path = folder / "generation-000002" / "items.sqlite"
    with closing(connect(path, write=False)) as reader:
        with (
            pytest.raises(ProxyhashError, match="check the permissions"),
            database_errors(path),
        ):
            reader.execute("DELETE FROM items")
        with (
            closing(connect(path, write=True)) as writer,
            closing(connect(path, write=True)) as two,
        ):
            writer.execute("BEGIN IMMEDIATE")
            two.execute("PRAGMA busy_timeout = 1")
            with pytest.raises(ProxyhashError, match="locked; try again"), database_errors(path):
                two.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.ProgrammingError), database_errors(path):
        reader.execute("SELECT 1")


def test_what_is_no_folder_is_taken_and_no_snapshot_replaces_it(tmp_path: Path) -> None:
    assert not Store.exists(tmp_path / "new")
    assert not Store.exists(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("pipe", "link"):
        assert Store.exists(tmp_path / name)
