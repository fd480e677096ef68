"""The README is short, and leads with use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import proxyhash as ph
from tests.docs.pages import ROOT, code_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.data import Collection

README = ROOT / "README.md"


def test_it_takes_two_minutes_to_read():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_it_leads_with_use():
    text = README.read_text(encoding="utf-8")
    order = ["docs/images/demo.png", "make demo", "proxyhash train", "```python", "| `dchml` |"]
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_python_takes_ten_lines():
    (code,) = code_blocks(README, "python")
    assert len(code.splitlines()) <= 10


def test_there_is_one_table_of_results_with_frozen_encoders_and_one_with_tuned_ones():
    text = README.read_text(encoding="utf-8")
    frozen, mark, tuned = text.partition("<!-- tuned-half -->")
    assert mark
    assert frozen.count("| `dchml` |") == 1
    assert tuned.count("| `dchml` |") <= 1  # none as long as nothing was measured


def test_both_ways_to_train_are_shown():
    text = README.read_text(encoding="utf-8")
    assert "--tune none" in text
    assert "--tune image" in text


@pytest.mark.slow
def test_its_python_runs(
    scenes: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    proxyhash_command: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    options = {"bits": 16, "epochs": 1, "hidden": [8], "threads": 1}
    ph.train(scenes.path, out="run", **options)
    built = proxyhash_command("index", "build", "run", scenes.path, "--out", "photos.index")
    assert built.code == 0, built.err
    capsys.readouterr()
    (code,) = code_blocks(README, "python")
    scope = {
        "paths": scenes.sources("image")[:24],
        "captions": scenes.sources("text")[:24],
        "tags": [item.labels for item in scenes.items[:24]],
    }
    exec(code, scope)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.split()[0].isdigit() for line in lines)
    codes: Any = scope["codes"]
    assert codes.shape == (1, 8)
