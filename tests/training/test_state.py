from __future__ import annotations

import pytest
import torch

from proxyhash.errors import ModelError, UsageError
from proxyhash.networks.tensors import write_tensors
from proxyhash.training import state
from proxyhash.training.build import build_state
from proxyhash.training.state import read_checkpoint, write_checkpoint
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
