"""`proxyhash demo`: what it prints; the job itself is tested in tests/test_demo.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxyhash import demo
from proxyhash.demo import DemoFolder, DemoResult
from proxyhash.encoders import known
from proxyhash.encoders.known import KNOWN_MODELS
from proxyhash.files import read_json
from proxyhash.search import RunSearcher
from proxyhash.training.run import RunResult

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def calls(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The demo replaced by the small run; the list of what it was asked for."""
    asked: list[dict[str, Any]] = []

    def run_demo(folder: Path, **options: Any) -> DemoResult:
        asked.append({"folder": folder} | options)
        options["note"]("generating images")
        metrics = read_json(small_run / "metrics.json")
        asked[-1]["directions"] = list(metrics["map"])
        maps = dict.fromkeys(metrics["map"], 0.125)
        metrics = metrics | {"map": maps, "strict": metrics["strict"] | {"map": maps}}
        frozen = RunResult(small_run, metrics, 5, 5, 1.0, None)
        searcher = RunSearcher.open(small_run)
        return DemoResult(
            folder=DemoFolder(folder),
            collection=searcher.run.collection,
            reused=False,
            run=RunResult(small_run, read_json(small_run / "metrics.json"), 5, 5, 1.0, None),
            answers=(searcher.search_id("000001", k=3), searcher.search_id("000002", k=2)),
            seconds=42.0,
            frozen=frozen if options["tune"] == "image" else None,
        )

    monkeypatch.setattr(demo, "run_demo", run_demo)
    return asked


@pytest.mark.parametrize("tuning", ["demo", "train"])
def test_ends_with_table_page_and_next_steps(
    proxyhash_command, calls, tmp_path: Path, monkeypatch, tuning: str
) -> None:
    found = (KNOWN_MODELS["image"][0], "some/model") if tuning == "demo" else None
    monkeypatch.setattr(known, "find_known_model", lambda _modality: found)
    result = proxyhash_command("demo", "--out", tmp_path / "my demo", "--items", 300, "--seed", 7)
    assert result.code == 0
    assert result.err == "generating images\n"
    assert calls[0]["folder"] == tmp_path / "my demo"
    assert (calls[0]["items"], calls[0]["seed"]) == (300, 7)
    *_, last = result.out.partition("dchml, 16 bits, 200 generated images")
    assert "3 nearest of" in result.out
    for words in ("mAP@all", "literature", "strict", "image → text", "text → image", "42 s"):
        assert words in last
    again = f"proxyhash demo --out '{tmp_path / 'my demo'}' --items 300 --seed 7 --serve"
    assert f"    {again} " in last
    assert str(tmp_path / "my demo" / "results.html") in last
    commands = [line.split() for line in last.splitlines() if line.startswith("    proxyhash ")]
    assert [command[1] for command in commands] == [
        "search",
        "demo",
        "evaluate",
        "demo",
        tuning,
        "up",
    ]
    assert f"'{tmp_path / 'my demo' / 'run'}'" in last  # quoted for the shell


def test_json(proxyhash_command, calls, tmp_path: Path) -> None:
    result = proxyhash_command("demo", "--out", tmp_path, "--json")
    assert set(result.json) == {
        "folder", "page", "run", "items", "metrics", "frozen", "searches", "seconds",
    }  # fmt: skip
    assert result.json["items"] == 200
    assert len(result.json["searches"]) == 2
    assert calls[0]["items"] == 3000


def test_with_tuning_frozen_figures_stand_beside(proxyhash_command, calls, tmp_path) -> None:
    result = proxyhash_command("demo", "--out", tmp_path, "--tune", "image")
    assert result.code == 0
    assert calls[0]["tune"] == "image"
    assert result.out.count("0.1250") == 2 * len(calls[0]["directions"])
    assert "strict: frozen" in result.out
    assert f"proxyhash demo --out {tmp_path} --tune image --serve" in result.out
    assert "an image encoder that learns, too" not in result.out  # it did


def test_without_weights_there_is_nothing_to_tune(
    proxyhash_command, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("PROXYHASH_MODELS", raising=False)
    result = proxyhash_command("demo", "--out", tmp_path / "new", "--tune", "image")
    assert (result.code, (tmp_path / "new").exists()) == (2, False)
    assert "this machine has none of google/siglip" in result.err
    assert "PROXYHASH_MODELS" in result.err
    assert proxyhash_command("demo", "--out", tmp_path / "new", "--tune", "text").code == 2


def test_a_folder_of_someone_else_is_2(proxyhash_command, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("precious")
    result = proxyhash_command("demo", "--out", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "was not made by the demo, so it is not changed" in result.err
    assert proxyhash_command("demo", "--out", tmp_path / "new", "--items", 10).code == 2
