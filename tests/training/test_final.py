"""The last stage of runs whose encoders learn: new networks, from what the encoders became."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from proxyhash.data.run_data import read_run
from proxyhash.errors import DivergedError, InterruptedRunError, ModelError, UsageError
from proxyhash.evaluation.run import evaluate_run
from proxyhash.hashing import HashModel
from proxyhash.methods import method_settings
from proxyhash.training import read_config, train
from proxyhash.training.final import final_config, tuning_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.history import read_history
from proxyhash.training.tuning import TuneOptions, ViewOptions
from tests.training.runs import SMALL, assert_same_run, rewrite

PROCESS = """
import json, sys
from proxyhash.methods import method_settings
from proxyhash.training import read_config, train
train(read_config(json.loads(sys.argv[1])), resume=True)
"""
TUNING, FINAL = 2, 3


@pytest.fixture(scope="module")
def values(scenes, tiny_image):
    return {
        **SMALL,
        "data": str(scenes.root),
        "method": "dchml-plus",
        "settings": {"refit": 20},
        "image_encoder": str(tiny_image),
        "tune": "image",
        "encoder_rate": 0.01,
        "epochs": TUNING,
        "views": 2,
        "final_epochs": FINAL,
        "head_epochs": 1,
        "workers": 0,
    }


@pytest.fixture(scope="module")
def whole(values, tmp_path_factory):
    """The folder, result and notes of a run of both stages that nothing interrupts."""
    before, notes = torch.get_num_threads(), []
    folder = tmp_path_factory.mktemp("final") / "whole"
    result = train(read_config({**values, "out": str(folder)}), note=notes.append)
    torch.set_num_threads(before)
    return folder, result, notes


def assert_same(one, other):
    assert_same_run(one, other)
    assert_same_run(one / "tuning", other / "tuning")
    for part in ("model", "tuning/model"):
        weights = [
            folder / part / "image_encoder" / "weights.safetensors" for folder in (one, other)
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def test_both_stages_are_what_two_commands_do(values, whole, tmp_path):
    """First one that keeps the networks, then one on its encoder, which stays as it is."""
    first, second = tmp_path / "first", tmp_path / "second"
    split = {"query": None, "train": None, "validation": None}
    train(
        read_config(
            {**values, "out": str(first), "final_epochs": 0, "views": 0, "validate_every": TUNING}
        )
    )
    plain = {key: value for key, value in values.items() if key not in FINAL_KEYS}
    frozen = {"epochs": FINAL, "split_file": str(first / "split.json")}
    frozen["image_encoder"] = str(first / "model" / "image_encoder")
    frozen |= {"settings": {"refit": 20, "image_mix": 1.0}, "views": 2}
    train(read_config({**plain, **split, **frozen, "out": str(second)}))
    assert_same_run(second, whole[0])
    encoders = [f / "model" / "image_encoder" / "weights.safetensors" for f in (first, whole[0])]
    assert encoders[0].read_bytes() == encoders[1].read_bytes()
    networks = [f / "model" / "networks.safetensors" for f in (first, whole[0] / "tuning")]
    assert networks[0].read_bytes() == networks[1].read_bytes()


FINAL_KEYS = ("tune", "encoder_rate", "final_epochs", "head_epochs", "workers", "epochs")


def test_results_say_what_both_stages_did(whole):
    folder, result, notes = whole
    metrics = json.loads((folder / "metrics.json").read_text())
    training, stage = metrics["training"], metrics["training"]["tuning"]
    assert (training["epochs"], stage["epochs"]) == (FINAL, TUNING)
    assert training["tuned"]["image"]["learning_rate"] == 0.01
    assert (stage["batch_size"], stage["best_epoch"]) == (SMALL["batch_size"], TUNING)
    assert result.seconds == pytest.approx(training["seconds"] + stage["seconds"], abs=0.002)
    assert stage["map"] == json.loads((folder / "tuning" / "metrics.json").read_text())["map"]
    assert [record.epoch for record in read_history(folder / "history.jsonl")] == [1, 2, 3]
    validated = [bool(record.validation) for record in read_history(folder / "history.jsonl")]
    tuning = [bool(r.validation) for r in read_history(folder / "tuning" / "history.jsonl")]
    assert (tuning, validated) == ([False] * TUNING, [True] * FINAL)
    assert "image encoder learns: all layers" in notes[0]
    assert f"from their features, {FINAL} epochs (--final-epochs 0 would keep those" in notes[-1]
    card = (folder / "README.md").read_text()
    assert "tuned: all layers" in card
    assert f"{TUNING} epochs of batches of {SMALL['batch_size']}, encoders from epoch 2" in card
    assert f"{FINAL} epochs of batches of {SMALL['batch_size']}, with 2 random views" in card
    config = json.loads((folder / "config.json").read_text())
    assert config["tune"] == ["image"]
    assert "tuning" not in config["encoders"]["image"]


def test_both_folders_are_runs_that_can_be_evaluated(whole):
    folder = whole[0]
    models = [HashModel.load(each / "model") for each in (folder, folder / "tuning")]
    assert models[0].fingerprint != models[1].fingerprint
    images = [model.encoder("image").fingerprint for model in models]
    assert images[0] == images[1]
    for each in (folder, folder / "tuning"):
        stored = json.loads((each / "metrics.json").read_text())
        assert evaluate_run(read_run(each)).metrics["map"] == stored["map"]


@pytest.mark.parametrize(("epoch", "advice"), [(1, "1 of 2 epochs"), (TUNING + 1, "1 of 3 epochs")])
def test_ctrl_c_in_either_stage_and_resume(epoch, advice, values, whole, tmp_path):
    folder, reported = tmp_path / "parts", []

    def interrupt(record):
        reported.append(record)
        if len(reported) == epoch:
            os.kill(os.getpid(), signal.SIGINT)

    config = read_config({**values, "out": str(folder)})
    with pytest.raises(InterruptedRunError) as caught:
        train(config, report=interrupt)
    assert advice in str(caught.value)
    assert str(caught.value).endswith(f"proxyhash train --resume --out {folder}")
    assert not (folder / "metrics.json").exists()
    torch.manual_seed(7)
    train(config, resume=True)
    assert_same(whole[0], folder)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["tuning/history.jsonl", "tuning/metrics.json", "history.jsonl"])
def test_killed_in_either_stage_it_goes_on_to_the_same_end(file, values, whole, tmp_path):
    folder = tmp_path / "killed"
    given = {**values, "out": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", PROCESS, json.dumps(given)])
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / file).exists():
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train(read_config(given), resume=True)
    assert_same(whole[0], folder)


def test_another_run_in_the_folder_begins_with_its_own_encoders(values, whole, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(whole[0], folder)
    stale = RunFolder(folder).tuning / "stale"
    stale.touch()
    config = read_config({**values, "out": str(folder), "encoder_rate": 0.001})
    result = train(config, overwrite=True)
    assert not stale.exists()
    assert result.metrics["training"]["tuned"]["image"]["learning_rate"] == 0.001
    assert result.metrics["fingerprint"]["model"] != whole[1].metrics["fingerprint"]["model"]


def test_the_last_stage_has_the_defaults_of_frozen_encoders_and_what_was_given(tmp_path):
    least = {"data": "photos", "out": "run", "method": "dchml-plus", "image_encoder": "some/model"}
    config = read_config({**least, "tune": "image", "epochs": 7, "hidden": [64], "clip": 1.0})
    assert config.final_epochs == read_config(least).epochs
    kept = read_config({**least, "tune": "image", "final_epochs": 0})
    for tuned, members in ((tuning_config(config), 1), (kept, 1), (config, 3)):
        assert method_settings("dchml-plus", tuned.settings).members == members
    found = final_config(config, encoders=tmp_path)
    expected = {
        **least,
        "hidden": [64],
        "clip": 1.0,
        "image_encoder": str(tmp_path / "image_encoder"),
    }
    expected["settings"] = method_settings("dchml-plus", {"image_mix": 1.0}).model_dump()
    assert found == read_config(expected)
    given = {"batch_size": 16, "precision": "float16", "settings": {"image_mix": 0.6, "members": 1}}
    given |= {"views": 2, "crop_min": 0.6}
    given = read_config({**least, "tune": "image", **given})
    found = final_config(given, encoders=tmp_path)
    assert (found.batch_size, found.precision) == (16, "float32")
    assert (found.tune, found.settings["image_mix"]) == ((), 0.6)
    assert (found.settings["members"], tuning_config(given).settings["members"]) == (1, 1)
    assert (found.views, found.crop_min) == (2, 0.6)


OTHERS = {
    "tune_layers": "last:2",
    "encoder_rate": 3e-4,
    "encoder_rates": {"image": 1e-3},
    "layer_decay": 0.8,
    "head_epochs": 1,
    "final_epochs": 2,
    "tune_batch_norm": True,
    "image_size": 64,
    "workers": 1,
    "micro_batch": 4,
    "checkpointing": True,
    "pixel_cache_gb": 1.0,
    "augment": "crop,rand",
    "crop_min": 0.7,
    "views": 2,
}


@pytest.mark.parametrize("key", [*TuneOptions.model_fields, *ViewOptions.model_fields])
def test_any_option_of_tuning_leaves_a_last_stage_that_can_be_used(key, tmp_path):
    given = {} if key == "tune" else {key: OTHERS[key]}
    config = read_config({"data": "photos", "out": "run", "tune": "image", **given})
    found = final_config(config, encoders=tmp_path)
    assert found.tune == ()
    assert read_config(found.to_dict()) == found


def test_final_epochs_are_checked_before_anything_starts(values, tmp_path):
    config = read_config({**values, "out": str(tmp_path / "run"), "warmup": 1.5, "final_epochs": 1})
    with pytest.raises(UsageError, match=r"warmup is 1\.5 epochs of 1"):
        train(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["{}", "[]", '{"training": {"epochs": 2}}'])
def test_a_stage_that_left_something_else_is_named(content, values, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    damaged = RunFolder(tmp_path / "run" / "tuning").metrics
    damaged.write_text(content)
    with pytest.raises(ModelError, match=r"tuning/metrics\.json does not hold .* with --overwrite"):
        train(read_config({**values, "out": str(tmp_path / "run")}), resume=True)


def half_done(whole, folder):
    """Copy a run and remove what its last stage wrote."""
    shutil.copytree(whole, folder)
    run = RunFolder(folder)
    for file in (run.metrics, run.codes, run.card, run.history):
        file.unlink()
    for part in (run.model, run.last.parent):
        shutil.rmtree(part)
    return run


@pytest.mark.parametrize("finished", [True, False])
def test_the_stage_of_another_run_is_refused(finished, values, whole, tmp_path):
    run = half_done(whole[0], tmp_path / "run")
    first = RunFolder(run.tuning)
    stored = json.loads(first.config.read_text())
    first.config.write_text(json.dumps({**stored, "seed": 3}))
    if not finished:
        first.metrics.unlink()
    expected = (
        r"run/tuning was left by another run, with another seed \(3 instead of 0\); remove .*"
    )
    with pytest.raises(ModelError, match=expected + "tuning to tune again with --resume"):
        train(read_config({**values, "out": str(run.path)}), resume=True)
    assert not run.metrics.exists()


@pytest.mark.parametrize("lost", ["config.json", "model/image_encoder"])
def test_a_stage_without_what_it_learned_is_named(lost, values, whole, tmp_path):
    run = half_done(whole[0], tmp_path / "run")
    (run.tuning / lost).rename(tmp_path / "lost")
    config = read_config({**values, "out": str(run.path)})
    with pytest.raises(ModelError, match=rf"tuning/{lost} is missing, .* tune again with --resume"):
        train(config, resume=True)
    shutil.rmtree(run.tuning)
    train(config, resume=True)  # as the message says
    assert_same(whole[0], run.path)


def test_data_that_changed_between_the_stages_are_refused(values, scenes, whole, tmp_path):
    run = half_done(whole[0], tmp_path / "run")
    before = run.config.read_bytes(), run.split.read_bytes()
    items = [json.loads(line) for line in (scenes.root / "items.jsonl").read_text().splitlines()]
    labels = [item["labels"] for item in items]
    data = rewrite(
        scenes,
        tmp_path / "data",
        lambda at, item: item.update(labels=labels[(at + 7) % len(labels)]),
    )
    with pytest.raises(ModelError, match=r"the collection changed since .*tuning/checkpoints/last"):
        train(read_config({**values, "data": str(data), "out": str(run.path)}), resume=True)
    assert (run.config.read_bytes(), run.split.read_bytes()) == before


def test_encoders_that_have_learned_get_no_more_epochs(values, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    for each in (folder, folder / "tuning"):
        stored = json.loads((each / "config.json").read_text())
        (each / "config.json").write_text(json.dumps({**stored, "lr_schedule": "constant"}))
    more = {"lr_schedule": "constant", "epochs": TUNING + 2, "out": str(folder)}
    with pytest.raises(UsageError, match=r"learned for 2 epochs.* leave out --epochs 4"):
        train(read_config({**values, **more}), resume=True)
    assert json.loads((folder / "config.json").read_text())["epochs"] == TUNING


@pytest.mark.parametrize("on_bad_item", ["fail", "skip"])
def test_an_encoder_that_diverges_in_the_last_step_is_named_with_its_rate(
    values, tmp_path, on_bad_item
):
    """No validation looks at it before the end, and every weight is finite."""
    given = {**values, "out": str(tmp_path / "run"), "encoder_rate": 1e30, "batch_size": 110}
    given["on_bad_item"] = on_bad_item
    expected = (
        r"image encoder that learned .* not finite\. Try a smaller encoder_rate \(it is 1e\+30\)"
    )
    with pytest.raises(DivergedError, match=expected):
        train(read_config(given))
    assert not (tmp_path / "run" / "tuning" / "metrics.json").exists()
    with pytest.raises(
        DivergedError, match=r"epoch 2: .* smaller encoder_rate .* or learning_rate"
    ):
        train(read_config({**given, "batch_size": 32, "out": str(tmp_path / "more")}))
