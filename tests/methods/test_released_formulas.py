"""Methods of 2024 and 2025 against loops written from their authors' public releases.

Values and gradients, in float64; and what the releases leave open: items without labels, without a
modality, and batches without pairs.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proxyhash.errors import UsageError
from proxyhash.losses import nearest_codes
from proxyhash.methods import Batch, Context, Memory, make_objective, method_settings
from tests.losses import released

BITS, ITEMS = 8, 6
LABELS = torch.tensor(
    [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1]]
).double()
MARKS = LABELS.tolist()


@pytest.fixture
def outputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw() -> torch.Tensor:
        values = torch.rand(ITEMS, BITS, generator=generator, dtype=torch.float64) * 1.9 - 0.95
        # Items of one class lie together, so that cosines of every size occur.
        signs = torch.tensor([1.0 if k % 2 else -1.0 for k in range(BITS)]).double()
        return (values + 0.5 * LABELS[:, 1:2] * signs).clamp(-0.97, 0.97).requires_grad_()

    return {"image": draw(), "text": draw()}


def objective_of(name: str, **settings: object):
    context = Context(LABELS.float(), BITS, seed=5, modalities=("image", "text"))
    return make_objective(name, context, settings).double()


def batch_of(outputs, labels=LABELS, *, present=None) -> Batch:
    everyone = torch.ones(len(labels), dtype=torch.bool)
    present = present or dict.fromkeys(outputs, everyone)
    memory = Memory(outputs={m: h.detach() for m, h in outputs.items()}, present=present)
    index = torch.arange(len(labels))
    return Batch(index=index, labels=labels, outputs=outputs, present=present, memory=memory)


def assert_same(ours, theirs, leaves, *, factor: float = 1.0, constant: float = 0.0) -> None:
    """Assert that theirs = factor * ours + constant, and the same of the gradients."""
    torch.testing.assert_close(theirs, factor * ours + constant, rtol=1e-10, atol=1e-12)
    expected = torch.autograd.grad(theirs, leaves, retain_graph=True)
    found = torch.autograd.grad(factor * ours, leaves, retain_graph=True)
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_dnph_is_that_of_the_release(outputs) -> None:
    objective = objective_of("dnph", uniform=0.1)
    images, texts = leaves = list(outputs.values())
    torch.manual_seed(7)
    codes = torch.randint(2, (ITEMS, BITS)).double() * 2 - 1
    near, noise = released.dnph(images, texts, objective.proxy_vectors, MARKS, codes)
    torch.manual_seed(7)
    terms = objective.loss(batch_of(outputs))
    assert_same(terms["proxies"], near, [*leaves, objective.proxy_vectors])
    assert_same(terms["uniform"], -noise, leaves)


def test_codes_are_drawn_evenly_and_each_is_used_once() -> None:
    rng = np.random.default_rng(0)
    drawn = torch.from_numpy(rng.choice([-1.0, 1.0], (40, 12)))
    outputs = torch.from_numpy(rng.uniform(-1, 1, (30, 12)))
    chosen = nearest_codes(outputs, drawn)
    distances = torch.cdist(outputs, drawn)
    assert torch.norm(outputs - chosen, dim=1).sum() < 0.95 * distances[:, :30].trace()
    rows = [tuple(row) for row in chosen.tolist()]
    assert len(set(rows)) == 30 <= len({tuple(row) for row in drawn.tolist()})
    assert set(rows) <= {tuple(row) for row in drawn.tolist()}


def test_qmi_is_that_of_the_release(outputs) -> None:
    terms = objective_of("qmi").loss(batch_of(outputs))
    leaves = list(outputs.values())
    apart = int((LABELS @ LABELS.T == 0).sum())
    theirs = released.dnph_qmi(*leaves, MARKS)
    # They sum over pairs and add 1 for every pair without a common label, in three comparisons.
    assert_same(terms["information"], theirs, leaves, factor=ITEMS**2, constant=3 * apart)


@pytest.mark.parametrize(("tau", "psi"), [(0.3, 0.3), (0.3, 0.1), (-0.2, -0.5), (0.9, 0.7)])
def test_dscph_is_that_of_the_release(outputs, tau, psi) -> None:
    objective = objective_of("dscph", tau=tau, psi=psi)
    leaves = [*outputs.values(), objective.proxy_vectors]
    terms = objective.loss(batch_of(outputs))
    theirs = sum(
        released.dscph(h, objective.proxy_vectors, MARKS, tau=tau, psi=psi)
        for h in outputs.values()
    )
    assert_same(terms["proxies"], theirs, leaves)
    variance = sum(released.dscph_variance(h) for h in outputs.values())
    assert_same(terms["variance"], variance, leaves[:2])


def test_dscph_refuses_rewards_for_errors() -> None:
    with pytest.raises(UsageError, match=r"psi is 0.7 and tau 0.3; a penalty would be negative"):
        method_settings("dscph", {"tau": 0.3, "psi": 0.7})


PUBLISHED = {"width": 1 / 6, "ceiling": 1 / 4}


def test_ddbh_is_that_of_the_release(outputs) -> None:
    # .1 of a sum over j for their batch is lambda of a mean.
    objective = objective_of("ddbh", **PUBLISHED | {"lambda_": 0.1 * ITEMS})
    images, texts = leaves = list(outputs.values())
    terms = objective.loss(batch_of(outputs))
    pairs = sum(
        released.ddbh_pairs(one, other, MARKS, bit=BITS)
        for one, other in ((images, images), (texts, texts), (images, texts))
    )
    assert_same(terms["pairs"], pairs, leaves)
    quantized = sum(released.ddbh_quantization(h, MARKS) for h in leaves)
    assert_same(terms["quantization"], 0.1 * quantized, leaves)


def test_ddbh_takes_more_than_one_of_many_pairs_as_the_extreme_tenth() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(46, BITS, generator=generator, dtype=torch.float64) * 2 - 1
    marks = torch.eye(2).double()[torch.arange(46) // 23 % 2]
    values[:23, :4] += 0.8  # so that boundaries lie inside their limits
    values = values.clamp(-1, 1).requires_grad_()
    objective = objective_of("ddbh", **PUBLISHED | {"lambda_": 0})
    terms = objective.loss(batch_of({"image": values}, marks))
    assert_same(
        terms["pairs"], released.ddbh_pairs(values, values, marks.tolist(), bit=BITS), [values]
    )


NAMES = ("dnph", "qmi", "dscph", "ddbh")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_left_out(outputs, name) -> None:
    """Images 0 and 1, text 2 and the labels of 3 are missing: as in smaller batches."""
    objective = objective_of(name, **({"uniform": 0.0} if name == "dnph" else {}))
    labels = LABELS.clone()
    labels[3] = 0
    has = {
        "image": torch.tensor([False, False, True, True, True, True]),
        "text": torch.tensor([True, True, False, True, True, True]),
    }
    with torch.no_grad():
        outputs["image"][0] = float("nan")
    terms = objective.loss(batch_of(outputs, labels, present=has))
    total = sum(terms.values())
    total.backward()
    assert total.isfinite()
    for modality, values in outputs.items():
        left_out = ~has[modality] | (labels.sum(dim=1) == 0)
        assert values.grad is not None
        assert values.grad.isfinite().all()
        assert (values.grad[left_out] == 0).all()
        assert (values.grad[~left_out].abs().sum(dim=1) > 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_one_modality_alone_is_the_release_within_it(outputs, name) -> None:
    """Without texts at all, the terms are those of images."""
    objective = objective_of(name, **({"uniform": 0.0} if name == "dnph" else {}))
    missing = torch.zeros(ITEMS, dtype=torch.bool)
    both = batch_of(outputs, present={"image": ~missing, "text": missing})
    alone = batch_of({"image": outputs["image"]})
    for term, value in objective.loss(both).items():
        torch.testing.assert_close(value, objective.loss(alone)[term])


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_all_items_share_are_harmless(outputs, name) -> None:
    objective = objective_of(name)
    same = torch.ones_like(LABELS)
    total = sum(objective.loss(batch_of(outputs, same)).values())
    total.backward()
    assert total.isfinite()
    assert all(values.grad.isfinite().all() for values in outputs.values())


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_near_one_and_zero_are_nearly_labels(outputs, name) -> None:
    objective = objective_of(name, **({"uniform": 0.0} if name == "dnph" else {}))
    soft = 0.999 * LABELS + 0.0005
    for term, value in objective.loss(batch_of(outputs)).items():
        torch.testing.assert_close(
            objective.loss(batch_of(outputs, soft))[term], value, rtol=0.01, atol=0.01
        )
