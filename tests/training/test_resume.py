"""Broken, finished and taken runs: they go on to the same end, or are refused and left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import torch

from proxyhash.errors import DataError, InterruptedRunError, ModelError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.training import train
from proxyhash.training.history import read_history
from tests.training.runs import SMALL, assert_same_run, config_of, rewrite

if TYPE_CHECKING:
    from pathlib import Path


PROCESS = """
import sys
from proxyhash.cli import main
sys.argv = ["proxyhash", "train", *sys.argv[1:]]
main()
"""


def start(data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    values = {**SMALL, "epochs": 40, "hidden": 32}
    keys = [f"--{key.replace('_', '-')}={value}" for key, value in values.items()]
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(data), "--out", str(out), *keys, *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    history = out / "history.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") >= count:
            return
        time.sleep(0.005)
    process.kill()
    pytest.fail(f"no {count} epochs: {process.communicate()[1]}")


def test_an_interrupted_run_ends_bit_identically(finished, scenes, tmp_path, monkeypatch):
    whole, result, _ = finished
    config = config_of(scenes.root, tmp_path / "parts")

    def interrupt(record):
        if record.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="2 of 3 epochs are saved"):
        train(config, report=interrupt)
    assert not (tmp_path / "parts" / "metrics.json").exists()
    torch.manual_seed(7)
    resumed = train(config, resume=True)
    assert_same_run(whole, tmp_path / "parts")
    assert resumed.metrics["map"] == result.metrics["map"]


@pytest.mark.parametrize(
    ("place", "advice"),
    [("build_state", "run the same command again"), ("load_best", "train --resume --out .*parts")],
)
def test_ctrl_c_before_and_after_the_epochs_says_how_to_go_on(
    place, advice, scenes, tmp_path, monkeypatch
):
    def interrupt(*_given, **_options):
        raise KeyboardInterrupt

    config = config_of(scenes.root, tmp_path / "parts")
    with monkeypatch.context() as patch:
        patch.setattr(f"proxyhash.training.stage.{place}", interrupt)
        with pytest.raises(InterruptedRunError, match=advice):
            train(config)
    assert train(config, resume="resume" in advice).epochs == 3


def test_a_method_that_ends_a_run_by_itself_resumes_bit_identically(scenes, tmp_path):
    options = {"method": "dchml-plus", "settings": {"refit": 20}}
    train(config_of(scenes.root, tmp_path / "whole", **options))
    config = config_of(scenes.root, tmp_path / "parts", **options)

    def interrupt(record):
        if record.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError):
        train(config, report=interrupt)
    train(config, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    model = HashModel.load(tmp_path / "whole" / "model")
    assert model.proxies is not None
    assert model.proxies.origin == "phnet"


def test_a_finished_run_resumed_is_the_same_run(finished, scenes, tmp_path):
    whole, result, _ = finished
    copy = tmp_path / "moved"  # and it may lie elsewhere by now
    shutil.copytree(whole, copy)
    again = train(config_of(scenes.root, copy), resume=True)
    assert_same_run(whole, copy)
    assert again.metrics["map"] == result.metrics["map"]


def test_more_epochs_equal_an_unbroken_run(scenes, tmp_path):
    regime = {"lr_schedule": "constant", "dropout": 0.2, "ema": 0.9}
    train(config_of(scenes.root, tmp_path / "whole", **regime, epochs=4))
    train(config_of(scenes.root, tmp_path / "parts", **regime, epochs=2))
    train(config_of(scenes.root, tmp_path / "parts", **regime, epochs=4), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_killed_and_terminated_processes_continue_to_the_same_end(scenes, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(config_of(scenes.root, unbroken, epochs=40))

    killed = start(scenes.root, broken)
    wait_for_epochs(broken, 2, killed)
    killed.send_signal(signal.SIGSTOP)  # so that it is still there while others come
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(DataError, match=rf"another process \(pid {killed.pid}\) is writing to"):
            train(config_of(scenes.root, broken, epochs=40), **options)
    killed.kill()
    killed.communicate()
    done = len(read_history(broken / "history.jsonl"))
    assert 2 <= done < 40

    stopped = start(scenes.root, broken, "--resume")
    wait_for_epochs(broken, done + 2, stopped)
    stopped.send_signal(signal.SIGTERM)
    _, error = stopped.communicate(timeout=300)
    assert stopped.returncode == 130, error
    assert f"proxyhash train --resume --out {broken}" in error

    last = subprocess.run(
        [sys.executable, "-c", PROCESS, "--resume", "--out", str(broken)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert last.returncode == 0, last.stderr
    assert_same_run(unbroken, broken)


def test_a_taken_folder_is_refused_and_can_be_overwritten(finished, scenes, tmp_path):
    whole, _, _ = finished
    taken = tmp_path / "taken"
    shutil.copytree(whole, taken)
    with pytest.raises(UsageError, match="continue it with --resume, replace it with --overwrite"):
        train(config_of(scenes.root, taken))
    result = train(config_of(scenes.root, taken, seed=5, epochs=1), overwrite=True)
    assert result.epochs == 1
    assert json.loads((taken / "config.json").read_text())["seed"] == 5
    assert len(read_history(taken / "history.jsonl")) == 1


def test_a_resume_with_other_settings_names_them(finished, scenes):
    whole, _, _ = finished
    with pytest.raises(UsageError, match=r"bits \(32 instead of 16\)"):
        train(config_of(scenes.root, whole, bits=32), resume=True)


def test_resume_without_a_run_starts_one(scenes, tmp_path):
    result = train(config_of(scenes.root, tmp_path / "new", epochs=1), resume=True)
    assert result.epochs == 1


def test_a_run_stopped_before_its_first_checkpoint_starts_again(finished, scenes, tmp_path):
    whole, _, _ = finished
    for name in ("config.json", "split.json"):
        shutil.copy(whole / name, tmp_path / name)
    train(config_of(scenes.root, tmp_path), resume=True)
    assert_same_run(whole, tmp_path)


def test_a_failed_start_leaves_an_older_run_alone(finished, scenes, tmp_path):
    whole, _, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    with pytest.raises(UsageError, match="encoder"):
        train(config_of(scenes.root, copy, image_encoder="descripter"), overwrite=True)
    assert_same_run(whole, copy)
    assert (copy / "metrics.json").exists()


def test_a_resume_on_changed_data_is_refused(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda *_: None)
    out = tmp_path / "run"
    train(config_of(data, out, epochs=1, lr_schedule="constant"))
    text = (data / "items.jsonl").read_text()
    (data / "items.jsonl").write_text(text.replace(" a ", " one ", 1))
    before = [(out / name).read_bytes() for name in ("config.json", "split.json")]
    with pytest.raises(ModelError, match="the collection changed since"):
        train(config_of(data, out, epochs=2, lr_schedule="constant"), resume=True)
    assert [(out / name).read_bytes() for name in ("config.json", "split.json")] == before
    (data / "items.jsonl").write_text("".join(text.splitlines(keepends=True)[:-5]))
    with pytest.raises(DataError):
        train(config_of(data, out, epochs=2, lr_schedule="constant"), resume=True)


def test_a_resume_with_another_image_under_the_same_path_is_refused(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda *_: None)
    out = tmp_path / "run"
    train(config_of(data, out, epochs=1, lr_schedule="constant"))
    learned = json.loads((out / "split.json").read_text())["train"]
    items = [json.loads(line) for line in (data / "items.jsonl").read_text().splitlines()]
    one, other = (data / item["image"] for item in items if item["id"] in learned[:2])
    kept = one.read_bytes()
    assert len(kept) != other.stat().st_size
    one.write_bytes(other.read_bytes())
    more = config_of(data, out, epochs=2, lr_schedule="constant")
    with pytest.raises(ModelError, match="the content of image files changed since"):
        train(more, resume=True)
    one.write_bytes(kept)
    assert train(more, resume=True).epochs == 2


def test_a_resume_with_fewer_readable_items_says_how_many(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda _, item: item.pop("text"))
    given = {"text_encoder": "none", "on_bad_item": "skip", "lr_schedule": "constant"}
    out = tmp_path / "run"
    train(config_of(data, out, **given, epochs=1))
    items = [json.loads(line) for line in (data / "items.jsonl").read_text().splitlines()]
    learned = set(json.loads((out / "split.json").read_text())["train"])
    image = data / next(item["image"] for item in items if item["id"] in learned)
    image.rename(tmp_path / "lost")
    with pytest.raises(ModelError, match=r"with 90 training items, and 89 can .* put back the f"):
        train(config_of(data, out, **given, epochs=2), resume=True)
    (tmp_path / "lost").rename(image)  # as it says
    assert train(config_of(data, out, **given, epochs=2), resume=True).epochs == 2
