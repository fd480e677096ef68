"""What a configuration leaves to the data: settings that fit its size.

Both rules come from validation data, see "Narrow features" in docs/lab-notes.md: of few features
every one is needed, and few items make too few steps in the epochs of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxyhash.training.config import TrainConfig

__all__ = ["batch_size", "input_dropout"]

_WIDE = 1024
_STEPS = 48


def input_dropout(width: int) -> float:
    """Return the share of `width` features to drop: half of 1,024 and more, of fewer fewer."""
    return 0.5 * min(1.0, width / _WIDE)


def batch_size(config: TrainConfig, items: int) -> int:
    """Return the most items a step: the configuration's, or what makes 48 steps an epoch."""
    if config.batch_size is not None:
        return config.batch_size
    return min(96, max(32, items // _STEPS))
