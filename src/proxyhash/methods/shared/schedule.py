"""Joint or alternating training, and the unified code that goes with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import Context, Objective, Passes, alternating, joint
from proxyhash.methods.shared.settings import Settings

if TYPE_CHECKING:
    from proxyhash.methods.shared.batch import Batch, Memory

__all__ = ["ScheduleSettings", "ScheduledObjective"]


class ScheduleSettings(Settings):
    """Settings of methods that know both schedules."""

    schedule: Literal["joint", "alternating"] = "joint"
    """"joint": all networks learn in every step. "alternating", as in DCMH, in DAPH's own release
    and in the public port of DCPH: one pass over the image network, one over the text network, then
    B = sign(H_image + H_text) is recomputed."""
    passes_per_round: int = Field(default=1, ge=1)
    """In alternating training, epochs (a pass of each network) until B is recomputed."""
    first_code: Literal["outputs", "random"] = "outputs"
    """In alternating training, B of the first round: of the untrained networks' "outputs", or
    "random" signs, as in the public port of DCPH."""

    @model_validator(mode="after")
    def _check_rounds(self) -> Self:
        if self.schedule == "joint" and (self.passes_per_round, self.first_code) != (1, "outputs"):
            raise ValueError(
                "passes_per_round and first_code are for alternating training, where B outlasts a "
                "step; set schedule=alternating, or leave them out"
            )
        return self


class ScheduledObjective(Objective):
    """An objective with a unified code B = sign(H_image + H_text).

    In joint training all outputs are at hand, and B is that of the step itself. In alternating
    training B is that of the start of the round, which is the epoch unless `passes_per_round` says
    otherwise. An item without a modality has B from the others alone.
    """

    unified_code: Tensor
    """B of a round that is longer than an epoch, or drawn at random, (n, K)."""
    passes_done: Tensor

    def __init__(self, context: Context, settings: ScheduleSettings) -> None:
        super().__init__(context, settings)
        self.alternating = settings.schedule == "alternating"
        self.reads_memory = self.alternating
        self._passes_per_round, self._first_code = settings.passes_per_round, settings.first_code
        self._in_rounds = (self._passes_per_round, self._first_code) != (1, "outputs")
        self._unified = torch.empty(0)
        if self._in_rounds:  # a resumed run needs them; others keep the checkpoints they had
            self.register_buffer("unified_code", torch.zeros(len(context.labels), context.bits))
            self.register_buffer("passes_done", torch.zeros((), dtype=torch.int64))

    @property
    def passes(self) -> Passes:
        """One pass for all networks, or one for each."""
        return (alternating if self.alternating else joint)(self.modalities)

    def begin_epoch(self, memory: Memory) -> None:
        """Refresh B where a round begins."""
        if not self.alternating:
            return
        if not self._in_rounds:
            self._unified = memory.unified()
            return
        done = int(self.passes_done)
        if done == 0 and self._first_code == "random":
            self.unified_code.copy_(sign(torch.randn(self.unified_code.shape)))
        elif done % self._passes_per_round == 0:
            self.unified_code.copy_(memory.unified())
        self.passes_done += 1

    def unified(self, batch: Batch) -> Tensor:
        """Return B of the batch, (b, K) in {-1, +1}."""
        if self.alternating:
            return (self.unified_code if self._in_rounds else self._unified)[batch.index]
        return batch.unified()
