from __future__ import annotations

import json

import pytest

from proxyhash.errors import UsageError
from proxyhash.methods import get_method, method_settings
from proxyhash.training.config import TrainConfig, read_config
from proxyhash.training.sources import (
    FREE_KEYS,
    gather_values,
    parse_assignments,
    read_config_file,
    resume_config,
    with_settings,
)

LEAST = {"data": "photos", "out": "runs/a"}


def test_unknown_key_suggests_the_nearest():
    with pytest.raises(UsageError) as caught:
        read_config(LEAST | {"learning_rat": 0.1})
    assert str(caught.value) == "unknown setting 'learning_rat'; did you mean 'learning_rate'?"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"bits": 0}, "setting bits is 0: input should be greater than or equal to 1"),
        ({"optimizer": "lion"}, "setting optimizer is 'lion': input should be 'adam', 'adamw'"),
        ({"warmup": 5, "epochs": 5}, "warmup is 5 epochs of 5; it must be shorter than the run"),
        ({"train": 100, "validation": 99}, "it must leave at least 2 to learn from"),
        ({"split_file": "s.json", "query": 5}, "split_file fixes the whole split"),
        ({"protocol": "dcmh-flickr"}, "'dcmh-flickr'; it must be one of dchmt-coco"),
        ({"protocol": "dchmt-coco", "query": 5}, "protocol dchmt-coco fixes queries and"),
        ({"protocol": "dchmt-coco", "split_file": "s.json"}, "query, train and split_file"),
        ({"hidden": [0]}, "setting hidden is 0: input should be greater than or equal to 1"),
        ({"text_network": {"hiden": [3]}}, "'hiden' of the text network; did you mean 'hidden'?"),
        ({"text_network": {"dropout": 2}}, "setting dropout of the text network is 2"),
    ],
)
def test_values_are_checked_with_sentences(values, sentence):
    with pytest.raises(UsageError) as caught:
        read_config(LEAST | values)
    assert sentence in str(caught.value)


def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "bow").mkdir()  # a folder of that name does not hide the built-in encoder
    config = read_config(LEAST | {"image_encoder": "encoder", "split_file": "split.json"})
    assert config.data == str(tmp_path / "photos")
    assert config.out == str(tmp_path / "runs" / "a")
    assert config.split_file == str(tmp_path / "split.json")
    assert config.encoders == {"image": str(tmp_path / "encoder"), "text": "bow"}
    (tmp_path / "x.npz").touch()
    features = read_config(LEAST | {"image_encoder": "features:x.npz#image"})
    assert features.encoders["image"] == f"features:{tmp_path / 'x.npz'}#image"
    beside = read_config(LEAST | {"image_encoder": "features:beside-the-manifest.npy"})
    assert beside.encoders["image"] == "features:beside-the-manifest.npy"
    hub = read_config(LEAST | {"text_encoder": "sentence-transformers/all-MiniLM-L6-v2"})
    assert hub.encoders["text"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_the_json_form_reads_back_equal():
    config = read_config(LEAST | {"hidden": [64, 32], "settings": {"gamma": 0.2}})
    assert read_config(json.loads(json.dumps(config.to_dict()))) == config
    assert set(config.to_dict()) == set(TrainConfig.model_fields)


def test_a_method_names_defaults_of_its_own_and_the_user_still_wins(monkeypatch):
    monkeypatch.setattr(get_method("psldh"), "defaults", {"dropout": 0.25, "epochs": 7})
    config = read_config(LEAST | {"method": "psldh", "epochs": 3})
    assert (config.dropout, config.epochs) == (0.25, 3)
    assert read_config(config.to_dict()) == config
    assert read_config(LEAST | {"method": "dcmh"}).dropout == 0.5


@pytest.mark.parametrize(
    ("method", "sentence"),
    [("psldg", "did you mean 'psldh'"), (5, "setting method is 5: input should be a valid string")],
)
def test_the_method_must_be_one_there_is(method, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_config(LEAST | {"method": method})


def test_text_network_differs_only_where_told():
    config = read_config(LEAST | {"dropout": 0.25, "text_network": {"hidden": [8192]}})
    image, text = config.network_options("image"), config.network_options("text")
    assert text == image | {"hidden": (8192,)}
    assert image["dropout"] == 0.25


def test_config_files(tmp_path):
    toml = tmp_path / "run.toml"
    toml.write_text("bits = 16\n[settings]\ngamma = 0.2\n")
    assert read_config_file(toml) == {"bits": 16, "settings": {"gamma": 0.2}}
    as_json = tmp_path / "run.json"
    as_json.write_text('{"bits": 16}')
    assert read_config_file(as_json) == {"bits": 16}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("run.yaml", "bits: 16", "expected a name ending in .toml or .json"),
        ("run.toml", "bits =", "is not valid"),
        ("run.json", "[1]", "must hold a table of keys"),
        ("run.json", "\xff", "is not valid"),
        ("missing.json", None, "cannot be read: No such file or directory"),
    ],
)
def test_bad_config_files(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=sentence):
        read_config_file(tmp_path / name)


def stored(**values):
    return read_config(LEAST | values).to_dict()


def test_resume_takes_the_stored_keys_and_lets_free_ones_change():
    before = stored(bits=16, settings={"gamma": 0.2, "eta": 0.1})
    after = resume_config(before, {"threads": 1, "out": "elsewhere", "settings": {"gamma": 0.2}})
    assert after.bits == 16
    assert after.threads == 1
    assert after.settings == method_settings("dchml", {"gamma": 0.2, "eta": 0.1}).model_dump()
    assert set(TrainConfig.model_fields) >= FREE_KEYS


def test_resume_names_every_differing_key():
    with pytest.raises(UsageError) as caught:
        resume_config(stored(bits=16), {"bits": 32, "dropout": 0.25})
    assert "dropout (0.25 instead of 0.5)" in str(caught.value)
    assert "bits (32 instead of 16)" in str(caught.value)


def test_epochs_may_be_raised_only_under_a_constant_schedule():
    constant = stored(epochs=2, lr_schedule="constant")
    assert resume_config(constant, {"epochs": 4}).epochs == 4
    with pytest.raises(UsageError, match="epochs may be raised only where lr_schedule is constant"):
        resume_config(constant, {"epochs": 1})
    with pytest.raises(UsageError, match="epochs"):
        resume_config(stored(epochs=2, lr_schedule="cosine"), {"epochs": 4})


def test_options_win_over_the_file_and_the_file_over_the_preset(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('batch_size = 64\nepochs = 7\n[settings]\nproxies = "codebook"\neta = 0.5\n')
    values = gather_values({"epochs": 9, "settings": {"eta": 0.25}}, file=file, preset="reference")
    assert (values["batch_size"], values["epochs"], values["optimizer"]) == (64, 9, "sgd")
    assert values["settings"]["schedule"] == "alternating"  # the preset's
    assert values["settings"]["proxies"] == "codebook"  # the file's
    assert values["settings"]["eta"] == 0.25  # the option's


def test_presets_that_are_not_there():
    with pytest.raises(UsageError, match=r"preset is 'referense'.*did you mean 'reference'"):
        gather_values({"method": "dchml"}, preset="referense")
    with pytest.raises(UsageError, match="method csq has no presets"):
        gather_values({"method": "csq"}, preset="reference")


def test_the_reference_presets_rates_are_those_of_the_code_length():
    def rates(preset, **given):
        values = gather_values(given, preset=preset)
        return values["learning_rate"], values["learning_rates"]["text"], values["encoder_rate"]

    assert rates("reference") == (0.001, 0.005, 0.001)
    assert rates("reference", bits=16) == (0.0015, 0.008, 0.0015)
    assert rates("reference", bits=40) == (0.0012, 0.008, 0.0012)
    assert rates("reference", bits=128) == (0.001, 0.005, 0.001)
    assert rates("reference", bits=8) == (0.0015, 0.008, 0.0015)
    assert rates("reference-coco", bits=32) == (0.0006, 0.0017, 0.0006)
    assert rates("reference", learning_rate=0.5)[0] == 0.5


def test_a_preset_leaves_out_its_keys_of_encoders_that_learn_where_none_does():
    tuned = gather_values({"data": "d", "out": "o"}, preset="reference")
    assert (tuned["tune"], tuned["augment"]) == (["image"], [])
    frozen = gather_values({"data": "d", "out": "o", "tune": "none"}, preset="reference")
    assert read_config(frozen).tune == ()
    with pytest.raises(UsageError, match="crop_min: for encoders that learn"):  # the user's own
        read_config(
            gather_values(
                {"data": "d", "out": "o", "tune": "none", "crop_min": 0.5}, preset="reference"
            )
        )


@pytest.mark.parametrize("method", ["dchml", "psldh", "daph"])
def test_reference_presets_are_plain_sgd_from_pixels(method):
    config = read_config(
        gather_values({"data": "d", "out": "o", "method": method}, preset="reference")
    )
    assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0.0, 1e-5)
    assert (config.tune, config.augment, config.head_epochs, config.ema) == (("image",), (), 0, 0.0)
    image = config.network_options("image")
    assert (image["hidden"], image["dropout"], image["output_batch_norm"]) == (
        (4096, 4096),
        0.5,
        False,
    )


def test_assignments_are_json_where_they_can_be():
    texts = ["gamma=0.3", "proxies=codebook", "flag=true", "hidden=[8192]", "name=a=b"]
    assert parse_assignments(texts, option="--set") == {
        "gamma": 0.3,
        "proxies": "codebook",
        "flag": True,
        "hidden": [8192],
        "name": "a=b",
    }
    with pytest.raises(UsageError, match="--set 'gamma' is not KEY=VALUE"):
        parse_assignments(["gamma"], option="--set")


@pytest.mark.parametrize(
    ("value", "widths"),
    [("4096,1024", (4096, 1024)), ("linear", ()), (512, (512,)), ([3, 4], (3, 4))],
)
def test_hidden_widths_in_every_notation(value, widths):
    assert read_config(LEAST | {"hidden": value}).hidden == widths


def test_text_network_is_kept_in_one_notation():
    one = read_config(LEAST | {"text_network": {"hidden": 8192}})
    assert one == read_config(LEAST | {"text_network": {"hidden": [8192]}})
    assert resume_config(one.to_dict(), {"text_network": {"hidden": "8192"}}) == with_settings(one)


def test_keys_of_version_0_1_are_understood():
    former = {
        "image_encoder": "patches",
        "text_encoder": "bow",
        "text_network": {"hidden": [24]},
        "text_learning_rate": 0.01,
        "posterior": True,
    }
    config = read_config(LEAST | former)
    assert config.encoders == {"image": "patches", "text": "bow"}
    assert config.networks == {"text": {"hidden": (24,)}}
    assert config.learning_rates == {"text": 0.01}
    assert config.network_kind == "posterior"
    assert read_config(LEAST | {"posterior": False}).network_kind == "hashing"
    assert read_config(LEAST | {"text_learning_rate": None}).learning_rates == {}
    both = read_config(LEAST | former | {"encoders": {"text": "features:t.npy"}})
    assert both.encoders == {"image": "patches", "text": "features:t.npy"}


def test_values_of_one_modality_replace_the_default_of_that_modality_alone(monkeypatch):
    defaults = {"networks": {"text": {"dropout": 0.1}, "image": {"dropout": 0.2}}}
    monkeypatch.setattr(get_method("psldh"), "defaults", defaults)
    config = read_config(LEAST | {"method": "psldh", "networks": {"text": {"hidden": [8]}}})
    assert config.networks == {"image": {"dropout": 0.2}, "text": {"hidden": (8,)}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"encoders": {"text": "none", "image": "none"}}, "encoders name no modality to learn"),
        ({"encoders": {"imag": "x"}}, "modality in encoders is 'imag'; it must be one of image"),
        ({"learning_rates": {"text": -1}}, "setting learning_rates is -1: input should be greater"),
        ({"encoders": "bow", "text_encoder": "bow"}, "setting encoders is 'bow': input should be"),
    ],
)
def test_values_by_modality_are_checked(values, sentence):
    with pytest.raises(UsageError) as caught:
        read_config(LEAST | values)
    assert sentence in str(caught.value)


def test_former_keys_are_read_as_before():
    known = {"data": "d", "out": "o"}
    assert read_config({**known, "posterior": 1}).network_kind == "posterior"
    assert read_config({**known, "posterior": "false"}).network_kind == "hashing"
    both = {"text_network": {"hidden": [8], "dropout": 0.1}, "networks": {"text": {"hidden": [4]}}}
    assert read_config({**known, **both}).networks == {"text": {"hidden": (4,), "dropout": 0.1}}


def test_encoders_that_learn_bring_defaults_of_their_own_and_the_user_still_wins():
    plain = read_config(LEAST)
    assert (plain.tune, plain.optimizer, plain.ema, plain.batch_size) == ((), "adam", 0.0, 128)
    for tune in ("image", ["image"], "image,text", " image , text"):
        config = read_config(LEAST | {"method": "dchml-plus", "tune": tune})
        values = (config.optimizer, config.weight_decay, config.ema, config.batch_size)
        assert values == ("adamw", 0.01, 0.998, 64)
        assert config.network_kind == "posterior"  # the method's defaults hold beside them
        assert read_config(config.to_dict()) == config
    given = read_config(LEAST | {"tune": "image", "ema": 0.9, "batch_size": 8, "head_epochs": 7})
    assert (given.optimizer, given.ema, given.batch_size, given.head_epochs) == (
        *("adamw", 0.9, 8, 7),
    )
    for none in ("none", [], "", None):
        values = {} if none is None else {"tune": none}
        assert read_config(LEAST | values) == plain


@pytest.mark.parametrize(("epochs", "heads"), [(2, 0), (4, 1), (11, 2), (12, 3), (200, 3)])
def test_the_networks_learn_alone_for_a_quarter_of_the_epochs_at_most(epochs, heads):
    assert read_config(LEAST | {"tune": "image", "epochs": epochs}).head_epochs == heads


def test_the_rate_of_one_encoder_has_a_short_form():
    config = read_config(LEAST | {"tune": "image,text", "text_encoder_rate": 2e-5})
    assert config.encoder_rates == {"text": 2e-5}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"tune": "audio"}, "tune names 'audio', which the run does not learn; it learns image"),
        ({"tune": "image,image"}, "name each modality once"),
        ({"tune": "text", "text_encoder": "none"}, "tune names 'text', which the run does not"),
        (
            {"tune": "image", "tune_layers": "first:2"},
            "layers to tune are 'first:2'; use all",
        ),
        (
            {"tune": "image", "tune_layers": "last:0"},
            "layers to tune are 'last:0'; use all",
        ),
        (
            {"tune": "image", "augment": "crop,blur"},
            "augment is 'blur'; it must be one of",
        ),
        ({"tune": "image", "epochs": 3, "head_epochs": 3}, "head_epochs is 3 of 3 epochs"),
        ({"tune": "image", "encoder_rate": 0}, "setting encoder_rate is 0"),
        ({"micro_batch": 8, "layer_decay": 0.9}, "layer_decay, micro_batch: for encoders that"),
        ({"precision": "float16"}, "precision float16 is for encoders that learn, and none does"),
        ({"tune": "image", "method": "cca-itq", "hidden": []}, "method cca-itq is computed from"),
        ({"validate_every": 0}, "setting validate_every is 0"),
    ],
)
def test_keys_of_encoders_that_learn_are_checked(values, sentence):
    with pytest.raises(UsageError) as caught:
        read_config(LEAST | values)
    assert sentence in str(caught.value)


def test_a_resumed_run_may_take_less_memory():
    before = stored(tune="image")
    assert resume_config(before, {"micro_batch": 8, "workers": 1}).micro_batch == 8
    with pytest.raises(UsageError, match="encoder_rate"):
        resume_config(before, {"encoder_rate": 1e-5})
