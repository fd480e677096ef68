"""Results of the finished cells of a suite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError
from proxyhash.evaluation.pairs import PAIR_AT
from proxyhash.evaluation.report import Spread, spread
from proxyhash.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from proxyhash.bench.cell import Cell
    from proxyhash.bench.suite import Suite

__all__ = [
    "GALLERIES",
    "MEDIAN_RANK",
    "PAIR_FIGURES",
    "Measured",
    "MeasuredYardsticks",
    "Results",
    "read_results",
    "spread_of",
]

GALLERIES = ("literature", "strict")

MEDIAN_RANK = "median rank"
PAIR_FIGURES = (*(f"R@{n}" for n in PAIR_AT), MEDIAN_RANK)
"""The figures of an item's other half."""


@dataclass(frozen=True)
class Measured:
    """A finished cell.

    Attributes:
        cell: which.
        config: its config.json.
        metrics: its metrics.json.
        record: its cell.json: seconds, memory, machine.
    """

    cell: Cell
    config: dict[str, Any]
    metrics: dict[str, Any]
    record: dict[str, Any]

    def map(self, gallery: str, direction: str) -> float | None:
        """Return the mAP; None where the gallery is empty or no query counts."""
        part = self.metrics if gallery == "literature" else self.metrics["strict"]
        value: float | None = part["map"].get(direction) if part else None
        return value

    def pair_figure(self, direction: str, name: str) -> float | None:
        """Return "R@10" or its like, or "median rank", of the items' other halves; None without."""
        found = (self.metrics.get("pairs") or {}).get("directions", {}).get(direction, {})
        value: float | None = (
            found.get("median_rank")
            if name == MEDIAN_RANK
            else found.get("recall_at", {}).get(name.removeprefix("R@"))
        )
        return value

    def caveats(self, gallery: str, direction: str) -> list[str]:
        """Return what makes the mAP mean little, as sentences; a cell of earlier versions: none."""
        part = self.metrics if gallery == "literature" else self.metrics["strict"]
        found = (part or {}).get("warnings", ())
        return [each["message"] for each in found if direction in each["directions"]]

    def average_precision(self, gallery: str, direction: str) -> npt.NDArray[np.float32] | None:
        """Return the AP of every query, float32 (q,), NaN where it does not count; None without.

        Raises:
            DataError: the file is damaged; names it.
        """
        found: npt.NDArray[np.float32] | None = self._arrays.get(f"{gallery}/{direction}")
        return found

    def queries(self) -> npt.NDArray[np.str_]:
        """Return the ids of the queries, (q,), in the order of `average_precision`.

        Raises:
            DataError: the file is damaged; names it.
        """
        found: npt.NDArray[np.str_] = self._arrays["queries"]
        return found

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        path = self.cell.average_precision
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays}
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); remove {path.parent} and rerun the suite"
            ) from error


@dataclass(frozen=True)
class MeasuredYardsticks:
    """A finished cell of yardsticks.

    Attributes:
        cell: which.
        figures: of each yardstick, as `bench.yardsticks.measure` yields them.
    """

    cell: Cell
    figures: tuple[dict[str, Any], ...]

    @property
    def space(self) -> str:
        """The space: "embedding", "canonical" or the method whose outputs it has."""
        return self.cell.yardsticks.space if self.cell.yardsticks else ""


@dataclass(frozen=True)
class Results:
    """The finished cells of a suite, and how many there should be.

    Attributes:
        suite: which.
        measured: its finished cells.
        expected: the number of its cells.
        encoders: the finished cells that tuned encoders for the others.
        yardsticks: the finished cells that measured yardsticks.
    """

    suite: Suite
    measured: tuple[Measured, ...]
    expected: int
    encoders: tuple[Measured, ...] = ()
    yardsticks: tuple[MeasuredYardsticks, ...] = ()

    def directions(self, data: str) -> list[str]:
        """Return the directions that the tables show: between modalities, if there are several."""
        measured = [each for each in self.measured if each.cell.data == data]
        names = dict.fromkeys(name for each in measured for name in each.metrics["map"])
        across = [name for name in names if len(set(name.split("_to_"))) > 1]
        return across or list(names)

    def of(self, *, data: str, method: str, bits: int) -> list[Measured]:
        """Return the seeds of one row of a table, in order."""
        return self._rows.get((data, method, bits), [])

    def spread(
        self, gallery: str, direction: str, *, data: str, method: str, bits: int
    ) -> Spread | None:
        """Return mean and deviation of an mAP over the seeds; None without any figure."""
        seeds = self.of(data=data, method=method, bits=bits)
        return spread_of(each.map(gallery, direction) for each in seeds)

    def pair_spread(
        self, direction: str, name: str, *, data: str, method: str, bits: int
    ) -> Spread | None:
        """Return mean and deviation of one of `PAIR_FIGURES` over the seeds; None without any."""
        seeds = self.of(data=data, method=method, bits=bits)
        return spread_of(each.pair_figure(direction, name) for each in seeds)

    def caveats(
        self, gallery: str, direction: str, *, data: str, method: str, bits: int
    ) -> list[str]:
        """Return what makes a figure of the tables mean little, each sentence of its seeds once."""
        seeds = self.of(data=data, method=method, bits=bits)
        every = [text for each in seeds for text in each.caveats(gallery, direction)]
        return list(dict.fromkeys(every))

    def best(self, gallery: str, direction: str, *, data: str, bits: int) -> str | None:
        """Return the method with the largest mean."""
        return self.leader(
            gallery, direction, data=data, bits=bits, among=[v.name for v in self.suite.variants]
        )

    def leader(
        self, gallery: str, direction: str, *, data: str, bits: int, among: Iterable[str]
    ) -> str | None:
        """Return the method with the largest mean among some; None where none has a figure."""
        means = {}
        for method in among:
            found = self.spread(gallery, direction, data=data, method=method, bits=bits)
            if found:
                means[method] = found.mean
        return max(means, key=means.__getitem__) if means else None

    @property
    def baselines(self) -> list[str]:
        """The methods that are not ours."""
        return [each.name for each in self.suite.variants if each.name not in self.suite.ours]

    @cached_property
    def _rows(self) -> dict[tuple[str, str, int], list[Measured]]:
        rows: dict[tuple[str, str, int], list[Measured]] = {}
        for each in self.measured:
            key = (each.cell.data, each.cell.method, each.cell.bits)
            rows.setdefault(key, []).append(each)
        return rows


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """Return mean and deviation of what is there; None where nothing is."""
    figures = [value for value in values if value is not None]
    return spread(figures) if figures else None


def read_results(
    suite: Suite,
    cells: Sequence[Cell],
    encoders: Sequence[Cell] = (),
    yardsticks: Sequence[Cell] = (),
) -> Results:
    """Return what the finished ones among `cells` measured.

    Args:
        suite: theirs.
        cells: of all methods.
        encoders: those that tuned encoders for them.
        yardsticks: those that measured yardsticks.

    Raises:
        DataError: a file of a finished cell is missing or damaged; names it.
    """
    return Results(
        suite,
        tuple(_measured(cells)),
        len(cells),
        tuple(_measured(encoders)),
        tuple(
            MeasuredYardsticks(cell, tuple(read_json(cell.figures)))
            for cell in yardsticks
            if cell.finished
        ),
    )


def _measured(cells: Iterable[Cell]) -> Iterator[Measured]:
    for cell in cells:
        if cell.finished:
            yield Measured(
                cell=cell,
                config=read_json(cell.folder / "config.json"),
                metrics=read_json(cell.folder / "metrics.json"),
                record=read_json(cell.record),
            )
