"""`pairs` against loops over the formula, and what makes items alike or the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from proxyhash.codes import binarize
from proxyhash.evaluation.pairs import pair_ranks
from proxyhash.methods import Rows
from proxyhash.methods.pairs import Topics
from tests.methods.toy import batch_of, begun, make_toy, memory_of, networks, train_toy

SCALE, TAU, SHARE, WITHIN = 7.0, 0.2, 0.4, 0.3
SETTINGS = {"scale": SCALE, "topic_temperature": TAU, "topics": SHARE, "within": WITHIN}


def cosine(one, other):
    return float(one @ other / (one.norm() * other.norm()))


def softmax(logits):
    total = sum(math.exp(each) for each in logits.values())
    return {key: math.exp(each) / total for key, each in logits.items()}


def expected_terms(toy, outputs, vectors, same):
    """The two terms by loops: items, then the others that they are compared with."""
    codes = {name: torch.where(values > 0, 1.0, -1.0) for name, values in outputs.items()}
    both = [i for i in range(len(toy.labels)) if toy.has_image[i] and toy.has_text[i]]

    def alike(i, among):
        others = [j for j in among if j != i and not same(i, j)]
        return softmax({j: cosine(vectors[i], vectors[j]) / TAU for j in others})

    across = 0.0
    for one, two in (("image", "text"), ("text", "image")):
        for i in both:
            others = [j for j in both if j == i or not same(i, j)]
            found = softmax({j: SCALE * cosine(codes[one][i], codes[two][j]) for j in others})
            shares = {j: SHARE * share for j, share in alike(i, both).items()}
            shares[i] = 1 - sum(shares.values())
            across -= sum(t * math.log(found[j]) for j, t in shares.items()) / len(both)
    within = 0.0
    for name, has in (("image", toy.has_image), ("text", toy.has_text)):
        rows = [i for i in range(len(has)) if has[i]]
        for i in rows:
            shares = alike(i, rows)
            found = softmax({j: SCALE * cosine(codes[name][i], codes[name][j]) for j in shares})
            within -= sum(t * math.log(found[j]) for j, t in shares.items()) / len(rows)
    return across, WITHIN * within


@pytest.mark.parametrize("incomplete", [False, True])
def test_the_terms_are_those_of_the_loops(incomplete):
    toy, nets = make_toy(24), networks("pairs")
    toy.text[5] = toy.text[9]
    toy.image[3] = toy.image[7]
    if incomplete:
        toy.has_image[::7] = False
        toy.has_text[1::6] = False
    objective = begun("pairs", toy, nets, **SETTINGS)
    batch = batch_of(toy, nets, ("image", "text"), torch.arange(24), memory_of(toy, nets))
    terms = objective.loss(batch)

    def same(i, j):
        one, other = min(i, j), max(i, j)
        texts = (one, other) == (5, 9) and bool(toy.has_text[[5, 9]].all())
        return texts or ((one, other) == (3, 7) and bool(toy.has_image[[3, 7]].all()))

    outputs = {name: values.detach() for name, values in batch.outputs.items()}
    across, within = expected_terms(toy, outputs, objective.topics.vectors, same)
    assert terms["pairs"].item() == pytest.approx(across, rel=1e-5)
    assert terms["topics"].item() == pytest.approx(within, rel=1e-5)


def test_gradients_pass_through_the_signs():
    toy, nets = make_toy(24), networks("pairs")
    objective = begun("pairs", toy, nets, within=0.0, topics=0.0)
    batch = batch_of(toy, nets, ("image", "text"), torch.arange(24), memory_of(toy, nets))
    for values in batch.outputs.values():
        values.retain_grad()
    (term,) = objective.loss(batch).values()
    term.backward()
    signs = {
        name: torch.where(values > 0, 1.0, -1.0).requires_grad_()
        for name, values in batch.outputs.items()
    }
    logits = 10 / 16 * signs["image"] @ signs["text"].T
    own = torch.arange(24)
    cross_entropy = torch.nn.functional.cross_entropy
    # The cosine of signs with a fixed length: K in every code, so only its direction is projected.
    (cross_entropy(logits, own) + cross_entropy(logits.T, own)).backward()
    for name, values in batch.outputs.items():
        free = signs[name].grad
        along = (free * signs[name]).sum(dim=1, keepdim=True) / 16 * signs[name]
        torch.testing.assert_close(values.grad, (free - along).detach(), rtol=1e-4, atol=1e-6)


def test_topics_are_shared_directions_and_contents_are_equal_features():
    generator = torch.Generator().manual_seed(0)
    topic = torch.arange(90) % 3
    hidden = torch.eye(3)[topic]

    def features(width):
        own = torch.randn(90, width, generator=generator)
        return hidden @ torch.randn(3, width, generator=generator) * 2 + own

    image, text = features(12), features(20)
    text[4] = text[80]
    present = torch.ones(90, dtype=torch.bool)
    gone = present.clone()
    gone[[10, 11]] = False
    rows = Rows(
        {"image": image, "text": text * gone[:, None]},
        {"image": present, "text": gone},
        torch.zeros(90, 1),
    )
    topics = Topics(90, 8, seed=0)
    topics.fit(networks("pairs"), rows, power=4.0, method="pairs")
    assert torch.allclose(topics.vectors.norm(dim=1), torch.ones(90), atol=1e-5)
    alike, same = topics.compare(torch.arange(90), 0.1)
    equal = topic[:, None] == topic[None]
    assert ((alike * equal).sum(dim=1) > 0.6).float().mean() > 0.9
    assert same.nonzero().tolist() == [[4, 80], [80, 4]]  # and not the two without a text
    assert alike.diagonal().abs().max() == alike[4, 80] == 0
    torch.testing.assert_close(alike.sum(dim=1), torch.ones(90))


def test_a_lone_item_and_equal_items_alone_give_no_nan():
    toy, nets = make_toy(24), networks("pairs")
    toy.text[:2] = toy.text[2]
    objective = begun("pairs", toy, nets)
    for index in (torch.tensor([0]), torch.tensor([0, 1, 2])):
        for net in nets.values():
            net.eval()
        batch = batch_of(toy, nets, ("image", "text"), index, memory_of(toy, nets))
        total = torch.stack(list(objective.loss(batch).values())).sum()
        total.backward()
        assert total.item() == pytest.approx(0, abs=1e-6)


def test_images_find_their_own_texts():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(80, 8))
    toy = make_toy(80)
    toy.image = torch.from_numpy(hidden @ rng.normal(size=(8, 12))).float()
    toy.text = torch.from_numpy(hidden @ rng.normal(size=(8, 20))).float()
    nets = train_toy("pairs", toy, rounds=40, topics=0.1)
    with torch.no_grad():
        image, text = (
            binarize(nets[name].logits(values).numpy())
            for name, values in (("image", toy.image), ("text", toy.text))
        )
    assert pair_ranks(image, text).recall_at(5) > 0.6
    assert pair_ranks(text, image).recall_at(5) > 0.6
