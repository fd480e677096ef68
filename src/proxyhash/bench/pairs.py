"""Figures of the items' other halves in a suite: rows, Markdown and CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.bench.results import MEDIAN_RANK, PAIR_FIGURES
from proxyhash.bench.tables import SHORT, Row, csv_text
from proxyhash.data import MODALITIES
from proxyhash.evaluation.report import direction_words, markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.bench.results import Results

__all__ = ["pairs_csv", "pairs_markdown", "pairs_rows", "pairs_words"]


def pairs_rows(results: Results, data: str) -> list[Row]:
    """Return the figures of the items' other halves, one row for each bits and method with any.

    A row has "bits", "method", "seeds", and by (direction, figure) a `Spread`, or None.
    """
    rows = []
    for bits in results.suite.bits:
        for method in (each.name for each in results.suite.variants):
            found: Row = {
                (direction, name): results.pair_spread(
                    direction, name, data=data, method=method, bits=bits
                )
                for direction in results.directions(data)
                for name in PAIR_FIGURES
            }
            if any(found.values()):
                seeds = len(results.of(data=data, method=method, bits=bits))
                rows.append({"bits": bits, "method": method, "seeds": seeds} | found)
    return rows


def pairs_markdown(results: Results, data: str) -> str:
    """Return the table of the items' other halves, the best of each code length bold, or ""."""
    rows = pairs_rows(results, data)
    if not rows:
        return ""
    keys = [key for key in rows[0] if isinstance(key, tuple)]
    lines = []
    for row in rows:
        rivals = [each for each in rows if each["bits"] == row["bits"]]
        cells = [_pair_cell(row, key, rivals) for key in keys]
        lines.append([row["bits"], row["method"], *cells, row["seeds"]])
    names = [f"{name} {SHORT.get(way) or direction_words(way)}" for way, name in keys]
    columns = ["bits", "method", *names, "seeds"]
    right = [each for each in columns if each != "method"]
    return f"{pairs_words(results, data)}\n\n{markdown_table(columns, lines, right=right)}\n"


def _pair_cell(row: Row, key: tuple[str, str], rivals: Sequence[Row]) -> str:
    if row[key] is None:
        return "-"
    rank = key[1] == MEDIAN_RANK
    best = (min if rank else max)(each[key].mean for each in rivals if each[key])
    text = f"{row[key].mean:.1f}" if rank else str(row[key])
    return f"**{text}**" if row[key].mean == best else text


def pairs_words(results: Results, data: str) -> str:
    """Return the protocol of the items' other halves in a few sentences; "" without figures."""
    measured = [each for each in results.measured if each.cell.data == data]
    found = next((each.metrics["pairs"] for each in measured if each.metrics.get("pairs")), None)
    if found is None:
        return ""
    most = max(each["candidates"] for each in found["directions"].values())
    repeated = [
        f"{count:,} of the {MODALITIES[name].plural if name in MODALITIES else name}"
        for name, count in found["protocol"]["repeated"].items()
        if count
    ]
    told = f"; in the first run {' and '.join(repeated)} occur more than once" if repeated else ""
    return (
        f"The item's own other half among those of all {most:,} queries, expected over ties{told}. "
        f"Chance: R@10 {min(1, 10 / most):.3f}, median rank {(most + 1) / 2:,.1f}."
    )


def pairs_csv(results: Results, data: str) -> str:
    """Return the table of the items' other halves for programs."""
    lines = []
    for row in pairs_rows(results, data):
        line = {key: row[key] for key in ("bits", "method", "seeds")}
        for key in (key for key in row if isinstance(key, tuple)):
            name = f"{key[0]}_{key[1].replace('@', '_at_').replace(' ', '_')}".lower()
            line[f"{name}_mean"] = row[key] and row[key].mean
            line[f"{name}_deviation"] = row[key] and row[key].deviation
        lines.append(line)
    return csv_text(lines)
