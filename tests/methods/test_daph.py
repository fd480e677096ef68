"""Both stages of DAPH against loops from their formulas, and what the first one finds."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch.nn.functional import normalize

from proxyhash.losses import data_softmax
from proxyhash.methods.daph import first_stage_loss, learn_data_proxies
from tests.methods import reference
from tests.methods.reference import dot, mean, sign
from tests.methods.toy import BITS, CLASSES, batch_of, begun, make_toy, memory_of, networks

INDEX = torch.tensor([3, 8, 0, 11, 5, 7, 2])
STAGE = {"gamma": 20.0, "sigma": 0.2, "alpha": 0.3, "beta": 0.4}


def unit(rows, *, seed):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, BITS, generator=generator, dtype=torch.float64))


def test_the_first_stage_is_that_of_the_loop():
    classes, image, text = unit(CLASSES, seed=0), unit(6, seed=1), unit(6, seed=2)
    labels = make_toy().labels[:6].double()
    found = first_stage_loss(classes, [(image, labels), (text, labels)], **STAGE)
    proxies = classes.tolist()

    def balance(rows):
        return sum(sum(column) ** 2 for column in zip(*rows, strict=True))

    def quantized(rows):
        return sum((dot(row, sign(row)) / sqrt(BITS) - 1) ** 2 for row in rows)

    total = sum(
        max(0.0, dot(one, other) - (i == j)) ** 2
        for i, one in enumerate(proxies)
        for j, other in enumerate(proxies)
    )
    for rows in (image.tolist(), text.tolist()):
        total += sum(
            reference.psldh_item(h, row, proxies, gamma=20.0, sigma=0.2)
            for h, row in zip(rows, labels.tolist(), strict=True)
        )
    for rows in (proxies, image.tolist(), text.tolist()):
        total += 0.3 * balance(rows) + 0.4 * quantized(rows)
    assert found.item() == pytest.approx(total / 6, rel=1e-9)


def test_the_objective_sums_both_modalities_and_both_kinds_of_data_proxies():
    toy, nets = make_toy(), networks()
    toy.labels[8] = 0
    toy.has_image[0] = False
    toy.has_text[11] = False
    objective = begun("daph", toy, nets, eta=0.5, gamma=9.0, sigma=0.1, data_proxies=40)
    batch = batch_of(toy, nets, ("image", "text"), INDEX, memory_of(toy, nets))
    proxies = objective.proxies.codes.tolist()
    classes = same = partial = 0.0
    for modality, has in (("image", toy.has_image), ("text", toy.has_text)):
        outputs = batch.outputs[modality] / BITS
        labels = batch.labels * has[INDEX][:, None]
        classes += mean(
            reference.dchml_item(h, h, row, proxies, gamma=9.0, sigma=0.1)[0]
            for h, row in zip(outputs.tolist(), labels.tolist(), strict=True)
            if any(row)
        )
        for source in ("image", "text"):
            codes = getattr(objective, f"{source}_codes")
            code_labels = getattr(objective, f"{source}_labels")
            terms = data_softmax(outputs @ codes.T, labels, code_labels, gamma=9.0, sigma=0.1)
            same, partial = same + terms[0].item(), partial + terms[1].item()
    terms = {name: value.item() for name, value in objective.loss(batch).items()}
    expected = {"classes": classes, "same": same, "partial": 0.5 * partial}
    assert terms == pytest.approx(expected, rel=1e-4)


def test_data_proxies_are_codes_of_the_items_that_can_be_seen():
    toy = make_toy()
    toy.has_image[::3] = False
    toy.labels[1] = 0
    torch.manual_seed(0)
    found = learn_data_proxies(toy.rows(), BITS, epochs=1, **STAGE)
    taught = toy.has_image & toy.labels.bool().any(dim=1)
    assert (found.items["image"][taught].abs() == 1).all()
    assert (found.items["image"][~taught] == 0).all()
    assert (found.classes.abs() == 1).all()
    assert (found.items["text"][1] == 0).all()


def test_items_of_equal_labels_get_near_codes():
    toy = make_toy(200)
    torch.manual_seed(0)
    found = learn_data_proxies(toy.rows(), BITS, epochs=15, hidden=64, **STAGE)
    agreement = found.items["image"] @ found.items["text"].T / BITS
    shared = toy.labels @ toy.labels.T
    equal = (shared == toy.labels.sum(dim=1)) & (shared == toy.labels.sum(dim=1)[:, None])
    assert agreement[equal].mean() > agreement[(shared > 0) & ~equal].mean() + 0.2
    assert agreement[(shared > 0) & ~equal].mean() > agreement[shared == 0].mean() + 0.2


def test_no_more_data_proxies_are_drawn_than_asked_for():
    toy, nets = make_toy(), networks()
    objective = begun("daph", toy, nets, data_proxies=17)
    assert objective.image_codes.shape == objective.text_codes.shape == (17, BITS)
    known = {tuple(row) for row in toy.labels.tolist()}
    assert {tuple(row) for row in objective.image_labels.tolist()} <= known
    assert begun("daph", toy, nets, data_proxies=1000).image_codes.shape == (60, BITS)
