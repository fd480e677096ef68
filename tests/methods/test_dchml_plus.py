"""DCHML-plus: mixed items, what each term teaches, and PHNet fitted at the end."""

from __future__ import annotations

import pytest
import torch

from proxyhash.errors import UsageError
from proxyhash.methods.dchml_plus import PosteriorNetwork, _mix
from proxyhash.training.optimizer import make_optimizer
from proxyhash.training.state import Networks
from tests.methods.toy import BITS, CLASSES, batch_of, begun, make_toy, memory_of, networks
from tests.training.toy import config_of


def started(**settings):
    toy, nets = make_toy(), networks("dchml-plus")
    return toy, nets, begun("dchml-plus", toy, nets, **settings), memory_of(toy, nets)


def gradients(module):
    return [weight.grad for weight in module.parameters() if weight.grad is not None]


def test_each_part_learns_from_its_own_term():
    toy, nets, objective, memory = started()
    for term, teaches in (("posterior", "layers"), ("relevance", "phnet")):
        for net in nets.values():
            net.zero_grad(set_to_none=True)
        batch = batch_of(
            toy, nets, ("image", "text"), torch.arange(30), memory, objective=objective
        )
        objective.loss(batch)[term].backward()
        for net in nets.values():
            parts = {"layers": net.layers, "phnet": net.phnet}
            for name, part in parts.items():
                assert bool(gradients(part)) == (name == teaches)


def test_both_modalities_share_phnet():
    _, nets, _, _ = started()
    assert nets["image"].phnet is nets["text"].phnet
    logits = torch.randn(6, CLASSES)
    assert (nets["image"].phnet(logits) == nets["text"].phnet(logits)).all()


@pytest.mark.parametrize("options", [{}, {"center": True}, {"output_batch_norm": True}], ids=str)
def test_classes_are_predicted_on_the_way(options):
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    network = PosteriorNetwork(5, 8, classes=3, **options).eval()
    logits = network.class_logits(features)
    assert logits.shape == (12, 3)
    assert (network.logits(features) == network.phnet(logits)).all()
    by_hand = network.phnet.layers(4 * torch.sigmoid(logits) - 1)
    torch.testing.assert_close(network.logits(features), by_hand)
    assert (network.dim_in, network.bits) == (5, 8)
    assert network(features).abs().max() < 1
    torch.testing.assert_close(network(features), network.logits(features).tanh())


def test_networks_that_go_straight_to_bits_are_refused_before_the_run():
    toy = make_toy()
    with pytest.raises(UsageError, match="networks of kind posterior, not hashing"):
        begun("dchml-plus", toy, networks("dchml"))


def test_mixing_keeps_features_and_labels_in_step_and_leaves_the_unlabeled_alone():
    torch.manual_seed(0)
    labels = torch.eye(6)[:, :4]  # the last two have none
    mixed, shares = _mix(torch.eye(6), labels, 1.0)
    assert torch.allclose(mixed[:, :4], shares)
    assert torch.allclose(mixed.sum(dim=1), torch.ones(6))
    assert (mixed[4:] == torch.eye(6)[4:]).all()
    assert (mixed[:4].max(dim=1).values < 1).any()
    features, same = _mix(torch.eye(6), labels, 0.0)
    assert (features == torch.eye(6)).all()
    assert (same == labels).all()


def test_the_refit_lowers_the_loss_and_names_a_proxy_for_each_class():
    toy, nets, objective, _ = started(refit=300, noise=0.0)

    def loss():
        logits = {m: nets[m].eval().class_logits(getattr(toy, m)).detach() for m in nets}
        both = torch.cat(list(logits.values()))
        outputs = torch.tanh(nets["image"].phnet(both))
        terms = objective.code_terms(outputs, both, scale=objective.scale, bias=objective.bias)
        return terms["relevance"].item()

    before = loss()
    torch.manual_seed(0)
    objective.end_run(nets, toy.rows())
    assert loss() < before - 0.02
    assert objective.proxies is not None
    assert objective.proxies.codes.shape == (CLASSES, BITS)
    assert objective.proxies.origin == "phnet"


def test_the_optimizer_holds_the_shared_part_once(tmp_path):
    _, nets, objective, _ = started()
    pair = Networks(nets)
    groups = make_optimizer(config_of(tmp_path), pair, objective).param_groups
    held = [weight for group in groups for weight in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {*pair.parameters(), *objective.parameters()}


@pytest.mark.parametrize("missing", ["image", "text"])
def test_the_refit_does_with_one_modality(missing):
    toy, nets, objective, _ = started(refit=3)
    getattr(toy, f"has_{missing}")[5:] = False
    objective.end_run(nets, toy.rows())
    assert objective.proxies is not None
