"""Each method's terms against loops written from the formula, gaps in the data included."""

from __future__ import annotations

import pytest
import torch

from proxyhash.errors import UsageError
from tests.methods import reference
from tests.methods.reference import mean
from tests.methods.toy import BITS, batch_of, make_toy, memory_of, networks, objective_of

INDEX = torch.tensor([3, 8, 0, 11, 5, 7, 2])


@pytest.fixture
def parts():
    """A set with an unlabeled item, one without image and one without text in the batch."""
    toy = make_toy()
    toy.labels[8] = 0
    toy.has_image[0] = False
    toy.has_text[11] = False
    nets = networks()
    return toy, nets, memory_of(toy, nets)


def rows_of(toy, modality, *, also=None):
    """Positions in the batch of items with a label and the modality (and the other one)."""
    has = toy.has_image if modality == "image" else toy.has_text
    return [
        row
        for row, item in enumerate(INDEX.tolist())
        if has[item] and toy.labels[item].any() and (also is None or also[item])
    ]


def unified(batch, memory, *, alternating):
    """B of each row: of this step's outputs in joint training, of the round's start otherwise."""
    sums = (
        sum(values[INDEX] for values in memory.outputs.values())
        if alternating
        else sum(batch.outputs.values())
    ).tolist()
    return [reference.sign(row) for row in sums]


@pytest.mark.parametrize("denominator", ["own", "other"])
@pytest.mark.parametrize("schedule", ["joint", "alternating"])
def test_dchml(parts, schedule, denominator):
    toy, nets, memory = parts
    settings = {"gamma": 0.2, "sigma": 0.25, "eta": 0.3, "lambda_": 0.05, "schedule": schedule}
    objective = objective_of("dchml", toy, cross_denominator=denominator, **settings)
    objective.begin_epoch(memory)
    proxies = objective.proxies.codes.tolist()
    for learning in objective.passes:
        batch = batch_of(toy, nets, learning, INDEX, memory)
        labels = batch.labels.tolist()
        codes = unified(batch, memory, alternating=schedule == "alternating")
        margin = cross = distance = 0.0
        for modality in learning:
            other, there = (
                ("text", toy.has_text) if modality == "image" else ("image", toy.has_image)
            )
            outputs, others = batch.outputs[modality].tolist(), batch.latest(other).tolist()
            items = {
                row: reference.dchml_item(
                    outputs[row],
                    others[row],
                    labels[row],
                    proxies,
                    gamma=0.2,
                    sigma=0.25 * BITS,
                    denominator=denominator,
                )
                for row in rows_of(toy, modality)
            }
            margin += mean(own for own, _ in items.values())
            cross += mean(items[row][1] for row in rows_of(toy, modality, also=there))
            distance += mean(reference.squared_distance(outputs[row], codes[row]) for row in items)
        terms = {name: value.item() for name, value in objective.loss(batch).items()}
        expected = {"margin": margin, "cross": 0.3 * cross, "quantization": 0.05 * distance}
        assert terms == pytest.approx(expected, rel=1e-4)


def test_b_lasts_for_a_round_and_is_random_in_the_first():
    toy, nets = make_toy(), networks()
    memory = memory_of(toy, nets)
    objective = objective_of(
        "dchml", toy, schedule="alternating", passes_per_round=2, first_code="random"
    )
    everyone = torch.arange(len(toy.labels))
    codes = []
    for epoch in range(5):
        torch.manual_seed(epoch)
        objective.begin_epoch(memory)
        codes.append(objective.unified(batch_of(toy, nets, ("image",), everyone, memory)).clone())
        for outputs in memory.outputs.values():  # the networks moved on
            outputs.copy_(outputs.roll(1, dims=0))
        state = {name: value.clone() for name, value in objective.state_dict().items()}
        objective = objective_of(  # as a resumed run does
            "dchml", toy, schedule="alternating", passes_per_round=2, first_code="random"
        )
        objective.load_state_dict(state)
    assert codes[0].equal(codes[1])
    assert codes[2].equal(codes[3])
    assert set(codes[0].unique().tolist()) == {-1, 1}
    assert abs(codes[0].mean().item()) < 0.1  # and of no relation to the outputs:
    start = memory_of(toy, nets)
    assert (codes[0] == start.unified()).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert codes[2].equal(start.unified().roll(2, dims=0))
    assert codes[4].equal(start.unified().roll(4, dims=0))


def test_rounds_need_alternating_training():
    for option in ({"passes_per_round": 2}, {"first_code": "random"}):
        with pytest.raises(UsageError, match="set schedule=alternating"):
            objective_of("dchml", make_toy(), **option)


def test_psldh(parts):
    toy, nets, memory = parts
    objective = objective_of("psldh", toy, gamma=0.2, sigma=0.25, lambda_=0.05)
    batch = batch_of(toy, nets, ("image", "text"), INDEX, memory)
    proxies, labels = objective.proxies.codes.tolist(), batch.labels.tolist()
    codes = unified(batch, memory, alternating=False)
    partial = distance = 0.0
    for modality in ("image", "text"):
        outputs, rows = batch.outputs[modality].tolist(), rows_of(toy, modality)
        partial += mean(
            reference.psldh_item(outputs[row], labels[row], proxies, gamma=0.2, sigma=0.25 * BITS)
            for row in rows
        )
        distance += mean(reference.squared_distance(outputs[row], codes[row]) for row in rows)
    terms = {name: value.item() for name, value in objective.loss(batch).items()}
    assert terms == pytest.approx({"partial": partial, "quantization": 0.05 * distance}, rel=1e-4)


def test_dcmh_joint(parts):
    toy, nets, memory = parts
    objective = objective_of("dcmh", toy, gamma=0.7, eta=0.4, scale=0.25)
    batch = batch_of(toy, nets, ("image", "text"), INDEX, memory)
    labels, codes = batch.labels.tolist(), unified(batch, memory, alternating=False)
    image, text = batch.outputs["image"].tolist(), batch.outputs["text"].tolist()
    images, texts = rows_of(toy, "image"), rows_of(toy, "text")
    pairs = mean(
        reference.pair(image[i], text[j], labels[i], labels[j], scale=0.25)
        for i in images
        for j in texts
    )
    distance = mean(reference.squared_distance(image[i], codes[i]) for i in images)
    distance += mean(reference.squared_distance(text[j], codes[j]) for j in texts)
    balance = reference.balance([image[i] for i in images])
    balance += reference.balance([text[j] for j in texts])
    terms = {name: value.item() for name, value in objective.loss(batch).items()}
    assert terms == pytest.approx(
        {"pairs": pairs, "quantization": 0.7 * distance / len(INDEX), "balance": 0.4 * balance},
        rel=1e-4,
    )


@pytest.mark.parametrize("modality", ["image", "text"])
def test_dcmh_alternating_pairs_a_batch_with_all_train_items(parts, modality):
    toy, nets, memory = parts
    objective = objective_of("dcmh", toy, gamma=0.7, eta=0.4, scale=0.5, schedule="alternating")
    objective.begin_epoch(memory)
    batch = batch_of(toy, nets, (modality,), INDEX, memory)
    codes, labels = unified(batch, memory, alternating=True), toy.labels.tolist()
    outputs = batch.outputs[modality].tolist()
    others = (memory.outputs["text"] if modality == "image" else memory.outputs["image"]).tolist()
    there = toy.has_text if modality == "image" else toy.has_image
    everyone = [j for j in range(len(labels)) if there[j] and any(labels[j])]
    rows = rows_of(toy, modality)
    pairs = mean(
        reference.pair(outputs[i], others[j], labels[INDEX[i]], labels[j], scale=0.5)
        for i in rows
        for j in everyone
    )
    distance = mean(reference.squared_distance(outputs[i], codes[i]) for i in rows)
    terms = {name: value.item() for name, value in objective.loss(batch).items()}
    expected = {
        "pairs": pairs,
        "quantization": 0.7 * distance / len(everyone),
        "balance": 0.4 * reference.balance([outputs[i] for i in rows]),
    }
    assert terms == pytest.approx(expected, rel=1e-4)


def test_dcmh_scales_theta_with_the_code_length():
    toy = make_toy()
    assert objective_of("dcmh", toy).scale == 8 / BITS
    assert objective_of("dcmh", toy, scale=0.125).scale == 0.125


def test_the_unified_code_of_an_item_with_one_modality_is_that_modality(parts):
    toy, nets, memory = parts
    objective = objective_of("dchml", toy)
    batch = batch_of(toy, nets, ("image", "text"), INDEX, memory)
    without_image = INDEX.tolist().index(0)
    unified_code = objective.unified(batch)[without_image]
    assert torch.equal(
        unified_code, torch.where(batch.outputs["text"][without_image] > 0, 1.0, -1.0)
    )
