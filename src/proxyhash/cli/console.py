"""What the command line says: results on stdout, progress, notes and errors on stderr.

Everything a verb prints goes through this file, so that `proxyhash VERB --json | jq` always works.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from proxyhash.cli.tracking import PLAIN_SECONDS, say, take_down, track

__all__ = [
    "PLAIN_SECONDS",
    "emit_json",
    "error",
    "note",
    "out",
    "printable",
    "table",
    "track",
]

_UNLIMITED = 100_000
"""Columns of a table that goes to a file or pipe: no cell is wrapped or cut there."""


def out(text: str) -> None:
    """Print one result on stdout, flushed, so that a closed pipe is noticed here."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """Print `value` as JSON on stdout; NaN and infinity are refused, for they are not JSON."""
    out(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Print one line about what is going on, on stderr, above any progress bar."""
    say(text)


def error(text: str) -> None:
    """Take down the progress bars and print an error on stderr."""
    take_down()
    sys.stderr.write(f"proxyhash: {text}\n")


def printable(text: str) -> str:
    """Return `text` on one line, its control characters replaced.

    Texts and ids come from data files; an escape sequence in them must not reach the terminal.
    """
    return "".join(character if character.isprintable() else " " for character in text)


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
        rows: one value a column; shown with `str`, control characters replaced.
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
