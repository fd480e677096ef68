"""Suites whose encoders are tuned once per data set and seed, and then shared by all methods."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from proxyhash.bench import cells_of, encoder_cells, fill_suite, read_suite
from proxyhash.bench.report import write_report
from proxyhash.bench.results import read_results
from proxyhash.encoders import load_encoder
from proxyhash.errors import UsageError
from tests.encoders import tiny_models

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.bench import Filled
    from proxyhash.data import Collection

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("filled_here")]

SUITE = """
bits = [8]
seeds = [0]
methods = ["dchml", "psldh"]
[options]
hidden = [16]
epochs = 1
query = 30
train = 110
validation = 20
image_encoder = "{model}"
[shared_encoders]
method = "dchml"
bits = 12
tune = ["image"]
epochs = 2
head_epochs = 0
image_size = 32
encoder_rate = {rate}
batch_size = 16
{more}
[[data]]
name = "scenes"
path = "{data}"
"""


def suite_file(folder: Path, data: Path, *, rate: float = 1e-3, more: str = "") -> Path:
    model = folder / "model"
    if not model.is_dir():
        tiny_models.save_mobilenet(model)
    path = folder / "shared.toml"
    path.write_text(SUITE.format(data=data, model=model, rate=rate, more=more), encoding="utf-8")
    return path


def fill(path: Path, out: Path, **options: bool) -> Filled:
    return fill_suite(read_suite(path), out, processes=1, **options)


def encoder_fingerprints(out: Path) -> dict[str, str]:
    records = sorted(out.glob("cells/scenes/*/8/s0/cell.json"))
    found = [json.loads(each.read_text())["shared_encoders"]["image"] for each in records]
    assert len(found) == 2
    return dict(zip(("dchml", "psldh"), found, strict=True))


def test_methods_share_one_tuned_encoder_until_it_is_trained_again(
    scenes: Collection, tmp_path: Path
) -> None:
    path, out = suite_file(tmp_path, scenes.root), tmp_path / "out"
    done = fill(path, out)
    assert (done.trained, done.failed) == (2, ())
    suite = read_suite(path)
    (tuner,) = encoder_cells(suite, out)
    tuned = load_encoder(tuner.folder / "model" / "image_encoder").fingerprint
    assert set(encoder_fingerprints(out).values()) == {tuned}
    for cell in cells_of(suite, out):
        assert cell.state == "done"
        assert not (cell.folder / "model").exists()  # theirs is kept, as the cells need it
        metrics = json.loads((cell.folder / "metrics.json").read_text())
        assert metrics["training"]["tuned"] == {}
    assert json.loads((tuner.folder / "metrics.json").read_text())["training"]["tuned"]["image"]
    assert fill(path, out).trained == 0

    results = read_results(suite, cells_of(suite, out), encoder_cells(suite, out))
    write_report(results, out)
    caption = (
        "Shared encoders: the image encoder model learned once per seed, with dchml at 12 bits"
    )
    assert caption in (out / "report" / "scenes" / "table.md").read_text()
    assert caption in (out / "report.html").read_text()

    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    assert fill(path, moved).trained == 0  # where the encoders lie is no setting

    path = suite_file(tmp_path, scenes.root, rate=2e-3)
    with pytest.raises(UsageError, match=r"encoders by dchml, 12 bits, seed 0: encoder_rate is"):
        fill(path, out)
    assert fill(path, out, rerun_changed=True).trained == 2
    assert tuned not in encoder_fingerprints(out).values()


def test_an_encoder_of_another_split_is_refused(scenes: Collection, tmp_path: Path) -> None:
    path = suite_file(tmp_path, scenes.root, more="query = 40\ntrain = 100")
    done = fill(path, tmp_path / "out")
    assert done.trained == 0
    assert [each.cell.method for each in done.failed] == ["dchml", "psldh"]
    assert "has other query items than the training of its image encoder" in done.failed[0].error


def test_without_their_encoders_cells_are_not_begun(scenes: Collection, tmp_path: Path) -> None:
    path = suite_file(tmp_path, scenes.root, more="learning_rate = 1e30")
    done = fill(path, tmp_path / "out")
    assert done.trained == 0
    assert [each.cell.method for each in done.failed] == ["encoders by dchml", "dchml", "psldh"]
    assert "its shared encoders were not tuned: training diverged" in done.failed[1].error
    assert not (tmp_path / "out" / "cells").exists()


def test_own_encoders_are_said_to_be(scenes: Collection, tmp_path: Path) -> None:
    path = suite_file(tmp_path, scenes.root)
    text = path.read_text().replace('[shared_encoders]\nmethod = "dchml"\nbits = 12\n', "")
    path.write_text(text.replace("hidden = [16]\nepochs = 1", "hidden = [16]").replace(
        "query = 30", "query = 30\n", 1
    ))  # fmt: skip
    suite, out = read_suite(path).narrowed(methods=["dchml"]), tmp_path / "out"
    assert fill_suite(suite, out, processes=1).trained == 1
    results = read_results(suite, cells_of(suite, out), encoder_cells(suite, out))
    write_report(results, out)
    assert (
        "Own encoders: the image encoder model learned with each method, in every run for itself."
    ) in (out / "report" / "scenes" / "table.md").read_text()
