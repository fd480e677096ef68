"""Progress of `proxyhash train`: bars or lines, and the time that an epoch takes."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, TypeVar

from proxyhash.cli import console

if TYPE_CHECKING:
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.history import EpochRecord

__all__ = ["Progress"]

T = TypeVar("T")

_SKIPPED, _FEW, _SECONDS = 2, 3, 5.0
"""Steps that are not timed, as memory is taken in them; then the least steps and time that are."""


class Progress:
    """Progress bars on a terminal; elsewhere a line of losses and scores every few seconds.

    Where encoders learn, it is said how long an epoch of theirs takes, as soon as that is known.

    Args:
        config: the run's configuration.
        clock: seconds that pass.
    """

    def __init__(
        self, config: "TrainConfig", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bars = sys.stderr.isatty()
        self._spoken = 0.0
        self._config = config
        self._clock = clock
        self._estimated = not config.tune
        self._first = True
        self._epochs = config.epochs

    def track(
        self, steps: Iterable[T], description: str, total: int | None = None, /
    ) -> Iterator[T]:
        """Show progress; off a terminal, epochs are shown by `report` instead."""
        if description.startswith("train ") and isinstance(steps, range):
            self._epochs = steps.stop - 1  # those of the stage, of which a run can have two
        epoch = re.match(r"epoch (\d+)", description)
        if epoch and not self._estimated and int(epoch[1]) > self._config.head_epochs:
            if total is None and isinstance(steps, Sized):
                total = len(steps)
            if total is not None:
                steps = self._timed(steps, int(epoch[1]), total)
        if not self._bars and description.startswith("train "):
            return iter(steps)
        return console.track(steps, description, total)

    def report(self, record: "EpochRecord") -> None:
        """Print losses and scores of an epoch, unless bars show them or a line was just printed."""
        now = time.monotonic()
        last = record.epoch == record.epochs
        if not self._bars and (last or now - self._spoken >= console.PLAIN_SECONDS):
            console.note(record.summary())
            self._spoken = now

    def _timed(self, steps: Iterable[T], epoch: int, count: int) -> Iterator[T]:
        """Yield the steps, and say how long an epoch takes once a few were timed.

        Where an epoch has too few, it is said after the second one, as the first takes memory.
        """
        left = self._epochs - epoch + 1
        begin = start = self._clock()
        for done, step in enumerate(steps):  # `done` of them are done
            now = self._clock()
            if done == _SKIPPED:
                start = now
            timed = done - _SKIPPED
            if not self._estimated and timed >= _FEW and now - start >= _SECONDS:
                self._say((now - start) / timed * count, left)
            yield step
        seconds = self._clock() - begin
        if not self._estimated and not self._first and left > 1 and seconds >= _SECONDS:
            self._say(seconds, left - 1)
        self._first = False

    def _say(self, seconds: float, left: int) -> None:
        from proxyhash.training.final import keeps_last_tuned

        self._estimated = True
        validated = "" if keeps_last_tuned(self._config) else ", and each validation comes on top"
        console.note(
            f"an epoch takes about {_duration(seconds)}, the {left} that are left "
            f"{_duration(seconds * left)}{validated}"
        )


def _duration(seconds: float) -> str:
    """Return "40 s", "12 minutes" or "3.5 hours"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
