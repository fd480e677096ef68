"""Random projections: what codes are worth before anything is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxyhash.methods.shared.closed_form import ClosedFormObjective, Projection
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows
    from proxyhash.methods.shared.objective import Context

__all__ = ["RandomProjection", "RandomProjectionSettings"]


class RandomProjectionSettings(Settings):
    """`random-projection` has no settings; the projections follow the run's seed."""


@register_method("random-projection")
class RandomProjection(ClosedFormObjective):
    """Bit k is the side of a random hyperplane through the mean of the train features.

        h(x) = sign((x - m) W)                        W_dk ~ N(0, 1), for each modality its own

    Codes of one modality approximate angles: two items differ in a bit with probability
    angle / pi. Between the modalities nothing is shared, so cross-modal retrieval is *chance*: the
    honest floor of every table, and mAP the share of relevant items.

    Source: Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002.
    """

    settings_type = RandomProjectionSettings
    card = MethodCard(
        idea="random hyperplanes, the floor",
        loss="none",
        source="Charikar, STOC 2002",
        differs="linear networks, no epochs",
    )

    def __init__(self, context: Context, settings: RandomProjectionSettings) -> None:
        super().__init__(context, settings)

    def projections(self, train: Rows) -> dict[Modality, Projection]:
        """Return the mean and Gaussian weights of each modality."""
        generator = torch.Generator().manual_seed(self.seed)
        found: dict[Modality, Projection] = {}
        for modality in train.modalities:
            features = train.features[modality][train.present[modality]]
            weights = torch.randn(
                features.shape[1], self.bits, generator=generator, dtype=features.dtype
            )
            found[modality] = features.sum(dim=0) / max(len(features), 1), weights
        return found
