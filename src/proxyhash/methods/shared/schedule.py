"""Joint or alternating training, and the unified code that goes with each."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from proxyhash.methods.shared.objective import (
    ALTERNATING,
    JOINT,
    Batch,
    Context,
    Memory,
    Objective,
    sign,
)
from proxyhash.methods.shared.settings import Settings

__all__ = ["ScheduleSettings", "ScheduledObjective"]


class ScheduleSettings(Settings):
    """Settings of methods that know both schedules."""

    schedule: Literal["joint", "alternating"] = "joint"
    """"joint": both networks learn in every step. "alternating", as published: one pass over the
    image network, one over the text network, then B = sign(H_image + H_text) anew."""


class ScheduledObjective(Objective):
    """An objective with a unified code B = sign(H_image + H_text).

    B is as old as the round in alternating training; in joint training both outputs are at hand,
    and B is that of the step itself. An item without one modality has B from the other alone.
    """

    def __init__(self, context: Context, settings: ScheduleSettings) -> None:
        super().__init__(context, settings)
        self.alternating = settings.schedule == "alternating"
        self.passes = ALTERNATING if self.alternating else JOINT
        self._unified = torch.empty(0)

    def begin_round(self, memory: Memory) -> None:
        """Refresh B."""
        if self.alternating:
            self._unified = memory.unified()

    def unified(self, batch: Batch) -> Tensor:
        """Return B of the batch, (b, K) in {-1, +1}."""
        if self.alternating:
            return self._unified[batch.index]
        return sign(batch.latest("image") + batch.latest("text"))
