"""QMI: the method DNpH, quadratic spherical mutual information of codes and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from proxyhash.losses import quadratic_information, share_a_label
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.methods.shared.batch import Batch

__all__ = ["Qmi", "QmiSettings"]


class QmiSettings(Settings):
    """Settings of `qmi`."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of the similarities of all pairs; published 1."""


@register_method("qmi")
class Qmi(Objective):
    """Codes tell as much about labels as quadratic mutual information can measure.

    With y_ij = (1 + cos(h_i, g_j)) / 2, S_ij = 1 where i and j share a label, and r = mean_ij S_ij,
    for image x image, text x text and image x text:

        L = mean_ij S_ij (y_ij - 1)^2 + w r y_ij^2                          "information"

    Source: DNpH, "Deep Neighborhood-Preserving Hashing With Quadratic Spherical Mutual Information
    for Cross-Modal Retrieval", IEEE TMM 2024, as in the authors' release (QinLab-WFU/DNpH,
    utils/qmi_loss.py); the paper's text was not read. Registered as `qmi`, since another method of
    2024 has nearly the same abbreviation. The release sums over pairs where this has the mean, so
    that its loss grows with the square of the batch size; it adds a constant 1 for every pair
    without a common label, and its tensors work on a GPU alone. Its r is that of the batch's items;
    here it is that of the pairs at hand, which are fewer where items lack a modality.
    """

    reads_memory = False
    settings_type = QmiSettings
    card = MethodCard(
        idea="codes and labels have much mutual information (quadratic, on the sphere)",
        loss="S (1 - y)² + r y² with y = (1 + cos) / 2 and the share r of similar pairs",
        source="DNpH, TMM 2024",
    )
    settings: QmiSettings

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the term "information"."""
        total = batch.labels.new_zeros(())
        for modality, against in batch.pairs():
            rows, columns = batch.supervised(modality), batch.supervised(against)
            total = total + quadratic_information(
                batch.outputs[modality][rows],
                batch.outputs[against][columns],
                share_a_label(batch.labels[rows], batch.labels[columns]),
                weight=self.settings.weight,
            )
        return {"information": total}
