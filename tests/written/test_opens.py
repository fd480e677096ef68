"""Run and index folders that version 0.1.0 wrote still open, and answer as they did then.

`0.1.0/` has a collection of 48 generated scenes, a finished run of `dchml-plus`, a run of `dchml`
that was stopped after one of four epochs with the codes it ended with, an index with its model and
thumbnails, and answers of that version's command line.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxyhash.codes import CodeFile, distances

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import CommandResult

WRITTEN = Path(__file__).parent / "0.1.0"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folders, with the paths in their configurations pointing here."""
    folder = tmp_path / "written"
    shutil.copytree(WRITTEN, folder)
    for run in ("run", "stopped"):
        path = folder / run / "config.json"
        config = json.loads(path.read_text())
        config |= {"data": str(folder / "collection"), "out": str(folder / run)}
        path.write_text(json.dumps(config))
    return folder


def arguments_of(answer: dict[str, Any], folder: Path) -> list[str]:
    """The command's arguments, the image's path made absolute."""
    given = answer["arguments"]
    if given[0] == "--image":
        return ["--image", str(folder / "collection" / given[1]), *given[2:]]
    return given


def test_searches_answer_as_they_did(
    written: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    for expected in json.loads((written / "answers.json").read_text()):
        result = proxyhash_command(
            "search", written / expected["in"], *arguments_of(expected, written), "-k", 6, "--json"
        )
        assert result.code == 0, result.err
        answer = result.json
        assert answer["target"] == expected["target"]
        assert answer["searched"] == expected["searched"]
        assert [[hit["id"], hit["distance"]] for hit in answer["hits"]] == expected["hits"]


def test_the_index_is_whole_and_grows(
    written: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    index = written / "index"
    assert proxyhash_command("index", "verify", index).code == 0
    info = proxyhash_command("index", "info", index, "--json").json
    assert info["items"] == 48
    added = proxyhash_command("index", "add", index, written / "collection")
    assert added.code == 0, added.err
    assert proxyhash_command("index", "info", index, "--json").json["items"] == 48


def test_the_run_encodes_to_the_same_codes(
    written: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    out = written / "codes.npz"
    result = proxyhash_command("encode", written / "run", written / "collection", "--out", out)
    assert result.code == 0, result.err
    now, then = CodeFile.load(out), CodeFile.load(written / "run" / "codes.npz")
    assert now.ids == then.ids
    assert now.model == then.model
    for modality in ("image", "text"):
        np.testing.assert_array_equal(now.of(modality), then.of(modality))


def test_the_run_is_evaluated_to_the_same_figures(
    written: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    then = json.loads((written / "run" / "metrics.json").read_text())
    result = proxyhash_command("evaluate", written / "run", "--json")
    assert result.code == 0, result.err
    for direction, value in then["map"].items():
        assert result.json["map"][direction] == pytest.approx(value, abs=1e-12)


def test_a_stopped_run_goes_on(
    written: Path, proxyhash_command: Callable[..., CommandResult]
) -> None:
    run = written / "stopped"
    result = proxyhash_command("train", "--resume", "--out", run)
    assert result.code == 0, result.err
    now, then = CodeFile.load(run / "codes.npz"), CodeFile.load(written / "resumed-codes.npz")
    assert len((run / "history.jsonl").read_text().splitlines()) == 4
    for modality in ("image", "text"):  # another processor may round a sum otherwise
        apart = np.diag(distances(now.of(modality), then.of(modality)))
        assert apart.mean() < 0.5
