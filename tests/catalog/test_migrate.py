"""`index migrate`: what is there afterwards is what a fresh build with the new model makes."""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.catalog.build import add_to_index, build_index
from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.images import images_taken
from proxyhash.catalog.manage import (
    delete_items,
    describe_index,
    index_words,
    snapshot_index,
    verify_index,
)
from proxyhash.catalog.manifests import manifests_of
from proxyhash.catalog.migrate import migrate_index
from proxyhash.catalog.sync import sync_index
from proxyhash.errors import (
    DataError,
    InterruptedRunError,
    MigratedError,
    ModelError,
    ProxyhashError,
    UsageError,
)
from proxyhash.hashing import HashModel
from proxyhash.index.store import Store
from proxyhash.index.store.word_index import hold_words
from proxyhash.search import Searcher
from tests.catalog.conftest import contents
from tests.catalog.migration_kit import Kit, make_kit, read_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxyhash.data import Collection
    from tests.conftest import CommandResult


@pytest.fixture(scope="module")
def kit(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("migrate"), scenes)


@pytest.fixture
def index(kit: Kit, tmp_path: Path) -> Path:
    """An index of the old model, whose manifest and images a test may change."""
    shutil.copytree(kit.data, tmp_path / "data")
    shutil.copytree(kit.indexes["old"], tmp_path / "x.index")
    manifests = {"format": 1, "manifests": [str(tmp_path / "data" / "items.jsonl")]}
    (tmp_path / "x.index" / "manifests.json").write_text(json.dumps(manifests))
    return tmp_path / "x.index"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the items that go through a model, in order."""
    seen: list[str] = []
    real = HashModel.encode_collection

    def spy(self: HashModel, collection: Collection, **options: Any) -> Any:
        seen.extend(collection.ids)
        return real(self, collection, **options)

    monkeypatch.setattr(HashModel, "encode_collection", spy)
    monkeypatch.setattr("proxyhash.catalog.catch_up.AT_ONCE", 16)
    return seen


@pytest.mark.parametrize("name", ["new", "short"])
def test_the_index_is_that_of_a_fresh_build(
    kit: Kit, index: Path, name: str, encoded: list[str]
) -> None:
    before = images_taken(index)
    report = migrate_index(str(index), kit.models[name])
    assert contents(index) == kit.contents[name]
    assert (report.items, report.encoded, report.resumed, report.lost) == (60, 60, 0, 0)
    assert report.model == kit.fingerprints[name]
    assert verify_index(str(index)) == []
    assert images_taken(index) == before
    names = {path.name for path in index.iterdir()}
    fresh = {path.name for path in kit.indexes[name].iterdir()} - {"generation-000001"}
    assert names == fresh | {"generation-000002", "migration.lock"}
    with Store.open(index) as store:
        assert all(engine["saved"] for engine in store.info()["engines"].values())
    encoded.clear()
    report = sync_index(str(index), index.parent / "data" / "items.jsonl").items
    assert (report.unchanged, encoded) == (60, [])  # it knows that nothing changed
    with Searcher.open(index) as searcher, Searcher.open(kit.indexes[name]) as other:
        found, wanted = (each.search_text("a boat at night").hits for each in (searcher, other))
    assert found == wanted


def test_there_and_back_is_the_same(kit: Kit, index: Path) -> None:
    for name in ("short", "old"):
        migrate_index(str(index), kit.models[name])
    assert contents(index) == kit.contents["old"]
    assert not list(index.glob("model-*"))


def test_a_second_call_does_nothing(kit: Kit, index: Path, encoded: list[str]) -> None:
    migrate_index(str(index), kit.models["new"])
    encoded.clear()
    report = migrate_index(str(index), kit.models["new"])
    assert (report.encoded, report.resumed, encoded, report.items) == (0, 0, [], 60)


def test_the_old_index_answers_until_the_swap(
    kit: Kit, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = HashModel.encode_collection, []

    def spy(self: HashModel, collection: Collection, **options: Any) -> Any:
        seen.append(contents(index) == kit.contents["old"])
        with Searcher.open(index) as searcher:
            seen.append(searcher.search_text("a boat").hits == wanted)
        return real(self, collection, **options)

    with Searcher.open(index) as searcher:
        wanted = searcher.search_text("a boat").hits
    monkeypatch.setattr("proxyhash.catalog.catch_up.AT_ONCE", 16)
    monkeypatch.setattr(HashModel, "encode_collection", spy)
    migrate_index(str(index), kit.models["new"])
    assert seen == [True] * 8


def test_a_searcher_that_is_open_follows_and_never_mixes(kit: Kit, index: Path) -> None:
    with (
        Searcher.open(index) as searcher,
        Searcher.open(index, model=kit.models["old"]) as stuck,
        Store.open(index) as store,
        Searcher.open(kit.indexes["short"]) as fresh,
    ):
        early = searcher.search_text("a boat", k=3)
        assert early.model == kit.fingerprints["old"]
        migrate_index(str(index), kit.models["short"])
        late = searcher.search_text("a boat", k=3)
        assert late.hits == fresh.search_text("a boat", k=3).hits
        assert (late.bits, late.model) == (16, kit.fingerprints["short"])
        # What is asked about an answer is asked of the codes that gave it.
        assert sum(searcher.count_distances(early)) == sum(searcher.count_distances(late)) == 59
        with pytest.raises(MigratedError, match=r"another model than .*open it again"):
            stuck.search_text("a boat")
        with pytest.raises(MigratedError, match="holds codes of another model since"):
            store.search(early.query.code[None], k=3, modality="image")


@contextmanager
def stopped_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> Iterator[None]:
    """Let Ctrl-C come while the model encodes for the n-th time."""
    real, count = HashModel.encode_collection, iter(range(calls))

    def spy(self: HashModel, collection: Collection, **options: Any) -> Any:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return real(self, collection, **options)

    with monkeypatch.context() as patch:
        patch.setattr(HashModel, "encode_collection", spy)
        yield


def test_a_stopped_call_is_continued(
    kit: Kit, index: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        stopped_after(monkeypatch, 2),
        pytest.raises(InterruptedRunError, match="run the same command again to continue"),
    ):
        migrate_index(str(index), kit.models["new"])
    assert len(encoded) == 32
    assert contents(index) == kit.contents["old"]
    target = {"model": kit.fingerprints["new"], "bits": 64}
    assert describe_index(str(index))["migrating_to"] == target
    planned = migrate_index(str(index), kit.models["new"], dry_run=True)
    report = migrate_index(str(index), kit.models["new"])
    assert (planned.resumed, planned.encoded) == (report.resumed, report.encoded) == (32, 28)
    assert sorted(encoded) == sorted(kit.contents["new"])  # each of them once
    assert contents(index) == kit.contents["new"]


def test_another_model_starts_over(
    kit: Kit, index: Path, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_after(monkeypatch, 2), pytest.raises(InterruptedRunError):
        migrate_index(str(index), kit.models["new"])
    report = migrate_index(str(index), kit.models["short"])
    assert (report.encoded, report.resumed) == (60, 0)
    assert contents(index) == kit.contents["short"]
    assert not list(index.glob("model-*"))


def test_changes_meanwhile_are_taken_in(
    kit: Kit, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    records = read_manifest(data)
    real, turn = HashModel.encode_collection, iter(range(99))

    def change(self: HashModel, collection: Collection, **options: Any) -> Any:
        if self.fingerprint == kit.fingerprints["new"]:
            match next(turn):
                case 1:  # behind and before what is read
                    records[0]["text"] = "a quite different boat"
                    records[50]["price"] = -1
                    records.append(dict(records[3], id="a-first"))
                    records.append(dict(records[4], id="z-last"))
                    add_to_index(str(index), write_manifest(data, records))
                case 3:
                    gone = [records[1]["id"], records[55]["id"]]
                    records[:] = [record for record in records if record["id"] not in gone]
                    delete_items(str(index), gone, track=lambda steps, *_: steps)
                case 4:  # while changes are taken in
                    shutil.copy(data / "images" / "12.png", data / "images" / "13.png")
                    sync_index(str(index), write_manifest(data, records))
        return real(self, collection, **options)

    monkeypatch.setattr("proxyhash.catalog.catch_up.AT_ONCE", 16)
    monkeypatch.setattr("proxyhash.catalog.migrate._FEW", 2)  # no more while writers wait
    with monkeypatch.context() as patch:
        patch.setattr(HashModel, "encode_collection", change)
        migrate_index(str(index), kit.models["new"])
    assert next(turn) > 4
    build_index(kit.models["new"], write_manifest(data, records), tmp_path / "fresh")
    assert contents(index) == contents(tmp_path / "fresh")
    assert verify_index(str(index)) == []


def test_a_change_at_the_last_moment_is_taken_in_under_the_lock(
    kit: Kit, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.compact

    def change(self: Store) -> None:
        real(self)
        if index != self.folder:  # what is encoded was compacted, and is complete
            delete_items(str(index), ["i000"], track=lambda steps, *_: steps)
            records = read_manifest(tmp_path / "data")[1:]
            records[0]["price"] = 1000
            add_to_index(str(index), write_manifest(tmp_path / "data", records))

    with monkeypatch.context() as patch:
        patch.setattr(Store, "compact", change)
        migrate_index(str(index), kit.models["new"])
    build_index(kit.models["new"], tmp_path / "data" / "items.jsonl", tmp_path / "fresh")
    assert contents(index) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(("before", "turns"), [(None, 1), (None, 99), (["text"], 1)])
def test_words_of_the_last_moment_are_taken_in(
    kit: Kit,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: list[str] | None,
    turns: int,
) -> None:
    """Also where the index had words of other fields, or gets new ones in every round."""
    for path in index.glob("generation-*/words-*"):
        path.unlink()
    if before is not None:
        index_words(str(index), fields=before)
    real, fields = Store.compact, itertools.cycle([["price", "text"], ["labels", "text"]])
    last: list[str] = []

    def make_words(self: Store) -> None:
        nonlocal last, turns
        real(self)
        if index != self.folder and turns:  # what is encoded was compacted, and is complete
            turns -= 1
            last = next(fields)
            index_words(str(index), fields=last)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "compact", make_words)
        migrate_index(str(index), kit.models["new"])
    assert describe_index(str(index))["word_fields"] == ", ".join(last)
    assert verify_index(str(index)) == []
    with Searcher.open(str(index)) as searcher:
        assert searcher.search_text("flower", k=3, mode="words").hits


def test_words_that_are_being_made_are_waited_for(kit: Kit, index: Path) -> None:
    with (
        hold_words(index),
        pytest.raises(ProxyhashError, match=r"is writing to the word index .*same command again"),
    ):
        migrate_index(str(index), kit.models["new"], wait=0.2)
    assert contents(index) == kit.contents["old"]
    index_words(str(index), fields=["text"])
    migrate_index(str(index), kit.models["new"])
    assert contents(index) == kit.contents["new"]
    assert describe_index(str(index))["word_fields"] == "text"


def test_without_its_image_nothing_is_lost_by_default(
    kit: Kit, index: Path, tmp_path: Path, encoded: list[str]
) -> None:
    (tmp_path / "data" / "images" / "8.png").unlink()  # that item has no text
    (tmp_path / "data" / "images" / "9.png").unlink()
    planned = migrate_index(str(index), kit.models["new"], dry_run=True)
    assert (planned.lost, planned.incomplete, len(planned.named)) == (1, 1, 2)
    with pytest.raises(DataError, match=r"2 items (.|\n)*i008.*8\.png cannot be read") as refused:
        migrate_index(str(index), kit.models["new"])
    assert "--data" in str(refused.value)
    assert encoded == []  # it was found before anything was encoded
    assert contents(index) == kit.contents["old"]
    shutil.copytree(kit.data, tmp_path / "moved")
    migrate_index(str(index), kit.models["new"], data=[tmp_path / "moved" / "items.jsonl"])
    assert contents(index) == kit.contents["new"]


def test_items_that_cannot_be_encoded_are_left_out_by_choice(
    kit: Kit, index: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "images" / "8.png").write_bytes(b"not an image")
    (tmp_path / "data" / "images" / "9.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="2 items"):
        migrate_index(str(index), kit.models["new"])
    assert contents(index) == kit.contents["old"]
    report = migrate_index(str(index), kit.models["new"], on_bad_item="skip")
    assert (report.lost, report.incomplete, report.resumed) == (1, 1, 58)
    found, wanted = contents(index), dict(kit.contents["new"])
    del wanted["i008"]
    codes, payload, thumbnail = wanted["i009"]
    wanted["i009"] = ({"text": codes["text"]}, payload, thumbnail)
    assert found == wanted
    assert "i008" not in Catalog(index).thumbnails.present(["i008"])


def test_items_stored_by_code_alone_are_named(kit: Kit, index: Path) -> None:
    with Store.open(index, write=True) as store:
        store.add(["by-code"], {"text": store.get("i000").codes["text"][None]})
    with pytest.raises(DataError, match="'by-code': its text is not in its payload"):
        migrate_index(str(index), kit.models["new"])


def test_an_index_that_remembers_no_manifest_asks_for_it(kit: Kit, index: Path) -> None:
    (index / "manifests.json").unlink()
    with pytest.raises(DataError, match=r"where its image images/0\.png lies is not known"):
        migrate_index(str(index), kit.models["new"])
    migrate_index(str(index), kit.models["new"], data=[kit.data])
    assert contents(index) == kit.contents["new"]
    assert json.loads((index / "manifests.json").read_text())["manifests"] == [str(kit.data)]


def test_of_two_manifests_the_file_is_that_which_was_stored(
    kit: Kit, index: Path, tmp_path: Path
) -> None:
    """Both have an images/0.png, and the item of the first is not that of the second."""
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    shutil.copy(kit.data / "images" / "30.png", other / "images" / "0.png")
    record = {"id": "other", "image": "images/0.png", "text": "something else"}
    add_to_index(str(index), write_manifest(other, [record]))
    migrate_index(str(index), kit.models["new"])
    build_index(kit.models["new"], tmp_path / "data" / "items.jsonl", tmp_path / "fresh")
    add_to_index(str(tmp_path / "fresh"), other / "items.jsonl")
    assert contents(index) == contents(tmp_path / "fresh")


def test_a_killed_swap_is_put_in_order(
    kit: Kit, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if killed right after the swap: new codes and both models are there."""
    with monkeypatch.context() as patch:
        patch.setattr("proxyhash.catalog.migrate._Migration._follow", lambda *_: None)
        patch.setattr("proxyhash.catalog.migrate._Migration.finish", lambda _: None)
        migrate_index(str(index), kit.models["new"])
    assert len(list(index.glob("model*"))) == 2
    assert contents(index) == kit.contents["new"]
    (index / "manifests.json").unlink()
    with Searcher.open(index) as searcher:
        assert searcher.model.fingerprint == kit.fingerprints["new"]
    snapshot_index(str(index), index.parent / "copy")
    assert verify_index(str(index.parent / "copy")) == []
    manifest = index.parent / "data" / "items.jsonl"
    migrate_index(str(index), kit.models["new"], data=[manifest])
    assert manifests_of(index) == [manifest]
    assert sorted(path.name for path in index.glob("m*")) == [
        "manifests.json",
        "migration.lock",
        "model",
    ]
    report = sync_index(str(index), manifest, dry_run=True)
    assert report.items.unchanged == 60


def test_what_writes_is_waited_for_and_named(kit: Kit, index: Path, encoded: list[str]) -> None:
    with Store.open(index, write=True):
        with pytest.raises(ProxyhashError, match=r"is being written by process .* is kept"):
            migrate_index(str(index), kit.models["new"], wait=0.2)
        assert contents(index) == kit.contents["old"]
    encoded.clear()
    report = migrate_index(str(index), kit.models["new"])
    assert (report.resumed, encoded) == (60, [])
    assert contents(index) == kit.contents["new"]


def test_one_migration_at_a_time(kit: Kit, index: Path) -> None:
    from proxyhash.catalog.migration import MigrationFolder

    with (
        MigrationFolder(index).locked(),
        pytest.raises(DataError, match=r"another process .* the migration of"),
    ):
        migrate_index(str(index), kit.models["new"])


@pytest.mark.parametrize("room", [3_000, 20_000, 60_000])
def test_a_full_disk_leaves_the_old_index(
    kit: Kit, index: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.catalog.catch_up.AT_ONCE", 16)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises((ProxyhashError, OSError)):
            migrate_index(str(index), kit.models["new"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert contents(index) == kit.contents["old"]
    assert verify_index(str(index)) == []
    migrate_index(str(index), kit.models["new"])
    assert contents(index) == kit.contents["new"]


def test_too_small_a_disk_is_refused_first(
    kit: Kit, index: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[str]
) -> None:
    usage = shutil.disk_usage(index)._replace(free=1_000_000)
    monkeypatch.setattr("proxyhash.catalog.migrate.shutil.disk_usage", lambda _: usage)
    with pytest.raises(ProxyhashError, match=r"takes up to \d+ MB .* 1 MB are free"):
        migrate_index(str(index), kit.models["new"])
    assert encoded == []


def test_a_dry_run_changes_nothing(kit: Kit, index: Path) -> None:
    before = sorted(path.relative_to(index) for path in index.rglob("*"))
    report = migrate_index(str(index), kit.models["short"], dry_run=True)
    assert (report.items, report.encoded, report.bits) == (60, 60, 16)
    assert report.bytes_needed > 0
    assert sorted(path.relative_to(index) for path in index.rglob("*")) == before


def test_places_that_are_no_index_folder_are_refused(kit: Kit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="index build"):
        migrate_index(str(tmp_path), kit.models["new"])
    with pytest.raises(UsageError, match=r"index copy 'http://host:19530#old' FOLDER.*#new'"):
        migrate_index("http://host:19530#old", kit.models["new"])
    with pytest.raises(UsageError, match="nowhere does not exist"):
        migrate_index(str(kit.indexes["old"]), kit.models["new"], data=[tmp_path / "nowhere"])


def test_other_models_are_told_of_it(kit: Kit, index: Path) -> None:
    with pytest.raises(ModelError, match="index migrate"):
        add_to_index(str(index), kit.data / "items.jsonl", model=kit.models["new"])
    with (
        Searcher.open(index, model=kit.models["new"]) as searcher,
        pytest.raises(ModelError, match="index migrate"),
    ):
        searcher.search_text("a boat")


def test_the_record_may_be_damaged(kit: Kit, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It only costs time."""
    monkeypatch.setattr("proxyhash.catalog.catch_up.AT_ONCE", 16)
    with stopped_after(monkeypatch, 2), pytest.raises(InterruptedRunError):
        migrate_index(str(index), kit.models["new"])
    with sqlite3.connect(index / "migration" / "done.sqlite3") as record:
        record.execute("UPDATE keys SET source = x'00' WHERE id < 'i010'")
    with Store.open(index / "migration" / "index", write=True) as store:
        store.delete(["i020", "i021"])
    report = migrate_index(str(index), kit.models["new"])
    assert contents(index) == kit.contents["new"]
    assert report.encoded >= 28 + 10 + 2


def test_the_command(
    kit: Kit, index: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    planned = proxyhash_command("index", "migrate", index, kit.models["short"], "--dry-run")
    assert "would encode 60 of 60 items (16 bits), and take up to" in planned.out
    done = proxyhash_command("index", "migrate", index, kit.models["short"], "--json")
    assert (done.code, done.json["encoded"], done.json["bits"]) == (0, 60, 16)
    again = proxyhash_command("index", "migrate", index, kit.models["short"])
    assert (again.code, "nothing to do" in again.out) == (0, True)
    (index / "manifests.json").unlink()
    refused = proxyhash_command("index", "migrate", index, kit.models["new"])
    assert (refused.code, "--data" in refused.err) == (3, True)
    assert proxyhash_command("index", "migrate", "http://x:1", kit.models["new"]).code == 2
