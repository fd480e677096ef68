"""DCHML-plus: mixed items, what each term teaches, and PHNet fitted at the end."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from proxyhash.errors import UsageError
from proxyhash.methods.dchml_plus import _mix
from proxyhash.methods.shared.posterior import PosteriorNetwork
from proxyhash.networks.base import network_from
from proxyhash.training.optimizer import make_optimizer
from proxyhash.training.state import Networks
from tests.methods.toy import (
    BITS,
    CLASSES,
    batch_of,
    begun,
    make_toy,
    memory_of,
    networks,
    objective_of,
)
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


def test_members_are_networks_of_their_own_whose_mean_logits_count():
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    options = {"hidden": (6,), "center": True, "dropout": 0.5}
    network = PosteriorNetwork(5, 8, classes=3, members=3, seed=4, **options)
    network.fit_standardization(features)
    network.eval()
    first = PosteriorNetwork(5, 8, classes=3, seed=4, **options)
    first.fit_standardization(features)
    found = network.member_logits(features)
    assert torch.equal(found[0], first.eval().class_logits(features))
    assert len({tuple(each.flatten().tolist()) for each in found}) == 3
    centered = (features - features.mean(dim=0)) / features.std(
        dim=0, correction=0
    ).square().mean().sqrt()
    for logits, layers in zip(found, (network.layers, *network.further_members), strict=True):
        weights = [each for each in layers if isinstance(each, nn.Linear)]
        hidden = torch.relu(weights[0](centered))
        torch.testing.assert_close(logits, weights[1](hidden))
    torch.testing.assert_close(network.class_logits(features), (found[0] + found[1] + found[2]) / 3)
    again = network_from(network.description)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval().logits(features), network.logits(features))
    assert "members" not in first.config


def test_every_member_learns_the_labels_by_itself():
    toy = make_toy()
    objective = objective_of("dchml-plus", toy, members=3, image_mix=0.0, text_mix=0.0)
    nets = {
        modality: objective.make_network(
            modality, "posterior", width, seed=number, options={"hidden": (32,)}
        ).eval()
        for number, (modality, width) in enumerate((("image", 12), ("text", 20)))
    }
    nets["text"].share_parts(nets["image"])
    rows = torch.arange(30)
    batch = batch_of(toy, nets, ("image", "text"), rows, memory_of(toy, nets), objective=objective)
    expected = 0.0
    for modality, net in nets.items():
        assert len(net.further_members) == 2
        for logits in net.member_logits(getattr(toy, modality)[rows]):
            for z, y in zip(logits.flatten(), batch.labels.flatten(), strict=True):
                loss = torch.log1p(torch.exp(z)) - y * z
                expected = expected + loss / 3 / 30
    torch.testing.assert_close(objective.loss(batch)["posterior"], expected, rtol=1e-4, atol=1e-4)


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
        terms = objective._relevance_terms(
            outputs, list(logits.values()), scale=objective.scale, bias=objective.bias
        )
        return terms["relevance"].item()

    before = loss()
    torch.manual_seed(0)
    objective.end_run(nets, toy.rows())
    assert loss() < before - 0.02
    assert objective.proxies is not None
    assert objective.proxies.codes.shape == (CLASSES, BITS)
    assert objective.proxies.origin == "phnet"


def test_pairs_within_a_modality_weigh_less_and_relevance_is_relative():
    _, _, objective, _ = started(within=0.25, relative=0.5)
    torch.manual_seed(1)
    logits = [torch.randn(2, CLASSES), torch.randn(3, CLASSES)]
    outputs = torch.tanh(torch.randn(5, BITS))
    terms = objective._relevance_terms(
        outputs, logits, scale=torch.tensor(6.0), bias=torch.tensor(-1.0)
    )
    p = torch.sigmoid(torch.cat(logits)).tolist()
    s = [[1 - math.prod(1 - a * b for a, b in zip(x, y, strict=True)) for y in p] for x in p]
    total = weight = 0.0
    for i in range(5):
        best = max(s[i][j] for j in range(5) if j != i)
        for j in range(5):
            if i == j:
                continue
            w = 0.25 if (i < 2) == (j < 2) else 1.0
            theta = 6 * float(outputs[i] @ outputs[j]) / BITS - 1
            target = 0.5 * s[i][j] + 0.5 * s[i][j] / best
            total += w * (math.log1p(math.exp(theta)) - target * theta)
            weight += w
    assert terms["relevance"].item() == pytest.approx(total / weight, rel=1e-5)


@pytest.mark.parametrize(("bits", "within"), [(8, 1.0), (16, 0.625), (64, 0.15625)])
def test_the_longer_the_code_the_less_pairs_within_a_modality_weigh(bits, within, monkeypatch):
    _, _, objective, _ = started()
    seen = []
    monkeypatch.setattr(objective, "code_terms", lambda *_, weights, **__: seen.append(weights))
    monkeypatch.setattr(objective, "bits", bits)
    logits = [torch.zeros(1, CLASSES), torch.zeros(1, CLASSES)]
    scale = torch.tensor(1.0)
    objective._relevance_terms(torch.zeros(2, bits), logits, scale=scale, bias=scale)
    objective._relevance_terms(torch.zeros(1, bits), logits[:1], scale=scale, bias=scale)
    assert seen[0].flatten().tolist() == pytest.approx([within, 1.0, 1.0, within])
    assert seen[1] is None


def test_each_modality_shifts_the_bits_by_its_own_vectors():
    toy, nets, objective, _ = started(refit=5)
    image, text = nets["image"].eval(), nets["text"].eval()
    logits = torch.randn(6, CLASSES)
    assert all((shift == 0).all() for net in (image, text) for shift in net.shifts)
    assert (image.phnet(logits, image.shifts) == text.phnet(logits, text.shifts)).all()
    torch.manual_seed(0)
    objective.end_run(nets, toy.rows())
    image.eval(), text.eval()
    for own, other in zip(image.shifts, text.shifts, strict=True):
        assert not torch.equal(own, other)
    first, relu, last, normalize = image.phnet.layers
    hidden, bits = image.shifts
    by_hand = normalize(last(relu(first(4 * torch.sigmoid(logits) - 1) + hidden)) + bits)
    torch.testing.assert_close(image.phnet(logits, image.shifts), by_hand)
    again = PosteriorNetwork.from_config(image.config)
    again.load_state_dict(image.state_dict())
    torch.testing.assert_close(again.eval().logits(toy.image), image.logits(toy.image))


def test_networks_of_earlier_versions_have_no_shifts():
    network = PosteriorNetwork(5, 8, classes=3)
    assert network.shifts is None
    assert "shifts" not in network.config
    assert not any("shift" in name for name in network.state_dict())


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
