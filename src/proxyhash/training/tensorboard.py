"""Losses and scores for TensorBoard, where asked for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxyhash.errors import require_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxyhash.training.history import EpochRecord

__all__ = ["require_tensorboard", "tensorboard_log"]


def require_tensorboard() -> None:
    """Check that TensorBoard is installed, before a run that is to write to it.

    Raises:
        MissingExtraError: "writing TensorBoard logs needs tensorboard: pip install ...".
    """
    require_extra("tensorboard", extra="tensorboard", purpose="writing TensorBoard logs")


@contextmanager
def tensorboard_log(folder: Path, *, first_epoch: int) -> Iterator[Callable[[EpochRecord], None]]:
    """Yield a function that writes one epoch's figures as scalars, with the epoch as the step.

    Args:
        folder: Where the event files go.
        first_epoch: What an earlier, interrupted run wrote from this epoch on is hidden by
            TensorBoard.
    """
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def write(record: EpochRecord) -> None:
        writer.add_scalar("loss/total", record.loss, record.epoch)
        for name, value in record.terms.items():
            writer.add_scalar(f"loss/{name}", value, record.epoch)
        for name, value in record.validation.items():
            writer.add_scalar(f"validation/{name}", value, record.epoch)
        writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()
