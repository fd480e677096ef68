"""What every network kind keeps, whoever registered it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from proxyhash.codes import unpack
from proxyhash.errors import ModelError, UsageError
from proxyhash.files import write_json
from proxyhash.hashing import HashModel
from proxyhash.networks import NETWORKS, Network, register_network
from proxyhash.networks.base import network_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jaxtyping import Float

DIM, BITS, CLASSES = 12, 16, 3


class LowRank(Network):
    """Linear map of low rank, a kind as another package would bring it."""

    kind = "test-low-rank"

    def __init__(self, dim_in: int, bits: int, *, rank: int = 4, seed: int = 0) -> None:
        super().__init__({"dim_in": dim_in, "bits": bits, "rank": rank})
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.empty(dim_in, rank))
        self.second = nn.Parameter(torch.empty(rank, bits))
        for weight in (self.first, self.second):
            nn.init.normal_(weight, generator=generator)

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        return features @ self.first @ self.second


@pytest.fixture(params=[*NETWORKS, LowRank.kind])
def kind(request: pytest.FixtureRequest) -> Iterator[type[Network]]:
    if request.param == LowRank.kind:
        register_network(LowRank)
    yield NETWORKS[request.param]
    if request.param == LowRank.kind:
        NETWORKS.remove(LowRank.kind)


def _network(kind: type[Network], seed: int = 3, **options: Any) -> Network:
    return kind.make(DIM, BITS, classes=CLASSES, seed=seed, **options)


def _trained(kind: type[Network]) -> Network:
    """A network whose statistics, where it has any, have seen data."""
    network = _network(kind)
    network.fit_standardization(_features())
    network.train()(_features())
    return network.eval()


def _features(rows: int = 20) -> Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(rows))


def _same(one: Network, two: Network) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_the_name_is_that_of_the_class(kind: type[Network]) -> None:
    assert NETWORKS[kind.kind] is kind
    assert (_network(kind).bits, _network(kind).dim_in) == (BITS, DIM)


def test_the_description_rebuilds_the_network(kind: type[Network]) -> None:
    network = _trained(kind)
    again = network_from(json.loads(json.dumps(network.description)))
    assert type(again) is kind
    again.load_state_dict(network.state_dict())
    assert again.description == network.description
    assert again.eval().logits(_features()).equal(network.logits(_features()))


def test_a_description_alone_takes_no_memory(kind: type[Network]) -> None:
    with torch.device("meta"):
        network = network_from(_network(kind).description)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


def test_equal_seeds_give_equal_weights(kind: type[Network]) -> None:
    torch.manual_seed(1)
    first = _network(kind)
    torch.manual_seed(2)
    assert _same(first, _network(kind))
    assert not _same(first, _network(kind, seed=4))


def test_outputs_are_logits_within_bounds(kind: type[Network]) -> None:
    network = _trained(kind)
    logits = network.logits(_features())
    assert (logits.shape, logits.dtype) == ((20, BITS), torch.float32)
    assert network(_features()).equal(torch.tanh(logits))
    assert network.logits(_features()[:0]).shape == (0, BITS)


def test_an_item_does_not_depend_on_the_others(kind: type[Network]) -> None:
    network = _trained(kind)
    together, order = network.logits(_features()), torch.randperm(20)
    torch.testing.assert_close(network.logits(_features()[order]), together[order])
    torch.testing.assert_close(network.logits(_features()[:1]), together[:1])


def test_every_weight_learns(kind: type[Network]) -> None:
    network = _network(kind).train()
    (network(_features()) ** 2 @ torch.arange(1.0, BITS + 1)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_standardization_leaves_out_absent_rows(kind: type[Network]) -> None:
    present = torch.arange(20) < 15
    features, other = _features(), _features()
    other[15:] = 1e6
    first, second = _network(kind), _network(kind)
    first.fit_standardization(features, present)
    second.fit_standardization(other, present)
    assert _same(first, second)


def test_copies_are_apart(kind: type[Network]) -> None:
    network = _trained(kind)
    before = network.logits(_features())
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    assert network.logits(_features()).equal(before)


def test_networks_of_a_run_may_share_parts(kind: type[Network]) -> None:
    first, second = _network(kind), _network(kind, seed=5)
    second.share_parts(first)
    assert second.eval().logits(_features()).shape == (20, BITS)


def test_a_model_keeps_its_codes_and_fingerprint(kind: type[Network], tmp_path: Path) -> None:
    networks = {"image": _trained(kind), "text": _network(kind, seed=9)}
    model = HashModel(bits=BITS, classes=("a", "b", "c"), method="dchml", networks=networks)
    model.save(tmp_path / "model")
    again = HashModel.load(tmp_path / "model")
    assert type(again.networks["image"]) is kind
    assert again.fingerprint == model.fingerprint
    features = _features(70).numpy()
    codes = again.encode_features(features, modality="image")
    assert np.array_equal(codes, model.encode_features(features, modality="image"))
    assert np.array_equal(unpack(codes, bits=BITS), model.logits(features, modality="image") > 0)
    assert json.loads(json.dumps(again.info())) == json.loads(json.dumps(model.info()))


@pytest.mark.parametrize(("name", "sizes"), [("dim_in", (0, BITS)), ("bits", (DIM, 0))])
def test_sizes_below_one_are_refused(
    kind: type[Network], name: str, sizes: tuple[int, int]
) -> None:
    with pytest.raises(UsageError, match=f"{name} is 0"):
        kind.make(*sizes, classes=CLASSES, seed=0)


def test_a_kind_that_is_not_installed_is_named(tmp_path: Path) -> None:
    register_network(LowRank)
    networks = {"image": _network(LowRank)}
    model = HashModel(bits=BITS, classes=(), method="dchml", networks=networks)
    model.save(tmp_path / "model")
    NETWORKS.remove(LowRank.kind)
    with pytest.raises(ModelError, match=r"'networks\.image' .*network kind is 'test-low-rank'"):
        HashModel.load(tmp_path / "model")


def test_stored_networks_without_a_kind_are_those_of_version_0_1_0() -> None:
    for kind in ("hashing", "posterior"):
        network = _network(NETWORKS[kind])
        assert "kind" not in network.description
        assert type(network_from(network.description)) is NETWORKS[kind]


def test_a_kind_has_one_class() -> None:
    class Other(LowRank):
        kind = "hashing"

    with pytest.raises(ValueError, match="another network kind is already named 'hashing'"):
        register_network(Other)


def test_the_header_of_a_new_kind_names_it(tmp_path: Path) -> None:
    register_network(LowRank)
    try:
        networks = {"text": _network(LowRank, rank=2)}
        model = HashModel(bits=BITS, classes=(), method="dchml", networks=networks)
        model.save(tmp_path / "model")
        path = tmp_path / "model" / "model.json"
        header = json.loads(path.read_text())
        assert header["networks"]["text"] == {
            "kind": "test-low-rank",
            "dim_in": DIM,
            "bits": BITS,
            "rank": 2,
        }
        header["networks"]["text"]["kind"] = "hashing"
        write_json(path, header)
        with pytest.raises(ModelError, match=r"'networks\.text' does not describe a network"):
            HashModel.load(tmp_path / "model")
    finally:
        NETWORKS.remove(LowRank.kind)
