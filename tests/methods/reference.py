"""The objectives once more, as plain loops over items, pairs and bits."""

from __future__ import annotations

from math import exp, log

__all__ = ["balance", "dchml_item", "mean", "pair", "psldh_item", "sign", "squared_distance"]


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def sign(values):
    return [1.0 if value > 0 else -1.0 for value in values]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def squared_distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def softplus(value):
    return log(1 + exp(value))


def split(labels):
    """Return the positions of the positives and of the negatives."""
    positive = [c for c, label in enumerate(labels) if label]
    return positive, [c for c in range(len(labels)) if c not in positive]


def dchml_item(h, others, labels, proxies, *, gamma, sigma, denominator="own"):
    """Return the margin term of one item, and the cross term where it has the other modality."""
    positive, negative = split(labels)

    def anchor(outputs):
        return gamma * (mean(dot(outputs, proxies[c]) for c in positive) - sigma)

    def term(outputs, in_denominator):
        competitors = sum(exp(gamma * dot(outputs, proxies[c])) for c in negative)
        return log(exp(in_denominator) + competitors) - anchor(h)

    code = sign(others)
    return term(h, anchor(h)), term(code, anchor(h if denominator == "own" else code))


def psldh_item(h, labels, proxies, *, gamma, sigma):
    positive, negative = split(labels)
    if not negative:  # nothing competes
        return 0.0
    competitors = log(sum(exp(gamma * dot(h, proxies[c])) for c in negative))
    return mean(softplus(competitors - gamma * (dot(h, proxies[c]) - sigma)) for c in positive)


def pair(one, other, labels, other_labels, *, scale):
    theta = scale * dot(one, other)
    similar = float(any(a and b for a, b in zip(labels, other_labels, strict=True)))
    return softplus(theta) - similar * theta


def balance(outputs):
    """Return the mean inner product of two different items."""
    count = len(outputs)
    return mean(dot(outputs[i], outputs[j]) for i in range(count) for j in range(count) if i != j)
