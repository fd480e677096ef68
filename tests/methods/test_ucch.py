"""`ucch` against loops over the formulas of its source, and the vectors that it stores."""

from __future__ import annotations

import math

import pytest
import torch

from proxyhash.errors import InterruptedRunError
from proxyhash.methods import METHODS, Batch
from proxyhash.training.config import read_config
from tests.methods.toy import batch_of, begun, make_toy, memory_of, networks
from tests.training.toy import assert_same, config_of, make_rows, run

ALPHA, T, MU, MARGIN, SHIFT = 0.6, 0.5, 0.3, 0.15, 0.4
SETTINGS = {"alpha": ALPHA, "temperature": T, "momentum": MU, "margin": MARGIN, "shift": SHIFT}


def unit(values):
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values] if length else values


def cosine(one, other):
    return sum(a * b for a, b in zip(unit(one), unit(other), strict=True))


def code(values):
    return [1.0 if value > 0 else -1.0 for value in values]


def contrast(outputs, codes):
    """Mean of -log of the share of an item's own code among all."""
    terms = []
    for values, position in outputs:
        found = {j: math.exp(cosine(values, word) / T) for j, word in codes.items()}
        terms.append(-math.log(found[position] / sum(found.values())))
    return sum(terms) / len(terms)


def ranking(first, second):
    terms = []
    for i, one in enumerate(first):
        own = cosine(one, second[i])
        total = 0.0
        for j, other in enumerate(second):
            score = cosine(one, other)
            total += math.exp(score if j == i or score >= own - MARGIN else score - SHIFT)
        terms.append(MARGIN - own + math.log(total))
    return sum(terms) / len(terms)


def expected(toy, outputs, index, vectors, *, warming):
    """The terms of one step, and the vectors after it, item by item."""
    image, text = (outputs[name].tolist() for name in ("image", "text"))
    means = {}
    for row, item in enumerate(index):
        halves = [unit(image[row])] * bool(toy.has_image[item])
        halves += [unit(text[row])] * bool(toy.has_text[item])
        means[item] = unit([sum(parts) for parts in zip(*halves, strict=True)])
    if warming:
        codes = {item: code(values) for item, values in means.items()}
    else:
        codes = {item: code(values) for item, values in enumerate(vectors)}
    total = 0.0
    for values, has in ((image, toy.has_image), (text, toy.has_text)):
        items = [(values[row], item) for row, item in enumerate(index) if has[item]]
        total += contrast(items, codes)
    both = [row for row, item in enumerate(index) if toy.has_image[item] and toy.has_text[item]]
    first, second = [image[row] for row in both], [text[row] for row in both]
    ranks = ranking(first, second) + ranking(second, first)
    momentum = 0.0 if warming else MU
    after = [
        unit([momentum * m + (1 - momentum) * u for m, u in zip(old, means[item], strict=True)])
        if item in means
        else old
        for item, old in enumerate(vectors)
    ]
    return ALPHA * total, (1 - ALPHA) * ranks, after


@pytest.mark.parametrize("incomplete", [False, True])
def test_two_epochs_are_those_of_the_loops(incomplete):
    toy, nets = make_toy(24), networks("ucch")
    if incomplete:
        toy.has_image[::7] = False
        toy.has_text[5::6] = False
    objective, memory = begun("ucch", toy, nets, **SETTINGS), memory_of(toy, nets)
    vectors = objective.vectors.tolist()
    for warming in (True, False):
        objective.begin_epoch(memory)
        for index in (torch.arange(0, 24, 2), torch.arange(1, 24, 2)):
            batch = batch_of(toy, nets, ("image", "text"), index, memory)
            terms = objective.loss(batch)
            outputs = {name: values.detach() for name, values in batch.outputs.items()}
            near, ranks, vectors = expected(toy, outputs, index.tolist(), vectors, warming=warming)
            assert terms["contrast"].item() == pytest.approx(near, rel=1e-5)
            assert terms["ranking"].item() == pytest.approx(ranks, rel=1e-5)
            torch.testing.assert_close(objective.vectors, torch.tensor(vectors))


def test_only_so_many_stored_codes_are_drawn():
    """All vectors but the batch's are equal, so that which are drawn does not matter."""
    toy, nets = make_toy(24), networks("ucch")
    objective = begun("ucch", toy, nets, negatives=5, warmup_epochs=0, alpha=1.0)
    objective.begin_epoch(memory_of(toy, nets))
    objective.vectors[:] = torch.ones(16)
    objective.vectors[:4] = -torch.ones(16)
    outputs = {name: torch.randn(4, 16, requires_grad=True) for name in ("image", "text")}
    everyone = torch.ones(4, dtype=torch.bool)
    found = []
    for _ in range(40):
        batch = Batch(
            torch.arange(4),
            toy.labels[:4],
            outputs,
            {"image": everyone, "text": everyone},
            memory_of(toy, nets),
        )
        before = objective.vectors.clone()
        found.append(objective.loss(batch)["contrast"].item())
        objective.vectors[:] = before

    def of(drawn):
        total = 0.0
        for values in outputs.values():
            for row in values.tolist():
                one = cosine(row, [1.0] * 16) / 0.9
                own, other = math.exp(-one), math.exp(one)
                total -= math.log(own / (4 * own + drawn * other)) / 4
        return total

    # Of five drawn from 24 without repetition, those of the batch are left out.
    possible = [of(drawn) for drawn in range(1, 6)]
    assert all(any(abs(each - value) < 1e-4 for value in possible) for each in found)
    assert any(abs(each - possible[-1]) < 1e-4 for each in found)


def test_a_lone_item_and_one_without_its_other_half_give_no_nan():
    toy, nets = make_toy(24), networks("ucch")
    toy.has_text[0] = False
    objective, memory = begun("ucch", toy, nets), memory_of(toy, nets)
    for _ in range(2):
        objective.begin_epoch(memory)
        for index in (torch.tensor([1]), torch.tensor([0])):
            for net in nets.values():
                net.eval()
            batch = batch_of(toy, nets, ("image", "text"), index, memory)
            terms = objective.loss(batch)
            assert all(value.isfinite() for value in terms.values())
            torch.stack(list(terms.values())).sum().backward()
            assert objective.vectors.isfinite().all()


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    rows = make_rows(60), make_rows(20)
    values = {"method": "ucch", "settings": {"negatives": 10}, "epochs": 3}
    whole = run(config_of(tmp_path / "whole", **values), *rows)
    left = iter([False] * 10)  # four steps an epoch
    config = config_of(tmp_path / "stopped", **values)
    with pytest.raises(InterruptedRunError):
        run(config, *rows, stop=lambda: next(left, True))
    again = run(config, *rows, resume=True)
    assert_same(whole, again)
    assert again.objective.vectors.equal(whole.objective.vectors)


def test_the_preset_is_the_released_configuration():
    preset = METHODS["ucch"].presets["reference"]
    config = read_config({"method": "ucch", "data": "d", "out": "o", **preset})
    assert config.network_options("image")["hidden"] == (8192, 8192)
    assert config.network_options("text")["hidden"] == (8192,)
    assert (config.learning_rate, config.clip, config.epochs) == (1e-4, 1.0, 20)
