"""The softmax over data proxies of DAPH."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar, mean_over

__all__ = ["data_softmax"]


def data_softmax(
    logits: Float[Tensor, "n p"],
    labels: Float[Tensor, "n c"],
    proxy_labels: Float[Tensor, "p c"],
    *,
    sigma: float,
    gamma: float = 20.0,
) -> tuple[Scalar, Scalar]:
    """Return the terms of proxies with the same labels as an item, and of those that share some.

    With S_j the labels shared with proxy j, over all proxies that have any label,

        m = logsumexp_{j: S_j = 0}(gamma o_j)
        L_same    = mean_{j: equal labels} softplus(m - gamma (o_j - sigma))
        a         = gamma (sum_{j: some shared, not equal} S_j o_j / sum_j S_j - sigma)
        L_partial = softplus(m - a)

    each a mean over the items to which such proxies exist. An item to which no proxy is foreign
    has no competitor: its terms are 0.

    Args:
        logits: o, cosines of outputs and proxies, (n, p).
        labels: labels of the items in {0, 1}, (n, c); items without any are left out.
        proxy_labels: labels of the proxies in {0, 1}, (p, c); proxies without any are left out.
        sigma: margin, on the scale of the logits.
        gamma: sharpness.

    Source: Tu et al., "Data-Aware Proxy Hashing for Cross-modal Retrieval", SIGIR 2023; formulas
    as in the authors' own release of DAPH (DAPH.py), where sum_j S_j includes the equal ones. There
    text items also count proxies with more labels than their own as equal; here both modalities
    agree.
    """
    shared = labels @ proxy_labels.T
    sizes, proxy_sizes = labels.sum(dim=1), proxy_labels.sum(dim=1)
    foreign = (shared == 0) & (proxy_sizes > 0)
    equal = (shared == sizes[:, None]) & (shared == proxy_sizes) & (shared > 0)
    contested = (sizes > 0) & foreign.any(dim=1)

    scaled = gamma * torch.where(contested[:, None], logits, 0.0)
    # A row of minus infinities alone would make the gradient of logsumexp 0/0.
    competitors = scaled.masked_fill(~foreign & contested[:, None], -torch.inf)
    against = torch.logsumexp(competitors, dim=1)

    weights = shared.masked_fill(equal, 0.0) / shared.sum(dim=1, keepdim=True).clamp(min=1)
    a = (weights * scaled).sum(dim=1) - gamma * sigma
    partial = torch.where(contested, functional.softplus(against - a), 0.0)
    same = _mean_of_equal(scaled - gamma * sigma, against, equal & contested[:, None])
    return mean_over(same, equal.any(dim=1)), mean_over(partial, weights.any(dim=1))


def _mean_of_equal(logits: Tensor, against: Tensor, equal: Tensor) -> Tensor:
    """Return each item's mean of softplus(against - logit) over its few equal proxies."""
    rows, columns = equal.nonzero(as_tuple=True)
    terms = functional.softplus(against[rows] - logits[rows, columns])
    sums = torch.zeros_like(against).index_add(0, rows, terms)
    return sums / equal.sum(dim=1).clamp(min=1)
