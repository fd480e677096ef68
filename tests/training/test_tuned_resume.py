"""Runs whose encoders learn: interrupted, killed and resumed, they end as uninterrupted ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from proxyhash.errors import ModelError
from proxyhash.training import read_config, train
from proxyhash.training.folder import RunFolder
from proxyhash.training.state import read_checkpoint
from tests.training.runs import SMALL, assert_same_run

PROCESS = """
import json, sys
from proxyhash.training import read_config, train
train(read_config(json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def values(scenes, tiny_image, tiny_text):
    """A configuration in which everything is random that can be: order, dropout, images."""
    return {
        **SMALL,
        "data": str(scenes.root),
        "method": "dcmh",
        "dropout": 0.3,
        "head_epochs": 1,
        "image_encoder": str(tiny_image),
        "text_encoder": str(tiny_text),
        "epochs": 4,
        "tune": "image,text",
        "final_epochs": 0,
        "augment": "crop,flip,color",
        "workers": 0,
        "ema": 0.9,
        "train": 40,
        "validation": 10,
        "query": 20,
        "batch_size": 16,
        "validate_every": 1,
        "lr_schedule": "constant",
    }


@pytest.fixture(scope="module")
def whole(values, tmp_path_factory):
    """The folder of an uninterrupted run."""
    before = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("tuned") / "whole"
    train(read_config({**values, "out": str(folder)}))
    torch.set_num_threads(before)
    return folder


def assert_same_checkpoints(one, other):
    for name in ("last", "best"):
        left, numbers = read_checkpoint(getattr(RunFolder(one), name))
        right, others = read_checkpoint(getattr(RunFolder(other), name))
        assert left.keys() == right.keys()
        assert any(key.startswith("encoder.image.") for key in left)
        for key, value in left.items():
            assert torch.equal(value, right[key]), key
        assert {**numbers, "seconds": 0} == {**others, "seconds": 0}
    for modality in ("IMAGE", "TEXT"):
        files = [
            next((folder / "model").glob(f"{modality.lower()}*encoder*/weights.safetensors"))
            for folder in (one, other)
        ]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert_same_run(one, other)


def test_two_and_two_epochs_equal_four(values, whole, tmp_path):
    config = read_config({**values, "out": str(tmp_path / "parts"), "epochs": 2, "head_epochs": 1})
    train(config)
    torch.manual_seed(99)
    train(config.model_copy(update={"epochs": 4}), resume=True)
    assert_same_checkpoints(whole, tmp_path / "parts")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(values, whole, tmp_path):
    folder = tmp_path / "killed"
    given = {**values, "out": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", PROCESS, json.dumps(given)])
    history, deadline = folder / "history.jsonl", time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") >= 2:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    _, numbers = read_checkpoint(RunFolder(folder).last)
    assert 1 <= numbers["epoch"] <= 3
    train(read_config(given), resume=True)
    assert_same_checkpoints(whole, folder)


def test_a_checkpoint_of_other_encoders_is_refused(values, whole, tmp_path):
    given = {**values, "out": str(tmp_path / "a"), "epochs": 2, "tune": "text", "augment": "none"}
    train(read_config(given))
    folder = RunFolder(tmp_path / "a")
    tensors, numbers = read_checkpoint(RunFolder(whole).last)
    kept = {k: v for k, v in tensors.items() if not k.startswith("encoder.text.")}
    from proxyhash.training.state import write_checkpoint

    write_checkpoint(folder.last, kept, {k: v for k, v in numbers.items() if k != "format"})
    with pytest.raises(ModelError, match="does not fit this run"):
        train(read_config({**given, "epochs": 3}), resume=True)
