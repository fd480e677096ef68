"""Two result folders side by side: what changed from one to the other, paired by seed."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.bench.significance import paired_t_test
from proxyhash.bench.suite import slug
from proxyhash.bench.tables import heading
from proxyhash.errors import DataError, UsageError
from proxyhash.evaluation.report import Spread, paired_difference, spread
from proxyhash.files import read_json
from proxyhash.training.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Change", "Changes", "compare_folders"]

_FIGURE = re.compile(r"(literature|strict)_(.+)_map|pairs_(.+)_recall_at_10")
_Key = tuple[str, str, int]
_Seeds = dict[int, dict[str, float]]


@dataclass(frozen=True)
class Change:
    """One figure of a method at a code length, in both folders.

    Attributes:
        data: the data set.
        method: as the tables call it.
        bits: the code length.
        figure: "strict I→T" for its mAP@all, or "R@10 I→T".
        before: mean and deviation in the first folder, of the seeds that both have.
        after: those in the second one.
        difference: mean and deviation of after - before, each seed with itself.
        p: of the paired t-test over the seeds; None with fewer than two.
    """

    data: str
    method: str
    bits: int
    figure: str
    before: Spread
    after: Spread
    difference: Spread
    p: float | None


@dataclass(frozen=True)
class Changes:
    """Cells of two folders: those that both have, and the others.

    Attributes:
        found: every figure of the cells that both have.
        only_first: names of cells that the first folder alone has, such as "dchml, 64 bits".
        only_second: those of the second one.
        other_queries: names of cells whose queries are not the same, so that they were left out.
    """

    found: tuple[Change, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    other_queries: tuple[str, ...]


def compare_folders(first: Path, second: Path) -> Changes:
    """Compare the finished cells of two folders that `proxyhash bench` wrote.

    Cells are the same where data set, method, bits and seed are; one whose queries are others is
    left out.

    Raises:
        UsageError: a folder is none of results, or the two have no cell in common.
        DataError: a table of cells is damaged; names the line.
    """
    before, after = _read(first), _read(second)
    found: list[Change] = []
    other: list[str] = []
    for key in (key for key in before if key in after):
        seeds = sorted(before[key].keys() & after[key].keys())
        moved = [each for each in seeds if _differ(first, second, key, each)]
        other += [f"{_name(key)}, seed {seed}" for seed in moved]
        same = [seed for seed in seeds if seed not in moved]
        if same:
            found += _changes(key, before[key], after[key], same)
    if not found:
        why = "the same queries in none of their cells" if other else "no cell in common"
        raise UsageError(f"{first} and {second} have {why}, so there is nothing to compare")
    return Changes(
        tuple(found),
        tuple(_missing(before, after)),
        tuple(_missing(after, before)),
        tuple(other),
    )


def _changes(key: _Key, before: _Seeds, after: _Seeds, seeds: list[int]) -> Iterator[Change]:
    data, method, bits = key
    for column in dict.fromkeys(name for seed in seeds for name in before[seed]):
        sides = [
            {seed: side[seed][column] for seed in seeds if column in side[seed]}
            for side in (before, after)
        ]
        shared = sides[0].keys() & sides[1].keys()
        if not shared:
            continue
        old, new = ({seed: side[seed] for seed in sorted(shared)} for side in sides)
        yield Change(
            data=data,
            method=method,
            bits=bits,
            figure=_figure(column),
            before=spread(old.values()),
            after=spread(new.values()),
            difference=paired_difference(new, old),
            p=paired_t_test([new[seed] - old[seed] for seed in new]),
        )


def _figure(column: str) -> str:
    """Return "strict I→T" or "R@10 I→T" for the name of a column."""
    gallery, _, direction = column.removesuffix("_map").partition("_")
    if gallery == "pairs":
        return heading("R@10", direction.removesuffix("_recall_at_10"))
    return heading(gallery, direction)


def _read(folder: Path) -> dict[_Key, _Seeds]:
    """Return the lines of a folder's cells, by method and seed."""
    path = folder / "cells.csv"
    cells: dict[_Key, _Seeds] = {}
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines), 2):
                try:
                    key = (row["data"], row["method"], int(row["bits"]))
                    cells.setdefault(key, {})[int(row["seed"])] = {
                        name: float(value)
                        for name, value in row.items()
                        if value and _FIGURE.fullmatch(name)
                    }
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(
                        f"{path}, line {number}, is damaged ({error!r}); write it again with "
                        "proxyhash bench SUITE --out FOLDER --report-only"
                    ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); give the --out folder of a finished proxyhash bench"
        ) from error
    return cells


def _differ(first: Path, second: Path, key: _Key, seed: int) -> bool:
    """Whether a cell has other queries in one folder than in the other."""
    one, two = (_queries(folder, key, seed) for folder in (first, second))
    return None not in (one, two) and one != two


def _queries(folder: Path, key: _Key, seed: int) -> object:
    """Return the ids of a cell's queries; None where its folder is gone."""
    data, method, bits = key
    cell = folder / "cells" / slug(data) / slug(method) / str(bits) / f"s{seed}"
    path = RunFolder(cell).split
    return read_json(path).get("query") if path.is_file() else None


def _missing(cells: Mapping[_Key, _Seeds], other: Mapping[_Key, _Seeds]) -> Iterator[str]:
    for key, seeds in cells.items():
        if key not in other:
            yield _name(key)
        else:
            yield from (f"{_name(key)}, seed {seed}" for seed in seeds if seed not in other[key])


def _name(key: _Key) -> str:
    return f"{key[0]}, {key[1]}, {key[2]} bits"
