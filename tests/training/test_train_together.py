"""Runs of two processes, as torchrun starts them, against runs of one: results, Ctrl-C, kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from proxyhash.errors import InterruptedRunError
from proxyhash.training import read_config, train
from proxyhash.training.history import read_history
from tests.training.runs import SMALL, assert_same_run, config_of, rewrite
from tests.training.test_resume import wait_for_epochs
from tests.training.torchrun import start_two, workers
from tests.training.two_trainings import train_and_note

pytestmark = pytest.mark.slow


def lose_some(position, item):
    """Leave every seventh item without an image, and every ninth without a text."""
    if position % 7 == 0:
        del item["image"]
    elif position % 9 == 0:
        del item["text"]


def without_dropout(model):
    """Return a copy of a model whose processes all compute the same."""
    copy = shutil.copytree(model, model.with_name("no dropout"))
    config = json.loads((copy / "config.json").read_text())
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (copy / "config.json").write_text(json.dumps(config | none))
    return copy


@pytest.fixture(scope="module")
def trained(scenes, tiny_image, tiny_text, tmp_path_factory):
    """Every training by two processes and by one: per name the folders and the notes of each."""
    folder = tmp_path_factory.mktemp("trainings")
    incomplete = rewrite(scenes, folder / "incomplete", lose_some)
    frozen = {**SMALL, "batch_size": 33, "ema": 0.9, "clip": 1.0, "dropout": 0.5}
    trainings = {
        "frozen": {"data": str(scenes.root), **frozen},
        "alternating": {
            "data": str(incomplete),
            **frozen,
            "settings": {"schedule": "alternating"},
        },
        "plus": {
            "data": str(incomplete),
            **frozen,
            "method": "dchml-plus",
            "settings": {"refit": 20},
        },
    }
    tuned = {
        **SMALL,
        "train": 62,
        "validation": 10,
        "image_encoder": str(tiny_image),
        "text_encoder": str(without_dropout(tiny_text)),
        "tune": "image,text",
        "final_epochs": 0,
        "head_epochs": 0,
        "augment": "none",
        "encoder_rate": 0.005,
        "optimizer": "sgd",
        "learning_rate": 0.005,
        "lr_schedule": "constant",
        "output_batch_norm": False,  # which divides by nearly nothing: all features are alike
        "batch_size": 18,
        "epochs": 1,
        "ema": 0.5,
    }
    trainings |= {
        "tuned": {"data": str(scenes.root), **tuned},
        "tuned in turn": {
            "data": str(incomplete),
            **tuned,
            "settings": {"schedule": "alternating"},
            "micro_batch": 8,
            "checkpointing": True,
        },
        "continued": {"data": str(scenes.root), **tuned},
    }
    for name, values in trainings.items():
        values["out"] = str(folder / f"{name}-two")
    train(read_config(trainings["continued"]))
    trainings["continued"]["epochs"] = 2
    (folder / "trainings.json").write_text(json.dumps(trainings))
    two = subprocess.Popen(
        [sys.executable, "-m", "tests.training.two_trainings", folder],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    for name, values in trainings.items():
        train_and_note({**values, "out": str(folder / f"{name}-one")}, folder / f"{name}.pt")
    _, errors = two.communicate(timeout=300)
    assert two.returncode == 0, errors
    return folder


def notes(folder, name):
    """What one process has at the end, and what each of the two has."""
    return [torch.load(folder / f"{name}{end}.pt") for end in ("", "-0", "-1")]


@pytest.mark.parametrize("name", ["frozen", "alternating", "plus"])
def test_with_frozen_encoders_two_processes_give_the_results_of_one(name, trained):
    one, *both = notes(trained, name)
    assert_same_run(trained / f"{name}-one", trained / f"{name}-two")
    del one["metrics"]["training"]["seconds"]
    assert one["metrics"]["training"].pop("processes") == 1
    for each in both:
        assert each["metrics"]["training"].pop("processes") == 2
        del each["metrics"]["training"]["seconds"]
        assert each["metrics"] == one["metrics"]
        assert each["steps"] == one["steps"]
        for kind in ("memory", "weights"):
            for key, value in one[kind].items():
                assert torch.equal(each[kind][key], value), key


@pytest.mark.parametrize(("name", "steps"), [("tuned", 3), ("tuned in turn", 6), ("continued", 3)])
def test_with_encoders_that_learn_two_processes_compute_what_one_computes(name, steps, trained):
    """Steps of uneven shares; in one training, three by one process and then three by two."""
    one, *both = notes(trained, name)
    for each in both:
        assert each["steps"] == one["steps"][-steps:]
        assert len(each["steps"]) == steps
        for kind in ("weights", "memory"):
            torch.testing.assert_close(each[kind], one[kind], rtol=0, atol=1e-5)
    for kind in ("weights", "memory"):
        for key, value in both[0][kind].items():
            assert torch.equal(both[1][kind][key], value), key
    moved = {
        key: float((value - both[0]["start"][key]).abs().max())
        for key, value in both[0]["weights"].items()
    }
    for modality in ("image encoder", "text encoder"):
        assert max(moved[key] for key in moved if key.startswith(modality)) > 1e-3
    scores = [each["metrics"]["training"]["validation_map"] for each in (one, *both)]
    assert scores == pytest.approx([scores[0]] * 3, abs=0.01)


@pytest.mark.parametrize("name", ["frozen", "alternating"])
def test_every_item_is_learned_from_once_an_epoch(name, trained):
    one, *_ = notes(trained, name)
    times = Counter(
        (m, item) for learning, items in one["steps"] for m in learning for item in items
    )
    assert set(times.values()) == {SMALL["epochs"]}
    assert {modality for modality, _ in times} == {"image", "text"}


@pytest.mark.parametrize("name", ["frozen", "plus", "tuned"])
def test_the_run_folder_has_the_same_files(name, trained):
    one, two = (trained / f"{name}-{count}" for count in ("one", "two"))
    files = [sorted(path.relative_to(each) for path in each.rglob("*")) for each in (one, two)]
    assert files[0] == files[1]


def test_stopped_and_killed_runs_continue_with_another_number_of_processes(scenes, tmp_path):
    """One process, then two until Ctrl-C, then two until one is killed, then one to the end."""
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(config_of(scenes.root, unbroken, epochs=40))

    def interrupt(record):
        if record.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        train(config_of(scenes.root, broken, epochs=40), report=interrupt)

    history = broken / "history.jsonl"
    stopped = start_two("proxyhash", "train", "--resume", "--out", broken)
    wait_for_epochs(broken, 4, stopped)
    ranks = workers(stopped)
    assert (broken / ".lock").read_text() == f"{ranks[0]}\n"
    stopped.send_signal(signal.SIGINT)
    _, errors = stopped.communicate(timeout=150)
    assert errors.count("Continue with: proxyhash train --resume --out") == 1, errors
    done = len(read_history(history))
    assert 4 <= done < 40
    assert not (broken / ".lock").exists()

    killed = start_two("proxyhash", "train", "--resume", "--out", broken)
    wait_for_epochs(broken, done + 2, killed)
    os.kill(workers(killed)[1], signal.SIGKILL)
    _, errors = killed.communicate(timeout=150)
    assert killed.returncode == 1
    assert "proxyhash: process 1 of 2 ended without a word: it was killed" in errors, errors
    assert done + 2 <= len(read_history(history)) < 40

    train(config_of(scenes.root, broken, epochs=40), resume=True)
    assert_same_run(unbroken, broken)
