"""`proxyhash evaluate`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.files import write_json
from tests.evaluation.runs import Run, make_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandResult

    Command = Callable[..., CommandResult]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def test_tables(proxyhash_command: Command, run: Run) -> None:
    before = sorted(run.folder.rglob("*"))
    result = proxyhash_command("evaluate", run.folder)
    assert result.code == 0, result.err
    assert "mAP@all, expected ties" in result.out
    for words in ("image → text", "text → image", "image → image", "text → text"):
        assert result.out.count(words) >= 3
    assert "strict gallery, " in result.out
    assert "The 5 proxies lie at least " in result.out
    assert "Queries with nothing relevant in the gallery" in result.out
    assert "text → text, strict " in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert sorted(run.folder.rglob("*")) == before


def test_json_is_what_metrics_json_holds(proxyhash_command: Command, run: Run) -> None:
    metrics = proxyhash_command("evaluate", run.folder, "--json").json
    assert set(metrics["map"]) == {
        "image_to_text",
        "text_to_image",
        "image_to_image",
        "text_to_text",
    }
    assert metrics["strict"]["protocol"]["gallery"] == "strict"
    assert not (run.folder / "metrics.json").exists()
    write_json(run.folder / "metrics.json", {"training": {"epochs": 3}})
    saved = proxyhash_command("evaluate", run.folder, "--json", "--save")
    assert saved.json == metrics
    assert "written to " in saved.err
    stored = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
    assert stored == metrics | {"training": {"epochs": 3}}


def test_the_protocol_follows_the_options(proxyhash_command: Command, run: Run) -> None:
    options = "--gallery strict --ties stable --cutoff 5 --divisor min --empty zero --gain linear"
    metrics = proxyhash_command("evaluate", run.folder, "--json", *options.split()).json
    assert metrics["protocol"] == {
        "ties": "stable",
        "cutoff": 5,
        "divisor": "min",
        "gallery": "strict",
        "empty": "zero",
        "relevance": "any",
        "gain": "linear",
    }
    assert "strict" not in metrics
    table = proxyhash_command("evaluate", run.folder, *options.split())
    assert "mAP@5 / min, stable ties" in table.out
    assert "literature" not in table.out


def test_plots(proxyhash_command: Command, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = proxyhash_command("evaluate", run.folder, "--plots", "--json")
    assert result.json["bits"] == 16
    names = {"precision-recall", "distances", "precision-recall-strict", "distances-strict"}
    names.add("pairs")
    assert {path.stem for path in (run.folder / "plots").iterdir()} == names
    elsewhere = tmp_path / "images"
    assert proxyhash_command("evaluate", run.folder, "--plots-dir", elsewhere).code == 0
    assert {path.stem for path in elsewhere.iterdir()} == names


def test_a_collection_that_moved(proxyhash_command: Command, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    result = proxyhash_command("evaluate", run.folder)
    assert result.code == 3
    assert "give its new location with --data" in result.err
    assert proxyhash_command("evaluate", run.folder, "--data", tmp_path / "moved").code == 0


def test_what_is_no_finished_run_is_refused(
    proxyhash_command: Command, run: Run, tmp_path: Path
) -> None:
    def refused(folder: Path) -> str:
        result = proxyhash_command("evaluate", folder)
        assert (result.code, result.out) == (3, "")
        return result.err

    assert "does not exist; give the folder" in refused(tmp_path / "nowhere")
    assert "is not a run folder (it has no config.json)" in refused(tmp_path)
    write_json(run.folder / "config.json", {"data": str(tmp_path / "data"), "bits": 32})
    assert "holds codes of 16 bits, but the run has 32" in refused(run.folder)
    write_json(run.folder / "config.json", {"data": str(tmp_path / "data"), "bits": 16})
    (run.folder / "codes.npz").write_bytes(b"nonsense")
    assert "codes.npz is not a code file, or is damaged" in refused(run.folder)
    (run.folder / "codes.npz").unlink()
    assert "has no codes.npz; the training did not finish" in refused(run.folder)


def test_codes_of_other_items_are_refused(proxyhash_command: Command, run: Run) -> None:
    path = run.folder / "codes.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {"ids": np.char.add(arrays["ids"], "x")}))
    result = proxyhash_command("evaluate", run.folder)
    assert result.code == 3
    assert "holds the codes of other items than" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ties", "expcted"], "did you mean 'expected'?"),
        (["--gallery", "all"], "gallery is 'all'; it must be one of both, literature, strict"),
        (["--gallery", "strict", "--save"], "use --save without --gallery"),
        (["--cutoff", "0"], "--cutoff"),
    ],
)
def test_wrong_options(
    proxyhash_command: Command, run: Run, options: list[str], message: str
) -> None:
    result = proxyhash_command("evaluate", run.folder, *options)
    assert result.code == 2
    assert message in result.err


@pytest.mark.slow
def test_torch_is_not_loaded(proxyhash_process: Command, run: Run) -> None:
    result = proxyhash_process("evaluate", run.folder, "--json", PYTHONPROFILEIMPORTTIME="1")
    assert result.code == 0
    assert "numba" in result.err
    assert "torch" not in result.err


@pytest.mark.parametrize("content", ["{", "[]", '{"second_look": 5}', '{"second_look": {"a": {}}}'])
def test_damaged_metrics_leave_the_figures(
    proxyhash_command: Command, run: Run, content: str
) -> None:
    (run.folder / "metrics.json").write_text(content, encoding="utf-8")
    result = proxyhash_command("evaluate", run.folder)
    assert result.code == 0
    assert "mAP@all, expected ties" in result.out
    assert "second look" not in result.out
    assert ("--save writes it again" in result.err) == (content == "{")


def test_second_looks_of_training_are_shown(proxyhash_command: Command, run: Run) -> None:
    figures = {"bytes_per_item": 2, "literature": {"image_to_text": 0.25}, "strict": None}
    metrics = {"second_look": {"protocol": {}, "asymmetric": figures}}
    (run.folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    result = proxyhash_command("evaluate", run.folder)
    assert "literature, asymmetric" in result.out
    assert "strict, asymmetric" not in result.out
    assert "0.2500" in result.out
    assert "asymmetric 2 bytes per item" in result.out
