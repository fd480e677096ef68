"""The pairwise likelihood of DCMH."""

from __future__ import annotations

from jaxtyping import Bool, Float, Num
from torch import Tensor
from torch.nn import functional

from proxyhash.losses.supervision import Scalar

__all__ = ["pairwise_likelihood"]


def pairwise_likelihood(
    image: Float[Tensor, "n k"],
    text: Float[Tensor, "m k"],
    similarity: Bool[Tensor, "n m"] | Num[Tensor, "n m"],
) -> Scalar:
    """Return the mean over all image-text pairs of their negative log-likelihood.

        theta_ij = h_i . h_j / 2
        L = (1/nm) * sum_ij softplus(theta_ij) - S_ij * theta_ij

    Args:
        image: outputs of n images.
        text: outputs of m texts.
        similarity: S, 1 where the pair shares a label and 0 elsewhere, (n, m).

    softplus(theta) stands for log(1 + exp(theta)) and does not overflow. 0, with a graph behind
    it, without pairs.

    Source: Jiang and Li, "Deep Cross-Modal Hashing", CVPR 2017, equation 1.
    """
    theta = image @ text.T / 2
    terms = functional.softplus(theta) - similarity.to(theta.dtype) * theta
    return terms.sum() / max(terms.numel(), 1)
