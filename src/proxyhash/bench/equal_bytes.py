"""Codes and yardsticks at equal bytes: their figures, and the plot of quality against bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.bench.plots import plotting
from proxyhash.bench.results import GALLERIES, spread_of
from proxyhash.bench.suite import CANONICAL, EMBEDDING
from proxyhash.codes import code_bytes
from proxyhash.evaluation.report import direction_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxyhash.bench.results import Measured, Results
    from proxyhash.evaluation.report import Spread

__all__ = ["Point", "across", "bytes_figure", "points", "within"]

_SPACES = {EMBEDDING: "embedding", CANONICAL: "canonical directions"}
_RECALLS = ("R@1", "R@5", "R@10")
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_GRAY = "#8A8F98"
_MARKERS = {
    "codes": "o",
    "asymmetric": "h",
    "with int8": "X",
    "sign": "o",
    "ITQ": "s",
    "PQ": "^",
    "OPQ": "v",
    "RaBitQ": "D",
    "int8": "P",
    "float32": "*",
}
"""By what is stored. Codes and signs are the same thing: those of a method have its color."""


_KINDS = {
    "codes": "codes, Hamming",
    "asymmetric": "codes, asymmetric",
    "with int8": "codes with int8 outputs",
}
"""Trained codes in the legend."""


@dataclass(frozen=True)
class Point:
    """One way to store an item, and its figures.

    Attributes:
        space: of which vectors: a method's name, "embedding" or "canonical".
        kind: what is stored, a key of the markers.
        trained: whether it is a method's own code, and not a quantizer of vectors.
        size: bytes of an item in one modality.
        seeds: number of seeds.
        figures: by direction and name ("literature", "strict", "R@10"); those that were measured.
    """

    space: str
    kind: str
    trained: bool
    size: int
    seeds: int
    figures: dict[tuple[str, str], Spread]

    @property
    def label(self) -> str:
        """Name in tables: "dchml-plus, asymmetric" or "PQ of canonical directions"."""
        if self.trained:
            return self.space if self.kind == "codes" else f"{self.space}, {self.kind}"
        return f"{self.kind} of {_SPACES.get(self.space, f'the outputs of {self.space}')}"


def across(results: Results, data: str) -> list[str]:
    """Return the directions from one modality to another."""
    return [way for way in results.directions(data) if _differ(way)]


def within(results: Results, data: str) -> list[str]:
    """Return the directions from a modality to itself."""
    every = [each for each in results.measured if each.cell.data == data]
    names = dict.fromkeys(way for each in every for way in each.metrics["map"])
    return [way for way in names if not _differ(way)]


def _differ(way: str) -> bool:
    return len(set(way.split("_to_"))) > 1


def points(results: Results, data: str, ways: Sequence[str]) -> list[Point]:
    """Return what was measured in some directions, by bytes; nothing without yardsticks."""
    if not any(each.cell.data == data for each in results.yardsticks):
        return []
    gathered: dict[tuple[str, str, bool, int], list[dict[tuple[str, str], float | None]]] = {}
    for measured in results.measured:
        if measured.cell.data == data:
            for kind, size, figures in _trained(measured, ways):
                gathered.setdefault((measured.cell.method, kind, True, size), []).append(figures)
    for each in results.yardsticks:
        if each.cell.data == data:
            for one in each.figures:
                key = (each.space, one["name"], False, one["bytes"])
                gathered.setdefault(key, []).append(_yardstick(one["directions"], ways))
    made = []
    for (space, kind, trained, size), seeds in gathered.items():
        names = dict.fromkeys(name for each in seeds for name in each)
        spreads = {name: spread_of(each.get(name) for each in seeds) for name in names}
        known = {name: found for name, found in spreads.items() if found}
        if known:
            made.append(Point(space, kind, trained, size, len(seeds), known))
    return sorted(made, key=lambda each: each.size)


def _trained(
    measured: Measured, ways: Iterable[str]
) -> Iterable[tuple[str, int, dict[tuple[str, str], float | None]]]:
    """Yield the codes of a cell, and what takes a second look at them."""
    plain: dict[tuple[str, str], float | None] = {}
    for way in ways:
        plain |= {(way, gallery): measured.map(gallery, way) for gallery in GALLERIES}
        plain |= {(way, name): measured.pair_figure(way, name) for name in _RECALLS}
    yield "codes", code_bytes(measured.cell.bits), plain
    for ranking, found in (measured.metrics.get("second_look") or {}).items():
        if ranking != "protocol":
            looked = {
                (way, gallery): (found.get(gallery) or {}).get(way)
                for way in ways
                for gallery in GALLERIES
            }
            kind = "with int8" if ranking == "int8" else ranking
            yield kind, found["bytes_per_item"], looked


def _yardstick(
    directions: dict[str, Any], ways: Iterable[str]
) -> dict[tuple[str, str], float | None]:
    figures: dict[tuple[str, str], float | None] = {}
    for way in ways:
        own = directions.get(way, {})
        figures |= {(way, gallery): own.get(gallery) for gallery in GALLERIES}
        recalls = own.get("recall_at", {})
        figures |= {(way, name): recalls.get(name.removeprefix("R@")) for name in _RECALLS}
    return figures


def bytes_figure(results: Results, data: str, *, between: bool) -> Any:
    """Return a figure: mAP, and recall of the other half, over the bytes of an item.

    None without yardsticks.

    Args:
        results: the finished cells.
        data: name of the data set.
        between: the directions between modalities, or those within each.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    ways = across(results, data) if between else within(results, data)
    drawn = points(results, data, ways)
    if not drawn:
        return None
    gallery = "strict" if any((way, "strict") in p.figures for p in drawn for way in ways) else ""
    rows = [(gallery or "literature", f"mAP@all, {gallery or 'literature'} gallery")]
    if any((way, "R@10") in point.figures for point in drawn for way in ways):
        rows.append(("R@10", "recall@10 of the other half"))
    colors = _colors(results, drawn)
    with plotting() as figures:
        canvas = figures.Figure(figsize=(11, 0.9 + 3.7 * len(rows)), layout="constrained")
        grid = canvas.subplots(len(rows), len(ways), sharex=True, sharey="row", squeeze=False)
        for line, (name, words) in zip(grid, rows, strict=True):
            for axes, way in zip(line, ways, strict=True):
                _draw(axes, drawn, way, name, colors)
                axes.set_title(f"{words}, {direction_words(way)}", fontsize=10, loc="left")
        for axes in grid[-1]:
            axes.set_xlabel("bytes per item")
        _legend(canvas, drawn, colors)
        kind = "" if between else ", within one modality"
        title = f"Quality at equal bytes: {data}{kind}"
        canvas.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return canvas


def _colors(results: Results, drawn: Sequence[Point]) -> dict[str, str]:
    """Return the color of each space, ours first."""
    there = {point.space for point in drawn}
    names = [each.name for each in results.suite.variants]
    names.sort(key=lambda name: name not in results.suite.ours)
    spaces = [name for name in (*names, CANONICAL, EMBEDDING) if name in there]
    return {
        space: _GRAY if space == EMBEDDING else _COLORS[place % len(_COLORS)]
        for place, space in enumerate(spaces)
    }


def _draw(axes: Any, drawn: Sequence[Point], way: str, name: str, colors: dict[str, str]) -> None:
    series: dict[tuple[str, str, bool], list[Point]] = {}
    for point in drawn:
        if (way, name) in point.figures:
            series.setdefault((point.space, point.kind, point.trained), []).append(point)
    for (space, kind, trained), line in series.items():
        axes.plot(
            [point.size for point in line],
            [point.figures[way, name].mean for point in line],
            color=colors[space],
            marker=_MARKERS.get(kind, "o"),
            markersize=8 if kind == "float32" else 5,
            linewidth=2.4 if trained and kind == "codes" else 1.0,
            linestyle="-" if trained else (0, (4, 1.5)),
            markerfacecolor=colors[space] if trained else "white",
            zorder=4 if trained else 3,
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")


def _legend(canvas: Any, drawn: Sequence[Point], colors: dict[str, str]) -> None:
    """Write one legend: a color for each space, a marker for what is stored."""
    from matplotlib.lines import Line2D

    there = {point.kind for point in drawn}
    handles = [
        Line2D([], [], color=color, linewidth=2.4, label=_SPACES.get(space, space))
        for space, color in colors.items()
    ]
    handles += [
        Line2D(
            [], [], color=_GRAY, marker=marker, linestyle="none", label=_KINDS.get(kind, kind),
            markerfacecolor=_GRAY if kind in _KINDS else "white",
        )
        for kind, marker in _MARKERS.items()
        if kind in there
    ]  # fmt: skip
    canvas.legend(handles=handles, loc="outside right center", fontsize=9)
