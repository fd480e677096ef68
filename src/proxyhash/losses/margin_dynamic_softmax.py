"""The margin-dynamic-softmax loss of DCHML."""

from __future__ import annotations

import torch

from proxyhash.losses.supervision import (
    Labels,
    Logits,
    Scalar,
    anchor,
    mean_over,
    positives,
    softmax_term,
)

__all__ = ["margin_dynamic_softmax", "reference_sigma"]


def reference_sigma(bits: int) -> float:
    """Return the reference margin 0.3 K for logits that are not divided by their length."""
    return 0.3 * bits


def margin_dynamic_softmax(
    logits: Logits, labels: Labels, *, sigma: float, gamma: float = 0.3
) -> Scalar:
    """Return the mean over labeled items of one softmax term per item.

        a = gamma * (sum_{c in Y} y_c o_c / sum_{c in Y} y_c - sigma)
        L = logsumexp(a, {gamma * o_c : c in N}) - a

    The mean positive logit competes against every logit the item has no label for, so the number
    of competitors follows the size of the label set. With labels of 0 and 1, Y are the positives, N
    all others and a holds the plain mean. Where labels are probabilities, Y = {c : y_c >= 1/2} is
    weighted by them, N = {c : y_c < 1/4}, and classes between neither pull nor push.

    Args:
        logits: inner products of outputs and proxies, (n, C).
        labels: y, (n, C) in [0, 1]; an item with Y empty adds neither value nor gradient.
        sigma: margin that grows with the code length; see `reference_sigma`.
        gamma: sharpness.

    Source: Tu et al., "Deep Cross-modal Hashing via Margin-dynamic-softmax Loss", arXiv
    2011.03451, read from DCPH's public port (1034829217/paddle, DCPH/utils/DFPH_NN.py) and from the
    same term in DAPH's own release (DAPH.py); settings as in the port, whose mask leaves exp(0) of
    each positive in the sum.
    """
    _, labeled = positives(labels)
    logits = torch.where(labeled[:, None], logits, 0.0)
    a = anchor(logits, labels, gamma=gamma, sigma=sigma)
    return mean_over(softmax_term(a, gamma * logits, labels), labeled)
