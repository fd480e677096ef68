from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from proxyhash.errors import DivergedError, InterruptedRunError, ModelError
from proxyhash.methods import alternating, joint
from proxyhash.methods.dcmh import Dcmh
from proxyhash.training import loop
from proxyhash.training.batches import make_steps
from proxyhash.training.folder import RunFolder
from proxyhash.training.history import EpochRecord
from proxyhash.training.state import load_best, read_checkpoint, write_checkpoint
from proxyhash.training.validation import validation_scores
from tests.training.toy import assert_same, config_of, make_rows, run

EMPTY = make_rows(0)


@pytest.fixture
def rows():
    return make_rows(50, incomplete=True)


@pytest.fixture
def validation():
    return make_rows(20, seed=1)


REGIMES = [
    {"settings": {"schedule": "joint"}},
    {"settings": {"schedule": "alternating"}},
    {"settings": {"schedule": "joint"}, "ema": 0.9, "dropout": 0.3, "clip": 1.0},
    {"settings": {"schedule": "alternating"}, "ema": 0.9, "dropout": 0.3, "batch_norm": True},
    {"optimizer": "sgd", "weight_decay": 1e-3, "input_dropout": 0.2, "standardize": True},
    {"method": "dchml", "settings": {"schedule": "alternating"}, "dropout": 0.3, "ema": 0.9},
    {"method": "psldh", "output_batch_norm": True, "optimizer": "adamw"},
]


@pytest.mark.parametrize("method", ["cca-itq", "random-projection"])
def test_a_closed_form_is_validated_saved_and_resumed(tmp_path, rows, validation, method):
    regime = {"method": method, "hidden": [], "epochs": 1}
    state = run(config_of(tmp_path, **regime), rows, validation)
    (line,) = (tmp_path / "history.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["loss"], record["terms"]) == (0, {})
    assert record["best_score"] == state.best.score > 0.3
    record = EpochRecord(**record)
    assert "loss" not in record.summary() + record.brief()
    assert f"epoch 1/1, validation mAP {state.best.score:.4f}" in record.summary()
    resumed = run(config_of(tmp_path, **regime), rows, validation, resume=True)
    assert_same(state, resumed)


def test_a_method_prepares_a_new_run_once_and_no_resumed_one(
    tmp_path, rows, validation, monkeypatch
):
    seen = []

    def begin_run(self, networks, train, *, track):
        seen.append((sorted(networks), train is rows, torch.initial_seed()))

    monkeypatch.setattr(Dcmh, "begin_run", begin_run)
    run(config_of(tmp_path, epochs=2, lr_schedule="constant"), rows, validation)
    run(config_of(tmp_path, epochs=3, lr_schedule="constant"), rows, validation, resume=True)
    run(config_of(tmp_path / "other"), rows, validation)
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][:2] == (["image", "text"], True)


@pytest.mark.parametrize("regime", REGIMES, ids=str)
def test_two_and_two_epochs_equal_four(tmp_path, rows, validation, regime):
    regime = regime | {"lr_schedule": "constant"}
    whole = run(config_of(tmp_path / "whole", **regime), rows, validation)
    run(config_of(tmp_path / "parts", epochs=2, **regime), rows, validation)
    torch.manual_seed(99)  # what happened before in the process does not matter
    parts = run(config_of(tmp_path / "parts", **regime), rows, validation, resume=True)
    assert_same(whole, parts)
    assert_same_history(tmp_path / "whole", tmp_path / "parts", epochs=4)


def test_what_prepares_features_ends_with_an_error(tmp_path, rows, validation):
    """An exception keeps the frames of the run alive, and with them what they hold."""
    closed = []

    class Prepared:
        def __init__(self, values):
            self.values = values
            self.shape, self.device = values.shape, values.device

        def __len__(self):
            return len(self.values)

        def __getitem__(self, items):
            return self.values[items]

        def learning(self, wanted, *, epoch):
            try:
                yield from (self.values[items] for items in wanted)
            finally:
                closed.append(epoch)

    features = rows.features | {"image": Prepared(rows.features["image"])}
    calls = iter(range(1000))
    with pytest.raises(InterruptedRunError) as caught:
        run(
            config_of(tmp_path),
            replace(rows, features=features),
            validation,
            stop=lambda: next(calls) >= 6,
        )
    assert caught.value.__traceback__ is not None
    assert closed == [1, 2]


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_stopped_run_goes_on_to_the_same_end(tmp_path, rows, validation, after):
    regime = {"dropout": 0.3, "ema": 0.9, "warmup": 1, "lr_schedule": "cosine"}
    whole = run(config_of(tmp_path / "whole", **regime), rows, validation)
    config = config_of(tmp_path / "parts", **regime)
    calls = iter(range(1000))
    with pytest.raises(InterruptedRunError) as caught:
        run(config, rows, validation, stop=lambda: next(calls) >= after)
    done = after // 4  # 50 items in batches of 16 are 4 steps
    assert f"stopped in epoch {done + 1}; {done} of 4 epochs are saved" in str(caught.value)
    assert f"proxyhash train --resume --out {config.out}" in str(caught.value)
    assert_same(whole, run(config, rows, validation, resume=True))


def assert_same_history(one, other, *, epochs):
    lines = [
        [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
        for path in (one, other)
    ]
    assert [line["epoch"] for line in lines[0]] == list(range(1, epochs + 1))
    for left, right in zip(*lines, strict=True):
        for volatile in ("seconds", "epochs"):
            left.pop(volatile), right.pop(volatile)
        assert left == right


def test_items_without_a_modality_change_nothing_but_their_own_part(tmp_path, rows, validation):
    alternating = {"schedule": "alternating"}
    state = run(config_of(tmp_path, batch_norm=True, settings=alternating), rows, validation)
    assert (state.memory.outputs["image"][~rows.present["image"]] == 0).all()
    assert (state.memory.outputs["text"][~rows.present["text"]] == 0).all()
    assert state.memory.outputs["image"][rows.present["image"]].abs().sum(dim=1).all()


def test_a_lone_item_of_a_modality_does_not_break_batch_norm(tmp_path, validation):
    rows = make_rows(50)
    rows.present["text"][2:] = False  # two texts, hardly ever in one batch
    state = run(config_of(tmp_path, batch_norm=True), rows, validation)
    assert state.epoch == 4


def test_each_pass_takes_every_item_once_in_even_batches(rows):
    for passes in (joint(rows.modalities), alternating(rows.modalities)):
        steps = list(make_steps(rows, passes, batch_size=16))
        for learning in passes:
            batches = [step.index for step in steps if step.learning == learning]
            sizes = [len(batch) for batch in batches]
            assert max(sizes) <= 16
            assert max(sizes) - min(sizes) <= 1
            expected = (
                sum(rows.present[modality].int() for modality in learning).nonzero().flatten()
            )
            assert torch.equal(torch.cat(batches).sort().values, expected)
        assert steps[0].done < 0.2 < 0.8 < steps[-1].done


def test_the_best_epoch_is_kept(tmp_path, rows, validation, monkeypatch):
    scores = iter([0.5, 0.7, 0.7, 0.6])
    weights = []

    def score(networks, *_, **_by):
        weights.append({key: value.clone() for key, value in networks.state_dict().items()})
        return {"image_to_text": 0.0, "text_to_image": 0.0, "mean": next(scores)}

    monkeypatch.setattr(loop, "validation_scores", score)
    state = run(config_of(tmp_path), rows, validation)
    assert (state.best.epoch, state.best.score) == (2, 0.7)
    best = load_best(RunFolder(tmp_path).best, state).state_dict()
    assert all(torch.equal(best[key], value) for key, value in weights[1].items())
    assert any(not torch.equal(best[key], value) for key, value in weights[3].items())


def test_patience_ends_the_run_and_a_resume_adds_nothing(tmp_path, rows, validation, monkeypatch):
    scores = iter([0.5, 0.4, 0.3, 0.9])
    monkeypatch.setattr(loop, "validation_scores", lambda *_, **_by: {"mean": next(scores)})
    config = config_of(tmp_path, patience=2)
    state = run(config, rows, validation)
    assert (state.epoch, state.best.epoch) == (3, 1)
    assert run(config, rows, validation, resume=True).epoch == 3


def test_without_validation_the_last_epoch_is_kept(tmp_path, rows):
    state = run(config_of(tmp_path), rows, EMPTY)
    assert (state.best.epoch, state.best.score) == (4, None)
    last = {key: value.clone() for key, value in state.final_networks.state_dict().items()}
    best = load_best(RunFolder(tmp_path).best, state).state_dict()
    assert all(torch.equal(best[key], value) for key, value in last.items())


def test_training_learns(tmp_path):
    rows, validation = make_rows(100), make_rows(100)
    state = run(config_of(tmp_path, epochs=15, learning_rate=5e-3), rows, validation)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last["loss"] < first["loss"]
    assert last["loss"] == pytest.approx(sum(last["terms"].values()))
    assert state.best.score > 0.9


def test_the_schedule_reaches_the_optimizer(tmp_path, rows):
    run(config_of(tmp_path, learning_rate=1e-3, lr_schedule="cosine"), rows, EMPTY)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    last_step = 3 + 3.5 / 4  # epochs, at the middle of the last of 4 steps
    expected = 0.5e-3 * (1 + math.cos(math.pi * last_step / 4))
    assert json.loads(lines[-1])["learning_rate"] == pytest.approx(expected)


def test_divergence_names_epoch_step_and_term(tmp_path, rows, validation, monkeypatch):
    config = config_of(tmp_path)
    run(config_of(tmp_path, epochs=2, lr_schedule="constant"), rows, validation)
    before = RunFolder(tmp_path).last.read_bytes()
    calls = iter(range(100))
    original = loop._forward

    def poisoned(*arguments):
        batch = original(*arguments)
        if next(calls) == 2:
            batch.outputs["image"] = batch.outputs["image"] * math.nan
        return batch

    monkeypatch.setattr(loop, "_forward", poisoned)
    with pytest.raises(DivergedError) as caught:
        run(config, rows, validation, resume=True)
    assert "diverged in epoch 3: the loss is nan in step 3 of 4, term 'pairs'" in str(caught.value)
    assert "smaller learning_rate (it is 0.001)" in str(caught.value)
    assert "the checkpoint of epoch 2 is kept" in str(caught.value)
    assert RunFolder(tmp_path).last.read_bytes() == before


def test_divergence_names_the_rate_of_encoders_once_they_learn(tmp_path):
    config = config_of(tmp_path, tune="image", encoder_rate=0.5, head_epochs=1)
    assert "encoder_rate" not in str(loop._diverged("it is infinite", 1, config))
    rates = "encoder_rate (it is 0.5) or learning_rate (it is 0.001), warmup"
    assert rates in str(loop._diverged("it is infinite", 2, config))


def test_weights_that_explode_in_the_last_step_are_not_saved(
    tmp_path, rows, validation, monkeypatch
):
    calls = iter(range(100))

    def explode(state, _batch):
        if next(calls) == 7:  # the last step of epoch 2
            state.networks["image"].layers[0].weight.data[0, 0] = math.inf

    monkeypatch.setattr(loop, "_remember", explode)
    with pytest.raises(DivergedError, match="epoch 2: a weight is not finite after the last step"):
        run(config_of(tmp_path), rows, validation)
    assert_saved_epoch(tmp_path, 1)


def test_networks_that_give_no_codes_are_not_saved(tmp_path, rows, validation, monkeypatch):
    def no_codes(networks, *_, **_by):
        networks["image"].layers[-1].bias.data[:] = math.inf
        networks["image"].layers[-1].weight.data[:] = -math.inf
        return validation_scores(networks, validation, rows)

    monkeypatch.setattr(loop, "validation_scores", no_codes)
    with pytest.raises(DivergedError, match=r"epoch 1: the networks give no codes .*NaN"):
        run(config_of(tmp_path, output_batch_norm=False), rows, validation)
    assert_saved_epoch(tmp_path, 0)


def assert_saved_epoch(folder, epoch):
    tensors, numbers = read_checkpoint(RunFolder(folder).last)
    assert numbers["epoch"] == epoch
    assert all(value.isfinite().all() for value in tensors.values())


def test_a_checkpoint_of_other_data_is_refused(tmp_path, rows, validation, monkeypatch):
    run(config_of(tmp_path), rows, validation)
    monkeypatch.setattr("tests.training.toy.INPUTS", {"collection": "c", "image encoder": "new"})
    with pytest.raises(ModelError, match="the image encoder changed since"):
        run(config_of(tmp_path), rows, validation, resume=True)


def test_a_checkpoint_without_readable_inputs_is_refused(tmp_path, rows, validation):
    run(config_of(tmp_path), rows, validation)
    last = RunFolder(tmp_path).last
    tensors, numbers = read_checkpoint(last)
    write_checkpoint(last, tensors, {**numbers, "inputs": ["collection"]})
    with pytest.raises(ModelError, match="changed since"):
        run(config_of(tmp_path), rows, validation, resume=True)


def test_damaged_checkpoints_are_refused(tmp_path, rows, validation):
    run(config_of(tmp_path), rows, validation)
    last = RunFolder(tmp_path).last
    with pytest.raises(ModelError, match="does not fit this run"):
        run(config_of(tmp_path, hidden=[8]), rows, validation, resume=True)
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(ModelError, match="is damaged"):
        run(config_of(tmp_path), rows, validation, resume=True)
    last.write_bytes((last.parent / "best.safetensors").read_bytes())
    with pytest.raises(ModelError):
        run(config_of(tmp_path), rows, validation, resume=True)


def test_a_best_file_of_another_epoch_is_refused(tmp_path, rows, validation):
    state = run(config_of(tmp_path), rows, validation)
    state.best = type(state.best)(epoch=99)
    with pytest.raises(ModelError, match="but the best epoch is 99"):
        load_best(RunFolder(tmp_path).best, state)
