"""What a resumed run may change, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.errors import UsageError
from proxyhash.training.config import TrainConfig, read_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["FREE_KEYS", "resume_config"]

FREE_KEYS = frozenset({"data", "out", "device", "threads", "tensorboard"})
"""Keys that a resumed run may change: where things lie and what computes them."""


def resume_config(stored: Mapping[str, Any], given: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration of a resumed run: the stored one, with what `given` may change.

    Args:
        stored: config.json of the run folder.
        given: The keys that the user named this time.

    Raises:
        UsageError: "the run cannot be resumed with another bits (32 instead of 64), ...; leave
            these options out, or train into a new folder".
    """
    before = read_config(stored)
    nested = {
        key: {**getattr(before, key), **given[key]}
        for key in ("settings", "text_network")
        if key in given
    }
    after = read_config({**before.to_dict(), **given, **nested})
    differing = [key for key in _differing(before, after) if not _may_change(key, before, after)]
    if differing:
        told = ", ".join(
            f"{key} ({getattr(after, key)!r} instead of {getattr(before, key)!r})"
            for key in differing
        )
        more = ""
        if "epochs" in differing:
            more = "; epochs may be raised only where lr_schedule is constant"
        raise UsageError(
            f"the run in {after.out} cannot be resumed with another {told}{more}; leave these "
            "options out, or train into a new folder"
        )
    return after


def _differing(before: TrainConfig, after: TrainConfig) -> Iterable[str]:
    return [key for key in TrainConfig.model_fields if getattr(before, key) != getattr(after, key)]


def _may_change(key: str, before: TrainConfig, after: TrainConfig) -> bool:
    if key == "epochs":  # a cosine schedule depends on the end, a constant one does not
        return before.lr_schedule == "constant" and after.epochs > before.epochs
    return key in FREE_KEYS
