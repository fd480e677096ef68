"""Losses of public releases, as slow loops over single numbers that keep their gradients.

Each is written from the release it names and follows it step by step: sums where it has sums, batch
sizes and constants included. What is ours to say about them is in the tests that compare.
"""

from __future__ import annotations

import math
from itertools import permutations

import torch
from torch import Tensor

Vector = list[Tensor]


def rows(values: Tensor) -> list[Vector]:
    """Single numbers, each with its own way back to `values`."""
    return [[values[i, k] for k in range(values.shape[1])] for i in range(values.shape[0])]


def _zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def _dot(one: Vector, other: Vector) -> Tensor:
    return sum((a * b for a, b in zip(one, other, strict=True)), _zero())


def _unit(vector: Vector) -> Vector:
    length = _dot(vector, vector).sqrt()
    return [value / length for value in vector]


def _mean(values: list[Tensor]) -> Tensor:
    return sum(values, _zero()) / len(values)


def _share(one: list[float], other: list[float]) -> bool:
    return sum(a * b for a, b in zip(one, other, strict=True)) > 0


def dnph(
    images: Tensor, texts: Tensor, proxies: Tensor, labels: list[list[float]], codes: Tensor
) -> tuple[Tensor, Tensor]:
    """The proxy loss of `DNPH_out`, and 0.1 times the noise loss of `train_epoch`, both modalities.

    QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DNPH_TOMM. The assignment (`gene_noise`) tries
    every order of the codes here.
    """
    centers = [_unit(each) for each in rows(proxies)]
    terms = []
    for item, marks in zip(rows(images) + rows(texts), labels + labels, strict=True):
        unit = _unit(item)
        distances = []
        for center, mark in zip(centers, marks, strict=True):
            apart = [a - b for a, b in zip(unit, center, strict=True)]
            distances.append(_dot(apart, apart) + (1.0 if mark == 1 else 0.0))
        whole = sum(((-each).exp() for each in distances), _zero())
        terms.append(
            sum(
                (-mark * ((-each).exp() / whole).log())
                for mark, each in zip(marks, distances, strict=True)
            )
        )
    noise = _zero()
    for outputs in (images, texts):
        apart = [[math.dist(h, b) for b in codes.tolist()] for h in outputs.detach().tolist()]
        best = min(
            permutations(range(len(codes))),
            key=lambda order: sum(apart[i][j] for i, j in enumerate(order)),
        )
        noise = noise + _mean(
            [_dot(h, b) for h, b in zip(rows(outputs), rows(codes[list(best)]), strict=True)]
        )
    return _mean(terms), 0.1 * noise


def dnph_qmi(images: Tensor, texts: Tensor, labels: list[list[float]]) -> Tensor:
    """`qmi_loss` with its defaults: the cosine and the clamped squares, M from the batch.

    QinLab-WFU/DNpH, utils/qmi_loss.py.
    """
    count = len(labels)
    shared = [[float(_share(one, other)) for other in labels] for one in labels]
    needs = count**2 / sum(map(sum, shared))
    total = _zero()
    for one, other in ((images, images), (texts, texts), (images, texts)):
        first = [_unit(each) for each in rows(one)]
        second = [_unit(each) for each in rows(other)]
        for i in range(count):
            for j in range(count):
                y = 0.5 * (_dot(first[i], second[j]) + 1)
                total = total + (shared[i][j] * y - 1) ** 2 + (1.0 / needs) * y**2
    return total


def dscph(
    outputs: Tensor, weight: Tensor, labels: list[list[float]], *, tau: float, psi: float
) -> Tensor:
    """One modality's part of `CPF.forward`.

    QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DScPH/CPF_loss.py; there tau .9 and psi .7, in
    QinLab-WFU/DScPH both are .3.
    """
    consistent, positive, negative = (_zero() for _ in range(3))
    centers = [_unit(each) for each in rows(weight)]
    for item, marks in zip(rows(outputs), labels, strict=True):
        unit = _unit(item)
        for center, mark in zip(centers, marks, strict=True):
            cosine = _dot(unit, center)
            if cosine > 0:
                consistent = consistent + cosine * mark * 2
            positive = positive + (1.0 - cosine) * ((1.0 - cosine) * 1.3).exp().detach() * mark
            if cosine > tau:
                negative = negative + (cosine - psi) * ((cosine - 1.0) * 1.3).exp().detach() * (
                    1 - mark
                )
    consistent = consistent + 2
    return 1.0 - consistent / (consistent + positive + negative)


def dscph_variance(outputs: Tensor) -> Tensor:
    """`bit_var_loss` of outputs that `HouseHolder` turns, with its first and only weights.

    QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DScPH/FAST_HPP.py: the product of the
    reflections I - 2 v v' along the columns v of its weights, which start as the identity.
    """
    values = []
    bits = outputs.shape[1]
    for item in rows(outputs):
        turned = item
        for reflection in range(bits):
            v = [1.0 if k == reflection else 0.0 for k in range(bits)]
            along = sum((a * b for a, b in zip(v, turned, strict=True)), _zero())
            turned = [x - 2 * along * a for x, a in zip(turned, v, strict=True)]
        for z in _unit(turned):
            p = 1 / (1 + (-z).exp())
            values.append(p * (1 - p))
    return _mean(values)


def ddbh_pairs(u: Tensor, v: Tensor, labels: list[list[float]], *, bit: int) -> Tensor:
    """`BPLoss.forward`.

    QinLab-WFU/CLIP-based-Cross-Modal-Hashing, train/DDBH/loss.py.
    """
    right, upper = bit / 6, bit / 4
    left = right / 2
    slope = 1 / right * math.log(0.5 / (99 * (1 - 0.5)))
    steep = -1 / (left * slope) * math.log((99 * 0.5) / (1 - 0.5))

    def clamped(values: list[float]) -> float:
        return min(max(sum(values) / len(values), 0), upper)

    positive, negative, count = _zero(), _zero(), 0
    others = rows(v)
    for row, item in enumerate(rows(u)):
        inner = [_dot(item, other) for other in others]
        similar = [x for x, other in zip(inner, labels, strict=True) if _share(labels[row], other)]
        rest = [x for x, other in zip(inner, labels, strict=True) if not _share(labels[row], other)]
        if not similar or not rest:
            continue
        count += 1
        falling = sorted((x.item() for x in similar), reverse=True)
        rising = sorted(x.item() for x in rest)
        tail = rising[int(len(rising) * 9 / 10) :]
        mean_similar = clamped(falling)
        closest = sum(tail) / len(tail)
        base = mean_similar - (upper - mean_similar) / upper * abs(mean_similar - closest)
        tail = falling[int(len(falling) * 9 / 10) :]
        mean_rest = clamped(rising)
        farthest = sum(tail) / len(tail)
        base_rest = mean_rest - mean_rest / upper * abs(mean_rest - farthest)
        losses = [slope * x - slope * base for x in similar if x > base]
        losses += [steep * slope * x - steep * slope * base for x in similar if x < base]
        positive = positive + _mean([fx + (1 + (-fx).exp()).log() for fx in losses])
        losses = [slope * x - slope * base_rest for x in rest if x < base_rest]
        losses += [steep * slope * x - steep * slope * base_rest for x in rest if x > base_rest]
        negative = negative + _mean([(1 + (-fx).exp()).log() for fx in losses])
    return positive / count + negative / count if count else positive + negative


def ddbh_quantization(outputs: Tensor, labels: list[list[float]]) -> Tensor:
    """`iq_loss` or `tq_loss` of `train_epoch`, without its weight .1.

    QinLab-WFU/DDBH, train/hash_train.py.
    """
    values = []
    items = rows(outputs)
    for one in labels:
        for k in range(outputs.shape[1]):
            total = _zero()
            for item, other in zip(items, labels, strict=True):
                if _share(one, other):
                    total = total + (item[k] - item[k].detach().sign()) ** 2
            values.append(total)
    return _mean(values)
