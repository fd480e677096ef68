"""Tables of the results: Markdown and CSV for each data set, and CSV with one line per cell."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.bench.results import GALLERIES
from proxyhash.evaluation.report import (
    direction_words,
    latex_table,
    latex_text,
    markdown_table,
    markdown_text,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxyhash.bench.results import Measured, Results
    from proxyhash.bench.significance import Comparison

__all__ = [
    "CAVEAT_MARK",
    "SHORT",
    "Row",
    "caveats_markdown",
    "caveats_of",
    "cells_csv",
    "csv_text",
    "encoders_words",
    "significance_csv",
    "table_csv",
    "table_latex",
    "table_markdown",
    "table_rows",
]

CAVEAT_MARK = "(!)"
"""The mark of a figure that means little; why is said below its table."""

SHORT = {"image_to_text": "I→T", "text_to_image": "T→I"}
"""Directions in headings."""

Row = dict[Any, Any]
"""bits, method, seeds, "literature I→T" and its like as `Spread` or None, seconds; the names of
those that are "best": a set; and "caveats": sentences by name."""


def columns_of(results: Results, data: str) -> list[tuple[str, str]]:
    """Return the metrics of a row, as (gallery, direction)."""
    return [(gallery, direction) for gallery in GALLERIES for direction in results.directions(data)]


def heading(gallery: str, direction: str) -> str:
    """Return "literature I→T"."""
    return f"{gallery} {SHORT.get(direction) or direction_words(direction)}"


def table_rows(results: Results, data: str) -> list[Row]:
    """Return one row for each bits and method of a data set that has a finished cell."""
    columns = columns_of(results, data)
    rows = []
    for bits in results.suite.bits:
        best = {column: results.best(*column, data=data, bits=bits) for column in columns}
        for method in (each.name for each in results.suite.variants):
            seeds = results.of(data=data, method=method, bits=bits)
            if not seeds:
                continue
            row: Row = {"bits": bits, "method": method, "seeds": len(seeds)}
            for column in columns:
                row[heading(*column)] = results.spread(*column, data=data, method=method, bits=bits)
            row["seconds"] = spread(each.metrics["training"]["seconds"] for each in seeds).mean
            row["best"] = {heading(*column) for column in columns if best[column] == method}
            found = {
                column: results.caveats(*column, data=data, method=method, bits=bits)
                for column in columns
            }
            row["caveats"] = {heading(*column): texts for column, texts in found.items() if texts}
            rows.append(row)
    return rows


def table_markdown(results: Results, data: str) -> str:
    """Return the table of a data set; the best figure of each code length is bold."""
    columns, lines = _marked(results, data, bold="**{}**".format)
    return markdown_table(columns, lines, right=[each for each in columns if each != "method"])


def table_latex(results: Results, data: str) -> str:
    """Return the same as LaTeX, for the package booktabs."""
    columns, lines = _marked(results, data, bold=r"\textbf{{{}}}".format, text=latex_text)
    return latex_table(columns, lines, right=[each for each in columns if each != "method"])


def _marked(
    results: Results,
    data: str,
    *,
    bold: Callable[[str], str],
    text: Callable[[str], str] = str,
) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of a table, whose best figures are bold."""
    figures = [heading(*column) for column in columns_of(results, data)]
    lines = []
    for row in table_rows(results, data):
        cells = []
        for name in figures:
            shown = text("-" if row[name] is None else str(row[name]))
            shown = bold(shown) if name in row["best"] else shown
            cells.append(f"{shown} {CAVEAT_MARK}" if name in row["caveats"] else shown)
        last = [f"{row['seconds']:.1f}", str(row["seeds"])]
        lines.append([str(row["bits"]), text(row["method"]), *cells, *last])
    return ["bits", "method", *figures, "seconds", "seeds"], lines


def caveats_markdown(results: Results, data: str) -> str:
    """Return why the marked figures of a data set mean little, as a list, or nothing."""
    told = [f"- {CAVEAT_MARK} {markdown_text(text)}\n" for text in caveats_of(results, data)]
    return "".join(["\n", *told]) if told else ""


def caveats_of(results: Results, data: str) -> list[str]:
    """Return what the marked figures of a data set's table mean little for, as sentences."""
    found: dict[str, list[str]] = {}
    for row in table_rows(results, data):
        for name, texts in row["caveats"].items():
            for text in texts:
                names = found.setdefault(text, [])
                names += [] if name in names else [name]
    return [f"{', '.join(names)}: {text}" for text, names in found.items()]


def encoders_words(results: Results, data: str) -> str:
    """Return who tuned the encoders of a data set's cells, in a sentence; "" where none learned."""
    shared = [each for each in results.encoders if each.cell.data == data]
    configs: dict[str, dict[str, Any]] = {}
    for each in shared or results.measured:
        if each.cell.data == data:
            configs.setdefault(each.cell.method, each.config)
    tuned = {method: config for method, config in configs.items() if config.get("tune")}
    if not tuned:
        return ""
    config = next(iter(tuned.values()))
    names = " and ".join(
        f"the {modality} encoder {Path(config['encoders'][modality]).name}"
        for modality in config["tune"]
    )
    if shared:
        minutes = spread(each.metrics["training"]["seconds"] / 60 for each in shared).mean
        return (
            f"Shared encoders: {names} learned once per seed, with {config['method']} at "
            f"{config['bits']} bits, and then stayed frozen for every method and code length. "
            f"That training took {minutes:.1f} minutes, which the seconds leave out."
        )
    own = "each method" if len(tuned) == len(configs) else ", ".join(tuned)
    others = "" if len(tuned) == len(configs) else "; those of the others are frozen"
    return f"Own encoders: {names} learned with {own}, in every run for itself{others}."


def table_csv(results: Results, data: str) -> str:
    """Return the same table for programs: mean and standard deviation in columns of their own."""
    lines = []
    for row in table_rows(results, data):
        line = {key: row[key] for key in ("bits", "method", "seeds")}
        for gallery, direction in columns_of(results, data):
            found = row[heading(gallery, direction)]
            line[f"{gallery}_{direction}_mean"] = found and found.mean
            line[f"{gallery}_{direction}_deviation"] = found and found.deviation
        lines.append(line | {"training_seconds": row["seconds"]})
    return csv_text(lines)


def cells_csv(results: Results) -> str:
    """Return CSV of every finished cell with all its figures, one per line."""
    return csv_text([_cell_line(each) for each in results.measured])


def significance_csv(comparisons: Sequence[Comparison]) -> str:
    """Return CSV of every comparison with the best baseline, one per line."""
    return csv_text(
        [
            {
                "bits": each.bits,
                "gallery": each.gallery,
                "direction": each.direction,
                "method": each.method,
                "baseline": each.baseline,
                "difference_mean": each.seeds.mean,
                "difference_deviation": each.seeds.deviation,
                "seeds": each.seeds.count,
                "p_seeds": each.p_seeds,
                "queries": each.queries,
                "p_queries": each.p_queries,
            }
            for each in comparisons
        ]
    )


def _cell_line(each: Measured) -> dict[str, Any]:
    cell, training = each.cell, each.metrics["training"]
    line: dict[str, Any] = {
        "data": cell.data,
        "method": cell.method,
        "objective": cell.config.method,
        "bits": cell.bits,
        "seed": cell.seed,
        "best_epoch": training["best_epoch"],
        "validation_map": training["validation_map"],
        "training_seconds": training["seconds"],
        "seconds": each.record["seconds"],
        "peak_memory": each.record["peak_memory"],
    }
    for gallery in GALLERIES:
        part = each.metrics if gallery == "literature" else each.metrics["strict"]
        for direction, found in part["directions"].items() if part else ():
            for name, value in _flat(found):
                line[f"{gallery}_{direction}_{name}"] = value
    for direction, found in (each.metrics.get("pairs") or {}).get("directions", {}).items():
        line |= {f"pairs_{direction}_{name}": value for name, value in _flat(found)}
    for ranking, found in (each.metrics.get("second_look") or {}).items():
        if ranking != "protocol":
            line |= {f"{ranking}_{name}": value for name, value in _flat(found)}
    return line


def _flat(values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{key}", each) for key, each in value.items())
        else:
            yield name, value


def csv_text(lines: Sequence[dict[str, Any]]) -> str:
    """Return CSV; a column that only some lines have is empty in the others."""
    columns = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
