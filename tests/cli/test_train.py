from __future__ import annotations

import json
import re
import sys
from typing import get_args, get_type_hints

import pytest
import typer

from proxyhash.cli import console
from proxyhash.cli import train as verb
from proxyhash.cli.train_progress import Progress
from proxyhash.errors import UsageError
from proxyhash.training import TrainConfig, read_config
from proxyhash.training.tuning import TUNED_DEFAULTS, TuneOptions, ViewOptions
from tests.encoders import tiny_models

SMALL = (
    "--threads=1",
    "--bits=16",
    "--hidden=16",
    "--epochs=2",
    "--query=20",
    "--train=100",
    "--validation=20",
)

ENCODERS = {"image_encoder": "image", "text_encoder": "text"}
"""Options of one modality, for which --encoder shows no default."""


def shown_defaults() -> dict[str, object]:
    """The default that the help shows for each option of a configuration key."""
    hints = get_type_hints(verb.train, include_extras=True)
    infos = {name: get_args(hint)[-1] for name, hint in hints.items() if get_args(hint)}
    return {
        name: info.show_default
        for name, info in infos.items()
        if isinstance(info, typer.models.OptionInfo)
        and (name in TrainConfig.model_fields or name in ENCODERS)
    }


def test_every_key_of_the_configuration_is_an_option():
    hints = get_type_hints(verb.train)
    assert set(TrainConfig.model_fields) <= set(hints)


@pytest.mark.parametrize(("name", "shown"), sorted(shown_defaults().items()))
def test_the_help_shows_the_defaults_of_the_configuration(name, shown):
    defaults = read_config({"data": "d", "out": "o"})
    default = getattr(defaults, name, None)
    if name in ENCODERS:
        default = defaults.encoders[ENCODERS[name]]
    if isinstance(default, tuple):
        default = ",".join(map(str, default)) or "none"
    if name in ("query", "train", "validation"):  # worked out from the collection, in words
        assert default is None
        assert re.match(r"a (tenth|twentieth)|four fifths", str(shown))
    elif name == "label_separator":  # what a cell of labels looks like, in words
        assert default is None
        assert shown == "|, or ; in a cell without |"
    elif default in (None, {}) or name in ("data", "out", "encoders"):
        assert shown is False
    else:
        assert shown == {"True": "on", "False": "off"}.get(str(default), str(default))


def test_the_help_says_which_defaults_differ_where_encoders_learn():
    hints = get_type_hints(verb.train, include_extras=True)
    for name, value in TUNED_DEFAULTS.items():
        shown = get_args(hints[name])[-1].help
        assert re.search(
            rf"\b{re.escape(str(value))}\b.* with --tune|with --tune.* {value}\b", shown
        )


def test_options_of_tuning_reach_the_configuration(tmp_path, monkeypatch, proxyhash_command):
    taken = {}

    def stop(values):
        taken.update(values)
        raise UsageError("far enough")

    monkeypatch.setattr("proxyhash.training.choose.choose", stop)
    options = ["--tune", "image,text", "--tune-layers", "last:2", "--encoder-rate", "3e-4"]
    options += ["--encoder-rates", "text=2e-5", "--layer-decay", "0.8", "--head-epochs", "1"]
    options += ["--final-epochs", "9", "--views", "3"]
    options += ["--image-size", "160", "--augment", "flip,rand", "--crop-min", "0.5"]
    options += ["--micro-batch", "8", "--checkpointing", "--workers", "2", "--tune-batch-norm"]
    options += ["--pixel-cache-gb", "0.5", "--validate-every", "2", "--no-features-in-memory"]
    done = proxyhash_command("train", "photos", "--out", tmp_path / "run", *options)
    assert (done.code, "far enough" in done.err) == (2, True)
    config = read_config(taken)
    keys = {*TuneOptions.model_fields, *ViewOptions.model_fields}
    assert config.model_dump(include=keys) == {
        "views": 3,
        "tune": ("image", "text"),
        "tune_layers": "last:2",
        "encoder_rate": 3e-4,
        "encoder_rates": {"text": 2e-5},
        "layer_decay": 0.8,
        "head_epochs": 1,
        "final_epochs": 9,
        "tune_batch_norm": True,
        "image_size": 160,
        "augment": ("flip", "rand"),
        "crop_min": 0.5,
        "workers": 2,
        "micro_batch": 8,
        "checkpointing": True,
        "pixel_cache_gb": 0.5,
    }
    assert (config.validate_every, config.features_in_memory) == (2, False)


def test_train_prints_a_table_and_what_to_do_next(proxyhash_command, scenes, tmp_path):
    done = proxyhash_command("train", scenes.root, "--out", tmp_path / "run", *SMALL)
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert f"{metrics['map']['image_to_text']:.4f}" in done.out
    assert f"{metrics['strict']['map']['text_to_text']:.4f}" in done.out
    assert "dchml, 16 bits, epoch" in done.out
    assert "epoch 2/2, loss" in done.err
    assert "validation mAP" in done.err
    for command in ("evaluate", "search", "encode"):
        assert f"  proxyhash {command} {tmp_path / 'run'}" in done.err


def test_json_is_metrics_json(proxyhash_command, scenes, tmp_path):
    done = proxyhash_command("train", scenes.root, "--out", tmp_path / "run", "--json", *SMALL)
    assert done.json == json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_options_reach_the_configuration(proxyhash_command, scenes, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('method = "psldh"\nlearning_rate = 0.01\nbatch_size = 64\n')
    options = [
        *("--config", file, "--batch-size", 32, "--hidden", "16,8", "--no-standardize"),
        *("--set", "proxies=codebook", "--set", "gamma=0.5", "--text-network", "hidden=24"),
        *("--lr-schedule", "constant", "--batch-norm", "--threads", 1),
    ]
    small = [option for option in SMALL if "hidden" not in option]
    done = proxyhash_command("train", scenes.root, "--out", tmp_path / "run", *options, *small)
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    expected = {
        "method": "psldh",
        "learning_rate": 0.01,
        "batch_size": 32,
        "hidden": [16, 8],
        "standardize": False,
        "networks": {"text": {"hidden": [24]}},
        "batch_norm": True,
    }
    assert {key: config[key] for key in expected} == expected
    assert (config["settings"]["proxies"], config["settings"]["gamma"]) == ("codebook", 0.5)
    longer = proxyhash_command("train", "--resume", "--out", tmp_path / "run", "--epochs", 3)
    assert longer.code == 0, longer.err
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "the collection to train on is missing; for example: proxyhash train photos/"),
        (("DATA",), "--out, the run folder, is missing"),
        (("DATA", "--out", "OUT", "--learning-rate", "0"), "setting learning_rate is 0.0"),
        (("DATA", "--out", "OUT", "--optimizer", "lion"), "setting optimizer is 'lion'"),
        (("DATA", "--out", "OUT", "--set", "gama=1"), "did you mean 'gamma'"),
        (("DATA", "--out", "OUT", "--set", "gamma"), "--set 'gamma' is not KEY=VALUE"),
        (("DATA", "--out", "OUT", "--text-network", "hiden=1"), "did you mean 'hidden'"),
        (("DATA", "--out", "OUT", "--method", "psld"), "did you mean 'psldh'"),
        (("DATA", "--out", "OUT", "--preset", "ref"), "preset is 'ref'; it must be one of"),
        (("--resume",), "--resume needs --out"),
        (("--resume", "--out", "OUT"), "holds no run to resume"),
        (("--resume", "--overwrite", "--out", "OUT"), "--overwrite removes it; give one"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(
    proxyhash_command, scenes, tmp_path, arguments, sentence
):
    places = {"DATA": scenes.root, "OUT": tmp_path / "run"}
    done = proxyhash_command("train", *(places.get(each, each) for each in arguments))
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_in_a_config_file_suggests_the_nearest(proxyhash_command, tmp_path, scenes):
    file = tmp_path / "run.json"
    file.write_text('{"learning_rat": 0.1}')
    done = proxyhash_command("train", scenes.root, "--out", tmp_path / "run", "--config", file)
    assert done.code == 2
    assert "unknown setting 'learning_rat'; did you mean 'learning_rate'?" in done.err


def test_a_taken_folder_and_a_differing_resume_are_refused(proxyhash_command, scenes, small_run):
    taken = proxyhash_command("train", scenes.root, "--out", small_run)
    assert taken.code == 2
    assert "--overwrite" in taken.err
    differing = proxyhash_command("train", "--resume", "--out", small_run, "--dropout", 0.75)
    assert differing.code == 2
    assert "dropout (0.75 instead of" in differing.err


def test_on_a_terminal_the_bars_have_the_figures(monkeypatch):
    descriptions = []

    def track(steps, description, total=None):
        descriptions.append(description)
        return iter(steps)

    monkeypatch.setattr(console, "track", track)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    config = read_config({"data": "items.jsonl", "out": "run"})
    progress = Progress(config)
    assert list(progress.track([1, 2], "train dchml")) == [1, 2]
    assert descriptions == ["train dchml"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    plain = Progress(config)
    assert list(plain.track([1, 2], "train dchml")) == [1, 2]
    assert list(plain.track([3], "epoch 1")) == [3]
    assert descriptions == ["train dchml", "epoch 1"]


def test_help_has_examples_and_no_torch(proxyhash_process):
    done = proxyhash_process("train", "--help")
    assert done.code == 0
    assert "proxyhash train photos/ --out runs/first" in done.out
    assert "--learning-rate" in done.out


def test_values_of_one_modality_and_former_options(proxyhash_command, scenes, tmp_path):
    options = ["--encoder", "image=patches", "--network-rate", "text=0.01"]
    options += ["--network", "text.hidden=24", "--network", "image.dropout=0.25"]
    options += ["--network-kind", "posterior"]
    small = [*SMALL[:2], "--hidden=8", "--epochs=1", *SMALL[4:]]
    now, former = tmp_path / "now", tmp_path / "former"
    done = proxyhash_command("train", scenes.root, "--out", now, *options, *small)
    assert done.code == 0, done.err
    config = json.loads((now / "config.json").read_text())
    assert config["encoders"] == {"image": "patches", "text": "bow"}
    assert config["networks"] == {"image": {"dropout": 0.25}, "text": {"hidden": [24]}}
    assert config["learning_rates"] == {"text": 0.01}
    options = ["--image-encoder", "patches", "--text-learning-rate", 0.01, "--posterior"]
    options += ["--text-network", "hidden=24", "--network", "image.dropout=0.25"]
    done = proxyhash_command("train", scenes.root, "--out", former, *options, *small)
    assert done.code == 0, done.err
    assert json.loads((former / "config.json").read_text()) == config | {"out": str(former)}
    assert (former / "codes.npz").read_bytes() == (now / "codes.npz").read_bytes()
    wrong = proxyhash_command("train", scenes.root, "--out", now, "--network", "hidden=24")
    assert "--network 'hidden' names no modality; it is MODALITY.KEY=VALUE" in wrong.err


@pytest.mark.slow
def test_a_tuned_run_says_what_learns_and_writes_it_down(proxyhash_command, scenes, tmp_path):
    model = tiny_models.save_mobilenet(tmp_path / "tiny")
    options = ("--image-encoder", model, "--tune", "image", "--head-epochs", 1, "--image-size", 32)
    done = proxyhash_command("train", scenes.root, "--out", tmp_path / "run", *options, *SMALL)
    assert done.code == 0, done.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["training"]
    count = f"{metrics['tuned']['image']['parameters']:,}"
    assert f"the image encoder learns: all layers, {count} parameters at rate 0.0001" in done.err
    assert "the networks learn alone in the first one" in done.err
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"`tiny`, tuned: all layers, {count} parameters" in card
    assert f" on {metrics['items']:,} items; device cpu" in card
