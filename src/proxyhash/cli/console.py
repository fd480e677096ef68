"""Output of the command line: results on stdout; progress, notes and errors on stderr.

Everything a verb prints goes through this file, so that `proxyhash VERB --json | jq` always works.
Progress is a bar on a terminal; elsewhere it is a plain line after a second and then every few
seconds, so that log files have no remains of a bar. rich is imported when a bar or table is drawn.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = [
    "PLAIN_SECONDS",
    "emit_json",
    "error",
    "guided",
    "mute",
    "next_steps",
    "note",
    "out",
    "printable",
    "progress_line",
    "table",
    "track",
]

_guided = False
_muted = False
_UNLIMITED = 100_000
"""Columns of a table that goes to a file or pipe: no cell is wrapped or cut there."""


def out(text: str) -> None:
    """Print one result on stdout, flushed, so that a closed pipe is noticed here."""
    if _muted:
        return
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def mute() -> None:
    """Print nothing but errors from now on, in a process beside the one that reports."""
    global _muted  # noqa: PLW0603 -- one terminal, one state
    _muted = True


def emit_json(value: Any) -> None:
    """Print `value` as JSON on stdout; NaN and infinity are refused, for they are not JSON."""
    out(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Print a note about what is going on, on stderr, above any progress bar."""
    if not _muted:
        _bars.print(_plain(text))


def next_steps(*commands: str) -> None:
    """Print what a user is likely to do next, a command per line, on stderr.

    Nothing inside `guided`, where the next step is taken anyway.
    """
    if not _guided:
        note("next: " + "\n      ".join(commands))


@contextmanager
def guided() -> Iterator[None]:
    """Leave `next_steps` out while one verb runs others."""
    global _guided  # noqa: PLW0603 -- one terminal, one state
    before, _guided = _guided, True
    try:
        yield
    finally:
        _guided = before


def error(text: str) -> None:
    """Take down the progress bars and print an error on stderr."""
    _bars.close()
    sys.stderr.write(f"proxyhash: {_plain(text)}\n")


def printable(text: str) -> str:
    """Return `text` on one line, its control characters replaced.

    Texts and ids come from data files; an escape sequence in them must not reach the terminal.
    """
    return "".join(character if character.isprintable() else " " for character in text)


def _plain(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    right: Sequence[str] = (),
) -> None:
    """Print a table on stdout; cells are wrapped to a terminal's width and never elsewhere.

    Args:
        columns: headings.
        rows: one value per column; shown with `str`, control characters replaced.
        title: line above the table.
        right: headings of the columns that are aligned to the right (numbers).
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        number = column in right
        grid.add_column(
            Text(column), justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    for row in rows:
        grid.add_row(*(Text(printable(str(cell))) for cell in row))
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else _UNLIMITED, highlight=False)
    with console.capture() as capture:
        if title:
            console.print(Text(title, style="bold"))
        console.print(grid)
    out("\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n")))


T = TypeVar("T")

FIRST_SECONDS = 0.9
"""Seconds of work before its first progress line where stderr is not a terminal."""

PLAIN_SECONDS = 3.0
"""Seconds between two progress lines there."""


def track(steps: Iterable[T], description: str, total: int | None = None, /) -> Iterator[T]:
    """Yield the steps unchanged and show how far they are (a `proxyhash.progress.Track`).

    On a terminal: a bar on stderr, one below the other when calls are nested. Elsewhere: plain
    lines, "encode images 1,200/7,957 (15%), 22 s left", the first within a second, then one every
    few seconds however long a step takes, and none for short work; nested calls take turns.
    """
    if _muted:
        return iter(steps)
    if total is None and isinstance(steps, Sized):
        total = len(steps)
    return (_track_bar if sys.stderr.isatty() else _lines.track)(steps, description, total)


def _track_bar(steps: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    task = _bars.add(description, total)
    try:
        for step in steps:
            yield step
            _bars.advance(task)
    finally:
        _bars.remove(task)


def progress_line(description: str, done: int, total: int | None, *, seconds: float) -> str:
    """Return "encode images 1,200/7,957 (15%), 22 s left"; without a total "... 1,200, 4 s"."""
    if not total:
        return f"{description} {done:,}, {seconds:.0f} s"
    share = f"{description} {done:,}/{total:,} ({done / total:.0%})"
    if done >= total or not done:
        return f"{share}, {seconds:.0f} s"
    return f"{share}, {seconds / done * (total - done):.0f} s left"


@dataclass(eq=False)
class _Work:
    """One loop that `track` follows: its name, what is done of it, and when it began."""

    description: str
    total: int | None
    started: float
    done: int = 0


class _Lines:
    """The plain progress lines, no more than one every few seconds however calls are nested.

    While a step takes long, a thread prints them.
    """

    def __init__(self) -> None:
        self._open: list[_Work] = []
        self._spoken = -PLAIN_SECONDS
        self._due = 0.0
        self._lock = Lock()

    def track(self, steps: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        work = _Work(description, total, time.monotonic())
        ended = Event()
        if not self._open:
            self._due = max(work.started + FIRST_SECONDS, self._spoken + PLAIN_SECONDS)
            Thread(target=self._while_silent, args=(ended,), daemon=True).start()
        self._open.append(work)
        try:
            for done, step in enumerate(steps, start=1):
                yield step
                work.done = done
                last = done == total and len(self._open) == 1 and self._spoken > work.started
                self._say(work, always=last)
        finally:
            ended.set()
            self._open.remove(work)

    def _while_silent(self, ended: Event) -> None:
        """Say how far the innermost loop is whenever a line is due, until `ended` is set."""
        wait = FIRST_SECONDS
        while not ended.wait(wait):
            for work in self._open[-1:]:
                self._say(work)
            wait = max(0.1, self._due - time.monotonic())

    def _say(self, work: _Work, *, always: bool = False) -> None:
        """Print the line of `work` if one is due, or always."""
        now = time.monotonic()
        with self._lock:
            if not always and now < self._due:
                return
            self._spoken, self._due = now, now + PLAIN_SECONDS
        note(progress_line(work.description, work.done, work.total, seconds=now - work.started))


class _Bars:
    """The one live display that nested `track` calls share; it closes with the last of them."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: set[TaskID] = set()

    def add(self, description: str, total: int | None) -> "TaskID":
        if self._progress is None:
            self._progress = _new_progress()
            self._progress.start()
        task = self._progress.add_task(description, total=total)
        self._tasks.add(task)
        return task

    def advance(self, task: "TaskID") -> None:
        if self._progress is not None and task in self._tasks:
            self._progress.advance(task)

    def remove(self, task: "TaskID") -> None:
        """Take one bar away; a bar that was closed meanwhile is not a fault."""
        if self._progress is None or task not in self._tasks:
            return
        self._tasks.discard(task)
        self._progress.remove_task(task)
        if not self._tasks:
            self.close()

    def close(self) -> None:
        """Take the whole display down and give the cursor back."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = None
        self._tasks.clear()

    def print(self, text: str) -> None:
        if self._progress is None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _new_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )


_bars = _Bars()
_lines = _Lines()
