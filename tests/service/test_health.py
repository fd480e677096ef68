"""What /readyz says when something is wrong, and what goes on all the same."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.service import health
from tests.service.conftest import Built, Keys, bearer, open_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_FRESH", 0.0)


def broken(*_: object, **__: object) -> Any:
    raise OSError(5, "Input/output error", "/secret/path")


def test_an_index_that_cannot_be_searched_is_not_ready(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    assert client.get("/readyz").json() == {"status": "ready", "warnings": []}
    index = client.app.state.service.snapshot.index  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(index, "search", broken)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in answer.headers
        assert "secret" not in answer.text
        assert client.get("/healthz").status_code == 200  # the process is alive
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("kind", ["garbage", "folder", "empty"])
def test_thumbnails_that_cannot_be_read_stop_nothing_and_are_said(
    built: Built, index_copy: Path, kind: str
) -> None:
    path = index_copy / "thumbnails.sqlite3"
    shown = 0
    with open_client(built, index=str(index_copy)) as client:
        path.unlink()
        if kind == "folder":
            path.mkdir()
        else:
            path.write_bytes(b"garbage" * 1000 if kind == "garbage" else b"")
        answer = client.post("/v1/search", json={"text": "a duck", "target": "image", "k": 3})
        assert answer.status_code == 200
        shown = sum(hit["thumbnail"] is not None for hit in answer.json()["hits"])
        assert client.get("/v1/thumbnails/000001").status_code == 404
        assert client.get("/v1/info").status_code == 200
        ready = client.get("/readyz")
    assert (ready.status_code, shown) == (200, 0)
    if kind != "empty":
        assert len(ready.json()["warnings"]) == 1
        assert "thumbnails cannot be read" in ready.json()["warnings"][0]
    assert str(index_copy) not in ready.text


def test_a_disk_that_takes_no_change_is_a_warning(
    built: Built, index_copy: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "index": str(index_copy), "keys": keys.path, "write": True, "open_reads": True,
    }  # fmt: skip
    item = {"items": [{"id": "x", "codes": {"text": "00ff"}}]}
    with open_client(built, **settings) as client:

        def store() -> int:
            return client.post("/v1/items", json=item, headers=bearer(keys.write)).status_code

        index = client.app.state.service.snapshot.index  # type: ignore[attr-defined]
        with monkeypatch.context() as patch:
            patch.setattr(index, "upsert", broken)
            assert store() == 507
        assert "could not be stored" in client.get("/readyz").json()["warnings"][0]
        assert store() == 200
        assert client.get("/readyz").json()["warnings"] == []
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
            assert "nearly full" in client.get("/readyz").json()["warnings"][0]
        shutil.move(index_copy / "header.json", index_copy / "away")
        answer = client.post("/v1/admin/reload", headers=bearer(keys.write))
        if answer.status_code == 409:
            assert "reload failed" in client.get("/readyz").json()["warnings"][0]
