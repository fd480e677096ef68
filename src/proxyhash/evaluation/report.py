"""Text of figures: names of directions, tables, spread over seeds and paired differences."""

from __future__ import annotations

import re
import unicodedata
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
    "latex_table",
    "latex_text",
    "markdown_code",
    "markdown_table",
    "markdown_text",
    "paired_difference",
    "plain_text",
    "spread",
]


def direction_words(name: str) -> str:
    """Return a direction as tables have it: "image → text" for "image_to_text"."""
    return name.replace("_to_", " → ").replace("_", " ")


def figure(value: float | None, *, digits: int = 4) -> str:
    """Return "0.6123", or "-" for None and NaN."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"  # noqa: PLR0124


_MARKUP = re.compile(r"[\\`*_\[\]|~$]|(?<=:)/(?=/)|(?<=www)\.", re.IGNORECASE)
"""What Markdown reads inside a line, bare links included."""

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's kinds of control and format characters, halves of pairs, and line separators."""


def plain_text(text: str) -> str:
    """Return a text of a stranger on one line: control and direction marks become U+FFFD."""
    return "".join("\ufffd" if _is_hidden(each) else each for each in text)


def _is_hidden(character: str) -> bool:
    """Whether a character changes what others show; joiners, which scripts need, do not."""
    return unicodedata.category(character) in _HIDDEN and character not in "\u200c\u200d"


def markdown_text(text: str) -> str:
    """Return a text of a stranger as Markdown that shows it as it is: no markup, HTML or link.

    Every mark that Markdown reads inside a line is escaped, `<`, `>` and `&` become entities, and
    what is not printable becomes U+FFFD.

    Example:
        >>> markdown_text("a <b>dog</b>")
        'a &lt;b&gt;dog&lt;/b&gt;'
    """
    escaped = _MARKUP.sub(lambda found: "\\" + found[0], plain_text(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_code(text: str) -> str:
    """Return a text of a stranger as code: in as many backticks as it takes, on one line."""
    shown = plain_text(text).replace("|", "\u2758")
    fence = "`"
    while fence in shown:
        fence += "`"
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> str:
    """Return a Markdown table without a trailing newline.

    Args:
        columns: headings.
        rows: one value per column, shown with `str`; a `|` in it is escaped.
        right: headings of the columns to align to the right.
    """
    lines = [columns, ["--:" if column in right else "---" for column in columns], *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


_LATEX = {
    **{mark: f"\\{mark}" for mark in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "→": r"$\to$",
    "±": r"$\pm$",
}


def latex_text(text: str) -> str:
    r"""Return a text of a stranger as LaTeX that shows it as it is: no command, no mathematics.

    Example:
        >>> print(latex_text("I→T, 5 %"))
        I$\to$T, 5 \%
    """
    return "".join(_LATEX.get(each, each) for each in plain_text(text))


def latex_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> str:
    """Return a `tabular` with the rules of the package booktabs, without a trailing newline.

    Args:
        columns: headings, as text.
        rows: one LaTeX source per column.
        right: headings of the columns to align to the right.
    """
    lines = [" & ".join(row) + r" \\" for row in rows]
    head = " & ".join(map(latex_text, columns)) + r" \\"
    places = "".join("r" if column in right else "l" for column in columns)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{places}}}",
            *(r"\toprule", head, r"\midrule", *lines, r"\bottomrule"),
            r"\end{tabular}",
        ]
    )


@dataclass(frozen=True)
class Spread:
    """Figure over several seeds.

    Attributes:
        mean: mean over the seeds.
        deviation: sample standard deviation (divided by n - 1); 0 for one seed.
        count: number of seeds.
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
        UsageError: there are no values.
    """
    listed = list(values)
    if not listed:
        raise UsageError("there are no values; a spread needs at least one")
    count = len(listed)
    mean = sum(listed) / count
    squares = sum((value - mean) ** 2 for value in listed)
    return Spread(mean, sqrt(squares / (count - 1)) if count > 1 else 0.0, count)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Spread:
    """Return the spread of `first - second` over seeds, each seed compared with itself.

    Split and weights depend on the seed, so that the differences vary much less than the figures.

    Args:
        first: figure by seed.
        second: figure by seed, for the same seeds.

    Raises:
        UsageError: "seeds 2 have a figure on one side only; ...".
    """
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise UsageError(
            f"seeds {', '.join(map(str, alone))} have a figure on one side only; "
            "paired differences need the same seeds on both"
        )
    return spread(first[seed] - second[seed] for seed in sorted(first))
