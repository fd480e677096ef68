"""Encoders that learn in the loop, against steps written out by hand, and in whole runs."""

from __future__ import annotations

import copy
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from proxyhash.codes import CodeFile
from proxyhash.encoders import FeatureCache, make_encoder
from proxyhash.errors import UsageError
from proxyhash.hashing import HashModel
from proxyhash.methods import Batch, Memory, Rows
from proxyhash.training import train
from proxyhash.training.build import build_state
from proxyhash.training.folder import RunFolder
from proxyhash.training.inputs import SourceInputs
from proxyhash.training.loop import run_epochs
from proxyhash.training.state import read_checkpoint
from proxyhash.training.tuned import TunedEncoder, TunedFeatures
from tests.training.runs import config_of
from tests.training.toy import INPUTS

WORDS = ("a red dog", "snow", "a man runs on grass", "two dogs", "blue sea and sand")


@pytest.fixture
def tuned_config(scenes, tiny_image, tiny_text, tmp_path):
    """A function that returns the configuration of a small run, both encoders learning."""

    def make(name: str = "run", **values: object):
        tiny = {"image_encoder": str(tiny_image), "text_encoder": str(tiny_text)}
        small = {"train": 40, "validation": 10, "query": 20, "epochs": 3, "batch_size": 16}
        few = {
            "method": "dcmh",
            "final_epochs": 0,
            "tune": "image,text",
            "head_epochs": 1,
            "lr_schedule": "constant",
        }
        ours = {"augment": "none", "validate_every": 1, "ema": 0.9}
        return config_of(scenes.root, tmp_path / name, **{**tiny, **small, **few, **ours, **values})

    return make


def text_setting(folder, model, **values):
    """Items that are texts alone, whose encoder learns, and the state before epoch 1."""
    sources = [WORDS[row % len(WORDS)] for row in range(12)]
    labels = torch.eye(len(WORDS))[[row % len(WORDS) for row in range(12)]]
    plain = {"method": "dcmh", "text_encoder": str(model), "image_encoder": "none", "tune": "text"}
    regime = {"optimizer": "sgd", "momentum": 0.0, "ema": 0.0, "weight_decay": 0.0}
    more = {"epochs": 1, "batch_size": 12, "dropout": 0.0, "encoder_rate": 0.05, "bits": 16}
    config = config_of("data", folder, **{**plain, **regime, **more, **values})
    encoder = make_encoder(str(model), modality="text")
    tuned = TunedEncoder(encoder, config)
    present = torch.ones(12, dtype=torch.bool)
    features = TunedFeatures(
        tuned,
        inputs := SourceInputs(encoder, sources),
        sources=inputs,
        values=torch.from_numpy(encoder.encode(sources)),
        present=present,
    )
    rows = Rows({"text": features}, {"text": present}, labels)
    state = build_state(config, rows, inputs=INPUTS, encoders={"text": tuned})
    return SimpleNamespace(
        sources=sources, config=config, tuned=tuned, rows=rows, state=state, folder=folder
    )


def learn(setting):
    empty = Rows(
        {"text": torch.zeros(0, setting.rows.features["text"].shape[1])},
        {"text": torch.zeros(0, dtype=torch.bool)},
        torch.zeros(0, len(WORDS)),
    )
    folder = RunFolder(setting.folder)
    folder.path.mkdir(exist_ok=True)
    run_epochs(
        setting.state, setting.rows, empty, config=setting.config, folder=folder,
        report=lambda _: None, stop=lambda: False,
    )  # fmt: skip


def no_dropout(model):
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0


def test_a_step_is_the_gradient_step_of_encoder_and_network_together(tmp_path, tiny_text):
    setting = text_setting(tmp_path, tiny_text)
    no_dropout(setting.tuned.encoder.module)
    network = copy.deepcopy(setting.state.networks["text"]).train()
    encoder = make_encoder(str(tiny_text), modality="text")
    parameters = encoder.tune()
    encoder.learning_mode()
    no_dropout(encoder.module)
    outputs = network(encoder.features(encoder.tensors(setting.sources)))
    batch = Batch(
        index=torch.arange(12), labels=setting.rows.labels, outputs={"text": outputs},
        present=setting.rows.present, memory=Memory({"text": outputs.detach()}, {}),
    )  # fmt: skip
    torch.stack(list(setting.state.objective.loss(batch).values())).sum().backward()
    learn(setting)
    factor = 0.5  # of a cosine in the middle of the only step
    found = dict(setting.tuned.encoder.module.named_parameters())
    moved = 0.0
    for name, before in encoder.module.named_parameters():
        if before.grad is None:
            assert torch.equal(found[name], before), name
            continue
        expected = before.detach() - factor * 0.05 * before.grad
        torch.testing.assert_close(found[name].detach(), expected, rtol=1e-4, atol=1e-6)
        moved = max(moved, float((expected - before).abs().max().detach()))
    assert moved > 1e-3
    assert len(parameters) == sum(p.grad is not None for p in encoder.module.parameters())


@pytest.mark.parametrize("size", [1, 5, 6])
def test_parts_have_the_gradients_of_the_whole_batch(tmp_path, tiny_image, scenes, size):
    sources = [path for path in scenes.sources("image")[:12] if path]
    gradients = []
    for micro in (None, size):
        config = config_of(
            "data", tmp_path, image_encoder=str(tiny_image), tune="image", micro_batch=micro
        )
        encoder = make_encoder(str(tiny_image), modality="image")
        tuned = TunedEncoder(encoder, config)
        tuned.begin_epoch(9)
        calls: list[int] = []

        def count(_module, _args, kwargs, calls=calls):
            calls.append(len(kwargs["pixel_values"]))

        handle = encoder.module.register_forward_pre_hook(count, with_kwargs=True)
        features = tuned(encoder.tensors([encoder.prepare(each) for each in sources]))
        # Every item's loss depends on all others, so that adding up losses of parts would differ.
        features.mean(dim=0).square().sum().backward()
        handle.remove()
        assert max(calls) == (micro or 12)
        assert len(calls) == (1 if micro is None else 2 * -(-12 // micro))
        gradients.append([p.grad for p in encoder.module.parameters() if p.grad is not None])
    for whole, parts in zip(*gradients, strict=True):
        scale = float(whole.abs().max())
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5 * max(scale, 1.0))


def test_the_networks_learn_alone_at_first(tmp_path, tiny_text):
    setting = text_setting(tmp_path, tiny_text, epochs=2, head_epochs=1)
    before = {name: w.clone() for name, w in setting.tuned.weights.items()}
    network = setting.state.networks["text"]
    first = network.layers[0].weight.detach().clone()
    setting.config.__dict__["epochs"] = 1
    learn(setting)
    assert not torch.equal(network.layers[0].weight, first)
    assert all(torch.equal(w, before[name]) for name, w in setting.tuned.weights.items())
    assert setting.tuned.steps == 0


def test_evaluation_features_follow_the_weights(tmp_path, tiny_text):
    setting = text_setting(tmp_path, tiny_text)
    features, encoder = setting.rows.features["text"], setting.tuned.encoder
    before = features[:].clone()
    learn(setting)
    found = features[torch.tensor([3, 1])]
    assert not found.requires_grad
    assert encoder.module.training  # reading between steps does not end learning
    encoder.evaluation_mode()
    np.testing.assert_array_equal(found, encoder.encode(setting.sources)[[3, 1]])
    assert not torch.equal(found, before[[3, 1]])


def test_rates_fall_from_layer_to_layer_and_norms_do_not_decay(tmp_path, tiny_text):
    config = config_of(
        "data", tmp_path, text_encoder=str(tiny_text), tune="text", encoder_rates={"text": 1e-3},
        layer_decay=0.5, weight_decay=0.1,
    )  # fmt: skip
    encoder = make_encoder(str(tiny_text), modality="text")
    tuned = TunedEncoder(encoder, config)
    rates = {
        id(p): (group["base_rate"], group["weight_decay"])
        for group in tuned.groups()
        for p in group["params"]
    }
    parameters = dict(encoder.module.named_parameters())
    top, low = (
        parameters[f"encoder.layer.{layer}.attention.self.query.weight"] for layer in (1, 0)
    )
    assert rates[id(top)] == (1e-3, 0.1)
    assert rates[id(low)] == (5e-4, 0.1)
    assert rates[id(parameters["embeddings.word_embeddings.weight"])] == (2.5e-4, 0.1)
    for name, parameter in parameters.items():
        if name.endswith("bias") or "LayerNorm" in name:
            assert rates.get(id(parameter), (0, 0.0))[1] == 0.0
    networks = text_setting(tmp_path, tiny_text, weight_decay=0.1, optimizer="adamw").state
    decays = {
        p.ndim > 1: group["weight_decay"]
        for group in networks.optimizer.param_groups
        for p in group["params"]
    }
    assert decays == {True: 0.1, False: 0.0}


def test_averages_are_swapped_in_and_out(tmp_path, tiny_text):
    setting = text_setting(tmp_path, tiny_text, ema=0.5, epochs=3)
    history = []
    end_step = setting.tuned.end_step

    def spy():
        history.append({name: w.clone() for name, w in setting.tuned.weights.items()})
        end_step()

    start = {name: w.clone() for name, w in setting.tuned.weights.items()}
    setting.tuned.end_step = spy
    learn(setting)
    expected = start
    for number, weights in enumerate(history, start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = {n: decay * w + (1 - decay) * weights[n] for n, w in expected.items()}
    live = {name: w.clone() for name, w in setting.tuned.weights.items()}
    version = setting.tuned.version
    with setting.state.final_encoders():
        for name, weight in setting.tuned.weights.items():
            torch.testing.assert_close(weight, expected[name])
        averaged = setting.rows.features["text"][:].clone()
    assert all(torch.equal(w, live[name]) for name, w in setting.tuned.weights.items())
    assert setting.tuned.version == version
    assert not torch.equal(setting.rows.features["text"][:], averaged)


def test_an_encoder_without_weights_cannot_learn(tmp_path, scenes):
    config = config_of(scenes.root, tmp_path / "run", tune="text")
    with pytest.raises(UsageError) as caught:
        train(config)
    assert "the text encoder 'bow' has no weights that learn; give the folder" in str(caught.value)
    assert "leave text out of --tune (--tune none where a preset names it)" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_finished_model_holds_the_encoders_that_learned(
    tuned_config, scenes, tmp_path, tiny_image, proxyhash_command
):
    config, cache = (
        tuned_config(method="dchml-plus", settings={"refit": 20}, micro_batch=8, validation=0),
        FeatureCache(tmp_path / "c"),
    )
    result = train(config, cache=cache)
    model = HashModel.load(result.folder / "model")
    original = make_encoder(str(tiny_image), modality="image")
    encoder = model.encoder("image")
    assert encoder.fingerprint != original.fingerprint
    saved = CodeFile.load(result.folder / "codes.npz")
    assert saved.model == model.fingerprint
    for again in (
        model.encode_collection(scenes, cache=cache),
        model.encode_collection(scenes, cache=None),
    ):
        for modality in ("image", "text"):
            np.testing.assert_array_equal(again.codes[modality], saved.codes[modality])
    out = tmp_path / "cli.npz"
    done = proxyhash_command("encode", result.folder, scenes.root, "--out", out)
    assert done.code == 0, done.err
    np.testing.assert_array_equal(CodeFile.load(out).codes["image"], saved.codes["image"])
    kept = cache.open(encoder.fingerprint, dim=encoder.dim)
    assert len(kept) >= 0.9 * len(scenes)  # equal images are kept once
    training = json.loads((result.folder / "metrics.json").read_text())["training"]
    assert training["tuned"]["image"]["augment"] == []
    assert training["processes"] == 1


def test_an_index_of_another_model_is_refused(tuned_config, scenes, tmp_path, proxyhash_command):
    folder = train(tuned_config(epochs=2, tune="image", validation=0)).folder
    other = train(tuned_config("other", epochs=2, tune="image", validation=0, seed=1)).folder
    built = proxyhash_command("index", "build", folder, scenes.root, "--out", tmp_path / "index")
    assert built.code == 0, built.err
    told = proxyhash_command(
        *("index", "add", tmp_path / "index", scenes.root, "--model", other / "model")
    )
    assert told.code != 0
    assert "model" in told.err


def test_layers_that_do_not_learn_stay_as_they_came(tuned_config, tiny_text):
    result = train(tuned_config(tune="text", tune_layers="last:1", epochs=2, validation=0))
    encoder = HashModel.load(result.folder / "model").encoder("text")
    original = make_encoder(str(tiny_text), modality="text")
    before = dict(original.module.named_parameters())
    changed = {n for n, w in encoder.module.named_parameters() if not torch.equal(w, before[n])}
    assert changed
    assert all(name.startswith(("encoder.layer.1.", "pooler.")) for name in changed)
    tensors, _ = read_checkpoint(RunFolder(result.folder).last)
    assert not any("layer.0." in name for name in tensors if name.startswith("encoder.text"))


def test_moving_statistics_stay_unless_asked_for(tuned_config, caplog):
    def statistics(folder):
        module = HashModel.load(folder / "model").encoder("image").module
        return [value for name, value in module.named_buffers() if "running_mean" in name]

    kept = statistics(train(tuned_config(tune="image", epochs=2, validation=0)).folder)
    assert "tune_batch_norm" not in caplog.text
    with caplog.at_level(logging.WARNING):
        moved = statistics(
            train(
                tuned_config("moved", tune="image", epochs=2, validation=0, tune_batch_norm=True)
            ).folder
        )
    assert "of the image encoder follow the statistics of single batches" in caplog.text
    assert any(not torch.equal(a, b) for a, b in zip(kept, moved, strict=True))
    with pytest.raises(UsageError, match="micro_batch cannot be used with tune_batch_norm"):
        train(tuned_config("refused", tune="image", tune_batch_norm=True, micro_batch=4))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_computes_features_alone(tmp_path, tiny_text, precision):
    full = text_setting(tmp_path / "a", tiny_text)
    low = text_setting(tmp_path / "b", tiny_text, precision=precision)
    for setting in (full, low):
        no_dropout(setting.tuned.encoder.module)
        learn(setting)
    assert (low.state.scaler is not None) == (precision == "float16")
    different = False
    for name, weight in low.tuned.weights.items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, full.tuned.weights[name], rtol=0.1, atol=2e-2)
        different |= not torch.equal(weight, full.tuned.weights[name])
    assert different
    features = low.rows.features["text"][:]
    low.tuned.encoder.evaluation_mode()
    np.testing.assert_array_equal(features, low.tuned.encoder.encode(low.sources))


@pytest.mark.parametrize(("patience", "last"), [(1, 4), (2, 4), (3, 6), (5, 8)])
def test_patience_is_judged_at_validations(tuned_config, monkeypatch, patience, last):
    scores = iter([0.5, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(
        "proxyhash.training.loop.validation_scores", lambda *_, **_by: {"mean": next(scores)}
    )
    values = {"tune": "text", "epochs": 9, "patience": patience, "validate_every": 2}
    result = train(tuned_config(**values))
    assert (result.epochs, result.best_epoch) == (last, 2)


def test_encoders_that_learn_are_validated_every_fifth_epoch_and_at_the_end(tuned_config):
    records = []
    train(tuned_config(tune="text", epochs=7, validate_every=None), report=records.append)
    assert [bool(record.validation) for record in records] == [False] * 4 + [True, False, True]


def test_a_shared_collection_is_not_changed_by_a_run(tuned_config, tiny_text):
    from proxyhash.training.prepare import prepare

    config = tuned_config(tune="text", epochs=2)
    prepared = prepare(config)
    first = train(config, prepared=prepared)
    again = train(tuned_config("again", tune="text", epochs=2), prepared=prepared)
    assert (
        prepared.encoders["text"].fingerprint
        == make_encoder(str(tiny_text), modality="text").fingerprint
    )
    assert (first.folder / "codes.npz").read_bytes() == (again.folder / "codes.npz").read_bytes()
