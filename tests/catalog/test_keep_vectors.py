"""Vectors of an index: built, kept up by every way in which items come, added, changed, dropped."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.catalog import migrate
from proxyhash.catalog.build import add_to_index, build_index
from proxyhash.catalog.keep_vectors import keep_vectors
from proxyhash.catalog.manage import copy_index, describe_index, snapshot_index, verify_index
from proxyhash.catalog.migrate import migrate_index
from proxyhash.catalog.sync import sync_index
from proxyhash.data import read_collection
from proxyhash.errors import (
    DataError,
    InterruptedRunError,
    ModelError,
    ProxyhashError,
    UsageError,
)
from proxyhash.hashing import HashModel
from proxyhash.index import open_index
from proxyhash.index.store import Store
from proxyhash.progress import silent
from tests.catalog.migration_kit import Kit, make_kit, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxyhash.data import Collection


@pytest.fixture(scope="module")
def kit(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("vectors"), scenes)


@pytest.fixture
def data(kit: Kit, tmp_path: Path) -> Path:
    return shutil.copytree(kit.data, tmp_path / "data")


def check(index: Path, model: Path, manifest: Path, *, sure: frozenset[str] = frozenset()) -> None:
    """Compare all vectors with what the model makes of a manifest, one item at a time."""
    loaded, collection = HashModel.load(model), read_collection(manifest)
    with Store.open(index) as store:
        assert store.verify() == []
        assert store.vectors is not None
        items = {item.id: item for some in store.items() for item in some}
    assert items.keys() == {*collection.ids}
    for row, id_ in enumerate(collection.ids):
        for name in ("image", "text"):
            source = collection.sources(name)[row]
            assert (source is not None) == (name in items[id_].codes)
            if source is None:
                continue
            encoder = loaded.encoder(name)
            assert encoder is not None
            outputs = np.tanh(loaded.logits(encoder.encode([source]), modality=name))
            if id_ in sure:
                outputs = np.ones_like(outputs)
            kept = items[id_].weights[name] / 65535
            assert np.abs(kept - np.abs(outputs[0])).max() < 0.5 / 127 + 1e-4


def records_of(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def test_vectors_follow_what_is_built_added_and_synced(
    kit: Kit, data: Path, tmp_path: Path
) -> None:
    index, manifest = tmp_path / "x.index", data / "items.jsonl"
    records = records_of(manifest)
    write_manifest(data, records[:40])
    build_index(kit.models["old"], manifest, index, keep_vectors="int8", thumbnails=False)
    check(index, kit.models["old"], manifest)
    write_manifest(data, records[30:])
    add_to_index(str(index), manifest)
    write_manifest(data, records)
    check(index, kit.models["old"], manifest)
    records[3]["text"] = "a green circle above a red square"
    write_manifest(data, records[:50])
    sync_index(str(index), manifest)
    check(index, kit.models["old"], manifest)
    described = describe_index(str(index))
    assert described["vectors"] == "int8"
    assert described["bytes_per_item"] == {"codes": 8, "vectors": 64}


def test_the_vector_of_an_image_that_cannot_be_read_stays(
    kit: Kit, data: Path, tmp_path: Path
) -> None:
    index, manifest = tmp_path / "x.index", data / "items.jsonl"
    build_index(kit.models["old"], manifest, index, keep_vectors="int8", thumbnails=False)
    with Store.open(index) as store:
        before = store.get("i003").weights
    records = records_of(manifest)
    records[3]["text"] = "a blue star"
    write_manifest(data, records)
    (data / "images" / "3.png").write_bytes(b"no image")
    add_to_index(str(index), manifest, on_bad_item="skip")
    with Store.open(index) as store:
        after = store.get("i003").weights
        assert store.verify() == []
    assert (after["image"] == before["image"]).all()
    assert (after["text"] != before["text"]).any()


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_they_are_added_to_an_index_and_dropped(
    kit: Kit, tmp_path: Path, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    index = shutil.copytree(kit.indexes["old"], tmp_path / "x.index")
    built = tmp_path / "built.index"
    build_index(kit.models["old"], kit.data / "items.jsonl", built, keep_vectors=kind)
    before = {path.name: path.read_bytes() for path in index.rglob("*.codes")}
    report = keep_vectors(str(index), kind)
    assert (report.vectors, report.items, report.encoded, report.unknown) == (kind, 60, 60, 0)
    assert report.bytes == 64 * (1 if kind == "int8" else 4)
    check(index, kit.models["old"], kit.data / "items.jsonl")
    with Store.open(index) as store, Store.open(built) as other:
        for item in (one for some in store.items() for one in some):
            wanted = other.get(item.id)
            for name in item.codes:
                off = item.weights[name].astype(int) - wanted.weights[name]
                assert np.abs(off).max() <= (600 if kind == "int8" else 2)  # a step at most
    assert keep_vectors(str(index), kind).encoded == 0  # nothing to do
    report = keep_vectors(str(index), None)
    assert (report.vectors, report.bytes, report.encoded) == (None, 0, 0)
    assert verify_index(str(index)) == []
    after = {path.name: path.read_bytes() for path in index.rglob("*.codes")}
    assert {name: sorted(content) for name, content in after.items()} == {
        name: sorted(content) for name, content in before.items()
    }
    assert not caplog.records


def test_what_is_not_as_it_was_is_named_and_may_count_as_sure(kit: Kit, tmp_path: Path) -> None:
    data = shutil.copytree(kit.data, tmp_path / "data")
    index, manifest = tmp_path / "x.index", data / "items.jsonl"
    build_index(kit.models["old"], manifest, index, thumbnails=False)
    shutil.copy(data / "images" / "5.png", data / "images" / "4.png")
    (data / "images" / "9.png").unlink()
    with pytest.raises(DataError, match=r"(?s)cannot be encoded as they were.*'i009': its image"):
        keep_vectors(str(index), "int8")
    with Store.open(index) as store:
        assert store.vectors is None
        assert store.verify() == []
    report = keep_vectors(str(index), "int8", on_bad_item="skip")
    assert (report.items, report.unknown) == (60, 2)
    with Store.open(index) as store:
        for id_ in ("i004", "i009"):
            item = store.get(id_)
            assert (item.weights["image"] == 65535).all()
            assert not (item.weights["text"] == 65535).all()
        assert store.verify() == []
    keep_vectors(str(index), None)
    assert keep_vectors(str(index), "int8", data=[kit.data]).unknown == 0


def test_what_cannot_be_is_refused(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = shutil.copytree(kit.indexes["old"], tmp_path / "x.index")
    with pytest.raises(UsageError, match="is not an index folder; vectors are kept in folders"):
        keep_vectors(str(tmp_path / "x.db"), "int8")
    with pytest.raises(ModelError, match="is not the model that made the codes"):
        keep_vectors(str(index), "int8", model=kit.models["new"])
    with pytest.raises(UsageError, match="does not exist; give a manifest"):
        keep_vectors(str(index), "int8", data=[tmp_path / "nowhere"])

    def interrupted(*_: object) -> Iterator[Any]:
        raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError, match="is as it was"):
        keep_vectors(str(index), "int8", track=interrupted)
    assert describe_index(str(index))["vectors"] is None
    shutil.rmtree(index / "model")
    with pytest.raises(UsageError, match="has no model; give the one that made its codes"):
        keep_vectors(str(index), "int8")
    assert keep_vectors(str(index), "int8", model=kit.models["old"]).encoded == 60


def test_migrated_and_copied_indexes_keep_them(
    kit: Kit, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index = tmp_path / "x.index"
    build_index(kit.models["old"], kit.data / "items.jsonl", index, keep_vectors="int8")
    migrate_index(str(index), kit.models["short"])
    check(index, kit.models["short"], kit.data / "items.jsonl")
    assert describe_index(str(index))["bytes_per_item"] == {"codes": 2, "vectors": 16}
    snapshot_index(str(index), tmp_path / "snapshot")
    check(tmp_path / "snapshot", kit.models["short"], kit.data / "items.jsonl")
    copy_index(str(index), str(tmp_path / "copy"), track=silent)
    check(tmp_path / "copy", kit.models["short"], kit.data / "items.jsonl")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_migration_keeps_vectors_as_the_index_does_at_its_end(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "x.index"
    build_index(kit.models["old"], kit.data / "items.jsonl", index, thumbnails=False)
    encode_all = migrate._Migration.encode_all

    def and_change(self: Any) -> None:
        encode_all(self)
        keep_vectors(str(index), "int8")

    with monkeypatch.context() as patched:
        patched.setattr(migrate._Migration, "encode_all", and_change)
        with pytest.raises(ProxyhashError, match="keeps its vectors otherwise since this migra"):
            migrate_index(str(index), kit.models["short"])
    check(index, kit.models["old"], kit.data / "items.jsonl")
    report = migrate_index(str(index), kit.models["short"])
    assert (report.encoded, report.resumed) == (60, 0)
    check(index, kit.models["short"], kit.data / "items.jsonl")


def test_a_build_that_was_stopped_goes_on_with_vectors(kit: Kit, tmp_path: Path) -> None:
    index, manifest = tmp_path / "x.index", kit.data / "items.jsonl"

    def stopped(items: Any, *_: object) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == 20:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(InterruptedRunError):
        build_index(kit.models["old"], manifest, index, keep_vectors="float", track=stopped)
    with open_index(index) as opened:
        assert 0 < len(opened) < 60
    add_to_index(str(index), manifest)
    check(index, kit.models["old"], manifest)
    assert (index / "generation-000001" / "text.vectors").stat().st_size == 60 * 64 * 4
