"""The losses again, as slow loops over plain numbers, written from the formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence

Matrix = Sequence[Sequence[float]]


def _log_sum_exp(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _sides(row: Sequence[float]) -> tuple[list[int], list[int]]:
    positive = [c for c, value in enumerate(row) if value]
    return positive, [c for c in range(len(row)) if c not in positive]


def softmax_over(
    logits: Matrix, competitors: Matrix, labels: Matrix, *, gamma: float, sigma: float
) -> float:
    """Margin-dynamic softmax; the cross-modal term when `competitors` are not the logits."""
    terms = []
    for own, other, row in zip(logits, competitors, labels, strict=True):
        positive, negative = _sides(row)
        if not positive:
            continue
        a = gamma * (sum(own[c] for c in positive) / len(positive) - sigma)
        terms.append(_log_sum_exp([a] + [gamma * other[c] for c in negative]) - a)
    return _mean(terms)


def cross_modal_of_the_port(
    logits: Matrix, others: Matrix, labels: Matrix, *, gamma: float, sigma: float
) -> float:
    """The cross-modal term whose denominator is that of the other modality alone."""
    terms = []
    for own, other, row in zip(logits, others, labels, strict=True):
        positive, negative = _sides(row)
        if not positive:
            continue
        a = gamma * (sum(own[c] for c in positive) / len(positive) - sigma)
        b = gamma * (sum(other[c] for c in positive) / len(positive) - sigma)
        denominator = math.exp(b) + sum(math.exp(gamma * other[c]) for c in negative)
        terms.append(-math.log(math.exp(a) / denominator))
    return _mean(terms)


def partial(logits: Matrix, labels: Matrix, *, gamma: float, sigma: float) -> float:
    terms = []
    for own, row in zip(logits, labels, strict=True):
        positive, negative = _sides(row)
        if not positive:
            continue
        total = 0.0
        for c in positive:
            if negative:
                margin = _log_sum_exp([gamma * own[j] for j in negative])
                total += math.log1p(math.exp(margin - gamma * (own[c] - sigma)))
        terms.append(total / len(positive))
    return _mean(terms)


def pairwise(image: Matrix, text: Matrix, similarity: Matrix) -> float:
    terms = []
    for i, h in enumerate(image):
        for j, g in enumerate(text):
            theta = sum(a * b for a, b in zip(h, g, strict=True)) / 2
            terms.append(math.log(1 + math.exp(theta)) - similarity[i][j] * theta)
    return _mean(terms)


def quantize(outputs: Matrix, codes: Matrix) -> float:
    return _mean(
        [
            sum((b - h) ** 2 for b, h in zip(code, output, strict=True))
            for output, code in zip(outputs, codes, strict=True)
        ]
    )


def balance(outputs: Matrix) -> float:
    columns = list(zip(*outputs, strict=True))
    return sum(sum(column) ** 2 for column in columns) / len(outputs)


def separation(outputs: Matrix) -> float:
    count, bits = len(outputs), len(outputs[0])
    total = 0.0
    for i in range(count):
        for j in range(count):
            dot = sum(a * b for a, b in zip(outputs[i], outputs[j], strict=True))
            total += max(0.0, dot - bits * (i == j)) ** 2
    return total / count**2


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return _dot(one, other) / math.sqrt(_dot(one, one) * _dot(other, other))


def bit_cross_entropy(outputs: Matrix, codes: Matrix) -> float:
    return _mean(
        [
            -math.log((1 + h) / 2 if b > 0 else 1 - (1 + h) / 2)
            for output, code in zip(outputs, codes, strict=True)
            for h, b in zip(output, code, strict=True)
        ]
    )


def log_cosh(outputs: Matrix) -> float:
    return _mean([math.log(math.cosh(abs(h) - 1)) for output in outputs for h in output])


def cosine_softmax(cosines: Matrix, labels: Matrix, *, scale: float, margin: float) -> float:
    terms = []
    for row, marks in zip(cosines, labels, strict=True):
        positive, _ = _sides(marks)
        if not positive:
            continue
        logits = [scale * (value - margin * (c in positive)) for c, value in enumerate(row)]
        total = _log_sum_exp(logits)
        terms.append(_mean([total - logits[c] for c in positive]))
    return _mean(terms)


def proxy_hinge(cosines: Matrix, labels: Matrix, *, tau: float) -> float:
    near, far = [], []
    for row, marks in zip(cosines, labels, strict=True):
        positive, negative = _sides(marks)
        if positive:
            near += [1 - row[c] for c in positive]
            far += [max(0.0, row[c] - tau) for c in negative]
    return _mean(near) + _mean(far)


def irrelevant_pairs(outputs: Matrix, others: Matrix, similarity: Matrix, *, tau: float) -> float:
    return _mean(
        [
            max(0.0, cosine(h, g) - tau)
            for h, row in zip(outputs, similarity, strict=True)
            for g, similar in zip(others, row, strict=True)
            if not similar
        ]
    )


def contrastive(outputs: Matrix, others: Matrix, similarity: Matrix, *, margin: float) -> float:
    terms = []
    for h, row in zip(outputs, similarity, strict=True):
        for g, similar in zip(others, row, strict=True):
            distance = math.dist(h, g)
            terms.append(distance**2 if similar else max(0.0, margin - distance) ** 2)
    return _mean(terms)


def soft_contrastive(
    outputs: Rows, others: Rows, targets: Rows, ignored: set[tuple[int, int]], scale: float
) -> float:
    """Cross-entropy of the softmax over the others that are not ignored, item by item."""

    def cosine(one: Sequence[float], other: Sequence[float]) -> float:
        inner = sum(a * b for a, b in zip(one, other, strict=True))
        return inner / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))

    total = 0.0
    for i, h in enumerate(outputs):
        kept = [j for j in range(len(others)) if (i, j) not in ignored]
        weights = {j: math.exp(scale * cosine(h, others[j])) for j in kept}
        whole = sum(weights.values())
        total -= sum(targets[i][j] * math.log(weights[j] / whole) for j in kept)
    return total / len(outputs)
