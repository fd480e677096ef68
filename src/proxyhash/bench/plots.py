"""Figures of a suite: mAP over the code length, and precision over recall, with every method."""

from __future__ import annotations

import io
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.bench.results import GALLERIES, PAIR_FIGURES
from proxyhash.errors import require_extra
from proxyhash.evaluation.report import direction_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxyhash.bench.results import Results
    from proxyhash.evaluation.report import Spread

__all__ = [
    "bits_figure",
    "curve_figure",
    "figure_svg",
    "pairs_figure",
    "pdf_bytes",
    "plotting",
    "png_bytes",
]

INK, FAINT = "#1F2933", "#D9DEE4"

# Of Okabe and Ito's colors those that are seen on white and on black; with line styles and markers
# fourteen methods are distinguishable, with color blindness too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A8F98")
_RECALLS = [each for each in PAIR_FIGURES if each.startswith("R@")]
_ANSWERED = 0.05  # a curve begins where this share of the queries gets anything
_MARKERS = "os^Dv<>PXph*d8"

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "svg.hashsalt": "proxyhash",
}


def bits_figure(results: Results, data: str, direction: str) -> Any:
    """Return a figure: mean mAP over the code length, bars of one deviation; None without labels.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    galleries = [g for g in GALLERIES if _has(results, data, g, direction)]
    if not galleries:
        return None
    matplotlib, figures = _matplotlib()
    with matplotlib.rc_context(_STYLE):
        canvas = figures.Figure(figsize=(9.6, 4.6), layout="constrained")
        axes = canvas.subplots(1, len(galleries), sharey=False, squeeze=False)[0]
        for each, gallery in zip(axes, galleries, strict=True):
            _draw_bits(each, results, partial(results.spread, gallery, direction, data=data))
            each.set_ylabel("mAP@all")
            each.set_title(f"{gallery} gallery", fontsize=10, loc="left")
        _finish(
            canvas, axes[0], results, data, f"mAP@all by code length: {_words(data, direction)}"
        )
    return canvas


def pairs_figure(results: Results, data: str, direction: str) -> Any:
    """Return a figure: recall of the item's other half over the code length; None without figures.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not any(
        each.pair_figure(direction, name) is not None
        for each in results.measured
        if each.cell.data == data
        for name in _RECALLS
    ):
        return None
    matplotlib, figures = _matplotlib()
    with matplotlib.rc_context(_STYLE):
        canvas = figures.Figure(figsize=(9.6, 4.6), layout="constrained")
        axes = canvas.subplots(1, len(_RECALLS), squeeze=False)[0]
        for each, name in zip(axes, _RECALLS, strict=True):
            _draw_bits(each, results, partial(results.pair_spread, direction, name, data=data))
            each.set_ylim(bottom=0)
            each.set_title(f"recall@{name.removeprefix('R@')}", fontsize=10, loc="left")
        title = f"The item's other half by code length: {_words(data, direction)}"
        _finish(canvas, axes[0], results, data, title)
    return canvas


def curve_figure(results: Results, data: str, direction: str) -> Any:
    """Return a figure: mean precision over mean recall as the radius grows, literature's gallery.

    One panel a code length, up to four; the mean over the seeds. None without labels.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not _has(results, data, "literature", direction):
        return None
    matplotlib, figures = _matplotlib()
    bits = results.suite.bits[-4:]
    columns = min(2, len(bits))
    rows = -(-len(bits) // columns)
    with matplotlib.rc_context(_STYLE):
        canvas = figures.Figure(figsize=(9.6, 0.9 + 3.6 * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, each in zip(grid.flat, bits, strict=False):
            _draw_curves(axes, results, data, each, direction)
        for axes in list(grid.flat)[len(bits) :]:
            axes.set_visible(False)
        title = f"Precision and recall by Hamming radius: {_words(data, direction)}"
        _finish(canvas, grid[0, 0], results, data, title)
    return canvas


def png_bytes(canvas: Any) -> bytes:
    """Return a figure as PNG on white."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=140, facecolor="white")
    return buffer.getvalue()


def pdf_bytes(canvas: Any) -> bytes:
    """Return a figure as PDF, for papers; text stays text, and equal figures are equal bytes."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def figure_svg(canvas: Any, *, label: str) -> str:
    """Return a figure as an inline SVG element whose ink is that of the text around it."""
    from html import escape

    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    start, end = body.find("<metadata>"), body.find("</metadata>")
    if start >= 0:
        body = body[:start] + body[end + len("</metadata>") :]
    width, height = (72 * size for size in canvas.get_size_inches())
    for color, name in ((INK, "currentColor"), (FAINT, "var(--line)")):
        body = body.replace(color.lower(), name)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{body.replace('xlink:href', 'href')}"
    )


def _draw_bits(axes: Any, results: Results, spread: Callable[..., Spread | None]) -> None:
    """Draw a figure of every method over the code length; `spread` takes method and bits."""
    lengths = results.suite.bits
    places = np.arange(len(lengths))
    shift = np.linspace(-0.12, 0.12, len(results.suite.variants))
    for number, variant in enumerate(results.suite.variants):
        found = [spread(method=variant.name, bits=bits) for bits in lengths]
        there = [place for place, each in zip(places, found, strict=True) if each]
        spreads = [each for each in found if each]
        if spreads:
            axes.errorbar(
                np.array(there) + shift[number],
                [each.mean for each in spreads],
                yerr=[each.deviation for each in spreads],
                elinewidth=0.8,
                capsize=0,
                markersize=5,
                **_line(results, number),
            )
    axes.set_xticks(places, [str(each) for each in lengths])
    axes.set_xlabel("bits")


def _draw_curves(axes: Any, results: Results, data: str, bits: int, direction: str) -> None:
    for number, variant in enumerate(results.suite.variants):
        curves = [
            each.metrics["curves"][direction]
            for each in results.of(data=data, method=variant.name, bits=bits)
            if each.map("literature", direction) is not None
        ]
        if not curves:
            continue
        precision, recall = (
            np.mean([_numbers(curve[name]) for curve in curves], axis=0)
            for name in ("precision", "recall")
        )
        answered = np.mean([curve["answered"] for curve in curves], axis=0)
        precision[answered < _ANSWERED] = np.nan
        axes.plot(recall, precision, markersize=3.5, **_line(results, number), markevery=0.1)
    axes.set(xlim=(0, 1), xlabel="recall", ylabel="precision")
    axes.label_outer()
    axes.set_title(f"{bits} bits", fontsize=10, loc="left")


def _numbers(values: list[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _line(results: Results, number: int) -> dict[str, Any]:
    """Return how the line of one method looks; ours are thick and drawn last."""
    name = results.suite.variants[number].name
    ours = name in results.suite.ours
    return {
        "label": name,
        "color": _COLORS[number % len(_COLORS)],
        "linestyle": "-" if (number // len(_COLORS)) % 2 == 0 else (0, (4, 1.5)),
        "linewidth": 2.4 if ours else 1.2,
        "marker": _MARKERS[number % len(_MARKERS)],
        "zorder": 4 if ours else 3,
    }


def _finish(canvas: Any, axes: Any, results: Results, data: str, title: str) -> None:
    """Write the title, and one legend beside the panels, the best method first."""
    handles, labels = axes.get_legend_handles_labels()
    place = {name: index for index, name in enumerate(_ranked(results, data))}
    order = sorted(range(len(labels)), key=lambda each: place.get(labels[each], 0))
    if order:
        canvas.legend(
            [handles[each] for each in order],
            [labels[each] for each in order],
            loc="outside right center",
            fontsize=9,
        )
    canvas.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")


def _ranked(results: Results, data: str) -> list[str]:
    """Return the methods by mean mAP over all directions and code lengths, best first."""

    def score(name: str) -> float:
        found = [
            results.spread("literature", direction, data=data, method=name, bits=bits)
            for direction in results.directions(data)
            for bits in results.suite.bits
        ]
        return float(np.mean([each.mean if each else 0.0 for each in found]))

    return sorted((each.name for each in results.suite.variants), key=score, reverse=True)


def _has(results: Results, data: str, gallery: str, direction: str) -> bool:
    return any(
        each.map(gallery, direction) is not None
        for each in results.measured
        if each.cell.data == data
    )


def _words(data: str, direction: str) -> str:
    return f"{data}, {direction_words(direction)}"


@contextmanager
def plotting() -> Iterator[Any]:
    """Lend matplotlib's module of figures, in the style of all plots.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib, figures = _matplotlib()
    with matplotlib.rc_context(_STYLE):
        yield figures


def _matplotlib() -> tuple[Any, Any]:
    purpose = "drawing plots"
    return (
        require_extra("matplotlib", extra="plots", purpose=purpose),
        require_extra("matplotlib.figure", extra="plots", purpose=purpose),
    )
