"""The client of a service, beside the index that the service has."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.client import Client
from proxyhash.codes import pack
from proxyhash.errors import DataError, MissingExtraError, ProxyhashError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.index import Hit, MemoryIndex, parse_filter_text
from proxyhash.search import Searcher
from tests.service.conftest import Built, Server, running
from tests.service.conftest import built as built  # noqa: PLC0414 -- a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.index.filters import Filter

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def server(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    from proxyhash.service.keys import KeyFile

    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(built.index, folder / "index")
    _, key = KeyFile(folder / "keys.json").add("tests", scope="write")
    with running(folder / "index", "--keys", folder / "keys.json", "--write") as server:
        yield server, key


@pytest.fixture
def client(server: tuple[Server, str]) -> Iterator[Client]:
    with Client(server[0].url, key=server[1]) as client:
        yield client


def without_image(hits: list[Hit]) -> list[tuple[str, int, dict[str, object]]]:
    return [
        (hit.id, hit.distance, {k: v for k, v in hit.payload.items() if k != "image"})
        for hit in hits
    ]


def test_searches_are_those_of_the_searcher(client: Client, built: Built) -> None:
    path = built.collection.sources("image")[5]
    assert path is not None
    dogs = parse_filter_text("labels contains duck or labels contains boat")
    with Searcher.open(str(built.index)) as searcher:
        for options in ({}, {"k": 3, "target": "text"}, {"k": None, "radius": 4}, {"filter": dogs}):
            found: Any = options
            pairs = [
                (client.search_text("a duck", **found), searcher.search_text("a duck", **found)),
                (client.search_id("000004", **found), searcher.search_id("000004", **found)),
                (client.search_image(path, **found), searcher.search_image(path, **found)),
            ]
            for ours, theirs in pairs:
                assert without_image(ours) == without_image(list(theirs.hits))
    assert client.search_image(path.read_bytes()) == client.search_image(str(path))


def test_codes_are_those_of_the_model(client: Client, built: Built) -> None:
    model = HashModel.load(built.run / "model")
    texts = [f"a duck and {place} boats" for place in range(300)]
    np.testing.assert_array_equal(client.encode_texts(texts), model.encode_texts(texts))
    path = built.collection.sources("image")[0]
    assert path is not None
    np.testing.assert_array_equal(client.encode_image(path), model.encode_images([path]))
    assert client.encode_texts([]).shape == (0, 2)
    assert (client.bits, client.model) == (16, model.fingerprint)
    assert client.modalities == ("image", "text")


def random_codes(rng: np.random.Generator, count: int) -> np.ndarray:
    return pack(rng.random((count, 16)) < 0.5)


FILTERS: list[Filter | None] = [
    None,
    parse_filter_text("n >= 5 and not kind = a"),
    parse_filter_text("tags contains x"),
]


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1))
def _same_as_in_memory(client: Client, seed: int) -> None:
    """Random changes and searches give the same here, in memory and over HTTP."""
    rng = np.random.default_rng(seed)
    local = MemoryIndex(bits=16, modalities=("image", "text"))
    client.delete(
        [hit.id for hit in client.search(np.zeros((1, 2), np.uint8), k=1000, modality="text")[0]]
    )
    client.delete(
        [hit.id for hit in client.search(np.zeros((1, 2), np.uint8), k=1000, modality="image")[0]]
    )
    for _ in range(4):
        count = int(rng.integers(0, 9))
        ids = [f"é/{number} ?" for number in rng.choice(20, count, replace=False)]
        names = [("image",), ("text",), ("image", "text")][rng.integers(3)]
        codes = {name: random_codes(rng, count) for name in names}
        payloads = [
            {
                "n": int(rng.integers(10)),
                "kind": "ab"[rng.integers(2)],
                "tags": ["x", "y"][: rng.integers(3)],
            }
            for _ in ids
        ]
        for index in (local, client):
            index.upsert(ids, codes, payloads=payloads)  # type: ignore[attr-defined]
        gone = [f"é/{number} ?" for number in rng.choice(20, 3)]
        assert client.delete(gone) == local.delete(gone)
        assert len(client) == len(local)
        queries = random_codes(rng, 3)
        options: dict[str, Any] = {
            "k": [None, 1, 4, 30][rng.integers(4)],
            "radius": [16, 5][rng.integers(2)],
            "modality": ["image", "text"][rng.integers(2)],
            "filter": FILTERS[rng.integers(3)],
        }
        assert client.search(queries, **options) == local.search(queries, **options)
        for id_ in ids + gone:
            assert (id_ in client) == (id_ in local)
            if id_ in local:
                ours, theirs = client.get(id_), local.get(id_)
                assert (ours.id, ours.payload) == (theirs.id, theirs.payload)
                assert {name: code.tolist() for name, code in ours.codes.items()} == {
                    name: code.tolist() for name, code in theirs.codes.items()
                }


def test_it_answers_like_an_index_in_memory(client: Client) -> None:
    _same_as_in_memory(client)


def test_it_refuses_what_an_index_refuses(client: Client) -> None:
    local = MemoryIndex(bits=16, modalities=("image", "text"))
    code = np.zeros((1, 2), np.uint8)
    refused: list[tuple[type[ProxyhashError], dict[str, Any]]] = [
        (UsageError, {"modality": "text"}),
        (UsageError, {"k": 0, "modality": "text"}),
        (UsageError, {"k": 1}),
        (UsageError, {"k": 1, "modality": "sound"}),
        (UsageError, {"k": 1, "modality": "text", "radius": -1}),
    ]
    for kind, options in refused:
        messages = []
        for index in (local, client):
            with pytest.raises(kind) as error:
                index.search(code, **options)  # type: ignore[attr-defined]
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    for index in (local, client):
        with pytest.raises(DataError):
            index.search(np.zeros((1, 3), np.uint8), k=1, modality="text")  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="no"):
            index.get("nobody")  # type: ignore[attr-defined]
        with pytest.raises(DataError):
            index.upsert(["a", "a"], {"text": np.zeros((2, 2), np.uint8)})  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="1000 is the most"):
        client.search(code, k=5000, modality="text")
    assert "" not in client
    assert 3 not in client
    with pytest.raises(DataError, match="no such file"):
        client.search_image("nowhere.jpg")


def test_without_a_key_it_cannot_write(server: tuple[Server, str]) -> None:
    with Client(server[0].url + "/") as client, pytest.raises(UsageError, match="a key is needed"):
        client.delete(["a"])


def test_nobody_there_is_said_in_a_sentence() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ProxyhashError, match="running"):
        client.info()


class Moody(http.server.BaseHTTPRequestHandler):
    """Answers 503 twice, then 200; or no JSON at all."""

    answers: list[tuple[int, dict[str, str], bytes]]

    def do_GET(self) -> None:
        status, headers, body = self.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def moody() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Moody)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_room_is_tried_again_after_as_long_as_the_service_says(
    moody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    busy = json.dumps(
        {"error": {"code": "busy", "message": "too much", "request_id": "r"}}
    ).encode()
    Moody.answers = [
        (503, {"Retry-After": "3"}, busy),
        (503, {"Retry-After": "soon"}, busy),
        (503, {"Retry-After": "1000"}, busy),
        (200, {}, b'{"items": 7}'),
    ]
    with Client(moody) as client:
        assert len(client) == 7
        assert waited == [3, 1, 30]
        Moody.answers = [(503, {}, busy)] * 3
        with Client(moody, retries=2) as hasty, pytest.raises(ProxyhashError, match="too much"):
            hasty.info()
        Moody.answers = [(502, {}, b"<html>")]
        with pytest.raises(ProxyhashError, match="is this a proxyhash service"):
            client.info()
        Moody.answers = [(404, {}, b"[]")]
        with pytest.raises(UsageError, match="is this a proxyhash service"):
            client.info()


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'proxyhash\[serve\]'"):
        Client("http://127.0.0.1:9")


AWKWARD = [
    ".",
    "..",
    "...",
    "/",
    "//",
    "a/b",
    "a/../b",
    "../../etc/passwd",
    "a/./b",
    "\\",
    "a\\..\\b",
    "a\nb",
    "\r\n",
    "a\tb",
    "\x7f",
    "%",
    "%2F",
    "%2e%2e",
    "%00",
    "a%zz",
    "?",
    "a?b=c",
    "#",
    "a#b",
    "&id=x",
    "+",
    "a+b",
    " ",
    " a ",
    ";",
    "a;b",
    ":",
    "http://x/",
    "é",
    "é",
    "\u202e",
    "🦆" * 512,
    "search",
    "delete",
    "id",
    "x" * 512,
    "'",
    '"',
    "<b>",
    "*",
    "~",
    "@",
    "[",
    "null",
]


def test_every_id_that_an_index_holds_can_be_read_searched_changed_and_deleted(
    client: Client, server: tuple[Server, str]
) -> None:
    codes = np.zeros((len(AWKWARD), 2), np.uint8)
    client.upsert(["with an image"], {"image": codes[:1]})  # for those to find
    client.upsert(AWKWARD, {"text": codes}, payloads=[{"n": n} for n in range(len(AWKWARD))])
    for place, id_ in enumerate(AWKWARD):
        assert (client.get(id_).id, client.get(id_).payload) == (id_, {"n": place})
        assert id_ in client
        assert client.search_id(id_, k=1, target="image") != []
    client.upsert(AWKWARD, {"text": codes}, payloads=[{"n": -1}] * len(AWKWARD))
    assert all(client.get(id_).payload == {"n": -1} for id_ in AWKWARD)
    with httpx.Client(headers={"Authorization": f"Bearer {server[1]}"}) as http:
        for id_ in AWKWARD:  # by the address, and the thumbnail's is one that is found
            address = f"{server[0].url}/v1/items/"
            assert http.get(address, params={"id": id_}).json()["id"] == id_
            assert (
                http.get(address.replace("items", "thumbnails"), params={"id": id_}).status_code
                == 404
            )
            assert http.delete(address, params={"id": id_}).json() == {"deleted": 1}
            assert id_ not in client
    assert client.delete([*AWKWARD, "with an image"]) == 1


def test_ids_that_no_index_holds_are_answered_as_in_python(client: Client) -> None:
    local = MemoryIndex(bits=16, modalities=("image", "text"))
    codes = {"text": np.zeros((1, 2), np.uint8)}
    for id_ in ("", "a\0b", "x" * 513, "\ud800"):
        assert (id_ in client, client.delete([id_])) == (id_ in local, local.delete([id_]))
        with pytest.raises(UsageError, match="no item"):
            client.get(id_)
        with pytest.raises(UsageError, match="no item"):
            client.search_id(id_)
        with pytest.raises(DataError) as here:
            local.upsert([id_], codes)
        with pytest.raises(DataError) as there:
            client.upsert([id_], codes)
        assert str(here.value) == str(there.value)


def test_the_message_about_an_empty_id_is_that_of_python(server: tuple[Server, str]) -> None:
    with httpx.Client(
        base_url=server[0].url, headers={"Authorization": f"Bearer {server[1]}"}
    ) as http:
        items = {"items": [{"id": "", "codes": {"text": "00ff"}}]}
        answer = http.post("/v1/items", json=items)
        message = answer.json()["error"]["message"]
        assert (answer.status_code, message) == (
            422,
            "id '' has 0 characters; 1 to 512 are expected",
        )
        for answer in (http.get("/v1/items/"), http.post("/v1/search", json={"id": ""})):
            assert (answer.status_code, answer.json()["error"]["message"]) == (
                404,
                "no item '' in the index",
            )
        assert http.delete("/v1/items/").json() == {"deleted": 0}
