"""Searching over HTTP: what is found, compared with the searcher and with slow loops."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.hashing import HashModel
from proxyhash.search import Answer, EncodedQuery, Query, Searcher, SearchOptions
from proxyhash.search.query import TooManyHitsError
from proxyhash.search.steps import Search, encode, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.testclient import TestClient

    from proxyhash.codes import Codes
    from tests.service.conftest import Built


@pytest.fixture
def searcher(built: Built) -> Iterator[Searcher]:
    with Searcher.open(str(built.index)) as searcher:
        yield searcher


def bits_of(code: str) -> list[int]:
    return [int(bit) for byte in bytes.fromhex(code) for bit in f"{byte:08b}"]


def distance(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(bits_of(one), bits_of(other), strict=True))


def test_a_text_finds_what_the_searcher_finds(client: TestClient, searcher: Searcher) -> None:
    answer = client.post("/v1/search", json={"text": "a  duck and a boat", "k": 7})
    expected = searcher.search_text("a duck and a boat", k=7)
    body = answer.json()
    assert answer.status_code == 200
    assert [hit["id"] for hit in body["hits"]] == [hit.id for hit in expected.hits]
    assert [hit["distance"] for hit in body["hits"]] == [hit.distance for hit in expected.hits]
    assert [hit["code"] for hit in body["hits"]] == [row.tobytes().hex() for row in expected.codes]
    assert (body["target"], body["searched"], body["bits"]) == ("image", 200, 16)
    assert body["query"] == {
        "kind": "text",
        "modality": "text",
        "text": "a  duck and a boat",
        "id": None,
        "payload": None,
        "code": expected.query.code.tobytes().hex(),
    }
    assert body["explain"] is None
    took = body["took_ms"]
    assert took["total"] >= took["search"] > 0
    assert took["encode"] > 0


def test_an_image_finds_what_the_searcher_finds(
    client: TestClient, searcher: Searcher, built: Built
) -> None:
    path = built.collection.sources("image")[3]
    assert path is not None
    for target in ("text", "image"):
        options = json.dumps({"target": target, "k": 5})
        answer = client.post(
            "/v1/search/image", files={"image": path.read_bytes()}, data={"options": options}
        )
        expected = searcher.search_image(path, k=5, target=target)  # type: ignore[arg-type]
        found = [(hit["id"], hit["distance"]) for hit in answer.json()["hits"]]
        assert found == [(hit.id, hit.distance) for hit in expected.hits]
    assert (
        client.post("/v1/search/image", files={"image": path.read_bytes()}).json()["target"]
        == "text"
    )


def test_an_item_is_left_out_of_its_own_hits(client: TestClient, searcher: Searcher) -> None:
    for target in ("text", "image"):
        answer = client.post("/v1/search", json={"id": "000007", "k": 4, "target": target})
        expected = searcher.search_id("000007", k=4, target=target)  # type: ignore[arg-type]
        body = answer.json()
        assert [hit["id"] for hit in body["hits"]] == [hit.id for hit in expected.hits]
        assert body["searched"] == expected.searched
    assert body["query"]["modality"] == "image"
    assert all(hit["id"] != "000007" for hit in body["hits"])


def test_an_item_can_ask_with_either_code(client: TestClient) -> None:
    codes = client.get("/v1/items/000007").json()["codes"]
    for modality in ("image", "text"):
        answer = client.post("/v1/search", json={"id": "000007", "modality": modality})
        assert answer.json()["query"]["code"] == codes[modality]


def test_a_code_finds_what_a_loop_finds(client: TestClient, built: Built) -> None:
    items = [client.get(f"/v1/items/{id_}").json() for id_ in built.collection.ids]
    code = "5aa5"
    near = sorted((distance(item["codes"]["text"], code), item["id"]) for item in items)
    answer = client.post("/v1/search", json={"code": code, "target": "text", "k": 20})
    assert [(hit["distance"], hit["id"]) for hit in answer.json()["hits"]] == near[:20]
    answer = client.post(
        "/v1/search", json={"code": code, "target": "text", "k": None, "radius": 6}
    )
    within = [pair for pair in near if pair[0] <= 6]
    assert [(hit["distance"], hit["id"]) for hit in answer.json()["hits"]] == within


def test_filters_and_their_histogram(client: TestClient, built: Built) -> None:
    label = client.get("/v1/info").json()["labels"][0]
    with_label = [item for item in built.collection.items if label["name"] in item.labels]
    assert label["count"] == len(with_label)
    query = {"field": "labels", "contains": label["name"]}
    answer = client.post(
        "/v1/search", json={"code": "0f0f", "filter": query, "k": 300, "explain": True}
    ).json()
    assert {hit["id"] for hit in answer["hits"]} == {item.id for item in with_label}
    histogram = np.bincount([hit["distance"] for hit in answer["hits"]], minlength=17)
    assert answer["explain"]["histogram"] == histogram.tolist()
    assert answer["explain"]["cut"] == answer["hits"][-1]["distance"]


def test_explain_counts_everything_and_names_the_nearest_proxies(
    client: TestClient, built: Built
) -> None:
    answer = client.post("/v1/search", json={"code": "00ff", "k": 3, "explain": True}).json()
    explain = answer["explain"]
    assert sum(explain["histogram"]) == 200
    assert explain["cut"] == answer["hits"][2]["distance"]
    model = HashModel.load(built.run / "model")
    assert model.proxies is not None
    query = np.where(np.array(bits_of("00ff")) == 1, 1, -1)
    far = [
        (int((row != query).sum()), name)
        for row, name in zip(model.proxies.codes, model.classes, strict=True)
    ]
    expected = [{"label": name, "distance": distance} for distance, name in sorted(far)[:12]]
    assert explain["proxies"] == expected


def test_an_explanation_without_hits_has_no_cut(client: TestClient) -> None:
    nobody = {"field": "labels", "contains": "nobody"}
    answer = client.post("/v1/search", json={"code": "00ff", "filter": nobody, "explain": True})
    assert answer.json()["hits"] == []
    assert answer.json()["explain"]["cut"] is None
    assert sum(answer.json()["explain"]["histogram"]) == 0


def test_a_batch_answers_like_single_searches(client: TestClient) -> None:
    queries = [
        {"text": "a duck", "k": 3},
        {"id": "000001", "k": 2, "target": "image"},
        {"code": "ffff", "target": "text"},
    ]
    batch = client.post("/v1/search/batch", json={"queries": queries}).json()["results"]
    for query, found in zip(queries, batch, strict=True):
        single = client.post("/v1/search", json=query).json()
        for answer in (single, found):
            del answer["took_ms"]
        assert found == single
    assert client.post("/v1/search/batch", json={"queries": []}).json() == {"results": []}


def test_searches_that_come_together_find_what_they_find_alone(
    client: TestClient, built: Built
) -> None:
    label = next(item.labels[0] for item in built.collection.items if item.labels)
    options: list[dict[str, Any]] = [
        {},
        {"k": 3},
        {"k": None, "radius": 5},
        {"target": "text"},
        {"filter": {"field": "labels", "contains": label}},
        {"filter": {"not": {"field": "labels", "contains": label}}, "explain": True},
    ]
    queries: list[dict[str, Any]] = [
        *({"id": f"{number:06}", "modality": "text"} for number in range(6)),
        *({"code": f"{number * 9001 % 65536:04x}"} for number in range(6)),
        {"text": "a duck"},
    ]
    bodies = [query | option for option in options for query in queries]

    def search(body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = client.post("/v1/search", json=body).json()
        del answer["took_ms"]
        return answer

    alone = [search(body) for body in bodies]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(search, bodies)) == alone


def test_a_batch_that_asks_alike_is_one_search(serve: Callable[..., TestClient]) -> None:
    client = serve(limits={"search_batch": 8, "waiting": 8})
    alike = [{"code": f"{number:04x}", "target": "text", "k": 2} for number in range(20)]
    other = {"code": "00ff", "target": "image"}
    answer = client.post("/v1/search/batch", json={"queries": [*alike, other]})
    assert answer.status_code == 200
    lines = client.get("/metrics").text.splitlines()
    assert "proxyhash_search_batch_count 4.0" in lines  # 8 + 8 + 4 and the other
    assert "proxyhash_search_batch_sum 21.0" in lines


def test_one_that_finds_too_much_does_not_spoil_those_beside_it(built: Built) -> None:
    options = SearchOptions(k=None, radius=4, target="image")
    with Searcher.open(str(built.index)) as searcher:
        index, item = searcher.index, searcher.item("000001")

        def search(code: Codes, *, most: int) -> Search:
            return Search(EncodedQuery(Query(code=code), code), options, most)

        (near,) = index.search(item.codes["image"][None], modality="image", radius=4)
        assert len(near) > 1
        crowded = search(item.codes["image"], most=len(near) - 1)
        far = search(~item.codes["image"], most=len(near) - 1)
        refused, found = find(searcher, [crowded, far])
        assert isinstance(refused, TooManyHitsError)
        assert isinstance(found, Answer)
        (asker,) = encode(searcher, [Query(item="000001")])
        (itself,) = find(searcher, [Search(asker, options, 200)])
        assert isinstance(itself, Answer)
        assert [hit.id for hit in itself.hits] == [hit.id for hit in near if hit.id != item.id]
        assert itself.searched == len(index) - 1


def test_payloads_come_without_the_path_of_the_image(client: TestClient, built: Built) -> None:
    hit = client.post("/v1/search", json={"text": "a duck", "k": 1}).json()["hits"][0]
    item = built.collection.items[built.collection.positions[hit["id"]]]
    assert hit["payload"]["text"] == item.sources["text"]
    assert hit["payload"]["labels"] == list(item.labels)
    assert "image" not in hit["payload"]
    assert "image" not in client.get(f"/v1/items/{hit['id']}").json()["payload"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 422, "exactly one of text, id, code and vector"),
        ({"text": "a", "code": "00ff"}, 422, "exactly one"),
        ({"text": " \n "}, 422, "the text is empty"),
        ({"text": "xyzzy plugh"}, 422, "knows no word"),
        ({"text": "duck " * 1000}, 422, "2000 are the most"),
        ({"id": "nobody"}, 404, "no item 'nobody' in the index"),
        ({"id": "000001", "modality": "sound"}, 422, "modality"),
        ({"text": "duck", "modality": "text"}, 422, "beside an id"),
        ({"code": "00"}, 422, "the code has 8 bits; codes of this index have 16"),
        ({"code": "0"}, 422, "code"),
        ({"code": "zz00"}, 422, "code"),
        ({"code": "00ff", "k": 0}, 422, "k is 0; it must be at least 1"),
        ({"code": "00ff", "k": 1001}, 422, "k is 1001; 1000 is the most"),
        ({"code": "00ff", "k": "3"}, 422, "k:"),
        ({"code": "00ff", "k": None}, 422, "neither k nor a radius"),
        ({"code": "00ff", "radius": -1}, 422, "radius"),
        ({"code": "00ff", "target": "sound"}, 422, "target"),
        ({"code": "00ff", "filter": {"field": "a"}}, 422, "filter"),
        ({"code": "00ff", "filter": {"field": "a", "eq": [1]}}, 422, "filter.eq"),
        ({"code": "00ff", "wrong": 1}, 422, "wrong"),
        ([], 422, "body"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_with_a_sentence(
    client: TestClient, body: object, status: int, says: str
) -> None:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert says in error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


def test_more_hits_than_are_allowed_are_not_cut_in_silence(
    serve: Callable[..., TestClient],
) -> None:
    client = serve(limits={"k": 50})
    answer = client.post("/v1/search", json={"code": "00ff", "k": None, "radius": 16})
    assert answer.status_code == 422
    assert "more than 50 items are within 16 bits" in answer.json()["error"]["message"]


def test_a_batch_has_a_limit(serve: Callable[..., TestClient]) -> None:
    client = serve(limits={"batch": 2})
    answer = client.post("/v1/search/batch", json={"queries": [{"code": "00ff"}] * 3})
    assert (answer.status_code, "2 are the most" in answer.text) == (422, True)


def test_the_first_bad_query_of_a_batch_refuses_it(client: TestClient) -> None:
    queries = [{"text": "a duck"}, {"id": "nobody"}]
    assert client.post("/v1/search/batch", json={"queries": queries}).status_code == 404


def test_a_key_that_no_request_has_is_named(client: TestClient) -> None:
    answer = client.post("/v1/search", json={"text": "a duck", "where": ["label=duck"]})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == (
        "where: no such key; /openapi.json lists those of every request"
    )
