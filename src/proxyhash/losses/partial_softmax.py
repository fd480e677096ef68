"""The partial-softmax loss of PSLDH."""

from __future__ import annotations

import torch
from torch.nn import functional

from proxyhash.losses.supervision import (
    Labels,
    Logits,
    Scalar,
    excluded,
    mean_over,
    mean_over_positives,
    positives,
)

__all__ = ["partial_softmax"]


def partial_softmax(logits: Logits, labels: Labels, *, sigma: float, gamma: float = 0.3) -> Scalar:
    """Return the mean over labeled items of one softmax term per *positive* class.

        m = logsumexp_{j not in Y}(gamma * o_j)
        L = (1/n) * sum_{c in Y} softplus(m - gamma * (o_c - sigma))

    Each positive competes alone against all negatives, so a weak positive is not hidden by a
    strong one as in a mean. An item whose labels are all classes has no competitor: its term
    is 0.

    Args:
        logits: inner products of outputs and proxies, (n, C).
        labels: (n, C) in [0, 1]; an item without any adds neither value nor gradient. Probabilities
            weigh the mean over positives, and middling ones do not compete, see `supervision`.
        sigma: margin, as in `margin_dynamic_softmax`.
        gamma: sharpness.

    Source: Tu et al., "Partial-Softmax Loss based Deep Hashing", WWW 2021; formula as in the
    authors' own release of PSLDH (PSLDH.py).
    """
    positive, labeled = positives(labels)
    against_all = excluded(labels)
    contested = labeled & ~against_all.all(dim=1)
    scaled = gamma * torch.where(contested[:, None], logits, 0.0)
    # A row of minus infinities alone would make the gradient of logsumexp 0/0.
    competitors = scaled.masked_fill(against_all & contested[:, None], -torch.inf)
    against = torch.logsumexp(competitors, dim=1, keepdim=True) - (scaled - gamma * sigma)
    terms = torch.where(positive & contested[:, None], functional.softplus(against), 0.0)
    return mean_over(mean_over_positives(terms, labels), labeled)
