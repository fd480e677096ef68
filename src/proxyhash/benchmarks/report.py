"""Everything that is written about a suite, always made from the finished cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.benchmarks.suite import slug
from proxyhash.benchmarks.tables import cells_csv, table_csv, table_markdown
from proxyhash.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.benchmarks.results import Results

__all__ = ["write_report"]


def write_report(results: Results, out: Path) -> list[Path]:
    """Write the tables of a suite into `out` and return their paths.

    `cells.csv` has one line a cell; each data set has a folder below `out/report` with `table.md`
    and `table.csv`.
    """
    files = {out / "cells.csv": cells_csv(results)}
    for data in results.suite.data:
        folder = out / "report" / slug(data.name)
        files[folder / "table.md"] = table_markdown(results, data.name) + "\n"
        files[folder / "table.csv"] = table_csv(results, data.name)
    for path, text in files.items():
        write_text(path, text)
    return list(files)
