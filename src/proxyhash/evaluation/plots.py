"""Plots of an evaluation: precision over recall, and the distances of relevant pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxyhash.errors import require_extra
from proxyhash.evaluation.report import direction_words, figure
from proxyhash.files import write_atomic

if TYPE_CHECKING:
    from proxyhash.evaluation.direction import Direction
    from proxyhash.evaluation.evaluator import Evaluation
    from proxyhash.evaluation.pairs import PairEvaluation

__all__ = ["draw_pairs_plot", "draw_plots"]

# The colors of Okabe and Ito, which color-blind people can distinguish, too.
_COLORS = ("#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#000000")
_LINES = ("solid", "dashed", "dotted")  # one after another where the colors do not suffice
_RELEVANT, _IRRELEVANT = "#009E73", "#9AA3AE"
_INK, _FAINT = "#1F2933", "#D9DEE4"
_STRONG, _FAINTEST = 0.5, 0.05  # a curve is faint, or ends, where fewer queries have results


def draw_plots(evaluation: Evaluation, folder: str | Path, *, name: str = "") -> list[Path]:
    """Draw two PNG files into `folder` and return their paths.

    `precision-recall.png`: mean precision over mean recall as the Hamming radius grows, for each
    direction. `distances.png`: the distances of relevant and of irrelevant pairs. The names for
    the strict gallery end in `-strict`.

    Args:
        evaluation: the figures.
        folder: created if it does not exist.
        name: name of the run, for the titles.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib = require_extra("matplotlib", extra="plots", purpose="drawing plots")
    folder = Path(folder)
    protocol = evaluation.protocol
    suffix = "-strict" if protocol.gallery == "strict" else ""
    subtitle = f"{protocol.gallery} gallery · {protocol.name}, {protocol.ties} ties"
    title = " · ".join(part for part in (name, f"{evaluation.bits} bits") if part)
    paths = []
    with matplotlib.rc_context(_STYLE):
        for stem, draw in (("precision-recall", _precision_recall), ("distances", _distances)):
            path = folder / f"{stem}{suffix}.png"
            with write_atomic(path) as temporary:
                draw(evaluation, title, subtitle).savefig(temporary, dpi=160)
            paths.append(path)
    return paths


def draw_pairs_plot(
    pairs: PairEvaluation, folder: str | Path, *, bits: int, name: str = ""
) -> Path:
    """Draw `pairs.png`, the recall of an item's other half among the first N, and return its path.

    Args:
        pairs: the figures.
        folder: created if it does not exist.
        bits: the code length, for the title.
        name: name of the run, for the title.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib = require_extra("matplotlib", extra="plots", purpose="drawing plots")
    path = Path(folder) / "pairs.png"
    title = " · ".join(part for part in (name, f"{bits} bits") if part)
    with matplotlib.rc_context(_STYLE), write_atomic(path) as temporary:
        _pair_recall(pairs, title).savefig(temporary, dpi=160)
    return path


_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def _precision_recall(evaluation: Evaluation, title: str, subtitle: str) -> Any:
    figures = require_extra("matplotlib.figure", extra="plots", purpose="drawing plots")
    canvas = figures.Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = canvas.subplots()
    for number, (name, direction) in enumerate(evaluation.directions.items()):
        if not direction.curves.queries:
            continue
        recall, precision = direction.curves.recall, direction.curves.precision
        color = _COLORS[number % len(_COLORS)]
        line = _LINES[number // len(_COLORS) % len(_LINES)]
        answered = direction.curves.answered
        shown = np.where(answered >= _FAINTEST, precision, np.nan)
        axes.plot(recall, shown, color=color, alpha=0.3, linewidth=1.4, linestyle=line)
        axes.plot(
            recall,
            np.where(answered >= _STRONG, precision, np.nan),
            color=color,
            linewidth=2,
            linestyle=line,
            marker="o",
            markersize=3,
            label=f"{direction_words(name)}   {figure(direction.map, digits=3)}",
        )
    chance = _chance(evaluation)
    if chance is not None:
        axes.axhline(chance, color=_INK, linewidth=0.8, linestyle=(0, (2, 3)))
        note = f"share of relevant pairs {chance:.3f}"
        axes.annotate(note, (0.01, chance), xytext=(0, 4), textcoords="offset points", fontsize=8)
    axes.set(xlim=(-0.01, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            title=f"direction, {evaluation.protocol.name}", alignment="left", loc="upper right"
        )
    _titles(
        canvas,
        f"Precision and recall by Hamming radius: {title}",
        f"{subtitle} · one dot per radius, faint where fewer than half of the queries have results",
    )
    return canvas


def _pair_recall(pairs: PairEvaluation, title: str) -> Any:
    figures = require_extra("matplotlib.figure", extra="plots", purpose="drawing plots")
    canvas = figures.Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = canvas.subplots()
    most = max(pairs.candidates.values())
    first = np.unique(np.geomspace(1, most, 60).round().astype(int))
    for number, (name, direction) in enumerate(pairs.directions.items()):
        axes.plot(
            first,
            [direction.ranks.recall_at(int(n)) for n in first],
            color=_COLORS[number % len(_COLORS)],
            linestyle=_LINES[number // len(_COLORS) % len(_LINES)],
            linewidth=2,
            label=f"{direction_words(name)}   {direction.median_rank:,.1f}",
        )
    axes.plot(first, first / most, color=_INK, linewidth=0.8, linestyle=(0, (2, 3)), label="chance")
    axes.set(xscale="log", xlim=(1, most), ylim=(0, 1.02), xlabel="first N", ylabel="recall")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(title="direction, median rank", alignment="left", loc="upper left")
    _titles(
        canvas,
        f"Recall of the item's other half: {title}",
        f"among those of all {most:,} queries · expected ties",
    )
    return canvas


def _distances(evaluation: Evaluation, title: str, subtitle: str) -> Any:
    figures = require_extra("matplotlib.figure", extra="plots", purpose="drawing plots")
    columns = 1 if len(evaluation.directions) == 1 else 2
    rows = -(-len(evaluation.directions) // columns)
    canvas = figures.Figure(figsize=(8.4, 2.8 * max(rows, 2)), layout="constrained")
    grid = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(evaluation.directions) :]:
        axes.set_axis_off()
    for axes, (name, direction) in zip(grid.flat, evaluation.directions.items(), strict=False):
        _histogram(axes, direction)
        heading = f"{direction_words(name)}   {figure(direction.map, digits=3)}"
        axes.set_title(heading, fontsize=10, loc="left")
        axes.set_xlim(-0.5, evaluation.bits + 0.5)
        axes.locator_params(axis="x", integer=True)
        axes.yaxis.set_major_formatter("{x:.0%}")
    grid[0, 0].set_ylim(bottom=0)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if handles:  # next to the titles, because any corner inside may be occupied
        anchor = (0.995, 1 - 0.3 / canvas.get_figheight())
        canvas.legend(handles, labels, loc="upper right", bbox_to_anchor=anchor, ncols=2)
    canvas.supxlabel("Hamming distance, bits", fontsize=10)
    canvas.supylabel("share of pairs", fontsize=10)
    _titles(
        canvas,
        f"Distances of relevant and irrelevant pairs: {title}",
        f"{subtitle} · dashed: means",
    )
    return canvas


def _histogram(axes: Any, direction: Direction) -> None:
    """Draw the share of pairs at each distance, relevant pairs in front."""
    for pairs, color, label in (
        (direction.curves.irrelevant, _IRRELEVANT, "irrelevant pairs"),
        (direction.curves.relevant, _RELEVANT, "relevant pairs"),
    ):
        if not pairs.sum():
            continue
        shares = pairs / pairs.sum()
        edges = np.arange(len(pairs) + 1) - 0.5
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.35)
        axes.stairs(shares, edges, color=color, linewidth=1.4, label=label)
        axes.axvline(_mean_distance(pairs), color=color, linewidth=1, linestyle=(0, (2, 2)))


def _mean_distance(pairs: npt.NDArray[np.int64]) -> float:
    return float((pairs * np.arange(len(pairs))).sum() / pairs.sum())


def _chance(evaluation: Evaluation) -> float | None:
    """Return the share of relevant pairs over all directions, the precision of a random order."""
    every = [direction.curves for direction in evaluation.directions.values()]
    relevant = sum(int(curves.relevant.sum()) for curves in every)
    total = relevant + sum(int(curves.irrelevant.sum()) for curves in every)
    return relevant / total if total else None


def _titles(canvas: Any, title: str, subtitle: str) -> None:
    """Write two lines above the axes."""
    height = canvas.get_figheight()
    canvas.get_layout_engine().set(
        rect=(0, 0, 1, 1 - 0.62 / height), w_pad=0.12, h_pad=0.1, hspace=0.03
    )
    canvas.text(0.015, 1 - 0.1 / height, title, va="top", fontsize=12, fontweight="bold")
    canvas.text(0.015, 1 - 0.38 / height, subtitle, va="top", fontsize=8.5)
