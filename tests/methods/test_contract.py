"""What every registered method must do, each schedule of it on its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from proxyhash.codes import binarize
from proxyhash.errors import UsageError
from proxyhash.evaluation import mean_average_precision
from proxyhash.methods import METHODS, Objective, get_method, method_settings, register_method
from proxyhash.training.config import read_config
from tests.methods.toy import (
    BITS,
    CLASSES,
    SMALL,
    batch_of,
    begun,
    make_toy,
    memory_of,
    networks,
    objective_of,
    train_toy,
)

WITHOUT_CHANCE: dict[str, dict[str, object]] = {
    "dchml-plus": {"text_mix": 0.0, "noise": 0.0, "refit": 100},
    "dchml-pairs": {"noise": 0.0, "refit": 100},
    "dnph": {"uniform": 0.0},
    "idgh": {"copies": 0},
    "kdph": {"uniform": 0.0},
    "ucch": {"warmup_epochs": 1000},
    "ucmfh": SMALL["ucmfh"],
}
"""Settings that draw and store nothing in a step, so that two passes over a batch are the same."""


def variants() -> list[tuple[str, dict[str, object]]]:
    """Every method, once for each schedule it knows."""
    found: list[tuple[str, dict[str, object]]] = []
    for name, method in METHODS.items():
        schedules = (
            ("joint", "alternating") if "schedule" in method.settings_type.model_fields else ()
        )
        found += [(name, {"schedule": schedule}) for schedule in schedules] or [
            (name, WITHOUT_CHANCE.get(name, {}))
        ]
    return found


@pytest.fixture(
    params=variants(), ids=lambda variant: "-".join([variant[0], *map(str, variant[1].values())])
)
def variant(request):
    return request.param


@pytest.fixture
def setting(variant):
    name, settings = variant
    toy, nets = make_toy(), networks(name)
    objective = begun(name, toy, nets, **settings)
    memory = memory_of(toy, nets)
    if not objective.reads_memory:  # as the loop gives it
        memory = replace(memory, outputs={})
    objective.begin_epoch(memory)
    return objective, toy, nets, memory


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms.values())).sum()


def test_settings_are_frozen_and_refuse_the_unknown(variant):
    name, _ = variant
    settings = method_settings(name, {})
    with pytest.raises(ValidationError):
        settings.not_a_setting = 1
    with pytest.raises(UsageError, match=f"unknown setting 'not_a_setting' of method {name}"):
        method_settings(name, {"not_a_setting": 1})
    assert method_settings(name, settings.model_dump()) == settings


def test_the_card_fills_a_row_of_the_table(variant):
    card = get_method(variant[0]).card
    assert card is not None
    assert all((card.idea, card.loss, card.source))
    assert "|" not in card.idea + card.loss + card.source + card.differs


def test_presets_are_valid_configurations(variant):
    name, _ = variant
    for preset in get_method(name).presets.values():
        config = read_config({"data": "x", "out": "y", "method": name, **preset})
        method_settings(name, config.settings)


def test_terms_are_finite_scalars(setting):
    objective, toy, nets, memory = setting
    for learning in objective.passes:
        terms = objective.loss(
            batch_of(toy, nets, learning, torch.arange(20), memory, objective=objective)
        )
        assert terms
        for name, value in terms.items():
            assert value.shape == (), name
            assert value.isfinite(), name


def test_gradients_flow_to_the_networks_of_the_pass_alone(setting):
    objective, toy, nets, memory = setting
    for learning in objective.passes:
        for net in nets.values():
            net.zero_grad(set_to_none=True)
        total(
            objective.loss(
                batch_of(toy, nets, learning, torch.arange(20), memory, objective=objective)
            )
        ).backward()
        for modality, net in nets.items():
            gradients = [weight.grad for weight in net.parameters()]
            if modality in learning:
                assert all(g is not None and g.isfinite().all() for g in gradients)
                assert any(g.abs().sum() > 0 for g in gradients)
            else:
                assert all(g is None for g in gradients)


def test_passes_name_each_network_once_a_round_or_there_are_none(setting):
    objective, *_ = setting
    learning = sorted(modality for learning in objective.passes for modality in learning)
    assert learning == ([] if type(objective).closed_form else ["image", "text"])


def test_unlabeled_items_get_no_gradient_and_nothing_becomes_nan(setting):
    objective, toy, nets, memory = setting
    if not objective.needs_labels:
        return  # the next test but one
    toy.labels[:5] = 0
    for learning in objective.passes:
        batch = batch_of(toy, nets, learning, torch.arange(20), memory, objective=objective)
        for modality in learning:
            batch.outputs[modality].retain_grad()
        total(objective.loss(batch)).backward()
        for modality in learning:
            gradient = batch.outputs[modality].grad
            assert gradient.isfinite().all()
            assert (gradient[:5] == 0).all()
            assert (gradient[5:].abs().sum(dim=1) > 0).any()


def test_a_batch_of_unlabeled_items_alone_is_harmless(setting):
    objective, toy, nets, memory = setting
    toy.labels[:] = 0
    for learning in objective.passes:
        loss = total(
            objective.loss(
                batch_of(toy, nets, learning, torch.arange(20), memory, objective=objective)
            )
        )
        assert loss.isfinite()
        loss.backward()
        gradients = [weight.grad for m in learning for weight in nets[m].parameters()]
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_methods_without_labels_do_not_see_them(variant):
    name, settings = variant
    if get_method(name).reads_labels:
        return
    toy, blank = make_toy(), make_toy()
    blank.labels[:] = 0
    with_labels, without = (train_toy(name, each, rounds=2, **settings) for each in (toy, blank))
    for one, other in zip(codes_of(with_labels, toy), codes_of(without, toy), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("missing", ["image", "text", "both in turn", "text of all"])
def test_items_without_a_modality_are_harmless(variant, missing):
    name, settings = variant
    toy, nets = make_toy(), networks(name)
    if missing in ("image", "both in turn"):
        toy.has_image[::2] = False
    if missing in ("text", "both in turn"):
        toy.has_text[1::2] = False
    if missing == "text of all":
        toy.has_text[:] = False
    if get_method(name).needs_pairs and not (toy.has_image & toy.has_text).any():
        with pytest.raises(UsageError, match="0 training items have both; at least 2 are needed"):
            begun(name, toy, nets)
        return
    objective = begun(name, toy, nets, **settings)
    memory = memory_of(toy, nets)
    objective.begin_epoch(memory)
    for learning in objective.passes:
        batch = batch_of(toy, nets, learning, torch.arange(20), memory, objective=objective)
        for modality in learning:
            batch.outputs[modality].retain_grad()
        terms = objective.loss(batch)
        assert total(terms).isfinite()
        total(terms).backward()
        for modality in learning:
            gradient, has = batch.outputs[modality].grad, batch.present[modality]
            if gradient is not None:
                assert gradient.isfinite().all()
                assert (gradient[~has] == 0).all()


def test_items_with_one_modality_still_teach_it(variant):
    name, settings = variant
    toy, nets = make_toy(), networks(name)
    toy.has_text[:10] = False
    objective = begun(name, toy, nets, **settings)
    memory = memory_of(toy, nets)
    objective.begin_epoch(memory)
    learning = next((learning for learning in objective.passes if "image" in learning), None)
    if learning is None:  # nothing is taught item by item
        return
    batch = batch_of(toy, nets, learning, torch.arange(20), memory, objective=objective)
    batch.outputs["image"].retain_grad()
    total(objective.loss(batch)).backward()
    assert (batch.outputs["image"].grad[:10].abs().sum(dim=1) > 0).all()


def test_the_order_of_a_batch_does_not_matter(setting):
    objective, toy, nets, memory = setting
    index = torch.arange(20)
    for learning in objective.passes:
        ahead = objective.loss(batch_of(toy, nets, learning, index, memory, objective=objective))
        back = objective.loss(
            batch_of(toy, nets, learning, index.flip(0), memory, objective=objective)
        )
        for name, value in ahead.items():
            torch.testing.assert_close(value, back[name], rtol=1e-4, atol=1e-5)


def test_state_survives_a_round_trip(setting, variant):
    objective, toy, nets, memory = setting
    again = objective_of(variant[0], toy, seed=7, **variant[1])
    again.load_state_dict(objective.state_dict())
    again.begin_epoch(memory)
    for learning in objective.passes:
        losses = [
            total(
                each.loss(batch_of(toy, nets, learning, torch.arange(20), memory, objective=each))
            )
            for each in (objective, again)
        ]
        assert losses[0] == losses[1]
    if objective.proxies is not None:
        assert (objective.proxies.codes == again.proxies.codes).all()
        assert objective.proxies.codes.shape == (CLASSES, BITS)


def codes_of(nets, toy):
    with torch.no_grad():
        return [
            binarize(nets[name].logits(features).numpy())
            for name, features in (("image", toy.image), ("text", toy.text))
        ]


def test_training_is_repeatable_and_follows_the_seed(variant):
    name, settings = variant
    toy = make_toy()
    first = codes_of(train_toy(name, toy, seed=1, rounds=3, **settings), toy)
    again = codes_of(train_toy(name, toy, seed=1, rounds=3, **settings), toy)
    other = codes_of(train_toy(name, toy, seed=2, rounds=3, **settings), toy)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_training_beats_chance_by_far(variant):
    name, settings = variant
    toy = make_toy(items=80)
    labels = toy.labels.bool().numpy()

    def score(nets):
        image, text = codes_of(nets, toy)
        return [
            mean_average_precision(query, gallery, labels, labels, bits=BITS).value
            for query, gallery in ((image, text), (text, image))
        ]

    untrained, trained = score(networks(name)), score(train_toy(name, toy, **settings))
    for before, after in zip(untrained, trained, strict=True):
        if name in ("random-projection", "itq"):  # neither learns anything across modalities
            assert after == pytest.approx(before, abs=0.1)
            continue
        assert after > before + 0.1
        assert after > (0.85 if get_method(name).supervised else 0.7)


def test_a_name_can_be_taken_only_once():
    class Another(Objective):
        def loss(self, batch):
            return {}

    with pytest.raises(ValueError, match="another method is already named 'dchml'"):
        register_method("dchml")(Another)


def test_an_unknown_method_suggests_the_nearest():
    with pytest.raises(UsageError, match=r"method is 'dchmll'.*did you mean 'dchml'"):
        get_method("dchmll")
