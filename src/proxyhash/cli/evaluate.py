"""`proxyhash evaluate`: measure the codes of a run by a stated protocol."""

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, RunArgument, examples
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.evaluation import Direction, Evaluation, PairEvaluation

__all__ = ["print_caveats", "print_pairs", "print_tables", "register"]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash evaluate runs/f64",
            "proxyhash evaluate runs/f64 --plots",
            "proxyhash evaluate runs/f64 --json | jq .map",
            "proxyhash evaluate runs/f64 --ties stable --cutoff 5000 --divisor hits",
            "proxyhash evaluate runs/found --labels photos/",
        )
    )(evaluate)


def evaluate(
    run: RunArgument,
    gallery: Annotated[
        str,
        typer.Option(
            help="Gallery to search: literature (everything except the queries, training items "
            "included), strict (without training and validation items) or both.",
            metavar="GALLERY",
        ),
    ] = "both",
    ties: Annotated[
        str,
        typer.Option(
            help="Order of items at equal distance: expected (mean over all orders), stable "
            "(gallery order), optimistic or pessimistic.",
            metavar="RULE",
        ),
    ] = "expected",
    cutoff: Annotated[
        int | None,
        typer.Option(
            help="R of mAP@R. Default: the whole gallery.", min=1, show_default=False, metavar="R"
        ),
    ] = None,
    divisor: Annotated[
        str,
        typer.Option(
            help="Divisor of mAP@R: hits (among the first R), min (of R and the relevant "
            "items) or relevant (all of them).",
            metavar="WHAT",
        ),
    ] = "hits",
    empty: Annotated[
        str,
        typer.Option(
            help="Queries without relevant items: skip (leave out and count) or zero.",
            metavar="RULE",
        ),
    ] = "skip",
    gain: Annotated[
        str,
        typer.Option(
            help="Gain of s shared labels in NDCG: exponential (2^s - 1) or linear (s).",
            metavar="KIND",
        ),
    ] = "exponential",
    plots: Annotated[
        bool,
        typer.Option(
            "--plots",
            help="Plot precision-recall curves, distances and pairs into RUN/plots as PNG.",
        ),
    ] = False,
    plots_dir: Annotated[
        Path | None,
        typer.Option(help="Plot them into this folder instead.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Path of the run's collection, if it was moved.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Manifest whose labels decide what is relevant, matched by id: given ones for a "
            "run that learned from those of `data label`. Default: the run's own.",
            show_default=False,
            metavar="PATH",
        ),
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            "--save",
            help="Write the result into RUN/metrics.json too.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print mAP by direction, recall of an item's other half, figures at N, lookup and bits.

    The default protocol is that of training: expected mAP over the whole gallery, for the
    literature's gallery and for the strict one. Reads the collection's manifest, but neither its
    images nor the model.
    """
    from proxyhash.data import read_collection
    from proxyhash.data.run_data import read_run
    from proxyhash.evaluation import Protocol
    from proxyhash.evaluation.run import evaluate_run, save_metrics

    if save and gallery != "both":
        raise UsageError("metrics.json holds both galleries; use --save without --gallery")
    if save and labels:
        raise UsageError("metrics.json judges by the run's own labels; use --save without --labels")
    protocol = Protocol(
        ties=ties,  # type: ignore[arg-type]
        cutoff=cutoff,
        divisor=divisor,  # type: ignore[arg-type]
        empty=empty,  # type: ignore[arg-type]
        gain=gain,  # type: ignore[arg-type]
    )
    parts = read_run(run, data=data)
    given = read_collection(labels) if labels else None
    result = evaluate_run(
        parts, protocol=protocol, gallery=gallery, given=given, track=console.track
    )
    if as_json:
        console.emit_json(result.metrics)
    else:
        method = parts.config.get("method", "?")
        judge = f", judged by the labels of {labels}" if labels else ""
        title = f"{run.name}: {method}, {parts.codes.bits} bits{judge}"
        print_tables(result.evaluations, result.pairs, title=title)
        if given is None:
            _print_second_look(run, gallery=gallery)
    if save:
        console.note(f"written to {save_metrics(run, result.metrics)}")
    if plots or plots_dir:
        from proxyhash.evaluation.plots import draw_pairs_plot, draw_plots

        folder = plots_dir or run / "plots"
        for evaluation in filter(_judged, result.evaluations):
            for path in draw_plots(evaluation, folder, name=run.name):
                console.note(f"wrote {path}")
        if result.pairs:
            bits = parts.codes.bits
            path = draw_pairs_plot(result.pairs, folder, bits=bits, name=run.name)
            console.note(f"wrote {path}")


def print_tables(
    evaluations: "Sequence[Evaluation]", pairs: "PairEvaluation | None", *, title: str
) -> None:
    """Print mAP by direction and gallery, pairs, the other metrics, bits and what is missing."""
    from proxyhash.evaluation.report import direction_words, figure

    first = evaluations[0]
    galleries = [each.protocol.gallery for each in evaluations]
    if any(map(_judged, evaluations)):
        console.table(
            [f"{first.protocol.name}, {first.protocol.ties} ties", *galleries],
            [
                [direction_words(name), *(figure(each.map[name]) for each in evaluations)]
                for name in first.directions
            ],
            title=title,
            right=galleries,
        )
    else:
        console.out(title)
    print_caveats(evaluations)
    if pairs:
        print_pairs(pairs)
    if all(each.queries == 0 for each in first.directions.values()):
        _print_bits(first)
        return
    for each in evaluations:
        _print_directions(each)
    radius = next(iter(first.directions.values())).lookup.radius
    console.out(
        f"\nwmAP: hits weighted by shared labels. lookup: precision within {radius} bits, "
        "0 for\nqueries without hits, whose share is `empty`."
    )
    _print_bits(first)
    _print_left_out(evaluations)


def _judged(evaluation: "Evaluation") -> bool:
    """Return whether labels decide what is relevant for any query, so that there is an mAP."""
    return not all(map(math.isnan, evaluation.map.values()))


def print_pairs(pairs: "PairEvaluation") -> None:
    """Print how often an item's other half is among the first, and what chance gives."""
    from proxyhash.data import MODALITIES
    from proxyhash.evaluation.report import direction_words, figure

    at = sorted({n for each in pairs.directions.values() for n in each.recall_at})
    columns = [*(f"R@{n}" for n in at), "median rank", "candidates"]
    rows = []
    for name, each in pairs.directions.items():
        recall = [figure(each.recall_at.get(n), digits=3) for n in at]
        rows.append([
            direction_words(name), *recall, f"{each.median_rank:,.1f}",
            f"{pairs.candidates[name]:,}",
        ])  # fmt: skip
    console.out("")
    console.table(["own other half", *columns], rows, title="pairs, expected ties", right=columns)
    for modality, count in pairs.repeated.items():
        if count:
            words = f"{MODALITIES[modality].plural} of the candidates"
            console.out(f"{count:,} {words} occur more than once.")


def _print_second_look(run: Path, *, gallery: str) -> None:
    """Print what training measured of rankings by real-valued outputs, if it did."""
    from proxyhash.evaluation.report import direction_words, figure
    from proxyhash.evaluation.run import read_metrics
    from proxyhash.evaluation.second_look import read_second_look

    try:
        rankings = read_second_look(read_metrics(run))
    except DataError as error:
        console.note(f"{error}; --save writes it again")
        return
    galleries = ("literature", "strict") if gallery == "both" else (gallery,)
    columns = {
        f"{each}, {name}": maps
        for each in galleries
        for name, found in rankings.items()
        if (maps := getattr(found, each)) and not all(map(math.isnan, maps.values()))
    }
    if not columns:
        return
    ways = dict.fromkeys(way for maps in columns.values() for way in maps)
    rows = [
        [direction_words(way), *(figure(maps.get(way)) for maps in columns.values())]
        for way in ways
    ]
    sizes = ", ".join(
        f"{name} {each.bytes_per_item} bytes per item" for name, each in rankings.items()
    )
    console.out("")
    console.table(
        ["mAP@all, second look", *columns],
        rows,
        title="as trained, expected ties",
        right=list(columns),
    )
    console.out(f"Queries keep their real-valued outputs; {sizes}.")


def print_caveats(evaluations: "Sequence[Evaluation]") -> None:
    """Print what makes the figures above mean little, each sentence once."""
    from proxyhash.evaluation.report import direction_words

    about: dict[str, list[str]] = {}
    for evaluation in evaluations:
        for each in evaluation.caveats:
            whole = len(each.directions) == len(evaluation.directions)
            names = "" if whole else f", {', '.join(map(direction_words, each.directions))}"
            about.setdefault(each.message, []).append(f"{evaluation.protocol.gallery}{names}")
    for message, where in about.items():
        everywhere = where == [each.protocol.gallery for each in evaluations]
        text = f"warning: {message}" + ("" if everywhere else f" ({'; '.join(where)})")
        console.out(textwrap.fill(text, 80, subsequent_indent="  "))


def _print_directions(evaluation: "Evaluation") -> None:
    from proxyhash.evaluation.report import direction_words

    rows = {direction_words(name): _figures(each) for name, each in evaluation.directions.items()}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    console.out("")
    console.table(
        ["direction", *columns],
        [[words, *(row.get(column, "-") for column in columns)] for words, row in rows.items()],
        title=f"{evaluation.protocol.gallery} gallery, "
        f"{max(each.gallery for each in evaluation.directions.values()):,} items",
        right=columns,
    )


def _figures(direction: "Direction") -> dict[str, str]:
    """Return the columns that fit into 80 characters; `--json` has all.

    Those at N are there only if the gallery is that large.
    """
    from proxyhash.evaluation.report import figure

    found = direction.lookup
    return {
        **{
            f"{name}@{n}": figure(values[n], digits=3)
            for name, values, n in (
                ("P", direction.precision_at, 10),
                ("P", direction.precision_at, 100),
                ("R", direction.recall_at, 100),
                ("NDCG", direction.ndcg_at, 100),
            )
            if n in values
        },
        "wmAP": figure(direction.weighted_map, digits=3),
        "lookup": figure(found.precision, digits=3),
        "empty": "-" if not direction.queries else f"{found.empty:.0%}",
    }


def _print_bits(evaluation: "Evaluation") -> None:
    statistics = evaluation.bit_statistics
    modalities = [name for name in statistics if name not in ("pairs", "proxies")]
    columns = {
        "codes": "{codes:,}",
        "distinct": "{distinct:,}",
        "balance": "{balance:.3f}",
        "constant": "{constant_bits}",
        "|corr|": "{correlation_mean:.3f}",
        "max": "{correlation_max:.3f}",
        "entropy": "{code_entropy:.2f}",
    }
    console.out("")
    console.table(
        ["codes of", *columns],
        [
            [modality, *(cell.format_map(statistics[modality]) for cell in columns.values())]
            for modality in modalities
            if statistics[modality]
        ],
        title=f"bits, {evaluation.protocol.gallery} gallery",
        right=list(columns),
    )
    console.out("")
    pairs, proxies = statistics["pairs"], statistics["proxies"]
    if pairs["items"]:
        apart = pairs["mean_distance"]
        console.out(f"An item's {' and '.join(modalities)} lie {apart:.1f} bits apart on average.")
    if proxies:
        console.out(
            f"The {proxies['count']} proxies lie at least {proxies['minimum_distance']} bits "
            f"apart, {proxies['mean_distance']:.1f} on average."
        )


def _print_left_out(evaluations: "Sequence[Evaluation]") -> None:
    """Print the queries and items that no figure above covers, if there are any."""
    from proxyhash.evaluation.report import direction_words

    columns = ["nothing relevant", "query missing", "item missing"]
    rows = [
        [
            f"{direction_words(name)}, {each.protocol.gallery}",
            *(f"{count:,}" for count in (direction.left_out, *each.missing[name])),
        ]
        for each in evaluations
        for name, direction in each.directions.items()
        if direction.left_out or any(each.missing[name])
    ]
    if rows:
        console.out("")
        console.table(["left out", *columns], rows, right=columns)
        console.out(
            "\nQueries with nothing relevant in the gallery; queries and items without the\n"
            "modality that the direction needs."
        )
