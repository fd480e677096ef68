"""A method of another package (tests/plugin): found by entry point, it trains and is searched.

The contract suite runs over it too.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from proxyhash.errors import UsageError
from proxyhash.hashing import HashModel
from proxyhash.methods import METHODS
from proxyhash.training import read_config
from proxyhash.training.build import build_state
from proxyhash.training.history import read_history
from tests.training.toy import make_rows

PLUGIN = Path(__file__).parents[1] / "plugin"
NAME = "low-rank"


def test_it_is_outside_the_package_and_found_by_entry_point() -> None:
    groups = {entry.group for entry in entry_points(name=NAME)}
    assert groups == {"proxyhash.methods", "proxyhash.networks"}
    assert NAME in METHODS
    assert Path(sys.modules[METHODS[NAME].__module__].__file__ or "").parent == PLUGIN


@pytest.mark.parametrize("file", ["build", "loop", "optimizer", "prepare", "run", "state"])
def test_training_knows_no_method_by_name(file: str) -> None:
    module = importlib.import_module(f"proxyhash.training.{file}")
    text = Path(module.__file__ or "").read_text(encoding="utf-8")
    assert [name for name in METHODS if f'"{name}"' in text or name.replace("-", "_") in text] == []


def test_it_trains_from_the_command_line_and_its_model_opens_elsewhere(
    proxyhash_command, scenes, tmp_path
) -> None:
    run = tmp_path / "run"
    options = ["--method", NAME, "--set", "rank=4", "--bits", 16, "--epochs", 10, "--threads", 1]
    done = proxyhash_command(
        "train",
        scenes.root,
        "--out",
        run,
        *options,
        "--query",
        30,
        "--train",
        120,
        "--batch-size",
        16,
    )
    assert done.code == 0, done.err
    config = json.loads((run / "config.json").read_text())
    assert (config["settings"], config["network_kind"]) == ({"rank": 4}, NAME)
    losses = [record.loss for record in read_history(run / "history.jsonl")]
    assert losses[-1] < 0.9 * losses[0]
    network = HashModel.load(run / "model").networks["image"]
    assert network.description["kind"] == NAME
    assert network.description["rank"] == 4
    out = tmp_path / "codes.npz"
    encode = "import sys; from proxyhash.cli import main; sys.argv[0] = 'proxyhash'; main()"
    named = ["--plugin", str(PLUGIN / "proxyhash_low_rank.py")]
    for path, plugin in ((str(PLUGIN), []), ("", named)):
        subprocess.run(
            [sys.executable, "-c", encode, "encode", run, scenes.root, "--out", out, *plugin],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            timeout=300,
        )
        assert out.read_bytes() == (run / "codes.npz").read_bytes()


def test_an_option_its_networks_lack_is_refused(tmp_path) -> None:
    config = read_config({"data": "d", "out": str(tmp_path), "method": NAME, "hidden": [7]})
    with pytest.raises(UsageError, match="networks of kind low-rank have no option hidden"):
        build_state(config, make_rows(20), inputs={})
