"""Checkpoints, the moving average of weights, and the state they belong to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from proxyhash.errors import ModelError, UsageError
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.networks.tensors import write_tensors
from proxyhash.training import state
from proxyhash.training.average import WeightAverage
from proxyhash.training.build import build_state
from proxyhash.training.state import Networks, read_checkpoint, write_checkpoint
from tests.training.toy import config_of, make_rows


def test_tensors_and_numbers_come_back(tmp_path):
    path = tmp_path / "last.safetensors"
    shared = torch.arange(6.0)
    write_checkpoint(path, {"a": shared, "b": shared[:3]}, {"epoch": 3, "score": None})
    tensors, numbers = read_checkpoint(path)
    assert torch.equal(tensors["a"], shared)
    assert torch.equal(tensors["b"], shared[:3])
    assert numbers == {"format": 1, "epoch": 3, "score": None}


def test_other_files_and_later_formats_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    write_tensors(path, {"a": torch.zeros(1)}, metadata={"kind": "proxies"})
    with pytest.raises(ModelError, match="is not a checkpoint"):
        read_checkpoint(path)
    monkeypatch.setattr(state, "FORMAT", 2)
    write_checkpoint(path, {}, {})
    monkeypatch.undo()
    with pytest.raises(ModelError, match="has format 2; this version reads 1"):
        read_checkpoint(path)
    with pytest.raises(ModelError, match="is missing"):
        read_checkpoint(tmp_path / "best.safetensors")


def test_one_item_of_a_modality_is_too_few(tmp_path):
    rows = make_rows(10)
    rows.present["image"][1:] = False
    with pytest.raises(UsageError, match="1 training items have a label and an image; at least 2"):
        build_state(config_of(tmp_path), rows, inputs={})


def fill(networks: Networks, value: float) -> None:
    for weight in networks.parameters():
        nn.init.constant_(weight, value)


def test_average_follows_the_formula():
    networks = Networks(
        {"image": HashingNetwork(1, 1, hidden=()), "text": HashingNetwork(2, 1, hidden=())}
    )
    fill(networks, 1.0)
    average = WeightAverage(networks, decay=0.3)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, -1.0], start=1):
        fill(networks, value)
        average.update(networks)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    for weight in average.networks.parameters():
        assert weight.flatten().tolist() == pytest.approx([expected] * weight.numel())
    assert all((weight == -1.0).all() for weight in networks.parameters())


def test_statistics_of_batch_norm_are_copied_and_nothing_needs_gradient():
    networks = Networks(
        {"image": HashingNetwork(2, 3, hidden=(4,), batch_norm=True), "text": HashingNetwork(2, 3)}
    )
    average = WeightAverage(networks, decay=0.9)
    networks["image"](torch.randn(8, 2))
    average.update(networks)
    norm, averaged = networks["image"].layers[1], average.networks["image"].layers[1]
    assert torch.equal(norm.running_mean, averaged.running_mean)
    assert torch.equal(norm.num_batches_tracked, averaged.num_batches_tracked)
    assert not any(weight.requires_grad for weight in average.networks.parameters())
    assert not average.networks["image"].training
