"""DCHML-pairs: predicted labels, the loss by hand, and what doubtful labels teach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from proxyhash.errors import UsageError
from proxyhash.losses import label_posterior, relevance
from proxyhash.methods.pairs import Topics, pairing_terms
from tests.methods.toy import BITS, CLASSES, batch_of, begun, make_toy, memory_of, networks

EVERYONE = torch.arange(60)


def few_labels(kept: int = 20):
    toy = make_toy()
    true = toy.labels.clone()
    toy.labels[kept:] = 0
    return toy, true


def terms_of(toy, nets, objective, index=EVERYONE):
    memory = memory_of(toy, nets)
    batch = batch_of(toy, nets, ("image", "text"), index, memory, objective=objective)
    return batch, objective.loss(batch)


def test_predicted_labels_are_those_of_a_library():
    rng = np.random.default_rng(0)
    topics = Topics(80, 6, seed=0)
    topics.vectors = torch.from_numpy(rng.normal(size=(80, 6)).astype(np.float32))
    labels = (topics.vectors[:, :3] + 0.5 * torch.randn(80, 3) > 0).float()
    given = torch.arange(80) < 50
    found = topics.predict_labels(labels, given, decay=0.01)
    for column in range(3):
        # sklearn weighs the sum of the losses by C, and half of the squares by 1.
        reference = LogisticRegression(C=1 / (2 * 0.01 * 50), tol=1e-8, max_iter=1000)
        reference.fit(topics.vectors[:50].numpy(), labels[:50, column].numpy())
        expected = reference.predict_proba(topics.vectors.numpy())[:, 1]
        np.testing.assert_allclose(found[:, column].numpy(), expected, atol=2e-3)


def test_unlabeled_items_get_labels_and_labeled_ones_keep_theirs():
    toy, true = few_labels(40)
    objective = begun("dchml-pairs", toy, networks("dchml-pairs"))
    learned = objective.labels_of(toy.rows(), EVERYONE)
    assert (learned[:40] == true[:40]).all()
    guessed = learned[40:]
    assert ((guessed > 0) & (guessed < 1)).all()
    right = ((guessed > 0.5) == true[40:].bool()).float().mean()
    assert right > 0.85  # the toy's features tell its labels
    assert objective.weight.item() == pytest.approx((1 / 3) ** 2)


def test_a_given_weight_of_the_pairing_stands():
    toy, _ = few_labels()
    objective = begun("dchml-pairs", toy, networks("dchml-pairs"), pairing=0.3)
    assert objective.weight.item() == pytest.approx(0.3)


def test_the_loss_is_that_of_both_methods():
    toy, _ = few_labels()
    nets = networks("dchml-pairs")
    objective = begun("dchml-pairs", toy, nets, noise=0.0, pairing=0.7, refit=0)
    batch, terms = terms_of(toy, nets, objective)
    targets = objective.labels_of(toy.rows(), EVERYONE)
    predicted = {m: nets[m].predicted(getattr(toy, m)) for m in nets}
    by_hand = sum(label_posterior(each[:, :CLASSES], targets) for each in predicted.values())
    torch.testing.assert_close(terms["posterior"], by_hand)

    vectors = objective.topics.vectors
    similarity = vectors @ vectors.T + relevance(targets, targets)
    similarity.fill_diagonal_(-torch.inf)
    alike = (similarity / objective.settings.topic_temperature).softmax(dim=1)
    same = torch.zeros(60, 60, dtype=torch.bool)
    expected = pairing_terms(
        EVERYONE, batch.outputs, batch.present, lambda _: (alike, same), objective.settings
    )
    for name in ("pairs", "topics"):
        torch.testing.assert_close(terms[name], 0.7 * expected[name])


def test_latents_learn_from_the_pairing_alone():
    toy, _ = few_labels()
    nets = networks("dchml-pairs")
    objective = begun("dchml-pairs", toy, nets, pairing=1.0)
    for name, learns in (("posterior", False), ("pairs", True)):
        for net in nets.values():
            net.zero_grad(set_to_none=True)
        _, terms = terms_of(toy, nets, objective)
        terms[name].backward()
        (last,) = [each for each in list(nets["image"].layers)[-1:] if hasattr(each, "weight")]
        gradient = last.weight.grad[CLASSES:]
        assert bool(gradient.abs().sum() > 0) == learns


def test_the_refit_keeps_pairs_together_and_names_a_proxy_for_each_class():
    toy, _ = few_labels()
    nets = networks("dchml-pairs")
    objective = begun("dchml-pairs", toy, nets, pairing=1.0, refit=200, noise=0.0)

    def pairs():
        for net in nets.values():
            net.eval()
        with torch.no_grad():
            return terms_of(toy, nets, objective)[1]["pairs"].item()

    before = pairs()
    torch.manual_seed(0)
    objective.end_run(nets, toy.rows())
    assert pairs() < before
    assert objective.proxies is not None
    assert objective.proxies.codes.shape == (CLASSES, BITS)


def test_items_with_one_half_learn_their_labels():
    toy, _ = few_labels()
    toy.has_text[10:30] = False
    nets = networks("dchml-pairs")
    objective = begun("dchml-pairs", toy, nets, refit=3)
    _, terms = terms_of(toy, nets, objective, index=torch.arange(10, 30))
    assert terms["posterior"].item() > 0
    assert all(torch.isfinite(value) for value in terms.values())
    objective.end_run(nets, toy.rows())


def test_without_any_label_it_says_which_method_to_use():
    toy, _ = few_labels(0)
    with pytest.raises(UsageError, match="no training item has a label; use --method pairs"):
        begun("dchml-pairs", toy, networks("dchml-pairs"))


def test_labels_that_are_not_trusted_are_corrected_by_both_halves():
    toy = make_toy()
    true = toy.labels.clone()
    wrong = torch.arange(0, 60, 6)
    toy.labels[wrong] = toy.labels[wrong.roll(1)]
    objective = begun("dchml-plus", toy, networks("dchml-plus"), trust=0.5)
    learned = objective.labels_of(toy.rows(), EVERYONE)
    given_for_false = (toy.labels != true)[wrong]
    nearer = (learned - true)[wrong].abs()[given_for_false]
    assert (nearer < 0.75).float().mean() > 0.7  # the other half leans to the truth
    half = 2 * learned - toy.labels  # what the regression says
    assert ((half >= 0) & (half <= 1)).all()
    trusting = begun("dchml-plus", toy, networks("dchml-plus"))
    assert (trusting.labels_of(toy.rows(), EVERYONE) == toy.labels).all()
    assert "targets" not in trusting.state_dict()
