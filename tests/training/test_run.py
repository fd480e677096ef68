"""Whole runs on the drawn scenes: what is in the folder, and that a broken run ends the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from proxyhash.codes import CodeFile
from proxyhash.data import Split, read_collection
from proxyhash.encoders import load_encoder
from proxyhash.errors import DataError, InterruptedRunError, ModelError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.methods.registry import method_settings
from proxyhash.training import read_config, train
from proxyhash.training import run as run_module
from proxyhash.training.history import read_history
from proxyhash.training.machine import use_precision
from proxyhash.training.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {
    "bits": 16,
    "hidden": [32],
    "epochs": 3,
    "batch_size": 32,
    "query": 30,
    "train": 110,
    "validation": 20,
    "threads": 1,
}


def config_of(data, out, **values):
    return read_config({**SMALL, "data": str(data), "out": str(out), **values})


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """A run folder and its result; do not write into it."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    records = []
    result = train(config_of(scenes.root, folder), report=records.append)
    return folder, result, records


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
    assert (codes.image_codes == again.image_codes).all()
    assert (codes.text_codes == again.text_codes).all()
    assert model.classes == scenes.classes
    assert model.method == "dchml"


def test_words_come_from_train_and_validation_texts_alone(finished, scenes):
    folder, _, _ = finished
    split = Split.load(folder / "split.json", scenes)
    encoder = load_encoder(folder / "model" / "text_encoder")
    teachers = np.union1d(split.train, split.validation)
    texts = " ".join(scenes.texts[position].lower() for position in teachers)
    assert set(encoder.words) <= set(re.findall(r"\w\w+", texts))


def test_the_resolved_configuration_is_written(finished):
    folder, _, _ = finished
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"] == method_settings("dchml", {}).model_dump(mode="json")
    assert config["image_encoder"] == "descriptor"
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


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("codes.npz", "split.json", "model/networks.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    left, right = (read_history(folder / "history.jsonl") for folder in (one, other))
    assert [(r.epoch, r.terms, r.validation) for r in left] == [
        (r.epoch, r.terms, r.validation) for r in right
    ]


def test_prepared_inputs_and_no_checkpoints_change_nothing(finished, scenes, tmp_path):
    config = config_of(scenes.root, tmp_path / "run")
    result = train(config, prepared=prepare(config), checkpoints=False)
    assert_same_run(finished[0], result.folder)
    assert not (result.folder / "checkpoints").exists()
    with pytest.raises(ValueError, match="without checkpoints"):
        train(config, resume=True, checkpoints=False)


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


@pytest.mark.slow
def test_killed_and_terminated_processes_continue_to_the_same_end(scenes, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(config_of(scenes.root, unbroken, epochs=40))

    killed = start(scenes.root, broken)
    wait_for_epochs(broken, 2, killed)
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


def rewrite(scenes, folder, change):
    """Write a manifest beside the scenes' pictures with every item changed by `change`."""
    lines = (scenes.root / "items.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    for position, item in enumerate(items):
        change(position, item)
    shutil.copytree(scenes.root, folder)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


def test_a_resume_on_changed_data_is_refused(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda *_: None)
    out = tmp_path / "run"
    train(config_of(data, out, epochs=1, lr_schedule="constant"))
    text = (data / "items.jsonl").read_text()
    (data / "items.jsonl").write_text(text.replace(" a ", " one ", 1))
    with pytest.raises(ModelError, match="the collection changed since"):
        train(config_of(data, out, epochs=2, lr_schedule="constant"), resume=True)
    (data / "items.jsonl").write_text("".join(text.splitlines(keepends=True)[:-5]))
    with pytest.raises(DataError):
        train(config_of(data, out, epochs=2, lr_schedule="constant"), resume=True)


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
    assert (codes.has_image == collection.has_image).all()
    assert (codes.has_text == collection.has_text).all()
    split = Split.load(tmp_path / "run" / "split.json", collection)
    assert not collection.has_image[split.train].all()  # they did take part
    assert 0 < result.metrics["map"]["image_to_text"] <= 1


def test_pictures_that_cannot_be_read_fail_or_are_skipped(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", lambda *_: None)
    collection = read_collection(data)
    collection.image_paths[3].write_bytes(b"no picture")
    with pytest.raises(DataError, match=collection.ids[3]):
        train(config_of(data, tmp_path / "run", epochs=1))
    config = config_of(data, tmp_path / "skipped", epochs=1, on_bad_item="skip")
    train(config)
    codes = CodeFile.load(tmp_path / "skipped" / "codes.npz")
    assert not codes.has_image[3]
    assert codes.has_image.sum() == len(collection) - 1


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
    assert codes.has_image.all()
    assert codes.has_text.all()


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
    with pytest.raises(UsageError, match=r"no train item of .* has any text"):
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


def test_precision_is_given_back(scenes, tmp_path):
    before = torch.backends.mkldnn.matmul.fp32_precision
    result = train(config_of(scenes.root, tmp_path / "run", precision="bfloat16", epochs=1))
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert result.metrics["map"]["image_to_text"] > 0


def test_bfloat16_rounds_the_factors_of_products():
    torch.manual_seed(0)
    left, right = torch.randn(64, 256), torch.randn(256, 64)
    exact = left.double() @ right.double()
    with use_precision("bfloat16"):
        rounded = left @ right
    with use_precision("float32"):
        plain = left @ right
    assert (plain - exact).abs().max() < 1e-4
    assert (rounded - exact).abs().max() < 0.5  # within 16 deviations of 2^-9 per factor


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


def test_a_missing_tensorboard_is_told_before_the_work(scenes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    called = []
    monkeypatch.setattr(run_module, "prepare", lambda *_, **__: called.append(1))
    with pytest.raises(Exception, match=r"pip install 'proxyhash\[tensorboard\]'"):
        train(config_of(scenes.root, tmp_path / "run", tensorboard=True))
    assert not called
