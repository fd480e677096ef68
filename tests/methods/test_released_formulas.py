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
from proxyhash.networks import NETWORKS
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


@pytest.fixture
def close(outputs) -> dict[str, torch.Tensor]:
    """Outputs on one side, so that pairs without a common label cost something."""
    return {
        name: (0.5 * values.detach() + 0.4).requires_grad_() for name, values in outputs.items()
    }


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


def test_dcgh_is_that_of_the_release(close) -> None:
    objective = objective_of("dcgh")
    leaves = [*close.values(), objective.proxy_vectors]
    terms = objective.loss(batch_of(close))
    theirs = released.dcgh(*leaves, MARKS)
    assert terms.keys() == theirs.keys()
    for name, value in theirs.items():
        assert_same(terms[name], value, leaves if name in ("proxies", "variance") else leaves[:2])


def test_kdph_is_that_of_the_release(close) -> None:
    objective = objective_of("kdph", alpha=26.0, uniform=0.5, margin=0.3)
    images, texts = leaves = list(close.values())
    own = [
        objective.proxy_vectors,
        objective.axes,
        objective.skew,
        objective.log_concentrations,
    ]
    with torch.no_grad():  # not as it starts, where all concentrations are 1
        objective.log_concentrations += torch.linspace(-0.5, 0.7, 12).view(4, 3)
    torch.manual_seed(7)
    codes = torch.randint(2, (ITEMS, BITS)).double() * 2 - 1
    torch.manual_seed(7)
    terms = objective.loss(batch_of(close))
    scores = sum(released.kdph(h, *own, MARKS, margin=0.3) for h in leaves)
    assert_same(terms["proxies"], scores, [*leaves, *own])
    assert_same(terms["contrast"], 0.2 * released.info_nce(images, texts), leaves)
    pairs = released.kdph_pairs(images, texts, MARKS, threshold=objective.tau)
    assert_same(terms["pairs"], 26 * pairs, leaves)
    _, noise = released.dnph(images, texts, objective.proxy_vectors, MARKS, codes)
    assert_same(terms["uniform"], -5 * noise, leaves)


def test_axes_of_kdph_start_at_right_angles() -> None:
    axes = objective_of("kdph")._directions()
    products = axes.transpose(1, 2) @ axes
    assert (products - torch.eye(2)).abs().max() > 1e-3  # those of one class alone are not
    stacked = objective_of("kdph").axes.flatten(0, 1)
    torch.testing.assert_close(stacked.T @ stacked, torch.eye(2).double(), atol=1e-6, rtol=0)


def test_idgh_is_that_of_the_release(outputs) -> None:
    objective = objective_of("idgh", copies=0)
    images, texts = leaves = list(outputs.values())
    terms = objective.loss(batch_of(outputs))
    theirs = sum(
        released.idgh_triplets(one, other, MARKS)
        for one, other in ((images, images), (texts, texts), (images, texts))
    )
    assert_same(terms["triplets"], theirs, leaves)


def test_idgh_measures_classes_as_the_release() -> None:
    generator = torch.Generator().manual_seed(2)
    shape = (ITEMS, BITS)
    epochs = [
        tuple(torch.rand(shape, generator=generator) * 2 - 1 for _ in range(2)) for _ in range(3)
    ]
    objective = objective_of("idgh", start_epoch=3, beta=0.7, gamma=0.3)
    everyone = torch.ones(ITEMS, dtype=torch.bool)
    for outputs in [epochs[0], *epochs]:  # the second epoch is the last without drawn items
        values = dict(zip(("image", "text"), outputs, strict=True))
        objective.begin_epoch(Memory(values, dict.fromkeys(values, everyone)))
        if int(objective.epoch) < 3:
            assert not objective.counts.any()
    measured = [epochs[1], epochs[2]]
    theirs = released.idgh_moments(measured, MARKS, beta=0.7, gamma=0.3)
    for modality, (means, variances) in zip(("image", "text"), theirs, strict=True):
        for name, expected in (("mean", means), ("variance", variances)):
            found = getattr(objective, f"{name}_{modality}")
            torch.testing.assert_close(
                found, torch.tensor(expected).to(found), rtol=1e-4, atol=1e-5
            )


def test_idgh_draws_items_with_the_variance_of_their_classes(outputs) -> None:
    objective = objective_of("idgh", copies=2000, spread=0.5)
    objective.counts += 3
    for k in range(len(LABELS[0])):
        objective.variance_image[k] = 0.1 * (k + 1)
    drawn, labels = objective._with_drawn(batch_of(outputs), "image")
    assert len(drawn) == 2001 * ITEMS
    own = drawn.view(2001, ITEMS, BITS)
    torch.testing.assert_close(own[0], outputs["image"])
    assert (labels == LABELS).all()  # of all 2,001 times
    expected = torch.tensor([0.2, 0.2, 0.3, 0.1, 0.4, 0.3]) / 2  # means over the classes of an item
    found = (own[1:] - outputs["image"]).var(dim=0).mean(dim=1)
    torch.testing.assert_close(found, expected.to(found), rtol=0.05, atol=0)


def test_mith_is_the_global_part_of_the_release(outputs) -> None:
    objective = objective_of("mith")
    nets = {
        name: NETWORKS["concepts"].make(5, BITS, classes=4, seed=1, width=8, hidden=[6]).double()
        for name in outputs
    }
    nets["text"].share_parts(nets["image"])
    generator = torch.Generator().manual_seed(4)
    features = {
        name: torch.randn(ITEMS, 5, generator=generator, dtype=torch.float64) for name in outputs
    }
    found = {
        name: objective.run_network(name, nets[name], features[name], LABELS) for name in outputs
    }
    batch = batch_of(found)
    batch.memory.outputs = {name: values.detach() for name, values in outputs.items()}
    weights = [each for net in nets.values() for each in net.parameters()]
    embeddings = [nets[name].embeddings(features[name]) for name in outputs]
    terms = objective.loss(batch)
    images, texts = found.values()
    pairs = released.mith(images, outputs["text"].detach(), MARKS, MARKS)
    pairs = pairs + released.mith(texts, outputs["image"].detach(), MARKS, MARKS)
    assert_same(terms["pairs"], 10 * pairs, [images, texts])
    codes = (images + texts).detach().sign()
    quantized = sum(released.mith_quantization(h, codes) for h in (images, texts))
    assert_same(terms["quantization"], 8 * quantized, [images, texts])
    contrast = released.info_nce(*embeddings)
    torch.testing.assert_close(terms["contrast"], 50 * contrast, rtol=1e-9, atol=1e-10)
    ours = torch.autograd.grad(terms["contrast"], weights, allow_unused=True)
    theirs = torch.autograd.grad(50 * contrast, weights, allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_mith_with_tokens_is_the_release(outputs) -> None:
    objective = objective_of("mith", tokens=2)
    nets, features, found = {}, {}, {}
    generator = torch.Generator().manual_seed(4)
    for number, name in enumerate(outputs):
        options = {"hidden": [6], "width": 8}
        nets[name] = objective.make_network(name, "concepts", 15, seed=number, options=options)
        nets[name] = nets[name].double()
        objective.double()
        features[name] = torch.randn(ITEMS, 15, generator=generator, dtype=torch.float64)
    nets["text"].share_parts(nets["image"])
    for part in ("items", "tokens"):
        for name in outputs:
            latest = torch.rand(ITEMS, BITS, generator=generator, dtype=torch.float64) * 2 - 1
            objective.get_buffer(f"latest_{part}_{name}").copy_(latest)
    before = {name: values.clone() for name, values in objective.named_buffers()}
    for name in outputs:
        found[name] = objective.run_network(name, nets[name], features[name], LABELS)
    batch = batch_of(found)
    terms = objective.loss(batch)
    parts = {name: nets[name].parts(features[name]) for name in outputs}
    h = {name: parts[name].item_logits.tanh() for name in outputs}
    t = {name: parts[name].token_logits.tanh() for name in outputs}
    codes = sum(0.99 * h[name] + 0.01 * t[name] for name in outputs).detach().sign()
    theirs = {
        "pairs": 10 * released.mith(h["image"], before["latest_items_text"], MARKS, MARKS)
        + 10 * released.mith(h["text"], before["latest_items_image"], MARKS, MARKS),
        "within": sum(
            released.mith(t[m], before[f"latest_tokens_{m}"], MARKS, MARKS) for m in outputs
        ),
        "quantization": 8
        * sum(released.mith_quantization(0.5 * h[m] + 0.5 * t[m], codes) for m in outputs),
        "distillation": sum(released.mith_distillation(h[m], t[m]) for m in outputs),
        "contrast": 50 * released.info_nce(*(parts[m].embeddings for m in outputs))
        + 50
        * 0.01
        * released.mith_concepts(*(objective.projections[m](parts[m].concepts) for m in outputs)),
    }
    assert terms.keys() == theirs.keys()
    weights = [each for net in (objective, *nets.values()) for each in net.parameters()]
    for name, expected in theirs.items():
        torch.testing.assert_close(terms[name], expected, rtol=1e-9, atol=1e-10)
        ours = torch.autograd.grad(terms[name], weights, allow_unused=True, retain_graph=True)
        other = torch.autograd.grad(expected, weights, allow_unused=True, retain_graph=True)
        assert any(each is not None and each.abs().max() > 1e-6 for each in other), name
        for one, two in zip(ours, other, strict=True):
            zero = torch.zeros(())
            torch.testing.assert_close(
                zero if one is None else one, zero if two is None else two, check_dtype=False
            )
    for name in outputs:
        torch.testing.assert_close(objective.get_buffer(f"latest_items_{name}"), h[name])
        torch.testing.assert_close(objective.get_buffer(f"latest_tokens_{name}"), t[name])
        torch.testing.assert_close(found[name], (h[name] + t[name]) / 2)


def test_mith_says_which_modality_has_no_tokens() -> None:
    with pytest.raises(UsageError, match="text: features of width 14 are not 1 \\+ 2 vectors"):
        objective_of("mith", tokens=2).make_network("text", "concepts", 14, seed=1, options={})


def test_mith_leaves_out_items_without_tokens_or_labels() -> None:
    objective = objective_of("mith", tokens=2)
    labels = LABELS.clone()
    labels[3] = 0
    options = {"hidden": [6], "width": 8}
    nets = {
        name: objective.make_network(name, "concepts", 15, seed=1, options=options).double()
        for name in ("image", "text")
    }
    objective.double()
    generator = torch.Generator().manual_seed(4)
    has = {
        "image": torch.tensor([False, True, True, True, True, True]),
        "text": torch.tensor([True, True, False, True, True, True]),
    }
    outputs = {name: torch.zeros(ITEMS, BITS).double() for name in nets}
    rows = {name: torch.randn(ITEMS, 15, generator=generator).double() for name in nets}
    for name, net in nets.items():
        outputs[name][has[name]] = objective.run_network(
            name, net, rows[name][has[name]], labels[has[name]]
        )
    terms = objective.loss(batch_of(outputs, labels, present=has))
    both = has["image"] & has["text"] & labels.any(dim=1)
    parts = [net.parts(rows[name]) for name, net in nets.items()]
    contrast = 50 * released.info_nce(*(part.embeddings[both] for part in parts))
    projected = [
        objective.projections[name](part.concepts[both])
        for name, part in zip(nets, parts, strict=True)
    ]
    contrast = contrast + 0.5 * released.mith_concepts(*projected)
    torch.testing.assert_close(terms["contrast"], contrast)
    h, t = parts[0].item_logits.tanh(), parts[0].token_logits.tanh()
    first = has["image"] & labels.any(dim=1)
    second = has["text"] & labels.any(dim=1)
    other = parts[1]
    distilled = released.mith_distillation(h[first], t[first])
    distilled = distilled + released.mith_distillation(
        other.item_logits[second].tanh(), other.token_logits[second].tanh()
    )
    torch.testing.assert_close(terms["distillation"], distilled)


NAMES = ("dnph", "qmi", "dscph", "ddbh", "dcgh", "kdph", "idgh")
WITHOUT_CHANCE = {"dnph": {"uniform": 0.0}, "kdph": {"uniform": 0.0}}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_left_out(outputs, name) -> None:
    """Images 0 and 1, text 2 and the labels of 3 are missing: as in smaller batches."""
    objective = objective_of(name, **WITHOUT_CHANCE.get(name, {}))
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
    objective = objective_of(name, **WITHOUT_CHANCE.get(name, {}))
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
    objective = objective_of(name, **WITHOUT_CHANCE.get(name, {}))
    soft = 0.999 * LABELS + 0.0005
    for term, value in objective.loss(batch_of(outputs)).items():
        torch.testing.assert_close(
            objective.loss(batch_of(outputs, soft))[term], value, rtol=0.01, atol=0.01
        )
