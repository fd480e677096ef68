"""Start, reload and end of a service; probes, metrics and logs."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.errors import DataError, ModelError, UsageError
from proxyhash.index.store import Store
from proxyhash.service import Service, Settings
from proxyhash.service.monitoring import JsonFormatter
from tests.service.conftest import Built, Keys, bearer, open_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient


def test_info_says_what_there_is(client: TestClient, built: Built) -> None:
    info = client.get("/v1/info").json()
    assert (info["bits"], info["items"], info["writable"], info["proxies"]) == (
        16,
        200,
        False,
        True,
    )
    assert info["modalities"] == {"image": 200, "text": 200}
    assert info["model"]["text_encoder"] == "bow"
    assert info["model"]["image_encoder"]
    assert info["limits"] == {"k": 1000, "text": 2000, "upload_bytes": 10_000_000, "batch": 256}
    counts = [label["count"] for label in info["labels"]]
    assert counts == sorted(counts, reverse=True)
    assert info["engine"]
    assert str(built.index) not in json.dumps(info)


def test_the_engine_can_be_named(
    client: TestClient, serve: Callable[..., TestClient], built: Built
) -> None:
    query = {"text": "a duck and a boat", "k": 20}
    assert client.get("/v1/info").json()["engine"] == "auto"
    scan = serve(index=str(built.index), engine="scan")
    assert scan.get("/v1/info").json()["engine"] == "scan"
    hits = [each.post("/v1/search", json=query).json()["hits"] for each in (client, scan)]
    assert hits[0] == hits[1]


def test_a_model_that_did_not_make_the_codes_is_refused(built: Built, tmp_path: Path) -> None:
    index = tmp_path / "other"
    with Store.create(index, bits=16, model="another") as store:
        store.add(["a"], {"text": np.zeros((1, 2), np.uint8)})
    with pytest.raises(ModelError, match="not the model that made the codes"):
        Service(Settings(index=str(index), model=built.run))
    with pytest.raises(DataError):
        Service(Settings(index=str(tmp_path / "nowhere")))
    with pytest.raises(DataError):
        Service(Settings(index=str(built.index), keys=tmp_path / "nowhere.json"))


def test_an_index_without_a_model_answers_codes_and_ids(built: Built, tmp_path: Path) -> None:
    index = tmp_path / "bare"
    with Store.create(index, bits=16, modalities=("text",)) as store:
        store.add(["a", "b"], {"text": np.array([[0, 0], [255, 0]], np.uint8)})
    with open_client(built, index=str(index)) as client:
        hits = client.post("/v1/search", json={"code": "0000", "explain": True}).json()
        assert [(hit["id"], hit["distance"], hit["thumbnail"]) for hit in hits["hits"]] == [
            ("a", 0, None),
            ("b", 8, None),
        ]
        assert hits["explain"]["proxies"] == []
        assert client.post("/v1/search", json={"id": "a"}).json()["hits"][0]["id"] == "b"
        answer = client.post("/v1/search", json={"text": "a duck"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_encoder")
        answer = client.post("/v1/encode/image", files={"image": b"x"})
        assert answer.json()["error"]["code"] == "no_encoder"
        info = client.get("/v1/info").json()
        assert info["model"] == {"fingerprint": "", "image_encoder": None, "text_encoder": None}
        assert client.get("/v1/thumbnails/a").status_code == 404


def test_an_empty_index_has_no_hits(built: Built, tmp_path: Path) -> None:
    Store.create(tmp_path / "empty", bits=16, modalities=("image", "text")).close()
    with open_client(built, index=str(tmp_path / "empty")) as client:
        found = client.post("/v1/search", json={"code": "0000", "explain": True}).json()
        assert (found["hits"], found["searched"]) == ([], 0)
        assert client.get("/v1/info").json()["labels"] == []


def test_reload_takes_another_index_in_without_dropping_a_request(
    built: Built, tmp_path: Path, keys: Keys
) -> None:
    """`current` is a link, switched from one snapshot to the next as a deployment does it."""
    for name in ("one", "two"):
        shutil.copytree(built.index, tmp_path / name)
    with Store.open(tmp_path / "two", write=True) as store:
        store.delete(["000000"])
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "one")
    with open_client(
        built, index=str(current), keys=keys.path, write=True, open_reads=True
    ) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        old = service.snapshot
        go, begun = threading.Event(), threading.Event()
        search = old.index.search

        def slow(*arguments: Any, **options: Any) -> Any:
            begun.set()
            assert go.wait(10)
            return search(*arguments, **options)

        old.index.search = slow  # type: ignore[method-assign]
        answers: list[Any] = []
        asking = threading.Thread(
            target=lambda: answers.append(client.post("/v1/search", json={"code": "00ff"}))
        )
        asking.start()
        assert begun.wait(10)
        current.unlink()
        current.symlink_to(tmp_path / "two")
        write = bearer(keys.write)
        assert client.post("/v1/admin/reload", headers=write).json() == {"status": "reloaded"}
        assert client.get("/v1/info").json()["items"] == 199
        assert client.delete("/v1/items/000001", headers=write).json() == {"deleted": 1}
        go.set()
        asking.join()
        assert answers[0].status_code == 200
        assert answers[0].json()["searched"] == 200
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and service._retired:
            time.sleep(0.01)
        with pytest.raises(UsageError, match="closed"):
            old.index.info()


def test_reload_of_the_same_folder_keeps_its_one_writer(
    built: Built, index_copy: Path, keys: Keys
) -> None:
    with open_client(
        built, index=str(index_copy), keys=keys.path, write=True, open_reads=True
    ) as client:
        write = bearer(keys.write)
        for _ in range(2):
            assert client.post("/v1/admin/reload", headers=write).status_code == 200
            time.sleep(0.1)
            assert client.delete("/v1/items/000001", headers=write).status_code == 200
            assert client.post("/v1/search", json={"text": "a duck"}).status_code == 200


def test_a_reload_lets_go_of_the_old_model(serve: Callable[..., TestClient], keys: Keys) -> None:
    client = serve(keys=keys.path, write=False)
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    model = weakref.ref(service.snapshot.model)
    network = weakref.ref(service.snapshot.model.networks["text"])  # type: ignore[union-attr]
    write = bearer(keys.write)
    assert client.post("/v1/admin/reload", headers=write).json() == {"status": "reloaded"}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (model() or network()):
        time.sleep(0.01)
    assert (model(), network()) == (None, None)


def test_a_reload_that_fails_changes_nothing(built: Built, index_copy: Path, keys: Keys) -> None:
    with open_client(built, index=str(index_copy), keys=keys.path, open_reads=True) as client:
        aside = index_copy.with_name("aside")
        index_copy.rename(aside)
        answer = client.post("/v1/admin/reload", headers=bearer(keys.write))
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "reload_failed")
        assert str(index_copy) not in answer.text
        aside.rename(index_copy)
        assert client.post("/v1/search", json={"text": "a duck"}).status_code == 200
        assert 'reloads_total{outcome="failed"} 1.0' in client.get("/metrics").text


def test_reload_reads_the_keys_anew(serve: Callable[..., TestClient], keys: Keys) -> None:
    from proxyhash.service.keys import KeyFile

    client = serve(keys=keys.path, host="0.0.0.0")
    assert client.get("/v1/info", headers=bearer(keys.read)).status_code == 200
    KeyFile.read(keys.path).remove("reader")
    assert client.get("/v1/info", headers=bearer(keys.read)).status_code == 200
    assert client.post("/v1/admin/reload", headers=bearer(keys.write)).status_code == 200
    assert client.get("/v1/info", headers=bearer(keys.read)).status_code == 401


def test_probes_tell_alive_from_ready(serve: Callable[..., TestClient]) -> None:
    client = serve()
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "warnings": []}
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    service.ready = False
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert client.post("/v1/search", json={"code": "00ff"}).status_code == 503
    service.ready = True


def test_metrics_count_what_happened(serve: Callable[..., TestClient]) -> None:
    client = serve()
    for _ in range(3):
        client.post("/v1/search", json={"text": "a duck"})
    client.post("/v1/search", json={})
    client.get("/v1/items/nobody")
    client.get("/no/such/place")
    client.request("BREW", "/v1/search")
    text = client.get("/metrics").text
    for line in (
        'proxyhash_requests_total{method="POST",route="/v1/search",status="200"} 3.0',
        'proxyhash_requests_total{method="POST",route="/v1/search",status="422"} 1.0',
        'proxyhash_requests_total{method="GET",route="/v1/items/{id:path}",status="404"} 1.0',
        'proxyhash_requests_total{method="GET",route="(none)",status="404"} 1.0',
        'proxyhash_stage_seconds_count{stage="encode"} 3.0',
        'proxyhash_encode_waiting{modality="text"} 0.0',
        "proxyhash_index_items 200.0",
        "proxyhash_requests_under_way 1.0",
    ):
        assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text
    assert "nobody" not in text


def test_request_ids_come_back_when_they_are_harmless(client: TestClient) -> None:
    given = client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"})
    assert given.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "a" * 65, "<x>", '"'):
        made = client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert made != bad
        assert len(made) == 32


def test_logs_say_who_and_what_but_no_secrets(
    serve: Callable[..., TestClient], keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(keys=keys.path)
    with caplog.at_level(logging.INFO, "proxyhash.service"):
        headers = bearer(keys.read) | {"X-Request-ID": "r1"}
        client.post("/v1/search", json={"text": "a secret duck"}, headers=headers)
        client.post("/v1/search", json={"text": "a duck"}, headers=bearer("phk_wrong"))
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    line = next(line for line in lines if line.get("request_id") == "r1")
    assert {name: line[name] for name in ("key", "route", "method", "status", "level")} == {
        "key": "reader",
        "route": "/v1/search",
        "method": "POST",
        "status": 200,
        "level": "info",
    }
    assert line["ms"] > 0
    shown = json.dumps(lines)
    for secret in (keys.read, "phk_", "duck"):
        assert secret not in shown


def test_logs_say_what_was_asked_when_told_to(
    serve: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    client = serve(log_queries=True)
    with caplog.at_level(logging.INFO, "proxyhash.service"):
        client.post("/v1/search", json={"text": "a duck\n{}"})
    text = JsonFormatter().format(caplog.records[-1])
    assert "\n" not in text
    assert json.loads(text)["text"] == "a duck\n{}"


def test_a_log_line_holds_its_traceback() -> None:
    try:
        raise ValueError("inside")
    except ValueError as error:
        record = logging.makeLogRecord(
            {"msg": "it %s", "args": ("broke",), "exc_info": (ValueError, error, None)}
        )
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "it broke"
    assert "ValueError: inside" in line["traceback"]


def test_the_page_is_a_table_of_files(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304
    script = client.get("/web/app.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for name in ("nothing.js", "../http/app.py", "%2e%2e/page.css", "", "."):
        assert client.get(f"/web/{name}").status_code == 404


def until_counted(client: TestClient, expected: list[Any]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and client.get("/v1/info").json()["labels"] != expected:
        time.sleep(0.01)
    assert client.get("/v1/info").json()["labels"] == expected


def test_labels_are_counted_in_parts_while_it_serves(
    built: Built, serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.index.store.columns.STEP", 7)
    counts = Counter(label for item in built.collection.items for label in item.labels)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    until_counted(serve(), [{"name": name, "count": count} for name, count in ordered])


def test_counting_ends_with_its_snapshot(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []

    def never(self: Store, field: str) -> None:
        parts.append(field)

    monkeypatch.setattr(Store, "count_values", never)
    with open_client(built) as client:
        assert client.get("/v1/info").json()["labels"] == []
        while not parts:
            time.sleep(0.001)
    counted = len(parts)
    time.sleep(0.05)
    assert len(parts) == counted


def test_labels_that_cannot_be_counted_are_left_out(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Store, field: str) -> None:
        raise DataError(f"{field} are broken")

    monkeypatch.setattr(Store, "count_values", broken)
    with open_client(built) as client:
        info = client.get("/v1/info")
        assert (info.status_code, info.json()["labels"]) == (200, [])
