"""IDGH: triplets among items and others that are drawn from the spread of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor

from proxyhash.losses import certain, weighted_triplets
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Memory
    from proxyhash.methods.shared.objective import Context

__all__ = ["Idgh", "IdghSettings"]

Moment = Literal["mean", "variance"]
_RARE = 40
"""Items from which on a class relies on its own variance alone."""
_MOMENTUM = 0.8
_MEAN_WIDTH, _VARIANCE_WIDTH = 1.0, 4.0
"""Deviations of the closeness of classes, by their means and by their variances."""


class IdghSettings(Settings):
    """Settings of `idgh`."""

    margin: float = Field(default=0.05, ge=0)
    """By how much relevant items must be nearer; published .05."""
    copies: int = Field(default=3, ge=0)
    """Items drawn around each item of a batch; published 3."""
    spread: float = Field(default=0.8, ge=0)
    """Share of the variance of its classes that an item is drawn with; published .8, which falls to
    .6 of it along the epochs."""
    start_epoch: int = Field(default=6, ge=2)
    """First epoch with drawn items; published the 32nd of 101."""
    beta: float = Field(default=0.1, gt=0)
    """How fast the trust in a class's own variance grows with its items; published .1."""
    gamma: float = Field(default=0.1, ge=0, le=1)
    """What rare classes take from the variance of all; the rest from the nearest; published .1."""
    neighbors: int = Field(default=25, ge=1)
    """How many classes are the nearest; published 25."""


@register_method("idgh")
class Idgh(Objective):
    """Relevant items are nearer than others, drawn ones among them, by how many labels they share.

    For image x image, text x text and image x text, the loss "triplets" is
    `losses.weighted_triplets` of the items of a batch and, from `start_epoch` on, of some drawn
    around each: h + sqrt(lambda v_i) * noise, which has the labels of h, with v_i the mean variance
    of the outputs of its classes. Means and variances of classes are measured once per epoch and
    averaged over epochs; a class with n < 40 items has the variance

        (1 - w) v + w gamma v_all + w (1 - gamma) v_near,     w = 1 / (1 + log(1 + beta (n - 1)))

    of all classes, weighted by their items, and of the nearest, weighted by items and closeness.

    Source: IDGH, "Intra-class Distribution-guided Generative Hashing with Neighbor Refinement for
    Cross-modal Retrieval", CVPR 2026, as in the authors' release (QinLab-WFU/IDGH: utils/intra.py,
    utils/Losses_s.py, train/hash_train.py); the paper's text was not read. The release runs all
    items through the networks every fourth of 101 epochs; here the outputs of the last epoch are
    measured. Not copied: of the drawn items of one item, each has the root of the deviations of the
    one before; and weights of classes are looked up as if every class had items.
    """

    settings_type = IdghSettings
    card = MethodCard(
        idea="items are drawn around each item, with the variances of its classes",
        loss="w max(0, d - d' + m) of triplets, w by the number of common labels",
        source="IDGH, CVPR 2026",
    )
    settings: IdghSettings
    labels: Tensor
    epoch: Tensor
    counts: Tensor

    def __init__(self, context: Context, settings: IdghSettings) -> None:
        super().__init__(context, settings)
        self.register_buffer("labels", certain(context.labels).float(), persistent=False)
        self.register_buffer("epoch", torch.tensor(0))
        self.register_buffer("counts", torch.zeros(context.classes))
        for modality in context.modalities:
            for moment in ("mean", "variance"):
                empty = torch.zeros(context.classes, context.bits)
                self.register_buffer(f"{moment}_{modality}", empty)

    def begin_epoch(self, memory: Memory) -> None:
        """Count the epoch, and measure the classes from the first with drawn items on."""
        self.epoch += 1
        if self.settings.copies and int(self.epoch) >= self.settings.start_epoch:
            self._measure(memory)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the term "triplets"."""
        items = {modality: self._with_drawn(batch, modality) for modality in batch.learning}
        total = batch.labels.new_zeros(())
        for modality, against in batch.pairs():
            (outputs, labels), (others, other_labels) = items[modality], items[against]
            total = total + weighted_triplets(
                outputs, others, labels, other_labels, margin=self.settings.margin
            )
        return {"triplets": total}

    def _moment(self, name: Moment, modality: Modality) -> Tensor:
        """Return the means or variances of the classes' outputs, (C, K)."""
        found: Tensor = getattr(self, f"{name}_{modality}")
        return found

    def _with_drawn(self, batch: Batch, modality: Modality) -> tuple[Tensor, Tensor]:
        """Return the supervised outputs, after them those of the drawn items, and their labels."""
        rows = batch.supervised(modality)
        outputs, labels = batch.outputs[modality][rows], batch.labels[rows]
        copies = self.settings.copies
        if not copies or not bool(self.counts.any()):
            return outputs, labels
        shares = certain(labels).to(outputs.dtype)
        shares = shares / shares.sum(dim=1, keepdim=True)
        variances = shares @ self._moment("variance", modality).to(outputs.dtype)
        deviations = (self.settings.spread * variances).sqrt()
        around, noise = outputs.repeat(copies, 1), deviations.repeat(copies, 1)
        drawn = around + noise * torch.randn_like(around)
        return torch.cat([outputs, drawn]), labels

    @torch.no_grad()
    def _measure(self, memory: Memory) -> None:
        """Update means, variances and counts of all classes with the latest outputs."""
        members: dict[Modality, Tensor] = {}
        for modality in self.modalities:
            labels = self.labels * memory.present[modality][:, None]
            members[modality] = labels.sum(dim=0)
            count = members[modality][:, None].clamp(min=1)
            outputs = memory.outputs[modality].to(labels.dtype)
            mean = labels.T @ outputs / count
            variance = (labels.T @ outputs.square() / count - mean.square()).clamp(min=0)
            self._average(modality, members[modality], mean, variance)
        self.counts += torch.stack(list(members.values())).amax(dim=0)
        shares = {name: self._nearest(torch.where(n > 1, n, 0.0)) for name, n in members.items()}
        for modality in self.modalities:
            self._calibrate(modality, members[modality], shares[modality])

    def _average(self, modality: Modality, count: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Mix the moments of an epoch into those of the epochs before."""
        share = (count / (self.counts + count).clamp(min=1)).clamp(min=1 - _MOMENTUM)
        share = torch.where(count > 1, share, 0.0)[:, None]
        old_mean, old = self._moment("mean", modality), self._moment("variance", modality)
        moved = share * (1 - share) * (old_mean - mean).square()
        old.copy_((1 - share) * old + share * variance + moved)
        old_mean.copy_((1 - share) * old_mean + share * mean)

    def _calibrate(self, modality: Modality, count: Tensor, shares: Tensor) -> None:
        """Take the variances of rare classes from others, the nearest by their shares (C, C)."""
        trust = 1 / (1 + torch.log1p(self.settings.beta * (count - 1).clamp(min=0)))
        weight = torch.where((count > 0) & (count < _RARE), trust, 0.0)[:, None]
        known = count > 1
        if not bool(weight.any()) or not bool(known.any()):
            return
        variance = self._moment("variance", modality)
        numbers = torch.where(known, count, 0.0)
        overall = numbers @ variance / numbers.sum()
        near = shares @ variance
        gamma = self.settings.gamma
        variance.copy_((1 - weight) * variance + weight * (gamma * overall + (1 - gamma) * near))

    def _nearest(self, numbers: Tensor) -> Tensor:
        """Return the shares of the nearest classes, (C, C), by items and closeness."""
        first, last = self.modalities[0], self.modalities[-1]
        apart = []
        known = numbers > 0
        if not bool(known.any()):
            return torch.zeros(len(numbers), len(numbers), device=numbers.device)
        for moment in ("mean", "variance"):
            one, other = (self._moment(moment, modality) for modality in (first, last))
            distances = torch.cdist(one, other)
            within = distances[known][:, known]
            spread = (within.max() - within.min()).clamp(min=1e-8)
            apart.append((distances - within.min()) / spread)
        unknown = ~known[None, :] | torch.eye(len(numbers), dtype=torch.bool, device=known.device)
        sums = (apart[0] + apart[1]).masked_fill(unknown, torch.inf)
        count = min(self.settings.neighbors, len(numbers))
        nearest = torch.zeros_like(sums, dtype=torch.bool)
        nearest.scatter_(1, sums.topk(count, dim=1, largest=False).indices, True)
        closeness = torch.exp(
            -apart[0].square() / (2 * _MEAN_WIDTH**2) - apart[1].square() / (2 * _VARIANCE_WIDTH**2)
        )
        weights = torch.where(nearest & ~unknown, numbers[None, :] * closeness, 0.0)
        return weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-30)
