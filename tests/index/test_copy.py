"""Copies between indexes of different kinds: whole, interrupted, changed meanwhile, refused."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.index.copy import Checksum, checksum, copy_between, copy_index
from proxyhash.index.memory import MemoryIndex
from proxyhash.index.open import create_index, index_exists, open_index, scheme_of
from proxyhash.index.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.index.backends import Backend

BITS = 16


def codes_of(*values: int) -> np.ndarray:
    return np.array([[value >> 8, value & 255] for value in values], np.uint8)


def fill(index, *, count: int = 23) -> None:
    """Items with an image, a text or both."""
    for start, names in ((0, ["image"]), (1, ["text"]), (2, ["image", "text"])):
        rows = range(start, count, 3)
        index.add(
            [f"it's {row:03}" for row in rows],
            {name: codes_of(*(row * (1 + len(name)) for row in rows)) for name in names},
            payloads=[{"n": row, "labels": ["é", row / 2]} for row in rows],
        )


@pytest.fixture
def source():
    index = MemoryIndex(bits=BITS, modalities=("image", "text"), model="m")
    fill(index)
    return index


def test_a_copy_holds_the_same_and_comes_back(backend: Backend, source) -> None:
    target = backend.create(bits=BITS, modalities=("image", "text"), model="m")
    reports: list[str] = []

    def track(steps, description, total=None):
        reports.append(f"{description} {total}")
        return iter(steps)

    report = copy_index(source, target, batch=5, track=track)
    assert (report.items, report.written) == (23, 23)
    assert checksum(target, batch=4) == checksum(source) == Checksum(23, report.sha256)
    assert reports == ["copying 23", "checking 23", "checking 23"]
    query = codes_of(77)
    for name in ("image", "text"):
        assert target.search(query, k=9, modality=name) == source.search(query, k=9, modality=name)
    back = MemoryIndex(bits=BITS, modalities=("image", "text"), model="m")
    assert copy_index(target, back).sha256 == report.sha256
    backend.remove()


def test_the_checksum_is_of_ids_codes_and_payloads() -> None:
    index = MemoryIndex(bits=8)
    index.add(["b", "a"], np.array([[255], [1]], np.uint8), payloads=[{"n": 1, "a": 2}, {}])
    lines = '["a", {"code": "01"}, {}]\n["b", {"code": "ff"}, {"a": 2, "n": 1}]\n'
    assert checksum(index) == Checksum(2, hashlib.sha256(lines.encode()).hexdigest())


class Breaking(MemoryIndex):
    """Fails after so many writes."""

    left = 0

    def upsert(self, *arguments, **options) -> None:
        if self.left == 0:
            raise ProxyhashError("the line is dead")
        self.left -= 1
        super().upsert(*arguments, **options)


def interrupted(source, record: Path) -> Breaking:
    target = Breaking(bits=BITS, modalities=("image", "text"), model="m")
    target.left = 7  # of 9: three groups in each of the first two batches, one of the third
    with pytest.raises(ProxyhashError, match="the line is dead"):
        copy_index(source, target, batch=8, record=record)
    target.left = 100
    return target


def test_a_copy_goes_on_where_it_was_interrupted(source, tmp_path) -> None:
    record = tmp_path / "record.json"
    target = interrupted(source, record)
    assert json.loads(record.read_text())["last"] == "it's 015"
    report = copy_index(source, target, batch=8, record=record)
    assert (report.items, report.written) == (23, 7)
    assert not record.exists()


def test_a_copy_starts_over_when_the_source_has_changed(source, tmp_path) -> None:
    record = tmp_path / "record.json"
    target = interrupted(source, record)
    source.add(["a new one"], {"image": codes_of(1)})
    report = copy_index(source, target, batch=8, record=record)
    assert (report.items, report.written) == (24, 24)


def test_a_difference_is_found(source, tmp_path) -> None:
    record = tmp_path / "record.json"
    target = interrupted(source, record)
    target.delete(["it's 002"])
    with pytest.raises(DataError, match=r"source has 23 items .* and the target 22"):
        copy_index(source, target, batch=8, record=record)
    assert not record.exists()
    with pytest.raises(UsageError, match="the target holds 22 items already"):
        copy_index(source, target, record=record)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 8}, "the source has bits 16 and the target 8"),
        ({"model": "other"}, "the source has model 'm' and the target 'other'"),
        ({"modalities": ("image",)}, "the target cannot hold codes of text"),
    ],
)
def test_an_index_for_other_codes_is_refused(source, options, message) -> None:
    alike = {"bits": BITS, "modalities": ("image", "text"), "model": "m"}
    with pytest.raises(DataError, match=message):
        copy_index(source, MemoryIndex(**{**alike, **options}))


def test_a_batch_has_an_item_at_least(source) -> None:
    with pytest.raises(UsageError, match="batch is 0"):
        copy_index(source, source, batch=0)


def test_indexes_are_copied_by_uri_there_and_back(lite_uri, tmp_path) -> None:
    here, there, back = str(tmp_path / "here"), f"{lite_uri}#copied", str(tmp_path / "back")
    with Store.create(here, bits=BITS, model="m") as store:
        fill(store)
    assert not index_exists(there)
    report = copy_between(here, there, batch=10)
    assert report.items == report.written == 23
    assert index_exists(there)
    assert copy_between(there, back).sha256 == report.sha256
    with pytest.raises(UsageError, match="holds 23 items already"):
        copy_between(here, there)
    with pytest.raises(UsageError, match="source and target are both"):
        copy_between(here, here)
    with Store.open(back) as store:
        assert (store.bits, store.model, store.modalities) == (BITS, "m", ("image", "text"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "here"]
    open_index(there).drop()


def test_options_reach_the_side_they_are_for(lite_uri, tmp_path) -> None:
    here = str(tmp_path / "here")
    Store.create(here, bits=BITS).close()
    report = copy_between(here, lite_uri, target_options={"collection": "opted", "shards": 1})
    assert report.items == 0
    again = copy_between(
        lite_uri, str(tmp_path / "back"), source_options={"collection": "opted", "patience": 9}
    )
    assert again.sha256 == report.sha256
    open_index(lite_uri, collection="opted").drop()


def test_the_uri_says_what_an_index_is(tmp_path) -> None:
    assert scheme_of("http://host:19530") == "http"
    assert scheme_of("https://host#photos") == "https"
    assert scheme_of(str(tmp_path / "new.db")) == ".db"
    assert scheme_of(str(tmp_path / "new.db#photos")) == ".db"
    (tmp_path / "folder.db").mkdir()
    assert scheme_of(str(tmp_path / "folder.db")) == "file"
    assert scheme_of(str(tmp_path)) == "file"
    assert scheme_of("memory:") == scheme_of(None) == "memory"
    with pytest.raises(UsageError, match=r"index scheme is 'ftp'; it must be one of \.db, file"):
        open_index("ftp://host/index")
    assert not index_exists(str(tmp_path / "new"))
    with pytest.raises(
        UsageError,
        match=r"token: no such option.*are engine, pinned, salvage",
    ):
        open_index(str(tmp_path / "new"), token="x")
    with pytest.raises(UsageError, match="engine is 'BIN_FLAT'; it must be one of"):
        create_index(str(tmp_path / "new"), bits=8, modalities=("image",), engine="BIN_FLAT")
    with pytest.raises(UsageError, match="shards: no such option"):
        create_index(str(tmp_path / "new"), bits=8, modalities=("image",), shards=2)
    with create_index(f"file://{tmp_path / 'new'}", bits=8, modalities=("image",)) as store:
        assert store.info()["folder"] == str(tmp_path / "new")
    assert index_exists(str(tmp_path / "new"))


def test_no_uri_is_an_index_in_memory() -> None:
    index = open_index(None, bits=8, model="m")
    index.add(["a"], np.array([[1]], np.uint8))
    assert (index.info()["kind"], index.model, len(index)) == ("memory", "m", 1)
    assert len(open_index("memory:", bits=8)) == 0
    assert not index_exists("memory:")
    made = create_index("memory:", bits=8, modalities=("image", "text"), engine="multi_index")
    assert made.modalities == ("image", "text")
    with pytest.raises(UsageError, match="give its code length"):
        open_index(None)
