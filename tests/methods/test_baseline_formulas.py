"""The baselines' terms against loops written from the formula, gaps in the data included."""

from __future__ import annotations

import math

import pytest
import torch

from proxyhash.methods import Context, make_objective
from proxyhash.methods.hyp2 import reference_tau
from proxyhash.methods.label_codes import deal_bits
from proxyhash.methods.shared.centers import hash_centers
from proxyhash.proxies.proxies import pairwise_distances
from proxyhash.training.config import read_config
from tests.losses import reference as losses
from tests.methods.reference import sign
from tests.methods.toy import (
    BITS,
    MODALITIES,
    batch_of,
    make_toy,
    memory_of,
    networks,
    objective_of,
)

INDEX = torch.tensor([3, 8, 0, 11, 5, 7, 2])


@pytest.fixture
def parts():
    """A set with an unlabeled item, one without image and one without text in the batch."""
    toy = make_toy()
    toy.labels[8] = 0
    toy.has_image[0] = False
    toy.has_text[11] = False
    nets = networks()
    return toy, batch_of(toy, nets, ("image", "text"), INDEX, memory_of(toy, nets))


def taught(toy, batch, modality, *, labels=1):
    """Outputs and labels of the batch's items with the modality and so many labels or more."""
    has = toy.has_image if modality == "image" else toy.has_text
    rows = [
        row
        for row, item in enumerate(INDEX.tolist())
        if has[item] and toy.labels[item].sum() >= labels
    ]
    return batch.outputs[modality][rows].tolist(), batch.labels[rows].tolist()


def share(labels, others):
    return [
        [any(a and b for a, b in zip(one, other, strict=True)) for other in others]
        for one in labels
    ]


def terms_of(objective, batch):
    return {name: value.item() for name, value in objective.loss(batch).items()}


def test_csq(parts):
    toy, batch = parts
    objective = objective_of("csq", toy, lambda_=0.3)
    centers, tie = objective.proxies.codes.tolist(), objective.tie_breaker.tolist()
    center = quantized = 0.0
    ties = 0
    for modality in ("image", "text"):
        outputs, labels = taught(toy, batch, modality)
        targets = []
        for marks in labels:
            votes = [
                sum(centers[c][k] for c, mark in enumerate(marks) if mark) for k in range(BITS)
            ]
            ties += votes.count(0)
            targets.append([sign([v])[0] if v else tie[k] for k, v in enumerate(votes)])
        center += losses.bit_cross_entropy(outputs, targets)
        quantized += losses.log_cosh(outputs)
    assert ties  # two labels or four
    expected = {"center": center, "quantization": 0.3 * quantized}
    assert terms_of(objective, batch) == pytest.approx(expected, rel=1e-4)


def test_orthohash(parts):
    toy, batch = parts
    objective = objective_of("orthohash", toy, scale=5, margin=0.1)
    codes = objective.proxies.codes.tolist()
    expected = 0.0
    for modality in ("image", "text"):
        outputs, labels = taught(toy, batch, modality)
        cosines = [[losses.cosine(h, code) for code in codes] for h in outputs]
        expected += losses.cosine_softmax(cosines, labels, scale=5, margin=0.1)
    assert terms_of(objective, batch) == pytest.approx({"cosine": expected}, rel=1e-4)


@pytest.mark.parametrize(
    ("classes", "scale"), [(25, 4.4945), (11, 3.2563), (3, 0.9803), (1, 0.9803)]
)
def test_the_scale_of_orthohash_follows_the_number_of_classes(classes, scale):
    context = Context(torch.ones(4, classes), BITS, seed=0, modalities=MODALITIES)
    assert make_objective("orthohash", context, {}).scale == pytest.approx(scale, abs=1e-4)
    assert make_objective("orthohash", context, {"scale": 8}).scale == 8


def test_hyp2(parts):
    toy, batch = parts
    objective = objective_of("hyp2", toy, beta=0.4, tau=-0.2)
    vectors = objective.proxy_vectors.tolist()
    near = pairs = 0.0
    for modality in ("image", "text"):
        outputs, labels = taught(toy, batch, modality)
        cosines = [[losses.cosine(h, vector) for vector in vectors] for h in outputs]
        near += losses.proxy_hinge(cosines, labels, tau=-0.2)
    for one, other in (("image", "image"), ("text", "text"), ("image", "text")):
        outputs, labels = taught(toy, batch, one, labels=2)
        others, other_labels = taught(toy, batch, other, labels=2)
        similarity = share(labels, other_labels)
        pairs += losses.irrelevant_pairs(outputs, others, similarity, tau=-0.2)
    assert pairs > 0
    expected = {"proxies": near, "pairs": 0.4 * pairs}
    assert terms_of(objective, batch) == pytest.approx(expected, rel=1e-4)


def test_hyp2_learns_its_proxies_and_shows_their_signs(parts):
    toy, batch = parts
    objective = objective_of("hyp2", toy)
    torch.stack(list(objective.loss(batch).values())).sum().backward()
    assert (objective.proxy_vectors.grad.abs().sum(dim=1) > 0).all()
    assert objective.proxies.codes.tolist() == [
        [int(bit) for bit in sign(row)] for row in objective.proxy_vectors.tolist()
    ]


@pytest.mark.parametrize(
    ("classes", "bits", "distance"),
    [(25, 16, 8), (25, 64, 32), (24, 32, 16), (80, 16, 6), (80, 64, 32), (1, 16, 16)],
)
def test_tau_is_the_cosine_of_a_known_code(classes, bits, distance):
    assert reference_tau(classes, bits) == pytest.approx(1 - 2 * distance / bits)
    toy = make_toy()
    assert objective_of("hyp2", toy).tau == reference_tau(5, BITS)
    assert objective_of("hyp2", toy, tau=0.0).tau == 0


def test_dchmt_on_the_two_probabilities_of_every_bit(parts):
    toy, batch = parts
    objective = objective_of("dchmt", toy, vartheta=0.3, lambda_=0.2)

    def choices(outputs):
        return [[p for h in row for p in ((1 + h) / 2, (1 - h) / 2)] for row in outputs]

    pairs = 0.0
    for one, other in (("image", "image"), ("text", "text"), ("image", "text")):
        (outputs, labels), (others, other_labels) = (
            taught(toy, batch, one),
            taught(toy, batch, other),
        )
        pairs += losses.contrastive(
            choices(outputs),
            choices(others),
            share(labels, other_labels),
            margin=math.sqrt(2 * BITS * 0.3),
        )
    undecided = 0.0
    for modality in ("image", "text"):
        values = [p for row in choices(taught(toy, batch, modality)[0]) for p in row]
        undecided += (1 - sum((2 * p - 1) ** 2 for p in values) / len(values)) / 2
    expected = {"pairs": pairs, "quantization": 0.2 * undecided}
    assert terms_of(objective, batch) == pytest.approx(expected, rel=1e-4)


def test_label_codes(parts):
    toy, batch = parts
    objective = objective_of("label-codes", toy)
    frequency = toy.labels.sum(dim=0).tolist()
    often = frequency.index(max(frequency))
    category = [c for c in range(5) for _ in range(4 if c == often else 3)]
    expected = 0.0
    for modality in ("image", "text"):
        outputs, labels = taught(toy, batch, modality)
        codes = [[2 * marks[c] - 1 for c in category] for marks in labels]
        expected += losses.bit_cross_entropy(outputs, codes)
    assert terms_of(objective, batch) == pytest.approx({"labels": expected}, rel=1e-4)
    assert objective.proxies.codes.tolist() == [
        [1 if c == alone else -1 for c in category] for alone in range(5)
    ]


def test_bits_are_dealt_to_the_most_frequent_classes_first():
    labels = torch.tensor([[0, 1, 1], [0, 1, 0], [1, 0, 1], [0, 1, 1]]).float()
    assert deal_bits(labels, 7).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert deal_bits(labels, 3).tolist() == [0, 1, 2]
    assert deal_bits(labels, 2).tolist() == [1, 2]
    assert deal_bits(labels, 1).tolist() == [1]  # as frequent as 2, and first
    few = make_objective("label-codes", Context(labels, 2, seed=0, modalities=MODALITIES), {})
    assert few.proxies.codes.tolist() == [[-1, -1], [1, -1], [-1, 1]]


def test_label_codes_have_no_batch_norm_unless_the_user_asks():
    least = {"data": "photos", "out": "runs/a", "method": "label-codes"}
    assert not read_config(least).output_batch_norm
    assert read_config(least | {"output_batch_norm": True}).output_batch_norm
    assert read_config(least | {"method": "csq"}).output_batch_norm


@pytest.mark.parametrize(
    ("classes", "bits", "origin", "distance"),
    [(16, 16, "hadamard", 8), (32, 16, "hadamard", 8), (10, 15, "hadamard", 7), (40, 16, "", 5)],
)
def test_hash_centers(classes, bits, origin, distance):
    centers = hash_centers(classes, bits, seed=0)
    assert centers.codes.shape == (classes, bits)
    assert centers.origin == origin or not origin
    apart = pairwise_distances(centers.codes)[~torch.eye(classes, dtype=torch.bool).numpy()]
    assert apart.min() >= distance
    again = hash_centers(classes, bits, seed=0)
    assert (centers.codes == again.codes).all()
