"""`proxyhash serve` and `demo --serve`, with the server and the browser held back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash import demo
from proxyhash.cli.app import DEBUG_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandResult, FinishedDemo


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been served, instead of serving it."""
    monkeypatch.setenv(DEBUG_VARIABLE, "0")
    calls: list[dict[str, Any]] = []

    def serve(service: Any, *, port: int, listener: object, started: Callable[[str], None]) -> None:
        assert listener is None
        with_page = "http://127.0.0.1:1"
        started(with_page)
        calls.append(
            {
                "port": port,
                "settings": service.settings,
                "items": len(service.snapshot.index),
                "thumbnails": service.snapshot.thumbnails is not None,
            }
        )
        service.snapshot.index.close()

    monkeypatch.setattr("proxyhash.service.server.serve", serve)
    monkeypatch.setattr("webbrowser.open", lambda url: calls.append({"opened": url}))
    return calls


def test_options_become_settings(
    proxyhash_command: Callable[..., CommandResult],
    served: list[dict[str, Any]],
    small_run: Path,
    scenes: Any,
    tmp_path: Path,
) -> None:
    index, keys = tmp_path / "index", tmp_path / "keys.json"
    built = proxyhash_command("index", "build", small_run, scenes.root, "--out", index)
    assert built.code == 0
    assert proxyhash_command("keys", "add", keys, "page").code == 0
    options = ["--host", "::1", "--port", 0, "--keys", keys, "--write", "--upload-mb", 2]
    more = ["--allow-host", "Search.example", "--seconds", 5, "--log-queries"]
    done = proxyhash_command("serve", index, *options, *more)
    assert done.code == 0
    assert done.out == f"serving {index} at http://127.0.0.1:1\n"
    (call,) = served
    settings = call["settings"]
    assert (settings.host, settings.write, settings.keys) == ("::1", True, keys)
    assert (settings.limits.upload_bytes, settings.limits.seconds) == (2_000_000, 5)
    assert settings.allowed_hosts == ("search.example",)
    assert settings.log_queries
    assert (call["port"], call["items"]) == (0, 200)
    assert proxyhash_command("serve", index, "--open").code == 0
    assert served[1] == {"opened": "http://127.0.0.1:1"}


def test_what_cannot_be_served_ends_with_a_sentence(
    proxyhash_command: Callable[..., CommandResult], served: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert proxyhash_command("serve", tmp_path / "nowhere").code in (2, 3)
    away = proxyhash_command("serve", tmp_path, "--host", "0.0.0.0")
    assert (away.code, "needs a key" in away.err) == (2, True)
    assert served == []


def test_the_demo_is_served_with_its_thumbnails(
    proxyhash_command: Callable[..., CommandResult],
    served: list[dict[str, Any]],
    finished_demo: FinishedDemo,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    done = finished_demo.result
    folder = replace(done.folder, path=shutil.copytree(done.folder.path, tmp_path / "demo"))
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: replace(done, folder=folder))
    for _ in range(2):  # the second one finds the index of the first
        shown = proxyhash_command("demo", "--out", tmp_path / "demo", "--items", 200, "--serve")
        assert shown.code == 0, shown.err
    assert served[0] == {"opened": "http://127.0.0.1:1"}
    assert (served[1]["items"], served[1]["thumbnails"]) == (200, True)
    assert served[3]["items"] == 200
