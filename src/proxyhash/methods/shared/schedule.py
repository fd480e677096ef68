"""Joint or alternating training, and the unified code that goes with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from proxyhash.methods.shared.objective import Context, Objective, Passes, alternating, joint
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from proxyhash.methods.shared.batch import Batch, Memory

__all__ = ["ScheduleSettings", "ScheduledObjective"]


class ScheduleSettings(Settings):
    """Settings of methods that know both schedules."""

    schedule: Literal["joint", "alternating"] = "joint"
    """"joint": all networks learn in every step. "alternating", as published: one pass over the
    image network, one over the text network, then B = sign(H_image + H_text) is recomputed."""


class ScheduledObjective(Objective):
    """An objective with a unified code B = sign(H_image + H_text).

    B is as old as the epoch in alternating training; in joint training all outputs are at hand,
    and B is that of the step itself. An item without a modality has B from the others alone.
    """

    def __init__(self, context: Context, settings: ScheduleSettings) -> None:
        super().__init__(context, settings)
        self.alternating = settings.schedule == "alternating"
        self._unified = torch.empty(0)

    @property
    def passes(self) -> Passes:
        """One pass for all networks, or one for each."""
        return (alternating if self.alternating else joint)(self.modalities)

    def begin_epoch(self, memory: Memory) -> None:
        """Refresh B."""
        if self.alternating:
            self._unified = memory.unified()

    def unified(self, batch: Batch) -> Tensor:
        """Return B of the batch, (b, K) in {-1, +1}."""
        if self.alternating:
            return self._unified[batch.index]
        return batch.unified()
