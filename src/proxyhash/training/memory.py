"""Out of memory: the option that helps, and its value."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from proxyhash.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.training.config import TrainConfig

__all__ = ["advise_on_memory"]

_SIGNS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
)
_PARTS = 4
"""Parts that a batch goes through an encoder in, where it went through whole."""
_SMALLEST_IMAGE = 64


@contextmanager
def advise_on_memory(config: TrainConfig, *, batch_size: int, image_size: int) -> Iterator[None]:
    """Say which option to change to what when a block runs out of memory.

    Args:
        config: The run's configuration.
        batch_size: Its batch size.
        image_size: Side of its training images; 0 where no encoder learns from images.

    Raises:
        OutOfMemoryError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise OutOfMemoryError(
            f"there is not enough memory on {config.device} for {_load(config, batch_size)} "
            f"({reason:.200}). {_advice(config, batch_size, image_size)}"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)


def _load(config: TrainConfig, batch_size: int) -> str:
    if config.tune and config.micro_batch and config.micro_batch < batch_size:
        return f"batches of {batch_size} items in parts of {config.micro_batch}"
    return f"batches of {batch_size} items"


def _advice(config: TrainConfig, batch_size: int, image_size: int) -> str:
    again = f"Continue with: proxyhash train --resume --out {shlex.quote(config.out)}"
    if config.tune:
        now = min(config.micro_batch or batch_size, batch_size)
        if now > 1 and not config.tune_batch_norm:  # which micro_batch cannot be used with
            parts = 2 if config.micro_batch else _PARTS
            told = f"{now}" if config.micro_batch else f"the whole batch of {now}"
            return (
                f"{again} --micro-batch {max(1, now // parts)} (now {told}): the same gradients in "
                "less memory"
            )
        if not config.checkpointing:
            return f"{again} --checkpointing: the same gradients in less memory"
        if image_size > _SMALLEST_IMAGE:
            smaller = max(_SMALLEST_IMAGE, image_size * 3 // 4)
            return f"Train into a new folder with --image-size {smaller} (now {image_size})"
        return (
            "Train into a new folder with --tune-layers last:1, another encoder, or on a device "
            "with more memory"
        )
    if batch_size > 2:
        return f"Train into a new folder with --batch-size {max(2, batch_size // 2)}"
    return "Train into a new folder with smaller --hidden layers"
