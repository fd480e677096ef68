"""UCCH: networks against the codes of all training pairs, without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from proxyhash.losses import cross_modal_ranking, soft_contrastive
from proxyhash.methods.cca_itq import paired_items
from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Memory, Rows
    from proxyhash.methods.shared.objective import Context
    from proxyhash.networks import Network

__all__ = ["Ucch", "UcchSettings"]


class UcchSettings(Settings):
    """Settings of `ucch`."""

    alpha: float = Field(default=0.7, ge=0, le=1)
    """Weight of the contrast; 1 - alpha is that of the ranking. 0.7 in the release's command for
    MIRFlickr, 0.9 where it is not given."""
    temperature: float = Field(default=0.9, gt=0)
    """Temperature T of the cosines with codes. With 0.2 an item finds its other half far more often
    and mAP is .01 lower, see docs/lab-notes.md."""
    momentum: float = Field(default=0.4, ge=0, le=1)
    """Share of a pair's stored vector that stays when the pair has been seen."""
    negatives: int = Field(default=4096, ge=0)
    """Stored codes, besides those of the batch, that an item is compared with."""
    warmup_epochs: int = Field(default=1, ge=0)
    """First epochs, in which items are compared with the codes of their batch alone."""
    margin: float = Field(default=0.2, ge=0)
    """How far below its own half another may be and count fully in the ranking."""
    shift: float = Field(default=0.1, ge=0)
    """What is taken off the cosines of the others; 0.1 in the release's command, 1 where it is not
    given."""


@register_method("ucch")
class Ucch(Objective):
    """Each half of a pair is most similar to the code of the pair, among the codes of many.

    With unit outputs f_i, g_i of the halves of pair i, and a vector m_i stored for every pair:

        L = alpha (C(f) + C(g)) + (1 - alpha) (R(f, g) + R(g, f))            "contrast", "ranking"
        C(f) = mean_i -log softmax_j(cos(f_i, sign m_j) / T)_i
        m_i <- unit(mu m_i + (1 - mu) unit(f_i + g_i))                      after each step

    where R is `losses.cross_modal_ranking`. So the networks learn against binary codes, without any
    relaxation, and the codes follow the networks. In the first epoch there are no stored vectors
    worth keeping: j runs over the batch, m_j is f_j + g_j, and mu is 0.

    Labels are never read; MRR of the other half among validation items chooses the epoch.

    Source: Hu, Zhu, Lin, Peng and Peng, "Unsupervised Contrastive Cross-Modal Hashing", TPAMI 2023,
    as in the authors' own release (penghu-cs/UCCH): the loop in UCCH.py, the stored vectors and C
    in NCE/NCEAverage.py and NCECriterion.py, R in src/utils.py, values in utils/config.py and
    the command of README.md. Here the codes besides the batch's are drawn once a step, without
    repetition, where the release draws 4,096 for each item, which may be its own; an item with one
    half learns from the contrast alone; and networks, rate and epochs are those of all methods. The
    preset "reference" has the release's: two hidden layers of 8,192 for images and one for texts,
    no dropout, Adam at a constant 1e-4, batches of 256, 20 epochs, gradients clipped at 1.
    The release keeps the epoch whose mAP on labels of its gallery is best.
    """

    reads_memory = False
    settings_type = UcchSettings
    needs_labels = False
    needs_pairs = True
    validated_by: ClassVar[Literal["mAP", "MRR"]] = "MRR"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 256}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            "optimizer": "adam",
            "learning_rate": 1e-4,
            "weight_decay": 1e-6,
            "lr_schedule": "constant",
            "clip": 1.0,
            "epochs": 20,
            "batch_size": 256,
            "hidden": [8192, 8192],
            "dropout": 0.0,
            "output_batch_norm": False,
            "networks": {"text": {"hidden": [8192]}},
        }
    }
    card = MethodCard(
        idea="each half is most similar to its pair's code among thousands (without labels)",
        loss="cross-entropy of cos(h, sign m) / T with the own pair, and ranks across modalities",
        source="Hu et al., TPAMI 2023",
        differs="batches of 256",
    )
    settings: UcchSettings
    vectors: Tensor
    epoch: Tensor

    def __init__(self, context: Context, settings: UcchSettings) -> None:
        super().__init__(context, settings)
        generator = torch.Generator().manual_seed(context.seed)
        start = torch.randn(len(context.labels), context.bits, generator=generator)
        self.register_buffer("vectors", functional.normalize(sign(start), dim=1))
        self.register_buffer("epoch", torch.tensor(0))

    def begin_run(
        self,
        networks: Mapping[Modality, Network],  # noqa: ARG002
        train: Rows,
        *,
        track: Track = silent,  # noqa: ARG002
    ) -> None:
        """Refuse runs without pairs.

        Raises:
            UsageError: there are not two modalities, or fewer than two training items have both.
        """
        paired_items(train, method="ucch")

    def begin_epoch(self, memory: Memory) -> None:  # noqa: ARG002
        """Count the epoch."""
        self.epoch += 1

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "contrast" and "ranking", and store the vectors of the batch."""
        one, two = batch.learning
        units = {name: functional.normalize(h, dim=1) for name, h in batch.outputs.items()}
        means = functional.normalize(torch.stack(list(units.values())).sum(dim=0), dim=1).detach()
        codes = self._codes(batch.index, means)
        contrast = []
        for name, values in units.items():
            (rows,) = batch.present[name].nonzero(as_tuple=True)
            own = functional.one_hot(rows, len(codes)).to(values)
            scale = 1 / self.settings.temperature
            contrast.append(soft_contrastive(values[rows], codes, own, scale=scale))
        self._store(batch.index, means)
        rows = batch.present[one] & batch.present[two]
        first, second = units[one][rows], units[two][rows]
        margin, shift = self.settings.margin, self.settings.shift
        ranking = cross_modal_ranking(first, second, margin=margin, shift=shift)
        ranking = ranking + cross_modal_ranking(second, first, margin=margin, shift=shift)
        alpha = self.settings.alpha
        return {"contrast": alpha * torch.stack(contrast).sum(), "ranking": (1 - alpha) * ranking}

    @property
    def _warming(self) -> bool:
        return int(self.epoch) <= self.settings.warmup_epochs

    def _codes(self, index: Tensor, means: Tensor) -> Tensor:
        """Return the codes of the items at `index`, and of others after them."""
        if self._warming:
            return sign(means)
        order = torch.randperm(len(self.vectors), device=index.device)
        drawn = order[: self.settings.negatives]
        return sign(self.vectors[torch.cat([index, drawn[~torch.isin(drawn, index)]])])

    def _store(self, index: Tensor, means: Tensor) -> None:
        momentum = 0.0 if self._warming else self.settings.momentum
        mixed = momentum * self.vectors[index] + (1 - momentum) * means
        self.vectors[index] = functional.normalize(mixed, dim=1)
