"""Suites that really run: what is kept, what is done again, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from proxyhash.bench import cells_of, fill_suite, read_suite
from proxyhash.bench import run as run_module
from proxyhash.errors import DataError, UsageError
from tests.bench.conftest import write_suite


def test_cells_hold_the_run_without_its_heavy_parts(filled):
    path, out, done = filled
    assert (done.trained, done.failed) == (4, ())
    for cell in cells_of(read_suite(path), out):
        assert cell.state == "done"
        assert {each.name for each in cell.folder.iterdir()} == {
            *("README.md", "average_precision.npz", "cell.json", "codes.npz", "config.json"),
            *("history.jsonl", "metrics.json", "split.json"),
        }


def test_average_precision_is_that_of_the_figures(filled):
    path, out, _ = filled
    cell = cells_of(read_suite(path), out)[0]
    metrics = json.loads((cell.folder / "metrics.json").read_text())
    split = json.loads((cell.folder / "split.json").read_text())
    with np.load(cell.average_precision) as arrays:
        assert arrays["queries"].tolist() == split["query"]
        for gallery, part in (("literature", metrics), ("strict", metrics["strict"])):
            for direction, value in part["map"].items():
                each = arrays[f"{gallery}/{direction}"]
                assert each.dtype == np.float32
                assert np.nanmean(each) == pytest.approx(value, abs=1e-6)


def test_finished_cells_are_not_run_again(filled, monkeypatch):
    path, out, _ = filled
    monkeypatch.setattr(run_module, "fill_cells", None)  # would fail if it were called
    assert fill_suite(read_suite(path), out).trained == 0


@pytest.mark.usefixtures("filled_here")
def test_changed_settings_are_noticed_and_rerun_on_demand(filled, scenes, tmp_path):
    _, out, _ = filled
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    path = write_suite(tmp_path, scenes.root, epochs=1)
    suite = read_suite(path).narrowed(methods=["dchml"], seeds=[0])
    with pytest.raises(UsageError, match=r"seed 0: epochs is 1, was 2[\s\S]*--rerun-changed"):
        fill_suite(suite, copy)
    done = fill_suite(suite, copy, rerun_changed=True, processes=1)
    assert done.trained == 1
    assert json.loads((done.cells[0].folder / "config.json").read_text())["epochs"] == 1


def test_missing_data_is_told_before_anything_runs(tmp_path):
    path = write_suite(tmp_path, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"data set 'scenes' is missing: there is no .*nowhere"):
        fill_suite(read_suite(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
