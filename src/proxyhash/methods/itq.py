"""ITQ: rotated principal components, the classic codes of one modality, learned without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from proxyhash.methods.cca_itq import itq_rotation
from proxyhash.methods.shared.closed_form import ClosedFormObjective, Projection
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from jaxtyping import Float

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows
    from proxyhash.methods.shared.objective import Context

__all__ = ["Itq", "ItqSettings", "principal_directions"]


class ItqSettings(Settings):
    """Settings of `itq`."""

    iterations: int = Field(default=50, ge=0)
    """Steps of ITQ; 50 in the paper. 0 leaves a random rotation."""


@register_method("itq")
class Itq(ClosedFormObjective):
    """Principal components of one modality's features, rotated to suit signs.

        P = the K leading eigenvectors of the covariance of the features
        R = ITQ((X - m) P)
        h(x) = sign((x - m) P R)                                      for each modality its own

    Labels are never read. Two items are near when their features are alike. The modalities share
    nothing, so a search from one into another is *chance*: `cca-itq` learns that from pairs. Where
    K exceeds the number of directions (the features, or the items less one), the K bits share
    them, see `itq_rotation`.

    Source: Gong and Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary
    Codes", CVPR 2011 (there PCA-ITQ).
    """

    settings_type = ItqSettings
    card = MethodCard(
        idea="principal components of one modality, rotated to suit signs",
        loss="closed form, reads no labels and no pairs",
        source="Gong and Lazebnik, CVPR 2011",
        differs="linear networks, no epochs",
    )
    settings: ItqSettings

    def __init__(self, context: Context, settings: ItqSettings) -> None:
        super().__init__(context, settings)

    def projections(self, train: Rows) -> dict[Modality, Projection]:
        """Return the projection of each modality."""
        found: dict[Modality, Projection] = {}
        for modality in train.modalities:
            features = train.features[modality][train.present[modality]]
            mean = features.sum(dim=0) / max(len(features), 1)
            centered = features - mean
            directions = principal_directions(centered, count=self.bits)
            rotation = itq_rotation(
                centered @ directions,
                self.bits,
                seed=self.seed,
                iterations=self.settings.iterations,
            )
            found[modality] = mean, directions @ rotation
        return found


def principal_directions(features: Float[Tensor, "n d"], *, count: int) -> Float[Tensor, "d r"]:
    """Return the r = min(count, d, n - 1) directions of largest variance, orthonormal columns.

    The sign of each is such that its largest entry is positive, the same on every machine.

    Args:
        features: centered, one row per item.
        count: largest number of directions.
    """
    covariance = features.T @ features / max(len(features), 1)
    vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    rank = min(count, features.shape[1], max(len(features) - 1, 1))
    leading = vectors[:, :rank]
    largest = leading.gather(0, leading.abs().argmax(dim=0, keepdim=True))
    directions: Tensor = leading * torch.where(largest < 0, -1.0, 1.0).to(leading)
    return directions
