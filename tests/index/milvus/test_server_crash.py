"""A real Milvus server that is killed in a bulk import, and the import that goes on after it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.errors import ProxyhashError
from proxyhash.index.copy import checksum, copy_between
from proxyhash.index.milvus import MilvusIndex
from proxyhash.index.store import Store
from tests.index.conftest import SERVER
from tests.index.milvus import bulk_copy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.index.milvus.server import Server

pytestmark = SERVER
ITEMS = 30_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with images and texts."""
    made = tmp_path_factory.mktemp("bulk") / "store"
    rng = np.random.default_rng(0)
    with Store.create(made, bits=64, model="m") as store:
        codes = {name: rng.integers(0, 256, (ITEMS, 8), np.uint8) for name in store.modalities}
        ids = [f"i{number:06}" for number in range(ITEMS)]
        store.add(ids, codes, payloads=[{"n": number} for number in range(ITEMS)])
    return made


def wait_for_record(folder: Path, *, past: str) -> None:
    """Wait until a copy has written an id after this one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for record in folder.parent.glob(".proxyhash-copy-*.json"):
            if (json.loads(record.read_text())["last"] or "") > past:
                return
        time.sleep(0.02)
    raise TimeoutError("the copy does not get on")


def test_an_import_outlives_the_server(folder: Path, milvus_server: Server) -> None:
    target = f"{milvus_server.uri}#outlived"
    process = subprocess.Popen(
        [sys.executable, bulk_copy.__file__, str(folder), target], stdout=subprocess.PIPE
    )
    wait_for_record(folder, past="i005")
    milvus_server.kill()
    time.sleep(1)
    assert process.poll() is None  # it waits for the server
    milvus_server.start()
    out, _ = process.communicate(timeout=400)
    assert out.decode().split() == [str(ITEMS), str(ITEMS)]
    with (
        Store.open(folder) as store,
        MilvusIndex.open(milvus_server.uri, collection="outlived") as there,
    ):
        assert len(there) == ITEMS
        assert checksum(there) == checksum(store)
        there.drop()


def test_an_import_that_died_with_the_server_goes_on(folder: Path, milvus_server: Server) -> None:
    target = f"{milvus_server.uri}#resumed"
    process = subprocess.Popen([sys.executable, bulk_copy.__file__, str(folder), target])
    wait_for_record(folder, past="i005")
    milvus_server.kill()
    process.kill()
    process.wait()
    with pytest.raises(ProxyhashError, match="Milvus at"):
        copy_between(str(folder), target, target_options={"patience": 2})
    milvus_server.start()
    report = copy_between(str(folder), target, batch=1_000, target_options={"patience": 300})
    assert report.items == ITEMS
    assert 0 < report.written < ITEMS - 4_000
    with MilvusIndex.open(milvus_server.uri, collection="resumed") as there:
        there.drop()


def test_clusters_are_said_to_be_approximate(milvus_server: Server) -> None:
    index = MilvusIndex.create(
        milvus_server.uri,
        collection="clusters",
        bits=64,
        modalities=("code",),
        engine="BIN_IVF_FLAT",
        nlist=16,
        nprobe=16,
    )
    codes = np.random.default_rng(0).integers(0, 256, (2_000, 8), np.uint8)
    index.add([f"i{number}" for number in range(2_000)], codes)
    assert (index.info()["engine"], index.info()["exact"]) == ("BIN_IVF_FLAT", False)
    hits = index.search(codes[:3], k=5)
    assert [found[0].distance for found in hits] == [0, 0, 0]
    assert all(len(found) == 5 for found in hits)
    index.drop()
