"""What a Milvus index does beyond the contract: options, refusals, failures and retries."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from proxyhash.errors import DataError, MissingExtraError, ProxyhashError, UsageError
from proxyhash.index.milvus import MilvusIndex
from proxyhash.index.milvus.connection import Connection, is_address, shown_uri
from proxyhash.index.milvus.description import Description
from proxyhash.index.milvus.rows import BATCH_ROWS, Row, batches
from proxyhash.index.server_ties import Candidate

SECRET = "root:do-not-print-me"


def codes_of(*values: int) -> np.ndarray:
    return np.array([[value] for value in values], np.uint8)


@pytest.fixture
def index(lite_uri: str):
    made = MilvusIndex.create(lite_uri, collection="own", bits=8, model="m1", patience=60)
    yield made
    made.drop()


def test_an_index_is_found_by_its_name_and_refused_for_other_codes(lite_uri, index) -> None:
    index.add(["a"], {"text": codes_of(1)})
    with MilvusIndex.open(lite_uri, collection="own", bits=8, model="m1") as again:
        assert (again.bits, again.model, again.modalities) == (8, "m1", ("image", "text"))
        assert "a" in again
        assert again.info()["engine"] == "BIN_FLAT"
        assert again.info()["exact"] is True
        assert again.info()["modalities"] == {"image": 0, "text": 1}
    assert MilvusIndex.exists(lite_uri, collection="own")
    with pytest.raises(DataError, match="holds codes of 8 bits, not 64"):
        MilvusIndex.open(lite_uri, collection="own", bits=64)
    with pytest.raises(DataError, match="of model m1, not m2"):
        MilvusIndex.open(lite_uri, collection="own", model="m2")
    with pytest.raises(UsageError, match="has an index 'own' already"):
        MilvusIndex.create(lite_uri, collection="own", bits=16, modalities=("sound",))
    with pytest.raises(UsageError, match="has no index 'other'; create one first"):
        MilvusIndex.open(lite_uri, collection="other")


def test_options_are_checked(lite_uri, tmp_path) -> None:
    with pytest.raises(UsageError, match="consistency is 'strong'"):
        MilvusIndex.create(lite_uri, bits=8, consistency="strong")
    with pytest.raises(UsageError, match="consistency is 'weak'"):
        MilvusIndex.open(lite_uri, consistency="weak")
    with pytest.raises(UsageError, match="engine is 'HNSW'"):
        MilvusIndex.create(lite_uri, bits=8, engine="HNSW")
    with pytest.raises(UsageError, match="bits is 0"):
        MilvusIndex.create(lite_uri, bits=0)
    with pytest.raises(UsageError, match="patience is 0"):
        MilvusIndex.create(lite_uri, bits=8, patience=0)
    with pytest.raises(UsageError, match="is not a Milvus URI"):
        MilvusIndex.create("ftp://somewhere/x.db", bits=8)
    with pytest.raises(UsageError, match="there is no file"):
        MilvusIndex.open(str(tmp_path / "none.db"))
    with pytest.raises(DataError, match="is missing; create it first"):
        MilvusIndex.create(str(tmp_path / "none" / "x.db"), bits=8)
    assert not MilvusIndex.exists(str(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []


def test_milvus_lite_refuses_clusters_in_a_sentence(lite_uri) -> None:
    with pytest.raises(ProxyhashError, match=r"Milvus at .*tests\.db says: .*BIN_IVF_FLAT"):
        MilvusIndex.create(lite_uri, collection="ivf", bits=8, engine="BIN_IVF_FLAT", patience=1)
    assert not MilvusIndex.exists(lite_uri, collection="ivf")


def test_what_others_made_is_left_alone(lite_uri, index) -> None:
    connection = Connection(lite_uri)
    schema = connection.new_schema(description="by hand")
    schema.add_field("id", connection.types.INT64, is_primary=True)
    schema.add_field("v", connection.types.BINARY_VECTOR, dim=8)
    connection.call("create_collection", "own_sketch", schema=schema)
    with MilvusIndex.open(lite_uri, collection="own") as again:
        assert again.modalities == ("image", "text")
    connection.call("drop_collection", "own_text")
    with pytest.raises(DataError, match="whose collection 'own_text' is missing"):
        MilvusIndex.open(lite_uri, collection="own")
    connection.call("drop_collection", "own_sketch")
    connection.close()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"format": "x"}', '{"format": "proxyhash-index", "version": 1}'],
)
def test_a_description_is_read_or_known_to_be_foreign(text) -> None:
    assert Description.from_json(text, place="here") is None


def test_a_description_of_a_later_version_is_refused() -> None:
    text = Description(8, "m", ("image",)).to_json()
    assert Description.from_json(text, place="here") == Description(8, "m", ("image",))
    with pytest.raises(DataError, match="here has format version 9"):
        Description.from_json(text.replace('"version": 1', '"version": 9'), place="here")


def test_one_process_at_a_time_opens_a_file(lite_uri) -> None:
    code = (
        "import sys; from proxyhash.index.milvus import MilvusIndex; "
        "from proxyhash.errors import ProxyhashError\n"
        "try: MilvusIndex.open(sys.argv[1])\n"
        "except ProxyhashError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, lite_uri], capture_output=True, text=True, check=True
    )
    assert "Milvus Lite lets one process at a time open a file" in found.stdout


def test_milvus_lite_stops_with_its_last_index(tmp_path) -> None:
    uri = str(tmp_path / "own.db")
    one = MilvusIndex.create(uri, bits=8, modalities=("code",))
    other = MilvusIndex.open(uri)
    one.add(["a"], codes_of(1))
    one.close()
    one.close()
    with pytest.raises(UsageError, match="is closed"):
        len(one)
    assert len(other) == 1
    other.close()
    with MilvusIndex.open(uri) as again:
        assert len(again) == 1


def milvus_error(code: int, message: str = "busy"):
    from pymilvus import MilvusException

    return MilvusException(code=code, message=message)


def failing(connection, monkeypatch, errors):
    """Let the next calls of `upsert` raise these errors; return the waits in between."""
    import proxyhash.index.milvus.connection as module

    waits: list[float] = []
    real = connection._client.upsert
    left = list(errors)

    def upsert(*arguments, **options):
        if left:
            raise left.pop(0)
        return real(*arguments, **options)

    monkeypatch.setattr(connection._client, "upsert", upsert)
    monkeypatch.setattr(module.time, "sleep", waits.append)
    return waits


def test_what_passes_is_tried_again_with_longer_waits(index, monkeypatch) -> None:
    waits = failing(index._connection, monkeypatch, [milvus_error(8)] * 4)
    index.add(["a"], {"image": codes_of(1)})
    assert waits == [0.1, 0.2, 0.4, 0.8]
    assert len(index) == 1


def test_what_does_not_pass_is_raised_at_once(index, monkeypatch) -> None:
    waits = failing(index._connection, monkeypatch, [milvus_error(1100, "no such\nfield")])
    with pytest.raises(ProxyhashError, match="says: no such field; what was acknowledged"):
        index.add(["a"], {"image": codes_of(1)})
    assert waits == []
    assert len(index) == 0


def test_patience_ends(index, monkeypatch) -> None:
    monkeypatch.setattr(index._connection, "patience", 0.05)  # until the index is dropped
    waits = failing(index._connection, monkeypatch, [milvus_error(8)] * 4)
    with pytest.raises(ProxyhashError, match="says: busy"):
        index.add(["a"], {"image": codes_of(1)})
    assert waits == []


def fail(*_: object) -> None:
    raise ProxyhashError("gone")


def test_a_write_that_fails_half_way_is_taken_back(index, monkeypatch) -> None:
    index.add(["before"], {"image": codes_of(1), "text": codes_of(1)})
    monkeypatch.setattr(index._collections["image"], "put", fail)  # after the one of texts
    with pytest.raises(ProxyhashError, match="gone"):
        index.add(["a"], {"image": codes_of(1), "text": codes_of(2)})
    assert [hit.id for hit in index.search(codes_of(0), k=9, modality="text")[0]] == ["before"]


def test_a_write_that_cannot_be_taken_back_says_so(index, monkeypatch) -> None:
    for part in index._collections.values():
        monkeypatch.setattr(part, "put", fail)
        monkeypatch.setattr(part, "remove", fail)
    with pytest.raises(ProxyhashError, match="gone") as caught:
        index.add(["a"], {"image": codes_of(1)})
    assert "upsert them to complete the write" in caught.value.__notes__[0]
    monkeypatch.undo()


def test_payloads_that_milvus_has_no_room_for_are_refused(index) -> None:
    with pytest.raises(DataError, match="payload of 'big' has 70012 bytes; Milvus takes up to"):
        index.add(["big"], {"image": codes_of(1)}, payloads=[{"text": "x" * 70_000}])
    assert len(index) == 0


def test_rows_go_in_batches_that_fit_a_message() -> None:
    small = [Row(f"i{number}", b"\0", counted=True, payload={}) for number in range(12_001)]
    assert [len(batch) for batch in batches(small)] == [BATCH_ROWS, BATCH_ROWS, 2_001]
    large = [Row("i", b"\0", counted=True, payload={"t": "x" * 60_000}) for _ in range(150)]
    sizes = [len(batch) for batch in batches(large)]
    assert sum(sizes) == 150
    assert max(sizes) * 60_000 <= 4 << 20
    assert list(batches([])) == []


def test_a_hit_that_was_deleted_meanwhile_is_left_out(index, monkeypatch) -> None:
    index.add(["a"], {"image": codes_of(1)}, payloads=[{"n": 1}])
    rows = [Candidate("a", 0, None), Candidate("gone", 1, None)]
    monkeypatch.setattr("proxyhash.index.milvus.index.search_nearest", lambda *_, **__: [rows])
    (hits,) = index.search(codes_of(1), k=2, modality="image")
    assert [(hit.id, hit.payload) for hit in hits] == [("a", {"n": 1})]


def test_addresses_are_told_from_paths_and_shown_without_secrets() -> None:
    assert is_address("https://host:19530")
    assert not is_address("folder/http.db")
    assert shown_uri("http://me:secret@host:19530/db?token=x") == "http://host:19530/db"
    assert shown_uri("a/b.db") == "a/b.db"


@pytest.mark.enable_socket
def test_a_server_that_is_away_is_an_error_without_the_token(monkeypatch, caplog) -> None:
    monkeypatch.setenv("PROXYHASH_MILVUS_TOKEN", SECRET)
    with pytest.raises(ProxyhashError, match=r"Milvus at http://127\.0\.0\.1:9 says") as caught:
        MilvusIndex.open("http://127.0.0.1:9", patience=0.5)
    assert SECRET not in str(caught.value) + caplog.text


def test_a_refused_token_is_named_but_not_shown(index, monkeypatch) -> None:
    index._connection._token = SECRET
    failing(index._connection, monkeypatch, [milvus_error(1800, f"auth check failed for {SECRET}")])
    with pytest.raises(UsageError, match="refuses the token; set PROXYHASH_MILVUS_TOKEN") as caught:
        index.add(["a"], {"image": codes_of(1)})
    assert SECRET not in str(caught.value)
    index._connection._token = "busy"
    failing(index._connection, monkeypatch, [milvus_error(1100, "busy")])
    with pytest.raises(ProxyhashError, match=r"says: \*\*\*;"):
        index.upsert(["a"], {"image": codes_of(1)})


def test_without_pymilvus_the_extra_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'proxyhash\[milvus\]'"):
        MilvusIndex.create(str(tmp_path / "x.db"), bits=8)


def test_importing_the_package_does_not_load_pymilvus() -> None:
    code = "import sys, proxyhash.index.milvus; print('pymilvus' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    assert found.stdout.strip() == "False"
