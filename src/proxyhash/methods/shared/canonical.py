"""Canonical correlation analysis of two sets of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

__all__ = ["Canonical", "canonical_directions"]


@dataclass(frozen=True)
class Canonical:
    """Pairs of directions in which two views vary together, the strongest first.

    Attributes:
        first: (d, r) directions A in the first view; X A has unit variance in every column, up to
            the regularization.
        second: (d', r) directions B in the second view.
        correlations: (r,) in [0, 1]: of column i of X A with column i of Y B.
    """

    first: Float[Tensor, "d r"]
    second: Float[Tensor, "e r"]
    correlations: Float[Tensor, " r"]


def canonical_directions(
    first: Float[Tensor, "n d"],
    second: Float[Tensor, "n e"],
    *,
    count: int,
    regularization: float = 0.0,
) -> Canonical:
    """Return the r = min(count, d, d', n - 1) leading canonical directions of paired rows.

    Whitens both views by the Cholesky factors of their covariances and takes the singular vectors
    of what is left of the cross-covariance. Peak memory: a few d x d' matrices.

    Args:
        first: X, centered, one row per pair; float64, for covariances are badly conditioned.
        second: Y, centered, row i belongs to row i of X.
        count: most directions wanted.
        regularization: added to each variance, as a share of the view's mean variance; without
            it, views with more features than pairs correlate perfectly by chance.

    Source: Hotelling, "Relations Between Two Sets of Variates", Biometrika 1936.
    """
    pairs = len(first)
    one = _whitener(first, regularization)
    two = _whitener(second, regularization)
    cross = first.T @ second / pairs
    half = torch.linalg.solve_triangular(one, cross, upper=False)
    whitened = torch.linalg.solve_triangular(two, half.T, upper=False).T
    left, correlations, right = torch.linalg.svd(whitened, full_matrices=False)
    rank = min(count, len(correlations), max(pairs - 1, 1))
    return Canonical(
        first=torch.linalg.solve_triangular(one.T, left[:, :rank], upper=True),
        second=torch.linalg.solve_triangular(two.T, right[:rank].T, upper=True),
        correlations=correlations[:rank].clamp(max=1.0),
    )


def _whitener(view: Tensor, regularization: float) -> Tensor:
    """Return L of the covariance L L^T, lower triangular."""
    covariance = view.T @ view / len(view)
    mean_variance = covariance.diagonal().mean().clamp(min=1e-12)
    # A trace of the mean variance always, so that constant features have a factor as well.
    covariance.diagonal().add_((regularization + 1e-9) * mean_variance)
    factor: Tensor = torch.linalg.cholesky(covariance)
    return factor
