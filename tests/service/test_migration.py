"""A running service across a migration of its index to another model."""

from __future__ import annotations

import json
import shutil
import threading
import time
from itertools import compress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from proxyhash.catalog.migrate import migrate_index
from proxyhash.client import Client
from proxyhash.index.store import Store
from proxyhash.search import Query, Searcher, SearchOptions
from tests.catalog.conftest import contents
from tests.catalog.migration_kit import Kit, make_kit
from tests.service.conftest import Keys, Server, bearer, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.data import Collection

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.slow]

TEXTS = ["a boat at night", "a bicycle", "an umbrella outside", "a red bird and the sea"]


@pytest.fixture(scope="module")
def kit(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("migration"), scenes)


@pytest.fixture
def index(kit: Kit, tmp_path: Path) -> Path:
    shutil.copytree(kit.indexes["old"], tmp_path / "x.index")
    return tmp_path / "x.index"


def expected(index: Path, image: Path) -> dict[str, Any]:
    """Bits, code and hits of each question, by a searcher in this process."""
    options = SearchOptions(k=8)
    queries = {text: Query(text=text) for text in TEXTS}
    queries |= {"item": Query(item="i003"), "image": Query(image=image)}
    found = {}
    with Searcher.open(index) as searcher:
        for name, query in queries.items():
            given = {"k": options.k}
            answer = searcher.search(query, **given)
            hits = [(hit.id, hit.distance) for hit in answer.hits]
            found[name] = (answer.bits, answer.query.code.tobytes().hex(), hits)
    return found


def ask(client: httpx.Client, name: str, image: bytes) -> Any:
    if name == "image":
        answer = client.post(
            "/v1/search/image",
            files={"image": ("x.png", image)},
            data={"options": json.dumps({"k": 8})},
        )
    else:
        body = {"id": "i003"} if name == "item" else {"text": name}
        answer = client.post("/v1/search", json=body | {"k": 8})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    hits = [(hit["id"], hit["distance"]) for hit in found["hits"]]
    return found["bits"], found["query"]["code"], hits


class Askers:
    """Threads that ask a service the same questions over and over, and keep what it said."""

    def __init__(self, server: Server, names: list[str], image: Path) -> None:
        self.seen: list[tuple[str, Any, int]] = []  # with how many there were when it was asked
        self.failed: list[object] = []
        self._stop = threading.Event()
        content = image.read_bytes()

        def work(number: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                turn = number
                while not self._stop.is_set():
                    name = names[turn % len(names)]
                    turn += 1
                    before = len(self.seen)
                    try:
                        self.seen.append((name, ask(client, name, content), before))
                    except (AssertionError, httpx.HTTPError) as error:
                        self.failed.append(error)

        self._threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def fingerprint(server: Server, **headers: Any) -> str:
    found = httpx.get(server.url + "/v1/info", **headers).json()
    return str(found["model"]["fingerprint"])


def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_every_answer_is_that_of_the_old_or_of_the_new_model(kit: Kit, index: Path) -> None:
    """Twice over: to a model of as many bits, and to one of fewer."""
    image = kit.data / "images" / "5.png"
    states = {name: expected(kit.indexes[name], image) for name in ("old", "new", "short")}
    with running(index) as server, Client(server.url) as client:
        for before, after in (("old", "new"), ("new", "short")):
            old, new = states[before], states[after]
            assert all(old[name] != new[name] for name in old)
            assert (client.model, client.bits) == (kit.fingerprints[before], old["item"][0])
            askers = Askers(server, list(old), image)
            try:
                until(lambda askers=askers: len(askers.seen) > 20)
                migrate_index(str(index), kit.models[after])
                until(lambda name=after: fingerprint(server) == kit.fingerprints[name])
                turn = len(askers.seen)
                until(lambda askers=askers, turn=turn: len(askers.seen) > turn + 40)
            finally:
                askers.stop()
            assert askers.failed == []
            kinds = [(found == old[name], found == new[name]) for name, found, _ in askers.seen]
            later = [before >= turn for _, _, before in askers.seen]
            assert set(kinds) == {(True, False), (False, True)}
            assert kinds[:20] == [(True, False)] * 20
            assert sum(later) > 20
            assert {*compress(kinds, later)} == {(False, True)}
            # The client that was there before follows, also where codes are shorter now.
            (answer,) = client.search_many([Query(text=TEXTS[0])], SearchOptions(k=8))
            assert [(hit.id, hit.distance) for hit in answer.hits] == new[TEXTS[0]][2]
            assert client.get("i003").codes["text"].shape == (new["item"][0] // 8,)
            assert (client.model, client.bits) == (kit.fingerprints[after], new["item"][0])
        assert httpx.get(server.url + "/readyz").json()["warnings"] == []


def test_a_service_given_its_model_takes_the_new_one_of_the_index(kit: Kit, index: Path) -> None:
    with running(index, "--model", kit.models["old"]) as server:
        migrate_index(str(index), kit.models["new"])
        until(lambda: fingerprint(server) == kit.fingerprints["new"])


def test_a_service_that_writes_makes_way(kit: Kit, index: Path, keys: Keys) -> None:
    """Changes before, during and after the swap are kept, and encoded with the right model."""
    write = bearer(keys.write)
    stop, stored, refused = threading.Event(), [], []
    with running(index, "--write", "--keys", keys.path) as server:

        def change() -> None:
            with httpx.Client(base_url=server.url, headers=write, timeout=60) as client:
                number = 0
                while not stop.is_set():
                    id_, text = f"w{number:05}", f"{TEXTS[number % 4]} {number}"
                    body = {"items": [{"id": id_, "text": text, "payload": {"text": text}}]}
                    answer = client.post("/v1/items", json=body)
                    if answer.status_code == 200:
                        stored.append((id_, text))
                        number += 1
                    else:
                        refused.append(answer.status_code)
                    time.sleep(0.01)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            until(lambda: len(stored) > 5)
            migrate_index(str(index), kit.models["new"])
            until(lambda: fingerprint(server, headers=write) == kit.fingerprints["new"])
            after = len(stored)
            until(lambda: len(stored) > after + 5)
        finally:
            stop.set()
            thread.join()
        assert set(refused) <= {503}
        deleted = httpx.delete(server.url + "/v1/items/i000", headers=write, timeout=60)
        assert deleted.json() == {"deleted": 1}
    wanted = dict(kit.contents["new"])
    del wanted["i000"]
    found = {id_: item for id_, item in contents(index).items() if not id_.startswith("w")}
    assert found == wanted
    with Store.open(index) as store, Searcher.open(kit.indexes["new"]) as fresh:
        assert store.verify() == []
        items = store.get_many([id_ for id_, _ in stored])
        codes = fresh.model.encode_texts([text for _, text in stored])
        assert len(items) == len(stored)
        for (id_, text), code in zip(stored, codes, strict=True):
            assert items[id_].payload["text"] == text
            assert items[id_].codes["text"].tolist() == code.tolist()


def test_a_service_that_writes_takes_the_index_back_when_a_migration_is_killed(
    kit: Kit, index: Path, keys: Keys
) -> None:
    from proxyhash.catalog.migration import MigrationFolder

    write = bearer(keys.write)
    body = {"items": [{"id": "w", "text": "a boat", "payload": {"text": "a boat"}}]}
    with running(index, "--write", "--keys", keys.path) as server:
        place = MigrationFolder(index)
        with place.locked():
            place.path.mkdir()
            place.ask_for_writing()

            def is_free() -> bool:
                try:
                    Store.open(index, write=True).close()
                except Exception:
                    return False
                return True

            until(is_free)
            answer = httpx.post(server.url + "/v1/items", json=body, headers=write, timeout=60)
            assert answer.status_code == 503  # it waited, and there is no answer yet
        answer = httpx.post(server.url + "/v1/items", json=body, headers=write, timeout=60)
        assert answer.status_code == 200
        with pytest.raises(Exception, match="is being written"):
            Store.open(index, write=True)
