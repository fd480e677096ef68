"""Tables beside the main one of a data set: pairs, second looks, and yardsticks at equal bytes.

They are kept apart, as their figures are not to be compared with those of plain Hamming distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from proxyhash.bench.equal_bytes import across, points, within
from proxyhash.bench.results import GALLERIES, MEDIAN_RANK, PAIR_FIGURES, spread_of
from proxyhash.bench.tables import SHORT, csv_text, heading
from proxyhash.data import MODALITIES
from proxyhash.evaluation.report import direction_words, markdown_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxyhash.bench.results import Measured, Results
    from proxyhash.evaluation.report import Spread

__all__ = ["Column", "SideRow", "SideTable", "side_tables"]


@dataclass(frozen=True)
class Column:
    """One figure of a side table.

    Attributes:
        heading: for people.
        name: for programs.
        read: returns the figure of a cell, or None; unused where rows come from elsewhere.
        smaller: whether less is better.
    """

    heading: str
    name: str
    read: Callable[[Measured], float | None] = lambda _measured: None
    smaller: bool = False

    def shown(self, found: Spread | None) -> str:
        """Return a mean and deviation as tables have them."""
        if found is None:
            return "-"
        return f"{found.mean:.1f}" if self.smaller else str(found)


@dataclass(frozen=True)
class SideRow:
    """Figures of one method at one size, in the order of the columns."""

    size: int
    method: str
    seeds: int
    figures: tuple[Spread | None, ...]


@dataclass(frozen=True)
class SideTable:
    """A table beside the main one.

    Attributes:
        slug: name of its files.
        title: its heading.
        words: what was measured, in a few sentences.
        columns: its figures.
        rows: those that have any figure.
        unit: of the rows' size, "bits" of a code or "bytes" of an item.
    """

    slug: str
    title: str
    words: str
    columns: tuple[Column, ...]
    rows: tuple[SideRow, ...]
    unit: str = "bits"

    def is_best(self, row: SideRow, place: int) -> bool:
        """Whether a row has the best mean of its size in a column."""
        rivals = [each.figures[place] for each in self.rows if each.size == row.size]
        own = row.figures[place]
        means = [each.mean for each in rivals if each]
        best = min if self.columns[place].smaller else max
        return own is not None and own.mean == best(means)

    def markdown(self) -> str:
        """Return the sentences and the table; the best figure of each size is bold."""
        lines = []
        for row in self.rows:
            cells = [
                f"**{column.shown(found)}**" if self.is_best(row, place) else column.shown(found)
                for place, (column, found) in enumerate(zip(self.columns, row.figures, strict=True))
            ]
            lines.append([row.size, row.method, *cells, row.seeds])
        names = [self.unit, "method", *(each.heading for each in self.columns), "seeds"]
        right = [each for each in names if each != "method"]
        return f"{self.words}\n\n{markdown_table(names, lines, right=right)}\n"

    def csv(self) -> str:
        """Return the same for programs."""
        return csv_text(self.lines())

    def lines(self) -> list[dict[str, Any]]:
        """Return the rows for programs: mean and standard deviation under names of their own."""
        lines = []
        for row in self.rows:
            line: dict[str, Any] = {self.unit: row.size, "method": row.method, "seeds": row.seeds}
            for column, found in zip(self.columns, row.figures, strict=True):
                line[f"{column.name}_mean"] = found and found.mean
                line[f"{column.name}_deviation"] = found and found.deviation
            lines.append(line)
        return lines


def side_tables(results: Results, data: str) -> list[SideTable]:
    """Return the side tables of a data set, those without a figure left out."""
    made = [
        _table(
            results,
            data,
            slug="pairs",
            title="The other half of an item",
            words_of=_pair_words,
            columns=_pair_columns(results, data),
        ),
        _table(
            results,
            data,
            slug="second-look",
            title="A second look",
            words_of=_look_words,
            columns=_look_columns(results, data),
        ),
        _bytes_table(results, data, between=True),
        _bytes_table(results, data, between=False),
    ]
    return [each for each in made if each.rows]


def _table(
    results: Results,
    data: str,
    *,
    slug: str,
    title: str,
    words_of: Callable[[Sequence[Measured]], str],
    columns: list[Column],
) -> SideTable:
    rows = []
    for bits in results.suite.bits:
        for method in (each.name for each in results.suite.variants):
            seeds = results.of(data=data, method=method, bits=bits)
            figures = tuple(spread_of(map(column.read, seeds)) for column in columns)
            if any(figures):
                rows.append(SideRow(bits, method, len(seeds), figures))
    measured = [each for each in results.measured if each.cell.data == data]
    return SideTable(slug, title, words_of(measured) if rows else "", tuple(columns), tuple(rows))


def _pair_columns(results: Results, data: str) -> list[Column]:
    return [
        Column(
            f"{name} {SHORT.get(way) or direction_words(way)}",
            f"{way}_{name.lower().replace('@', '_at_').replace(' ', '_')}",
            partial(_pair_figure, direction=way, name=name),
            smaller=name == MEDIAN_RANK,
        )
        for way in results.directions(data)
        for name in PAIR_FIGURES
    ]


def _pair_figure(measured: Measured, *, direction: str, name: str) -> float | None:
    return measured.pair_figure(direction, name)


def _pair_words(measured: Sequence[Measured]) -> str:
    found = next(each.metrics["pairs"] for each in measured if each.metrics.get("pairs"))
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


def _look_columns(results: Results, data: str) -> list[Column]:
    rankings: dict[str, None] = {}
    for each in results.measured:
        rankings |= dict.fromkeys(each.metrics.get("second_look") or ())
    rankings.pop("protocol", None)
    return [
        Column(
            f"{ranking}, {heading(gallery, way)}",
            f"{ranking}_{gallery}_{way}",
            partial(_look_figure, ranking=ranking, gallery=gallery, direction=way),
        )
        for ranking in rankings
        for gallery in GALLERIES
        for way in results.directions(data)
    ]


def _look_figure(measured: Measured, *, ranking: str, gallery: str, direction: str) -> float | None:
    found = (measured.metrics.get("second_look") or {}).get(ranking) or {}
    value: float | None = (found.get(gallery) or {}).get(direction)
    return value


def _look_words(measured: Sequence[Measured]) -> str:
    sizes: dict[str, dict[int, int]] = {}
    for each in measured:
        for name, found in (each.metrics.get("second_look") or {}).items():
            if name != "protocol":
                sizes.setdefault(name, {})[each.cell.bits] = found["bytes_per_item"]
    told = "; ".join(
        f"{name}: {', '.join(f'{size} bytes per item at {bits} bits' for bits, size in of.items())}"
        for name, of in sizes.items()
    )
    return (
        "mAP@all where queries keep their real-valued outputs, and the gallery its bits "
        f"(asymmetric) or outputs of one byte beside them (int8). {told}."
    )


def _bytes_table(results: Results, data: str, *, between: bool) -> SideTable:
    ways = across(results, data) if between else within(results, data)
    found = points(results, data, ways)
    names = dict.fromkeys(name for point in found for name in point.figures)
    order = {name: place for place, name in enumerate((*reversed(GALLERIES), *PAIR_FIGURES))}
    wanted = sorted(names, key=lambda each: (order[each[1]], ways.index(each[0])))
    columns = [
        Column(
            heading(name, way) if name in GALLERIES else f"{name} {SHORT.get(way) or way}",
            f"{way}_{name.lower().replace('@', '_at_')}",
        )
        for way, name in wanted
    ]
    rows = [
        SideRow(
            point.size, point.label, point.seeds, tuple(point.figures.get(each) for each in wanted)
        )
        for point in found
    ]
    return SideTable(
        "equal-bytes" if between else "equal-bytes-within",
        "At equal bytes" if between else "At equal bytes, within one modality",
        _BYTES_WORDS,
        tuple(columns),
        tuple(rows),
        unit="bytes",
    )


_BYTES_WORDS = (
    "Bytes of one item in one modality; what is stored once per index is not counted (d being the "
    "width of the vectors: clusters of PQ and OPQ 1,024 d bytes, rotations of OPQ, RaBitQ and ITQ "
    "4 d d, ranges of int8 8 d). *embedding*: features of the encoders less their mean; *canonical "
    "directions*: of the training pairs, without labels; *outputs*: those of a method at its "
    "longest codes, in real numbers. Everything learns from the training items alone. Queries stay "
    "real-valued but for codes, sign and ITQ, which are compared by Hamming distance."
)
