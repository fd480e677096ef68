"""Writing the tables, plots and page of a suite from its finished cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.bench.equal_bytes import bytes_figure
from proxyhash.bench.page import render_report
from proxyhash.bench.plots import (
    bits_figure,
    curve_figure,
    figure_svg,
    pairs_figure,
    pdf_bytes,
    png_bytes,
)
from proxyhash.bench.side_tables import side_tables
from proxyhash.bench.significance import compare
from proxyhash.bench.suite import slug
from proxyhash.bench.tables import (
    caveats_markdown,
    cells_csv,
    encoders_words,
    significance_csv,
    table_csv,
    table_latex,
    table_markdown,
)
from proxyhash.data import read_collection
from proxyhash.errors import DataError, MissingExtraError
from proxyhash.evaluation.report import direction_words, markdown_text
from proxyhash.files import write_bytes
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.bench.results import Results

__all__ = ["write_report"]


def write_report(
    results: Results,
    out: Path,
    *,
    note: Callable[[str], None] = lambda _text: None,
    track: Track = silent,
) -> list[Path]:
    """Write tables, plots and the page of a suite into `out` and return their paths.

    `report.html` is everything in one file, `cells.csv` has one line per cell; each data set has a
    folder below `out/report` with `table.md`, `table.csv`, `table.tex`, `significance.csv` and the
    plots as PNG and PDF, and `pairs.md`, `second-look.md` and `equal-bytes.md` with their CSV where
    there is something to show.

    Args:
        results: the finished cells, at least one.
        out: where to write.
        note: called with a sentence if matplotlib is missing and there are no plots.
        track: progress callback.
    """
    written: list[Path] = []

    def write(path: Path, content: str | bytes) -> None:
        write_bytes(path, content.encode() if isinstance(content, str) else content)
        written.append(path)

    comparisons, figures, classes = {}, {}, {}
    for name in track([each.name for each in results.suite.data], "report"):
        if not any(each.cell.data == name for each in results.measured):
            continue
        folder = out / "report" / slug(name)
        comparisons[name] = compare(results, name)
        classes[name] = _classes(results, name)
        told = caveats_markdown(results, name)
        tuned = encoders_words(results, name)
        tuned = f"\n{markdown_text(tuned)}\n" if tuned else ""
        write(folder / "table.md", f"{table_markdown(results, name)}\n{tuned}{told}")
        write(folder / "table.csv", table_csv(results, name))
        write(folder / "table.tex", f"{table_latex(results, name)}\n")
        for table in side_tables(results, name):
            write(folder / f"{table.slug}.md", table.markdown())
            write(folder / f"{table.slug}.csv", table.csv())
        write(folder / "significance.csv", significance_csv(comparisons[name]))
        try:
            figures[name] = _draw(results, name, folder, write)
        except MissingExtraError as error:
            note(f"no plots: {error}")
    write(out / "cells.csv", cells_csv(results))
    page = render_report(results, comparisons=comparisons, figures=figures, classes=classes)
    write(out / "report.html", page)
    return written


def _draw(
    results: Results, name: str, folder: Path, write: Callable[[Path, bytes], None]
) -> list[tuple[str, str]]:
    """Write the plots of a data set as PNG and PDF; return them as SVG with their captions."""
    drawn = []

    def keep(canvas: Any, stem: str, label: str, caption: str) -> None:
        write(folder / f"{stem}.png", png_bytes(canvas))
        write(folder / f"{stem}.pdf", pdf_bytes(canvas))
        drawn.append((figure_svg(canvas, label=f"{label}: {caption}"), caption))

    for stem, between in (("bytes", True), ("bytes-within", False)):
        canvas = bytes_figure(results, name, between=between)
        if canvas is not None:
            caption = "Quality over the bytes of an item: codes, and quantizers of vectors."
            keep(canvas, stem, name, caption)
    for direction in results.directions(name):
        for stem, draw, caption in (
            ("bits", bits_figure, "mAP@all by code length; bars: one deviation over the seeds."),
            (
                "curve",
                curve_figure,
                "Mean over seeds; shown where at least 5 % of queries have hits.",
            ),
            ("pairs", pairs_figure, "Recall of the item's own other half by code length."),
        ):
            canvas = draw(results, name, direction)
            if canvas is not None:
                where = f"{name}, {direction_words(direction)}"
                keep(canvas, f"{stem}-{direction.replace('_', '-')}", where, caption)
    return drawn


def _classes(results: Results, name: str) -> tuple[str, ...]:
    """Return the names of the classes, or none when the collection is not there any more."""
    config = next(each.cell.config for each in results.measured if each.cell.data == name)
    try:
        return read_collection(
            config.data, on_bad_item="skip", label_separator=config.label_separator
        ).classes
    except DataError:
        return ()
