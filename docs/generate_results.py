"""Write the result tables of README.md and docs/results.md from finished suites.

    python docs/generate_results.py runs/field runs/texts runs/wikipedia

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`. NAME is "field-64-bits" (the one in the
README), "field-strict-flickr8k", "field-table-flickr8k", "field-against-flickr8k", or the name of
another suite. "tuned-half" and "tuned-section" are the README's second half and the section of
docs/results.md about encoders that learn, from the last suite given whose encoders do.
"yardsticks-bytes-flickr8k" is a table at equal bytes, of suites with yardsticks. Tables of
suites that are not given stay as they are. Nothing is measured here.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple, TypeAlias

from proxyhash.evaluation.report import markdown_table, spread
from proxyhash.files import write_text

DOCS = Path(__file__).parent
TARGETS = (DOCS.parent / "README.md", DOCS / "results.md")
DIRECTIONS = {"image_to_text": "I→T", "text_to_image": "T→I"}
GALLERIES = ("strict", "literature")
SHOWN = 8
"""Methods in the README's tables: the best by the mean of their figures, and `dchml`."""

Row: TypeAlias = dict[str, str]
Cells: TypeAlias = dict[tuple[str, str, int], list[Row]]


class Column(NamedTuple):
    """One column of a table: the cells whose figures it shows."""

    data: str
    bits: int
    gallery: str


def read_csv(path: Path) -> list[Row]:
    """Return the lines of a CSV file as one dictionary per line."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def read_cells(suite: Path) -> Cells:
    """Return a suite's cells, one per seed, by (data, method, bits)."""
    cells: Cells = defaultdict(list)
    for row in read_csv(suite / "cells.csv"):
        cells[row["data"], row["method"], int(row["bits"])].append(row)
    return cells


def short(value: float) -> str:
    """Return three decimals without the zero before the point."""
    return f"{value:.3f}".removeprefix("0")


def mean(rows: list[Row], gallery: str, direction: str) -> float:
    """Return the mean mAP over the seeds."""
    return spread(float(row[f"{gallery}_{direction}_map"]) for row in rows).mean


def compared(
    cells: Cells, corner: str, columns: dict[str, Column], *, shown: int | None = None
) -> str:
    """Return a table of means alone, one line per method, the best of each column in bold.

    Args:
        cells: the suite's cells.
        corner: the heading of the methods.
        columns: heading -> which figures stand below it.
        shown: how many methods there are, the best ones by the mean of all columns, best first,
            and `dchml` in any case; None: all of them, in the suite's order.
    """
    methods = list(dict.fromkeys(method for _, method, _ in cells))

    def value(method: str, column: Column, direction: str) -> float:
        return mean(cells[column.data, method, column.bits], column.gallery, direction)

    def total(method: str) -> float:
        ways = [(column, way) for column in columns.values() for way in DIRECTIONS]
        return round(sum(value(method, *each) for each in ways), 9)

    if shown is not None:
        ranked = sorted(methods, key=total, reverse=True)
        others = ranked[shown - 1 :]
        methods = ranked[: shown - 1] + (["dchml"] if "dchml" in others else others[:1])

    lines = []
    for method in methods:
        line = [f"`{method}`"]
        for column in columns.values():
            figures = []
            for direction in DIRECTIONS:
                own = value(method, column, direction)
                best = max(value(each, column, direction) for each in methods)
                bold = "**" if own == best else ""
                figures.append(f"{bold}{short(own)}{bold}")
            line.append(" / ".join(figures))
        lines.append(line)
    return markdown_table([corner, *columns], lines, right=list(columns))


def against(report: Path, method: str) -> str:
    """Return the paired differences between a method and the best of the others."""
    lines = []
    for row in read_csv(report / "significance.csv"):
        if row["method"] == method:
            difference = float(row["difference_mean"])
            lines.append([
                row["bits"], row["gallery"], DIRECTIONS[row["direction"]], f"`{row['baseline']}`",
                f"{difference:+.3f} ± {float(row['difference_deviation']):.3f}",
                f"{float(row['p_seeds']):.3f}" if row["p_seeds"] else "-",
                f"{float(row['p_queries']):.4f}",
            ])  # fmt: skip
    right = ["difference", "p by seed", "p by query"]
    columns = ["bits", "gallery", "direction", "best other", *right]
    return markdown_table(columns, lines, right=["bits", *right])


def side_suite(cells: Cells) -> str:
    """Return mean and deviation of every method, for the suites that have one table."""
    lines = []
    for (data, method, bits), rows in cells.items():
        line: list[object] = [data, f"`{method}`", bits]
        for gallery in reversed(GALLERIES):
            for direction in DIRECTIONS:
                figures = [row.get(f"{gallery}_{direction}_map") for row in rows]
                known = spread(float(one) for one in figures if one) if all(figures) else None
                line.append(f"{known.mean:.3f} ± {known.deviation:.3f}" if known else "-")
        lines.append([*line, len(rows)])
    figures = ["literature I→T", "T→I", "strict I→T", "strict T→I", "seeds"]
    return markdown_table(["data", "method", "bits", *figures], lines, right=["bits", *figures])


def at_equal_bytes(report: Path, figure: str) -> str:
    """Return a figure of every code and yardstick, one column per size of a code.

    The last column has the largest of other sizes, with its bytes.

    Args:
        report: folder of a data set's report.
        figure: "strict", "literature", "r_at_10" or another one of its equal-bytes.csv.
    """
    found: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for row in read_csv(report / "equal-bytes.csv"):
        values = [row[f"{direction}_{figure}_mean"] for direction in DIRECTIONS]
        if all(values):
            found[row["method"]][int(row["bytes"])] = [float(value) for value in values]
    codes = [name for name in found if "," not in name and " of " not in name]
    sizes = sorted({size for name in codes for size in found[name]})
    best = {
        size: [max(each[size][way] for each in found.values() if size in each) for way in (0, 1)]
        for size in sizes
    }
    lines = []
    for name, by_size in sorted(found.items(), key=lambda each: " of " in each[0]):
        line = [f"`{name}`" if name in codes else name]
        for size in sizes:
            figures = by_size.get(size, [])
            line.append(
                " / ".join(
                    f"**{short(value)}**" if value == top else short(value)
                    for value, top in zip(figures, best[size], strict=False)
                )
                or "-"
            )
        more = max(by_size)
        line.append("-" if more in sizes else f"{more}: {' / '.join(map(short, by_size[more]))}")
        lines.append(line)
    columns = [f"{size} bytes" for size in sizes]
    return markdown_table(["", *columns, "more bytes"], lines, right=[*columns, "more bytes"])


def encoders_words(report: Path) -> str:
    """Return the sentence about encoders that learned below a table, or "" where none did."""
    lines = (report / "table.md").read_text("utf-8").splitlines()
    return next((line for line in lines if line.startswith(("Own ", "Shared "))), "")


def tuned_half(suite: Path, cells: Cells) -> dict[str, str]:
    """Return the tables of a suite whose encoders learn, with their captions; none of others."""
    data_sets = list(dict.fromkeys(data for data, _, _ in cells))
    lengths = sorted({bits for _, _, bits in cells})
    words = {data: encoders_words(suite / "report" / data) for data in data_sets}
    if not all(words.values()):
        return {}
    columns = {
        f"{data}, {bits} bits": Column(data, bits, "strict")
        for data in data_sets
        for bits in lengths
    }
    first = next(iter(words.values())).partition(". ")[0].removesuffix(".")
    seeds, count = len(next(iter(cells.values()))), len({method for _, method, _ in cells})
    which = f"The best of {count} methods, and `dchml`; mean" if count > SHOWN else "Mean"
    caption = f"{first}. {which} over {seeds} seeds."
    sections = [
        f"### {data}\n\n{(suite / 'report' / data / 'table.md').read_text('utf-8').strip()}"
        for data in data_sets
    ]
    heading, corner = "## Encoders that learn", "mAP@all, strict, tuned"
    return {
        "tuned-half": f"{caption}\n\n{compared(cells, corner, columns, shown=SHOWN)}",
        "tuned-section": "\n\n".join([heading, *sections]),
    }


def tables(suite: Path) -> dict[str, str]:
    """Return every table that can be made of a suite, by name."""
    cells = read_cells(suite)
    made = {suite.name: side_suite(cells), **tuned_half(suite, cells)}
    data_sets = list(dict.fromkeys(data for data, _, _ in cells))
    lengths = sorted({bits for _, _, bits in cells})
    first = next(iter(cells.values()))[0]
    galleries = [each for each in GALLERIES if first.get(f"{each}_image_to_text_map")]
    for data in data_sets:
        report = suite / "report" / data
        made[f"{suite.name}-table-{data}"] = (report / "table.md").read_text("utf-8").strip()
        if (report / "equal-bytes.csv").is_file():
            made[f"{suite.name}-bytes-{data}"] = (
                f"mAP@all, strict gallery:\n\n{at_equal_bytes(report, 'strict')}\n\n"
                f"Recall@10 of the other half:\n\n{at_equal_bytes(report, 'r_at_10')}"
            )
        made[f"{suite.name}-against-{data}"] = against(report, next(iter(cells))[1])
        for gallery in galleries:
            columns = {f"{bits} bits": Column(data, bits, gallery) for bits in lengths}
            made[f"{suite.name}-{gallery}-{data}"] = compared(cells, f"{data}, {gallery}", columns)
    for bits in lengths:
        columns = {
            f"{data}, {gallery}": Column(data, bits, gallery)
            for data in data_sets
            for gallery in galleries
        }
        made[f"{suite.name}-{bits}-bits"] = compared(
            cells, f"mAP@all, {bits} bits", columns, shown=SHOWN
        )
    return made


def main(suites: list[str]) -> None:
    """Put the tables of finished suites into README.md and docs/results.md."""
    made = {name: table for suite in suites for name, table in tables(Path(suite)).items()}
    for target in TARGETS:
        text = target.read_text(encoding="utf-8")
        for name, table in made.items():
            pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
            text = re.sub(
                pattern, lambda m, t=table: f"{m[1]}\n{t}\n\n{m[2]}", text, flags=re.DOTALL
            )
        write_text(target, text)


if __name__ == "__main__":
    main(sys.argv[1:])
