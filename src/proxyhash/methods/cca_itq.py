"""CCA-ITQ: the classic codes of image-text pairs, learned without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from proxyhash.errors import UsageError
from proxyhash.methods.shared.canonical import canonical_directions
from proxyhash.methods.shared.closed_form import ClosedFormObjective, Projection
from proxyhash.methods.shared.itq import itq_rotation
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows
    from proxyhash.methods.shared.objective import Context

__all__ = ["CcaItq", "CcaItqSettings"]


class CcaItqSettings(Settings):
    """Settings of `cca-itq`."""

    regularization: float = Field(default=1.0, gt=0)
    """What is added to each variance, as a share of the modality's mean variance. Nearly none, as
    usual with few features, lets 2,000 words and 1,280 image features correlate by chance."""
    power: float = Field(default=4.0, ge=0)
    """Power of the canonical correlation that scales a direction; 0: all directions count alike."""
    iterations: int = Field(default=50, ge=0)
    """Steps of ITQ; 50 in the paper. 0 leaves a random rotation."""


@register_method("cca-itq")
class CcaItq(ClosedFormObjective):
    """Canonical directions of image and text features, rotated together to suit signs.

        A, B, rho = the K leading canonical directions of the pairs and their correlations
        Z = [(X - m) A diag(rho^power); (Y - m') B diag(rho^power)]         both modalities stacked
        R = ITQ(Z)                                                     one rotation for both
        h(x) = sign((x - m) A diag(rho^power) R), and alike for texts

    Only items with both modalities teach; labels are never read. Where K exceeds the number r of
    directions there are (the features of a modality, or the pairs less one), the K bits share the
    r directions, see `itq_rotation`.

    Source: Gong, Lazebnik, Gordo and Perronnin, "Iterative Quantization", TPAMI 2013; directions
    scaled by a power of their eigenvalues in Gong, Ke, Isard and Lazebnik, "A Multi-View Embedding
    Space for Modeling Internet Images, Tags, and their Semantics", IJCV 2014 (there of 1 + rho,
    the eigenvalue of the joint problem, and 2 to 4 in the authors' released code).
    """

    settings_type = CcaItqSettings
    settings: CcaItqSettings

    def __init__(self, context: Context, settings: CcaItqSettings) -> None:
        super().__init__(context, settings)

    def projections(self, train: Rows) -> dict[Modality, Projection]:
        """Return the projection of each modality.

        Raises:
            UsageError: there are not two modalities, or fewer than two training items have both.
        """
        if len(train.modalities) != 2:
            raise UsageError(
                f"cca-itq learns from two modalities, and the run has {len(train.modalities)} "
                f"({', '.join(train.modalities)}); leave one out, for example with "
                f"--encoder {train.modalities[-1]}=none"
            )
        one, two = train.modalities
        pairs = train.present[one] & train.present[two]
        count = int(pairs.sum())
        if count < 2:
            raise UsageError(
                f"cca-itq learns from items with both modalities, {one} and {two}, and {count} "
                "training items have both; at least 2 are needed"
            )
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
