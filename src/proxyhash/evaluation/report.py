"""Figures in words: names of directions, tables, spread over seeds and paired differences."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Spread",
    "direction_words",
    "figure",
    "markdown_table",
    "paired_difference",
    "spread",
]


def direction_words(name: str) -> str:
    """Return a direction as tables have it: "image → text" for "image_to_text"."""
    return name.replace("_to_", " → ").replace("_", " ")


def figure(value: float | None, *, digits: int = 4) -> str:
    """Return "0.6123", or "-" for what is not there (None or NaN)."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"  # noqa: PLR0124


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> str:
    """Return a Markdown table without a trailing newline.

    Args:
        columns: headings.
        rows: one value a column, shown with `str`; a `|` in it is escaped.
        right: headings of the columns that are aligned to the right.
    """
    lines = [columns, ["--:" if column in right else "---" for column in columns], *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds.

    Attributes:
        mean: over the seeds.
        deviation: standard deviation of the sample (divided by n - 1); 0 for one seed.
        count: how many seeds.
    """

    mean: float
    deviation: float
    count: int

    def __str__(self) -> str:
        """Return "0.612 ± 0.004", or "0.612" for one seed."""
        return f"{self.mean:.3f}" + (f" ± {self.deviation:.3f}" if self.count > 1 else "")


def spread(values: Iterable[float]) -> Spread:
    """Return mean and standard deviation of a figure over seeds.

    Raises:
        UsageError: there is no value.
    """
    listed = list(values)
    if not listed:
        raise UsageError("a spread needs at least one value")
    count = len(listed)
    mean = sum(listed) / count
    squares = sum((value - mean) ** 2 for value in listed)
    return Spread(mean, sqrt(squares / (count - 1)) if count > 1 else 0.0, count)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Spread:
    """Return the spread of `first - second` over seeds, each seed compared with itself.

    Split and weights vary together with the seed, so that differences of pairs vary far less than
    the figures do.

    Args:
        first: figure by seed.
        second: figure by seed, for the same seeds.

    Raises:
        UsageError: "paired figures need the same seeds: 2 is only in one of them".
    """
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise UsageError(
            f"paired figures need the same seeds: {', '.join(map(str, alone))} "
            f"{'is' if len(alone) == 1 else 'are'} only in one of them"
        )
    return spread(first[seed] - second[seed] for seed in sorted(first))
