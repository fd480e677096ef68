from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from proxyhash.errors import UsageError
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.networks.input_linear import InputLinear
from proxyhash.training.config import read_config
from proxyhash.training.optimizer import (
    clip_gradients,
    learning_rate_factor,
    load_optimizer,
    make_optimizer,
    optimizer_tensors,
    set_learning_rates,
)
from proxyhash.training.state import Networks


def config_of(**values):
    return read_config({"data": "d", "out": "o", "epochs": 10, **values})


def parts(*, seed=0):
    image, text = (
        HashingNetwork(3, 2, hidden=(), seed=seed),
        HashingNetwork(4, 2, hidden=(), seed=seed + 1),
    )
    return Networks({"image": image, "text": text}), nn.Module()


def step(networks, optimizer, *, learning=("image", "text")):
    optimizer.zero_grad(set_to_none=True)
    for name in learning:
        networks[name](torch.ones(5, networks[name].dim_in)).square().sum().backward()
    optimizer.step()


def test_constant_schedule_with_warmup():
    config = config_of(lr_schedule="constant", warmup=2)
    assert [learning_rate_factor(config, p) for p in (0, 0.5, 1, 2, 5, 10)] == [
        0,
        0.25,
        0.5,
        1,
        1,
        1,
    ]


def test_cosine_schedule_falls_to_zero():
    config = config_of(lr_schedule="cosine")
    assert learning_rate_factor(config, 0) == 1
    assert learning_rate_factor(config, 5) == pytest.approx(0.5)
    assert learning_rate_factor(config, 10) == pytest.approx(0)
    warm = config_of(lr_schedule="cosine", warmup=2)
    assert learning_rate_factor(warm, 6) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_schedules_end_at_the_share_they_are_given():
    line = config_of(lr_schedule="linear", lr_end=0.2)
    assert [learning_rate_factor(line, p) for p in (0, 2.5, 5, 10)] == pytest.approx(
        [1, 0.8, 0.6, 0.2]
    )
    curve = config_of(lr_schedule="cosine", lr_end=0.2)
    assert [learning_rate_factor(curve, p) for p in (0, 5, 10)] == pytest.approx([1, 0.6, 0.2])
    stairs = config_of(lr_schedule="step", lr_end=0.5)
    assert [learning_rate_factor(stairs, p) for p in (0, 6.24, 6.25, 10)] == [1, 1, 0.5, 0.5]
    warm = config_of(lr_schedule="linear", lr_end=0.5, warmup=2)
    assert [learning_rate_factor(warm, p) for p in (1, 2, 6)] == pytest.approx([0.5, 1, 0.75])


def test_a_step_to_nothing_is_refused():
    with pytest.raises(UsageError, match="lr_schedule step falls to lr_end, which is 0"):
        config_of(lr_schedule="step")


def test_plain_sgd_is_the_textbooks_step():
    networks, objective = parts()
    config = config_of(optimizer="sgd", momentum=0, learning_rate=0.1, weight_decay=0.5)
    optimizer = make_optimizer(config, networks, objective)
    weight = networks["image"].layers[0].weight
    for _ in range(2):
        before = weight.detach().clone()
        step(networks, optimizer)
        # The L2 penalty adds decay * w to the gradient.
        torch.testing.assert_close(
            weight.detach(), before - 0.1 * (weight.grad + 0.5 * before), rtol=1e-5, atol=1e-7
        )


def test_each_network_has_its_own_rate():
    networks, objective = parts()
    config = config_of(learning_rate=0.1, learning_rates={"text": 0.3})
    optimizer = make_optimizer(config, networks, objective)
    set_learning_rates(optimizer, config, 5)  # the middle of a cosine
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.15])


def test_parameters_of_the_objective_learn_too():
    networks, _ = parts()
    objective = nn.Linear(2, 2)
    optimizer = make_optimizer(config_of(), networks, objective)
    assert optimizer.param_groups[2]["params"] == list(objective.parameters())


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_a_network_outside_the_pass_stays(kind):
    networks, objective = parts()
    optimizer = make_optimizer(
        config_of(optimizer=kind, weight_decay=0.1, learning_rate=0.01), networks, objective
    )
    step(networks, optimizer)
    before = networks["text"].layers[0].weight.clone()
    moving = networks["image"].layers[0].weight.clone()
    step(networks, optimizer, learning=("image",))
    assert torch.equal(networks["text"].layers[0].weight, before)
    assert not torch.equal(networks["image"].layers[0].weight, moving)


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "sgd", "momentum": 0.0},
    ],
)
def test_saved_state_continues_bit_exactly(values):
    config = config_of(learning_rate=0.01, **values)
    networks, objective = parts()
    optimizer = make_optimizer(config, networks, objective)
    for _ in range(2):
        step(networks, optimizer)
    resumed, _ = parts(seed=1)
    resumed.load_state_dict(networks.state_dict())
    second = make_optimizer(config, resumed, objective)
    load_optimizer(second, {k: v.clone() for k, v in optimizer_tensors(optimizer).items()})
    for _ in range(2):
        step(networks, optimizer)
        step(resumed, second)
    for one, other in zip(networks.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_saved_state_of_convolutions_continues_bit_exactly(name):
    """Their weights are "channels last" in memory, and a file has all tensors in plain order."""
    torch.manual_seed(0)
    images = torch.randn(5, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    start = nn.Conv2d(3, 4, 3).state_dict()

    def begin():
        layer = nn.Conv2d(3, 4, 3)
        layer.load_state_dict(start)
        layer.to(memory_format=torch.channels_last)
        config = config_of(learning_rate=0.01, optimizer=name)
        return layer, make_optimizer(config, Networks({}), layer)

    def learn(layer, optimizer):
        optimizer.zero_grad(set_to_none=True)
        layer(images).square().sum().backward()
        optimizer.step()

    layer, optimizer = begin()
    learn(layer, optimizer)
    resumed, second = begin()
    resumed.load_state_dict(layer.state_dict())
    saved = {
        k: v.clone(memory_format=torch.contiguous_format)
        for k, v in optimizer_tensors(optimizer).items()
    }
    load_optimizer(second, saved)
    learn(layer, optimizer)
    learn(resumed, second)
    assert torch.equal(layer.weight, resumed.weight)


def test_clipping_scales_the_whole_step():
    networks, objective = parts()
    optimizer = make_optimizer(config_of(), networks, objective)
    for weight in networks.parameters():
        weight.grad = torch.ones_like(weight)
    count = sum(weight.numel() for weight in networks.parameters())
    clip_gradients(optimizer, 0)
    assert networks["image"].layers[0].bias.grad.tolist() == [1, 1]
    clip_gradients(optimizer, 0.5)
    assert networks["image"].layers[0].bias.grad[0] == pytest.approx(
        0.5 / math.sqrt(count), rel=1e-4
    )


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_weights_that_lie_column_by_column_are_stepped_like_others(kind):
    def trained(*, by_columns):
        networks, objective = parts()
        layer = networks["image"].layers[0]
        if by_columns:
            InputLinear.lay_out(layer)
        config = config_of(optimizer=kind, momentum=0.9, weight_decay=0.1, learning_rate=0.1)
        optimizer = make_optimizer(config, networks, objective)
        step(networks, optimizer)
        saved = {key: value.clone() for key, value in optimizer_tensors(optimizer).items()}
        load_optimizer(optimizer, saved)
        step(networks, optimizer)
        return layer.weight, optimizer_tensors(optimizer)

    (weight, state), (turned, other) = trained(by_columns=False), trained(by_columns=True)
    assert (weight.shape, weight.stride()) == ((2, 3), (3, 1))
    assert (turned.shape, turned.stride(), turned.grad.stride()) == ((2, 3), (1, 2), (1, 2))
    assert torch.allclose(weight, turned, rtol=1e-6)
    assert set(state) == set(other)
    for key, value in state.items():
        assert value.shape == other[key].shape
        assert torch.allclose(value, other[key], rtol=1e-6)


def test_a_step_copies_no_weights_that_lie_column_by_column():
    networks, objective = parts()
    InputLinear.lay_out(networks["image"].layers[0])
    optimizer = make_optimizer(config_of(), networks, objective)
    step(networks, optimizer)
    with torch.profiler.profile(record_shapes=True) as profile:
        optimizer.step()
    copied = [event.input_shapes for event in profile.events() if event.name == "aten::copy_"]
    assert not any([2, 3] in shapes or [3, 2] in shapes for shapes in copied)
