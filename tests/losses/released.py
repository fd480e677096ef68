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


def _cosines(outputs: Tensor, others: Tensor) -> list[Vector]:
    units = [_unit(each) for each in rows(others)]
    return [[_dot(_unit(item), other) for other in units] for item in rows(outputs)]


def _relu(value: Tensor) -> Tensor:
    return value if value > 0 else value * 0


def _reg_terms(
    images: Tensor, texts: Tensor, labels: list[list[float]], *, threshold: float
) -> Tensor:
    """`reg_term + reg_term_t + reg_term_xt` of HyP and of what came from it, without alpha."""
    kept = [i for i, marks in enumerate(labels) if sum(marks) > 1]
    total = _zero()
    for one, other in ((images, images), (texts, texts), (images, texts)):
        cosines = _cosines(one, other)
        apart = [(i, j) for i in kept for j in kept if not _share(labels[i], labels[j])]
        for i, j in apart:
            total = total + _relu(cosines[i][j] - threshold) / len(apart)
    return total


def dcgh(
    images: Tensor, texts: Tensor, proxies: Tensor, labels: list[list[float]]
) -> dict[str, Tensor]:
    """`HyP.forward`, by its parts: pos + neg, variance_loss, p2p and n2n.

    donnotnormal/DCGH, utils/utils.py.
    """
    marks = [(i, c) for i, row in enumerate(labels) for c, mark in enumerate(row) if mark == 1]
    rest = [(i, c) for i, row in enumerate(labels) for c, mark in enumerate(row) if mark == 0]
    near, variance = _zero(), _zero()
    for outputs in (images, texts):
        cosines = _cosines(outputs, proxies)
        near = near + sum((1 - cosines[i][c] for i, c in marks), _zero()) / len(marks)
        near = near + sum((_relu(cosines[i][c]) for i, c in rest), _zero()) / len(rest)
        variances = []
        for i, row in enumerate(labels):
            values = [(1 - cosines[i][c]) if mark == 1 else _zero() for c, mark in enumerate(row)]
            center = _mean(values)
            variances.append(
                sum(((value - center) ** 2 for value in values), _zero()) / (len(values) - 1)
            )
        variance = variance + _mean(variances)
    p2p = _zero()
    lengths = [math.sqrt(sum(mark**2 for mark in row)) for row in labels]
    for one, other in ((images, images), (texts, texts), (images, texts)):
        cosines = _cosines(one, other)
        terms = []
        for i, row in enumerate(labels):
            for j, column in enumerate(labels):
                alike = sum(a * b for a, b in zip(row, column, strict=True))
                alike /= lengths[i] * lengths[j]
                if alike > 0:
                    terms.append(_relu(alike - cosines[i][j]))
        p2p = p2p + _mean(terms)
    return {
        "proxies": near,
        "variance": variance,
        "near": 0.05 * p2p,
        "far": 0.8 * _reg_terms(images, texts, labels, threshold=0.0),
    }


def info_nce(one: Tensor, other: Tensor, *, temperature: float = 0.07) -> Tensor:
    """`cross_modal_infonce_loss` of KDPH, and `info_nce_loss` of MITH on unit vectors."""
    cosines = _cosines(one, other)
    count = len(cosines)
    terms = []
    for i in range(count):
        own = (cosines[i][i] / temperature).exp()
        there = sum(((cosines[i][j] / temperature).exp() for j in range(count)), _zero())
        back = sum(((cosines[j][i] / temperature).exp() for j in range(count)), _zero())
        terms.append(-(own / there).log() / 2 - (own / back).log() / 2)
    return _mean(terms)


def kdph(
    outputs: Tensor,
    proxies: Tensor,
    embedding: Tensor,
    skew: Tensor,
    log_kappa: Tensor,
    labels: list[list[float]],
    *,
    margin: float,
) -> Tensor:
    """`_calculate_modality_loss` of `_calculate_score`, with the axes of the Cayley transform.

    Senmo996/KDPH-official-code, models/KDPH/loss/HyP.py. The inverse of a 2 x 2 matrix is written
    out.
    """
    kappa = log_kappa.clamp(-10, 10).exp()
    scores: list[Vector] = []
    for item in rows(outputs):
        unit, found = _unit(item), []
        for c in range(len(proxies)):
            a = 0.5 * (skew[c, 0, 1] - skew[c, 1, 0])
            # A = [[0, a], [-a, 0]]; Q = (I - A) (I + A)^-1.
            inverse = [[1 / (1 + a * a), -a / (1 + a * a)], [a / (1 + a * a), 1 / (1 + a * a)]]
            first = [[1.0, -a], [a, 1.0]]
            turned = [
                [sum(first[i][k] * inverse[k][j] for k in range(2)) for j in range(2)]
                for i in range(2)
            ]
            score = kappa[c, 0] * _dot(_unit(rows(proxies)[c]), unit)
            for axis, factor in enumerate((1, -1)):
                direction = _unit(
                    [
                        embedding[c, d, 0] * turned[0][axis] + embedding[c, d, 1] * turned[1][axis]
                        for d in range(embedding.shape[1])
                    ]
                )
                score = score + factor * kappa[c, 1 + axis] * _dot(direction, unit) ** 2
            found.append(score - 0.5 * (kappa[c, 0] + kappa[c, 1] + kappa[c, 2]))
        scores.append(found)
    terms = [
        _relu(row[d] - row[c] + margin)
        for row, marks in zip(scores, labels, strict=True)
        for c, mark in enumerate(marks)
        for d, other in enumerate(marks)
        if mark == 1 and other == 0
    ]
    return _mean(terms)


def kdph_pairs(
    images: Tensor, texts: Tensor, labels: list[list[float]], *, threshold: float
) -> Tensor:
    """The sum of the three `reg_term`s of `KentProxyLoss.forward`, without alpha."""
    return _reg_terms(images, texts, labels, threshold=threshold)


def mith(
    outputs: Tensor, others: Tensor, labels: list[list[float]], other_labels: list[list[float]]
) -> Tensor:
    """`bayesian_loss` of a batch and the buffer of the other modality.

    DarrenZZhang/MM23-MITH, train_asym.py.
    """
    terms = []
    for item, marks in zip(rows(outputs), labels, strict=True):
        for other, other_marks in zip(rows(others), other_labels, strict=True):
            s = 0.5 * _dot(item, other).clamp(-64, 64)
            terms.append(-(float(_share(marks, other_marks)) * s - (1 + s.exp()).log()))
    return _mean(terms)


def mith_quantization(outputs: Tensor, codes: Tensor) -> Tensor:
    """`quantization_loss_2`, without its weight."""
    total = _zero()
    for item, code in zip(rows(outputs), codes.tolist(), strict=True):
        total = total + sum(((h - b) ** 2 for h, b in zip(item, code, strict=True)), _zero())
    return total / len(outputs) / outputs.shape[1]


def mith_gathered(
    tokens: Tensor, scores: Tensor, padding: list[list[bool]], *, top_k: int
) -> Tensor:
    """`LocalizedTokenAggregation.forward`, for (n, t, d), (n, t, k): (n, k, d).

    DarrenZZhang/MM23-MITH, hash_model.py.
    """
    found = tokens.new_zeros(len(tokens), scores.shape[2], tokens.shape[2])
    for n, (vectors, values) in enumerate(zip(tokens, scores.tolist(), strict=True)):
        kept: list[list[float]] = []
        for row, pad in zip(values, padding[n], strict=True):
            positive = [x if x > 0 and not pad else -math.inf for x in row]
            least = sorted(positive, reverse=True)[min(top_k, len(row)) - 1]
            kept.append([x if x >= least else -math.inf for x in positive])
        for k in range(scores.shape[2]):
            total = sum(math.exp(row[k]) for row in kept)
            for t, row in enumerate(kept):
                if total:
                    found[n, k] = found[n, k] + math.exp(row[k]) / total * vectors[t]
    return found


def mith_distillation(items: Tensor, tokens: Tensor) -> Tensor:
    """`item_1` and `item_2` of `compute_loss`, for one modality."""
    forth, back = _zero(), _zero()
    for i in range(len(items)):
        for k in range(items.shape[1]):
            forth = forth + (items[i, k].detach() - tokens[i, k]) ** 2
            back = back + (items[i, k] - tokens[i, k].detach()) ** 2
    return (forth + 0.1 * back) / len(items)


def mith_concepts(one: Tensor, other: Tensor) -> Tensor:
    """`info_nce_loss_bmm` of (n, k, d): its rows are the concepts of one item."""
    return _mean([info_nce(a, b) for a, b in zip(one, other, strict=True)])


def idgh_triplets(
    source: Tensor, target: Tensor, labels: list[list[float]], *, margin: float = 0.05
) -> Tensor:
    """`TripletLoss3.forward` with its defaults, of which alpha 10 is the weighted one.

    QinLab-WFU/IDGH, utils/Losses_s.py: `flag` is (beta - .1) gamma = 0.
    """
    distances = [[_relu(1 - cosine) for cosine in row] for row in _cosines(source, target)]
    count = len(labels)
    total, valid = _zero(), 0
    for i in range(count):
        shared = [sum(a * b for a, b in zip(labels[i], other, strict=True)) for other in labels]
        ideal = sum(
            (2**n - 1) / math.log2(rank + 2) for rank, n in enumerate(sorted(shared, reverse=True))
        )
        for j in range(count):
            for k in range(count):
                positive, negative = shared[j] > 0, shared[k] > 0
                weight = ((2 ** shared[j] - 1) / ideal - (2 ** shared[k] - 1) / ideal) * 0.1
                mask = float(positive) * (1 - float(negative)) * 0.1
                term = 10 * weight * mask * (distances[i][j] - distances[i][k] + margin)
                if term > 1e-16:
                    total, valid = total + term, valid + 1
    return total / (valid + 1e-16)


def idgh_moments(
    epochs: list[tuple[Tensor, Tensor]], labels: list[list[float]], *, beta: float, gamma: float
) -> list[tuple[list[list[float]], list[list[float]]]]:
    """Means and variances of `Estimate_Covariance` after some calls of `update_each_class`.

    QinLab-WFU/IDGH, utils/intra.py, with images and texts; class weights are looked up by class.

    Args:
        epochs: outputs of all images and texts, epoch by epoch.
        labels: of all items; every class has at least two.
        beta: of `weight_functions`.
        gamma: of `distribution_calibration`.
    """
    classes, momentum, neighbors = len(labels[0]), 0.8, 25
    bits = epochs[0][0].shape[1]
    state = [
        ([[0.0] * bits for _ in range(classes)], [[0.0] * bits for _ in range(classes)])
        for _ in range(2)
    ]
    members = [[i for i, row in enumerate(labels) if row[c]] for c in range(classes)]
    counts = [len(each) for each in members]
    amount = [0.0] * classes
    for outputs in epochs:
        for c in range(classes):
            alpha = max(counts[c] / (amount[c] + counts[c]), 1 - momentum)
            for (means, variances), values in zip(state, outputs, strict=True):
                for k in range(bits):
                    column = [float(values[i, k]) for i in members[c]]
                    mean = sum(column) / counts[c]
                    variance = sum((x - mean) ** 2 for x in column) / counts[c]
                    moved = alpha * (1 - alpha) * (means[c][k] - mean) ** 2
                    variances[c][k] = variances[c][k] * (1 - alpha) + variance * alpha + moved
                    means[c][k] = means[c][k] * (1 - alpha) + mean * alpha
            amount[c] += counts[c]
        tables = []
        for moment in (0, 1):
            apart = [
                [math.dist(state[0][moment][c], state[1][moment][d]) for d in range(classes)]
                for c in range(classes)
            ]
            low = min(min(row) for row in apart)
            high = max(max(row) for row in apart)
            tables.append([[(x - low) / (high - low + 1e-8) for x in row] for row in apart])
        for _, variances in state:
            before = [list(row) for row in variances]
            for c in range(classes):
                weight = 1 / (1 + math.log(1 + beta * (counts[c] - 1 + 1e-8)))
                weight *= counts[c] < 40
                others = sorted(
                    (d for d in range(classes) if d != c),
                    key=lambda d: tables[0][c][d] + tables[1][c][d],
                )[:neighbors]
                shares = [
                    counts[d] * math.exp(-(tables[0][c][d] ** 2) / 2 - tables[1][c][d] ** 2 / 32)
                    for d in others
                ]
                for k in range(bits):
                    overall = sum(n * row[k] for n, row in zip(counts, before, strict=True))
                    overall /= sum(counts)
                    near = sum(w * before[d][k] for w, d in zip(shares, others, strict=True))
                    near /= sum(shares)
                    variances[c][k] = (
                        (1 - weight) * before[c][k]
                        + weight * gamma * overall
                        + weight * (1 - gamma) * near
                    )
    return state
