"""The service over an index in Milvus Lite answers as it does over an index folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.errors import ModelError
from proxyhash.index.copy import copy_between
from proxyhash.index.milvus import MilvusIndex
from proxyhash.index.milvus.connection import Connection
from proxyhash.service import Service, Settings
from proxyhash.service.keys import KeyFile
from tests.service.conftest import Built, bearer, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.testclient import TestClient


@dataclass(frozen=True)
class Pair:
    """Clients of one index in two places, and the address of the second; both may write."""

    store: TestClient
    milvus: TestClient
    uri: str


@pytest.fixture(scope="module")
def pair(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("milvus")
    shutil.copytree(built.index, folder / "index")
    file, uri = str(folder / "codes.db"), f"{folder / 'codes.db'}#scenes"
    keys = folder / "keys.json"
    _, key = KeyFile(keys).add("writer", scope="write")
    connection = Connection(file)
    copy_between(str(built.index), uri)
    options: dict[str, Any] = {"model": built.run / "model", "keys": keys, "write": True}
    with (
        open_client(built, index=str(folder / "index"), **options) as store,
        open_client(built, index=uri, **options) as milvus,
    ):
        store.headers.update(bearer(key))
        milvus.headers.update(bearer(key))
        yield Pair(store, milvus, uri)
    connection.close()


def searched(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return without_place(answer.json())


def without_place(found: dict[str, Any]) -> dict[str, Any]:
    """An answer without what depends on where the index is and how long it took."""
    del found["took_ms"]
    for hit in found["hits"]:
        del hit["thumbnail"]
    return found


QUERIES = [
    {"text": "a duck and a boat", "k": 7, "mode": "codes"},
    {"text": "a duck", "target": "text", "k": 200, "mode": "codes"},
    {"id": "000007", "k": 4},
    {"id": "000007", "k": 4, "target": "image"},
    {"id": "000007", "modality": "text", "k": 12},
    {"code": "5aa5", "target": "text", "k": 20},
    {"code": "5aa5", "k": None, "radius": 6},
    {"code": "0f0f", "k": 3, "radius": 8},
]


@pytest.mark.parametrize("body", QUERIES, ids=json.dumps)
def test_a_search_finds_the_same(pair: Pair, body: dict[str, Any]) -> None:
    found = searched(pair.milvus, body)
    assert found["hits"]
    assert found["searched"] in (199, 200)
    assert found == searched(pair.store, body)


def test_an_image_finds_the_same(pair: Pair, built: Built) -> None:
    path = built.collection.sources("image")[3]
    assert path is not None
    for target in ("text", "image"):
        form: dict[str, Any] = {
            "files": {"image": path.read_bytes()},
            "data": {"options": json.dumps({"target": target, "k": 5})},
        }
        over_milvus, over_store = (
            without_place(client.post("/v1/search/image", **form).json())
            for client in (pair.milvus, pair.store)
        )
        assert len(over_milvus["hits"]) == 5
        assert over_milvus == over_store


def test_a_batch_finds_the_same(pair: Pair) -> None:
    body = {"queries": QUERIES[:3]}
    over_milvus, over_store = (
        [without_place(found) for found in answer.json()["results"]]
        for answer in (
            pair.milvus.post("/v1/search/batch", json=body),
            pair.store.post("/v1/search/batch", json=body),
        )
    )
    assert over_milvus == over_store


def test_a_filter_lets_the_same_through_and_leaves_the_number_unknown(pair: Pair) -> None:
    label = pair.store.get("/v1/info").json()["labels"][0]["name"]
    has_label = {"field": "labels", "contains": label}
    nobody = {"field": "text", "eq": "nobody"}
    for filter_ in (
        has_label,
        {"not": has_label},
        {"or": [has_label, nobody]},
        {"and": [has_label, {"field": "text", "gt": "a c"}]},
        nobody,
    ):
        body = {"code": "0f0f", "filter": filter_, "k": 300}
        over_milvus, over_store = (searched(each, body) for each in (pair.milvus, pair.store))
        assert over_milvus.pop("searched") is None
        assert over_store.pop("searched") == len(over_store["hits"])
        assert over_milvus == over_store


def test_an_explanation_has_no_histogram_and_the_same_proxies(pair: Pair) -> None:
    body = {"code": "00ff", "k": 3, "explain": True}
    over_milvus, over_store = (
        searched(each, body)["explain"] for each in (pair.milvus, pair.store)
    )
    assert over_milvus["histogram"] == []
    assert sum(over_store.pop("histogram")) == 200
    assert over_store.pop("within") >= 3
    assert {name: over_milvus[name] for name in ("cut", "proxies")} == over_store
    assert len(over_milvus["proxies"]) > 1


def test_written_items_are_found_at_once_and_deleted_items_are_not(pair: Pair) -> None:
    client = pair.milvus
    item = {"id": "new/one", "codes": {"image": "ffff", "text": "0000"}, "payload": {"price": 3}}
    body = {"code": "ffff", "radius": 0, "filter": {"field": "price", "ge": 3}}
    assert client.post("/v1/items", json={"items": [item]}).json() == {"upserted": 1}
    assert client.get("/v1/items/new/one").json() == item
    assert [hit["payload"] for hit in searched(client, body)["hits"]] == [{"price": 3}]
    assert searched(client, {"id": "new/one"})["searched"] == 201
    changed = item | {"codes": {"text": "00ff"}}
    assert client.post("/v1/items", json={"items": [changed]}).json() == {"upserted": 1}
    assert client.get("/v1/items/new/one").json() == changed
    assert searched(client, body)["hits"] == []
    assert client.delete("/v1/items/new/one").json() == {"deleted": 1}
    assert client.delete("/v1/items/new/one").json() == {"deleted": 0}
    assert client.get("/v1/items/new/one").status_code == 404
    assert searched(client, {"text": "a duck"})["searched"] == 200


def test_a_text_without_a_code_is_encoded(pair: Pair) -> None:
    item = {"id": "words", "text": "a boat and a cat"}
    (code,) = pair.store.post("/v1/encode", json={"texts": [item["text"]]}).json()["codes"]
    assert pair.milvus.post("/v1/items", json={"items": [item]}).status_code == 200
    assert pair.milvus.get("/v1/items/words").json()["codes"] == {"text": code}
    answer = pair.milvus.post("/v1/items/delete", json={"ids": ["words", "nobody"]})
    assert answer.json() == {"deleted": 1}


def test_writing_needs_a_key(pair: Pair) -> None:
    for headers in ({"Authorization": ""}, bearer("phk_wrong")):
        answer = pair.milvus.delete("/v1/items/000001", headers=headers)
        assert answer.status_code == 401
    assert pair.milvus.get("/v1/items/000001").status_code == 200


def test_there_are_no_thumbnails(pair: Pair) -> None:
    found = pair.milvus.post("/v1/search", json={"text": "a duck"}).json()
    assert {hit["thumbnail"] for hit in found["hits"]} == {None}
    assert pair.milvus.get("/v1/thumbnails/000001").status_code == 404


def test_probes_info_and_metrics_answer(pair: Pair) -> None:
    assert pair.milvus.get("/readyz").json() == {"status": "ready", "warnings": []}
    over_milvus, over_store = (each.get("/v1/info").json() for each in (pair.milvus, pair.store))
    assert over_milvus["engine"] == "BIN_FLAT"
    assert over_milvus["items"] == 200
    differing = {name for name in over_milvus if over_milvus[name] != over_store[name]}
    assert differing == {"engine", "vectors", "words"}
    assert over_milvus["vectors"] is None
    refused = pair.milvus.post("/v1/search", json={"id": "000003", "rerank": "vectors"})
    assert refused.status_code == 422
    assert "the index keeps no vectors" in refused.json()["error"]["message"]
    assert "codes.db" not in json.dumps(over_milvus)
    metrics = pair.milvus.get("/metrics")
    assert metrics.status_code == 200
    assert "proxyhash_index_items 200.0" in metrics.text


def test_words_are_refused_with_what_to_do(pair: Pair) -> None:
    assert pair.milvus.post("/v1/search", json={"text": "a duck"}).json()["mode"] == "codes"
    for mode in ("words", "both"):
        answer = pair.milvus.post("/v1/search", json={"text": "a duck", "mode": mode})
        assert answer.status_code == 422
        message = answer.json()["error"]["message"]
        assert f"mode is {mode}, but a milvus index has no word index; a folder has" in message
        assert "`proxyhash index words FOLDER`" in message


def test_a_reload_goes_on_with_the_index(pair: Pair) -> None:
    assert pair.milvus.post("/v1/admin/reload").json() == {"status": "reloaded"}
    body = QUERIES[0]
    assert searched(pair.milvus, body) == searched(pair.store, body)


def test_a_model_that_did_not_make_the_codes_is_refused(pair: Pair, built: Built) -> None:
    uri = pair.uri.replace("#scenes", "#other")
    with MilvusIndex.create(
        uri.partition("#")[0], collection="other", bits=16, model="another"
    ) as index:
        index.add(["a"], {"text": np.zeros((1, 2), np.uint8)})
        with pytest.raises(ModelError, match="not the model that made the codes"):
            Service(Settings(index=uri, model=built.run / "model"))
        index.drop()
