"""Whole runs on the generated scenes: what is in the folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from proxyhash.codes import CodeFile
from proxyhash.data import Split, read_collection
from proxyhash.encoders import load_encoder
from proxyhash.errors import DataError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.methods import method_settings
from proxyhash.networks.linear import Linear
from proxyhash.training import read_config, train
from proxyhash.training import stage as stage_module
from proxyhash.training.history import read_history
from proxyhash.training.prepare import prepare
from proxyhash.training.signals import listen_for_stop
from tests.training.runs import assert_same_run, config_of, rewrite


def test_the_folder_holds_everything(finished):
    folder, result, records = finished
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "checkpoints",
        "codes.npz",
        "config.json",
        "history.jsonl",
        "metrics.json",
        "model",
        "split.json",
    ]
    assert [record.epoch for record in records] == [1, 2, 3]
    assert read_history(folder / "history.jsonl") == records
    assert (result.folder, result.epochs) == (folder, 3)
    assert json.loads((folder / "metrics.json").read_text()) == result.metrics


def test_metrics_have_both_galleries_and_the_training(finished, scenes):
    _, result, records = finished
    metrics = result.metrics
    directions = {"image_to_text", "text_to_image", "image_to_image", "text_to_text"}
    assert set(metrics["map"]) == set(metrics["strict"]["map"]) == directions
    assert metrics["protocol"]["gallery"] == "literature"
    assert metrics["strict"]["protocol"]["gallery"] == "strict"
    assert metrics["directions"]["image_to_text"]["gallery"] == len(scenes) - 30
    assert metrics["strict"]["directions"]["image_to_text"]["gallery"] == len(scenes) - 30 - 110
    assert metrics["training"]["best_epoch"] == result.best_epoch
    best = max(records, key=lambda record: (record.validation["mean"], -record.epoch))
    assert metrics["training"]["best_epoch"] == best.epoch
    assert metrics["training"]["validation_map"] == best.validation["mean"]
    assert metrics["bit_statistics"]["proxies"] is not None


def test_codes_are_those_of_the_saved_model(finished, scenes):
    folder, _, _ = finished
    codes = CodeFile.load(folder / "codes.npz")
    model = HashModel.load(folder / "model")
    again = model.encode_collection(scenes)
    assert codes.ids == scenes.ids
    assert codes.model == model.fingerprint
    assert (codes.of("image") == again.of("image")).all()
    assert (codes.of("text") == again.of("text")).all()
    assert model.classes == scenes.classes
    assert model.method == "dchml"


def test_words_come_from_train_and_validation_texts_alone(finished, scenes):
    folder, _, _ = finished
    split = Split.load(folder / "split.json", scenes)
    encoder = load_encoder(folder / "model" / "text_encoder")
    teachers = np.union1d(split.train, split.validation)
    texts = " ".join(scenes.sources("text")[position].lower() for position in teachers)
    assert set(encoder.words) <= set(re.findall(r"\w\w+", texts))


def test_the_resolved_configuration_is_written(finished):
    folder, _, _ = finished
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"] == method_settings("dchml", {}).model_dump(mode="json")
    assert config["encoders"] == {"image": "descriptor", "text": "bow"}
    assert read_config(config).to_dict() == config


def test_the_card_says_what_it_is_without_the_machine(finished, scenes):
    folder, result, _ = finished
    card = (folder / "README.md").read_text()
    assert f"| image → text | {result.metrics['map']['image_to_text']:.3f} |" in card
    assert scenes.fingerprint in card
    assert "30 query" in card
    assert "HashModel.load" in card
    assert str(folder.parent) not in card
    assert str(scenes.root.parent) not in card


def test_prepared_inputs_and_no_checkpoints_change_nothing(finished, scenes, tmp_path):
    config = config_of(scenes.root, tmp_path / "run")
    result = train(config, prepared=prepare(config), checkpoints=False)
    assert_same_run(finished[0], result.folder)
    assert not (result.folder / "checkpoints").exists()
    with pytest.raises(ValueError, match="without checkpoints"):
        train(config, resume=True, checkpoints=False)


def test_a_closed_form_gives_an_ordinary_run(scenes, tmp_path):
    values = {"method": "cca-itq", "hidden": "linear", "epochs": 1}
    config = config_of(scenes.root, tmp_path / "whole", **values)
    result = train(config)
    assert result.metrics["map"]["text_to_image"] > 0.3
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "| training | in closed form, seed 0 |" in card
    assert "no label was read" in card
    assert HashModel.load(tmp_path / "whole" / "model").method == "cca-itq"
    (tmp_path / "whole" / "metrics.json").unlink()
    assert train(config, resume=True).metrics["map"] == result.metrics["map"]


def test_items_with_gaps_take_part_with_what_they_have(scenes, tmp_path):
    def gaps(position, item):
        if position % 5 == 0:
            item["image"] = None
        if position % 5 == 1:
            item["text"] = None
        if position % 7 == 0:
            item["labels"] = []

    data = rewrite(scenes, tmp_path / "data", gaps)
    result = train(config_of(data, tmp_path / "run", query=20, train=100, validation=15))
    collection = read_collection(data)
    codes = CodeFile.load(tmp_path / "run" / "codes.npz")
    assert (codes.has("image") == collection.has("image")).all()
    assert (codes.has("text") == collection.has("text")).all()
    split = Split.load(tmp_path / "run" / "split.json", collection)
    assert not collection.has("image")[split.train].all()  # they did take part
    assert 0 < result.metrics["map"]["image_to_text"] <= 1


def test_images_that_cannot_be_read_fail_or_are_skipped(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda *_: None)
    collection = read_collection(data)
    collection.sources("image")[3].write_bytes(b"no image")
    with pytest.raises(DataError, match=collection.ids[3]):
        train(config_of(data, tmp_path / "run", epochs=1))
    config = config_of(data, tmp_path / "skipped", epochs=1, on_bad_item="skip")
    train(config)
    codes = CodeFile.load(tmp_path / "skipped" / "codes.npz")
    assert not codes.has("image")[3]
    assert codes.has("image").sum() == len(collection) - 1


def test_a_manifest_with_parts_is_followed_unless_told(scenes, tmp_path):
    def parts(position, item):
        item["split"] = "test" if position < 25 else "train" if position < 100 else None

    data = rewrite(scenes, tmp_path / "data", parts)
    free = {"query": None, "train": None, "validation": None, "epochs": 1}
    train(config_of(data, tmp_path / "named", **free))
    collection = read_collection(data)
    named = Split.load(tmp_path / "named" / "split.json", collection)
    assert named.source == "manifest"
    assert named.query.tolist() == list(range(25))
    assert len(named.validation) == 3  # a twentieth
    assert len(named.train) == 72
    train(config_of(data, tmp_path / "told", **free | {"query": 40}))
    told = Split.load(tmp_path / "told" / "split.json", collection)
    assert told.source == "drawn"
    assert len(told.query) == 40


def test_a_split_file_is_used(finished, scenes, tmp_path):
    whole, _, _ = finished
    values = {"query": None, "train": None, "validation": None, "epochs": 1, "seed": 9}
    config = config_of(scenes.root, tmp_path, split_file=str(whole / "split.json"), **values)
    train(config)
    assert (tmp_path / "split.json").read_text() == (whole / "split.json").read_text()


def test_a_collection_of_features_alone(scenes, tmp_path):
    def bare(_, item):
        del item["image"], item["text"]

    data = rewrite(scenes, tmp_path / "data", bare)
    rng = np.random.default_rng(0)
    for name, width in (("image", 6), ("text", 4)):
        np.save(data / f"{name}.npy", rng.normal(size=(len(scenes), width)).astype(np.float32))
    encoders = {f"{name}_encoder": f"features:{name}.npy" for name in ("image", "text")}
    train(config_of(data, tmp_path / "run", epochs=1, **encoders))
    codes = CodeFile.load(tmp_path / "run" / "codes.npz")
    assert codes.has("image").all()
    assert codes.has("text").all()


def test_precomputed_features(scenes, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", rng.normal(size=(len(scenes), 6)).astype(np.float32))
    config = config_of(
        scenes.root, tmp_path / "run", image_encoder=f"features:{tmp_path / 'image.npy'}", epochs=1
    )
    result = train(config)
    assert result.metrics["map"]["text_to_image"] > 0
    assert "`features:image.npy`, frozen" in (tmp_path / "run" / "README.md").read_text()


def test_a_collection_without_texts_is_refused(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda _, item: item.update(text=None))
    with pytest.raises(UsageError, match=r"no training item of .* has any text"):
        train(config_of(data, tmp_path / "run"))


def test_too_few_labels_are_refused(scenes, tmp_path):
    def few(position, item):
        if position >= 8:
            item["labels"] = []

    data = rewrite(scenes, tmp_path / "data", few)
    with pytest.raises(UsageError, match="8 items with labels; training needs at least 10"):
        train(config_of(data, tmp_path / "run"))


def test_wrong_options_are_refused_before_anything_is_written(scenes, tmp_path):
    with pytest.raises(UsageError, match="method is 'dchm'"):
        train(config_of(scenes.root, tmp_path / "run", method="dchm"))
    with pytest.raises(UsageError, match="unknown setting 'gama' of method dchml"):
        train(config_of(scenes.root, tmp_path / "run", settings={"gama": 1}))
    with pytest.raises(UsageError, match="device 'cuda:7' cannot be used"):
        train(config_of(scenes.root, tmp_path / "run", device="cuda:7"))
    with pytest.raises(UsageError, match="did you mean 'descriptor'"):
        train(config_of(scenes.root, tmp_path / "run", image_encoder="descripter"))
    assert not (tmp_path / "run").exists()


def test_threads_are_given_back(scenes, tmp_path):
    before = torch.get_num_threads()
    train(config_of(scenes.root, tmp_path / "run", epochs=1, threads=before + 1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("instructions", ["AVX-512", "", None])
def test_precision_is_given_back(scenes, tmp_path, monkeypatch, instructions):
    monkeypatch.setattr("proxyhash.training.devices.processor_bfloat16", lambda: instructions)
    layer, features = Linear(256, 64), torch.randn(8, 256)
    before = layer(features)
    notes: list[str] = []
    result = train(
        config_of(scenes.root, tmp_path / "run", precision="bfloat16", epochs=1), note=notes.append
    )
    assert torch.equal(layer(features), before)
    assert result.metrics["map"]["image_to_text"] > 0
    told = any("has no instructions" in note for note in notes)
    assert told == (instructions == "")
    used = result.metrics["training"]["precision"]
    assert used == ("float32" if instructions == "" else "bfloat16")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["precision"] == "bfloat16"  # as it was asked for


def test_tensorboard_gets_losses_and_scores(scenes, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config_of(scenes.root, tmp_path / "run", tensorboard=True))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"loss/total", "loss/margin", "validation/mean", "learning_rate"} <= tags
    records = read_history(tmp_path / "run" / "history.jsonl")
    logged = [(event.step, event.value) for event in events.Scalars("loss/total")]
    assert [step for step, _ in logged] == [1, 2, 3]
    assert [value for _, value in logged] == pytest.approx([r.loss for r in records], rel=1e-5)


def test_wandb_gets_losses_and_scores_under_one_id(scenes, tmp_path, monkeypatch):
    """Runs offline; its file holds the numbers as text."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "catalog")
    config = config_of(scenes.root, tmp_path / "first", wandb=True)
    train(config)
    folder = tmp_path / "first" / "wandb"
    (written,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert written.stem == f"run-{(folder / 'id').read_text()}"
    content = written.read_bytes()
    for name in (b"loss/total", b"loss/margin", b"validation/mean", b"learning_rate", b"catalog"):
        assert name in content
    for record in read_history(tmp_path / "first" / "history.jsonl"):
        assert f"{record.loss:.6f}".encode()[:6] in content
    before = (folder / "id").read_text()
    train(config, resume=True)
    assert (folder / "id").read_text() == before


def test_wandb_without_a_login_says_what_to_do_before_the_work(scenes, tmp_path):
    pytest.importorskip("wandb")
    command = [sys.executable, "-m", "proxyhash", "train", str(scenes.root), "--wandb"]
    command += ["--out", str(tmp_path / "run")]
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    env |= {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "(nobody is logged in); run `wandb login`, set WANDB_MODE=offline" in " ".join(
        done.stderr.split()
    )
    assert not (tmp_path / "run" / "config.json").exists()


def test_wandb_that_cannot_start_says_what_to_do(scenes, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")

    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UsageError, match=r"run `wandb login`, set WANDB_MODE=offline, or leave"):
        train(config_of(scenes.root, tmp_path / "run", wandb=True))


@pytest.mark.parametrize("tool", ["tensorboard", "wandb"])
def test_a_missing_tool_is_told_before_the_work(scenes, tmp_path, monkeypatch, tool):
    monkeypatch.setitem(sys.modules, tool, None)
    called = []
    monkeypatch.setattr(stage_module, "prepare", lambda *_, **__: called.append(1))
    with pytest.raises(Exception, match=rf"pip install 'proxyhash\[{tool}\]'"):
        train(config_of(scenes.root, tmp_path / "run", **{tool: True}))
    assert not called


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_second_one_stops_at_once(number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with listen_for_stop() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_threads_listen_to_nothing():
    heard = []

    def work():
        with listen_for_stop() as stop:
            heard.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
