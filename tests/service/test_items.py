"""Getting, storing and deleting items, and their thumbnails."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from proxyhash.hashing import HashModel
from proxyhash.index.store import Store
from tests.service.conftest import Built, Keys, bearer, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from starlette.testclient import TestClient


@pytest.fixture
def writer(built: Built, index_copy: Path, keys: Keys) -> Iterator[TestClient]:
    """A client that may write to an index of its own."""
    with open_client(built, index=str(index_copy), keys=keys.path, write=True) as client:
        client.headers.update(bearer(keys.write))
        yield client


def put(client: TestClient, *items: dict[str, Any]) -> Any:
    return client.post("/v1/items", json={"items": list(items)})


def test_stored_items_are_found_and_deleted_items_are_not(writer: TestClient) -> None:
    answer = put(
        writer,
        {"id": "new/one", "codes": {"image": "ffff", "text": "0000"}, "payload": {"price": 3}},
        {"id": "only-text", "codes": {"text": "0000"}},
    )
    assert (answer.status_code, answer.json()) == (200, {"upserted": 2})
    assert writer.get("/v1/info").json()["modalities"] == {"image": 201, "text": 202}
    hits = writer.post("/v1/search", json={"code": "0000", "target": "text", "radius": 0}).json()
    assert {hit["id"] for hit in hits["hits"]} >= {"new/one", "only-text"}
    assert writer.get("/v1/items/new/one").json() == {
        "id": "new/one",
        "codes": {"image": "ffff", "text": "0000"},
        "payload": {"price": 3},
    }
    assert put(writer, {"id": "new/one", "codes": {"text": "00ff"}}).json() == {"upserted": 1}
    assert writer.get("/v1/items/new%2Fone").json()["codes"] == {"text": "00ff"}
    assert writer.delete("/v1/items/new%2Fone").json() == {"deleted": 1}
    assert writer.delete("/v1/items/new%2Fone").json() == {"deleted": 0}
    assert writer.get("/v1/items/new%2Fone").status_code == 404
    answer = writer.post("/v1/items/delete", json={"ids": ["only-text", "nobody", "000001"]})
    assert answer.json() == {"deleted": 2}
    assert writer.get("/v1/info").json()["items"] == 199


def test_a_text_without_a_code_is_encoded(writer: TestClient, built: Built) -> None:
    model = HashModel.load(built.run / "model")
    texts = ["a duck", "a boat and a cat"]
    expected = [row.tobytes().hex() for row in model.encode_texts(texts)]
    items = [{"id": str(row), "text": text} for row, text in enumerate(texts)]
    given = {"id": "2", "text": "a duck", "codes": {"text": "abcd"}, "payload": {"text": "shown"}}
    assert put(writer, *items, given).status_code == 200
    assert writer.get("/v1/items/0").json()["codes"] == {"text": expected[0]}
    assert writer.get("/v1/items/1").json()["payload"] == {"text": texts[1]}
    assert writer.get("/v1/items/2").json() == {
        "id": "2",
        "codes": {"text": "abcd"},
        "payload": {"text": "shown"},
    }


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"id": "x"}, "'x' has neither codes nor a text"),
        ({"id": "x", "text": "xyzzy"}, "knows no word"),
        ({"id": "x", "text": ""}, "the text is empty"),
        ({"id": "", "codes": {"text": "00ff"}}, "id"),
        ({"id": "x\0", "codes": {"text": "00ff"}}, "null character"),
        ({"id": "x" * 513, "codes": {"text": "00ff"}}, "id"),
        ({"id": "x", "codes": {"sound": "00ff"}}, "'sound'; the index has"),
        ({"id": "x", "codes": {"text": "00"}}, "codes of this index have 16"),
        ({"id": "x", "codes": {"text": "00ff"}, "payload": {"n": 10**30}}, "64 bits"),
        ({"id": "x", "codes": {"text": "00ff"}, "payload": []}, "payload"),
        ({"id": "000001", "codes": {"text": "00ff"}}, "given twice"),
    ],
)
def test_one_bad_item_refuses_all_of_them(
    writer: TestClient, item: dict[str, Any], says: str
) -> None:
    before = writer.get("/v1/items/000001").json()
    good = {"id": "000001", "codes": {"image": "0000"}}
    answer = put(writer, good, item)
    assert answer.status_code == 422
    assert says in answer.json()["error"]["message"]
    assert writer.get("/v1/items/000001").json() == before
    assert writer.get("/v1/info").json()["items"] == 200


def test_texts_that_the_service_encodes_get_their_vectors(
    writer: TestClient, index_copy: Path
) -> None:
    known = writer.get("/v1/items/000001").json()
    text = known["payload"]["text"]
    with Store.open(index_copy) as store:
        before = store.get("000001").weights["text"]
    answer = put(
        writer,
        {"id": "told", "text": text},
        {"id": "code", "codes": {"text": known["codes"]["text"]}},
        {"id": "000001", "codes": known["codes"], "payload": {"price": 1}},
    )
    assert answer.status_code == 200, answer.text
    assert writer.get("/v1/info").json()["vectors"] == "int8"
    with Store.open(index_copy) as store:
        found = store.get_many(["told", "code", "000001"])
        assert store.verify() == []
    assert np.abs(found["told"].weights["text"].astype(int) - before).max() <= 65535 // 127 + 1
    assert (found["code"].weights["text"] == 65535).all()
    assert (found["000001"].weights["text"] == before).all()
    hits = writer.post(
        "/v1/search", json={"text": text, "target": "text", "rerank": "vectors", "k": 3}
    ).json()["hits"]
    assert all(hit["vector_distance"] is not None for hit in hits)


def test_no_items_are_no_error(writer: TestClient) -> None:
    assert put(writer).json() == {"upserted": 0}
    assert writer.post("/v1/items/delete", json={"ids": []}).json() == {"deleted": 0}
    many = [{"id": str(place), "codes": {"text": "00ff"}} for place in range(257)]
    assert put(writer, *many).status_code == 422
    assert writer.post("/v1/items/delete", json={"ids": ["a"] * 257}).status_code == 422


def test_a_thumbnail_comes_from_the_index_and_is_cached(client: TestClient) -> None:
    answer = client.get("/v1/thumbnails/000003")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    assert answer.headers["cache-control"] == "public, max-age=86400"
    tag = {"If-None-Match": answer.headers["etag"]}
    again = client.get("/v1/thumbnails/000003", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/v1/thumbnails/nobody").status_code == 404
    hit = client.post("/v1/search", json={"id": "000003", "k": 1}).json()["hits"][0]
    assert client.get(hit["thumbnail"]).status_code == 200


def test_a_thumbnail_goes_with_its_image(writer: TestClient) -> None:
    image = writer.get("/v1/items/000001").json()["codes"]["image"]
    put(writer, {"id": "000001", "codes": {"image": image}})
    assert writer.get("/v1/thumbnails/000001").status_code == 200
    put(writer, {"id": "000001", "codes": {"image": "0000" if image != "0000" else "ffff"}})
    assert writer.get("/v1/thumbnails/000001").status_code == 404
    put(writer, {"id": "000002", "codes": {"text": "0000"}})
    assert writer.get("/v1/thumbnails/000002").status_code == 404
    writer.delete("/v1/items/000003")
    assert writer.get("/v1/thumbnails/000003").status_code == 404


@pytest.mark.parametrize(
    "id_",
    [
        "../../etc/passwd",
        "..%2F..%2Fetc%2Fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "images%2F000001.png",
        "000001.png",
        "%00",
        "' OR '1'='1",
        "000001'; DROP TABLE thumbnails; --",
        "%F0%9F%A6%86",
        "%ff%fe",
        "a" * 5000,
    ],
)
def test_no_id_reaches_a_file(client: TestClient, id_: str) -> None:
    for path in ("items", "thumbnails"):
        answer = client.get(f"/v1/{path}/{id_}")
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/json"
    assert client.get("/web/" + id_).status_code == 404
    assert client.get("/v1/thumbnails/000001").status_code == 200


def test_a_new_item_is_found_by_its_words_at_once(writer: TestClient) -> None:
    assert writer.get("/v1/info").json()["words"] is True
    item = {"id": "k", "codes": {"image": "ffff"}, "payload": {"sku": "XJ-900", "image": "zq.jpg"}}
    assert put(writer, item).status_code == 200
    for body in ({"text": "xj-900"}, {"text": "a duck xj-900"}, {"text": "xj*", "mode": "words"}):
        answer = writer.post("/v1/search", json=body | {"k": 3}).json()
        assert answer["hits"][0]["id"] == "k", body
        assert answer["hits"][0]["matched"]
        assert answer["mode"] == body.get("mode", "both")
    assert writer.post("/v1/search", json={"text": "zq", "mode": "words"}).json()["hits"] == []
    writer.delete("/v1/items/k")
    answer = writer.post("/v1/search", json={"text": "xj-900", "mode": "words"}).json()
    assert (answer["hits"], answer["mode"]) == ([], "words")


def test_an_index_gets_words_while_it_is_served_for_writing(
    built: Built, index_copy: Path, keys: Keys
) -> None:
    from proxyhash.catalog.manage import index_words

    for path in index_copy.glob("generation-*/words-*"):
        path.unlink()
    with open_client(built, index=str(index_copy), keys=keys.path, write=True) as client:
        client.headers.update(bearer(keys.write))
        ask = {"text": "a duck", "k": 3}
        assert client.get("/v1/info").json()["words"] is False
        assert client.post("/v1/search", json=ask).json()["mode"] == "codes"
        answer = client.post("/v1/search", json=ask | {"mode": "words"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
        assert "has no word index" in answer.json()["error"]["message"]
        index_words(str(index_copy))
        assert client.post("/v1/search", json=ask).json()["mode"] == "both"
        put(client, {"id": "k", "codes": {"image": "ffff"}, "payload": {"name": "quokka"}})
        answer = client.post("/v1/search", json={"text": "quokka"}).json()
        assert [hit["id"] for hit in answer["hits"]] == ["k"]
