"""CCA-ITQ: the classic codes of image-text pairs, learned without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from proxyhash.errors import UsageError
from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.closed_form import ClosedFormObjective, Projection
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows
    from proxyhash.methods.shared.objective import Context

__all__ = [
    "Canonical",
    "CcaItq",
    "CcaItqSettings",
    "canonical_directions",
    "itq_rotation",
    "paired_items",
    "quantization_error",
]


class CcaItqSettings(Settings):
    """Settings of `cca-itq`."""

    regularization: float = Field(default=1.0, gt=0)
    """Regularization of each variance, as a share of the modality's mean variance. Nearly none, as
    usual with few features, lets 2,000 words and 1,280 image features correlate by chance."""
    power: float = Field(default=4.0, ge=0)
    """Power of the canonical correlation that scales a direction; 0: all count equally."""
    iterations: int = Field(default=50, ge=0)
    """Steps of ITQ; 50 in the paper. 0 leaves a random rotation."""


@register_method("cca-itq")
class CcaItq(ClosedFormObjective):
    """Canonical directions of image and text features, rotated together to suit signs.

        A, B, rho = the K leading canonical directions of the pairs and their correlations
        Z = [(X - m) A diag(rho^power); (Y - m') B diag(rho^power)]         both modalities stacked
        R = ITQ(Z)                                                     one rotation for both
        h(x) = sign((x - m) A diag(rho^power) R), and likewise for texts

    Only items with both modalities are used; labels are never read. Where K exceeds the number r of
    directions there are (the features of a modality, or the pairs less one), the K bits share the
    r directions, see `itq_rotation`.

    Source: Gong, Lazebnik, Gordo and Perronnin, "Iterative Quantization", TPAMI 2013; directions
    scaled by a power of their eigenvalues in Gong, Ke, Isard and Lazebnik, "A Multi-View Embedding
    Space for Modeling Internet Images, Tags, and their Semantics", IJCV 2014 (there of 1 + rho,
    the eigenvalue of the joint problem, and 2 to 4 in the authors' own release).
    """

    settings_type = CcaItqSettings
    card = MethodCard(
        idea="directions in which images and texts correlate, rotated to suit signs",
        loss="closed form, reads no labels",
        source="Gong et al., TPAMI 2013",
        differs="linear networks, no epochs",
    )
    needs_pairs = True
    settings: CcaItqSettings

    def __init__(self, context: Context, settings: CcaItqSettings) -> None:
        super().__init__(context, settings)

    def projections(self, train: Rows) -> dict[Modality, Projection]:
        """Return the projection of each modality.

        Raises:
            UsageError: there are not two modalities, or fewer than two training items have both.
        """
        pairs = paired_items(train, method="cca-itq")
        one, two = train.modalities
        first, second = train.features[one][pairs], train.features[two][pairs]
        means = first.mean(dim=0), second.mean(dim=0)
        first, second = first - means[0], second - means[1]
        found = canonical_directions(
            first, second, count=self.bits, regularization=self.settings.regularization
        )
        strength = found.correlations**self.settings.power
        first_weights, second_weights = found.first * strength, found.second * strength
        rotation = itq_rotation(
            torch.cat([first @ first_weights, second @ second_weights]),
            self.bits,
            seed=self.seed,
            iterations=self.settings.iterations,
        )
        return {
            one: (means[0], first_weights @ rotation),
            two: (means[1], second_weights @ rotation),
        }


def paired_items(train: Rows, *, method: str) -> Tensor:
    """Return the positions, int64, of the training items that have both modalities.

    Raises:
        UsageError: there are not two modalities, or fewer than two training items have both.
    """
    if len(train.modalities) == 1:
        raise UsageError(
            f"{method} learns from pairs, and the run has one modality ({train.modalities[0]}); "
            "use --method itq"
        )
    if len(train.modalities) != 2:
        raise UsageError(
            f"{method} learns from two modalities, and the run has {len(train.modalities)} "
            f"({', '.join(train.modalities)}); leave one out, for example with "
            f"--encoder {train.modalities[-1]}=none"
        )
    one, two = train.modalities
    (rows,) = (train.present[one] & train.present[two]).nonzero(as_tuple=True)
    if len(rows) < 2:
        raise UsageError(
            f"{method} learns from items with both modalities, {one} and {two}, and {len(rows)} "
            "training items have both; at least 2 are needed"
        )
    return rows


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
        count: largest number of directions.
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


def itq_rotation(
    projections: Float[Tensor, "n r"], bits: int, *, seed: int, iterations: int = 50
) -> Float[Tensor, "r k"]:
    """Return R with orthonormal rows, R R^T = I, that makes ||sign(Z R) - Z R||^2 small.

    Starts from a random rotation and repeats: B = sign(Z R), then the R that is best for this B,
    R = U V^T from the singular vectors of Z^T B = U S V^T (orthogonal Procrustes). The error never
    rises. Where there are fewer projections than bits, R is the part of a rotation of K dimensions
    that acts on projections padded with zeros: K different bits that share r directions.

    Args:
        projections: Z, centered; r at most K.
        bits: K.
        seed: determines the initial rotation.
        iterations: repetitions; 50 in the paper.

    Source: Gong, Lazebnik, Gordo and Perronnin, "Iterative Quantization: A Procrustean Approach to
    Learning Binary Codes for Large-Scale Image Retrieval", TPAMI 2013.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(bits, bits, generator=generator, dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(start).Q[: projections.shape[1]].to(projections)
    for _ in range(iterations):
        codes = sign(projections @ rotation)
        left, _, right = torch.linalg.svd(projections.T @ codes, full_matrices=False)
        rotation = left @ right
    return rotation


def quantization_error(
    projections: Float[Tensor, "n r"], rotation: Float[Tensor, "r k"]
) -> Float[Tensor, ""]:
    """Return the mean over rows of ||sign(Z R) - Z R||^2."""
    rotated = projections @ rotation
    return (sign(rotated) - rotated).square().sum(dim=1).mean()
