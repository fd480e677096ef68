"""The likelihood of an item's labels, class by class."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["label_posterior"]


def label_posterior(logits: Float[Tensor, "n c"], labels: Float[Tensor, "n c"]) -> Scalar:
    """Return the mean over items of the summed binary cross-entropy of their labels.

        L = (1/n) sum_i sum_c softplus(z_ic) - y_ic z_ic

    Args:
        logits: z, one per class.
        labels: y, in [0, 1]; mixed items have shares of labels. Items without any are left out.

    0, with a graph behind it, without items that have labels.
    """
    labeled = (labels > 0).any(dim=1)
    terms = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (terms.sum(dim=1) * labeled).sum() / labeled.sum().clamp(min=1)
