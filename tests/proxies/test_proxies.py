"""The proxies object: figures, validation, save and load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from proxyhash.errors import ModelError, UsageError
from proxyhash.proxies.proxies import Proxies, check_capacity
from tests.proxies import brute_force

if TYPE_CHECKING:
    from pathlib import Path


def _proxies(*, classes: int = 6, bits: int = 11, seed: int = 0) -> Proxies:
    rng = np.random.default_rng(seed)
    return Proxies(codes=rng.choice(np.array([-1, 1], np.int8), (classes, bits)), origin="test")


def test_figures_are_those_of_counting_word_by_word() -> None:
    proxies = _proxies()
    expected = brute_force.distances(proxies.codes.tolist())
    assert sorted(proxies.pair_distances.tolist()) == sorted(expected)
    assert proxies.minimum_distance == min(expected)
    assert proxies.mean_distance == pytest.approx(sum(expected) / len(expected))
    histogram = proxies.distance_histogram()
    assert histogram.tolist() == [expected.count(d) for d in range(12)]
    assert (proxies.classes, proxies.bits) == (6, 11)


def test_one_class_has_no_pair() -> None:
    proxies = _proxies(classes=1)
    assert (proxies.minimum_distance, proxies.mean_distance) == (11, 11.0)
    assert proxies.distance_histogram().sum() == 0


def test_bit_balance_by_hand() -> None:
    codes = np.array([[1, 1], [1, -1], [1, -1], [1, 1]], np.int8)
    assert Proxies(codes=codes, origin="test").bit_balance == pytest.approx(0.25)


def test_tensor_and_order() -> None:
    proxies = _proxies()
    assert proxies.tensor().dtype == torch.float32
    assert proxies.tensor().numpy().tolist() == proxies.codes.tolist()
    order = np.array([5, 4, 3, 2, 1, 0])
    assert proxies.reordered(order).codes.tolist() == proxies.codes[::-1].tolist()


@pytest.mark.parametrize(
    "codes",
    [np.zeros((2, 3), np.int8), np.ones((0, 3), np.int8), np.full((2, 3), 2, np.int8)],
)
def test_only_signs_are_proxies(codes: np.ndarray) -> None:
    with pytest.raises(UsageError, match="matrix of -1 and \\+1"):
        Proxies(codes=codes, origin="test")


def test_save_and_load(tmp_path: Path) -> None:
    proxies = _proxies()
    proxies.save(tmp_path / "proxies.safetensors")
    again = Proxies.load(tmp_path / "proxies.safetensors")
    assert again.origin == "test"
    assert again.codes.dtype == np.int8
    assert np.array_equal(again.codes, proxies.codes)


def test_load_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "proxies.safetensors"
    with pytest.raises(ModelError, match=r"proxies\.safetensors is missing"):
        Proxies.load(path)
    _proxies().save(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"proxies\.safetensors is damaged"):
        Proxies.load(path)
    save_file({"codes": torch.ones(2, 3)}, path, metadata={"kind": "proxies"})
    with pytest.raises(ModelError, match="does not hold proxies"):
        Proxies.load(path)
    zeros = torch.zeros(2, 3, dtype=torch.int8)
    save_file({"codes": zeros}, path, metadata={"kind": "proxies"})
    with pytest.raises(ModelError, match=r"proxies\.safetensors is damaged: proxies need"):
        Proxies.load(path)


def test_room() -> None:
    check_capacity(8, 3)
    check_capacity(10**6, 128)
    with pytest.raises(UsageError, match=r"9 classes do not fit in 3 bits \(at most 8 codes\)"):
        check_capacity(9, 3)
    with pytest.raises(UsageError, match="at least 1"):
        check_capacity(0, 3)
