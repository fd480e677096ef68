"""`proxyhash evaluate`: how good the codes of a run are, by a protocol that is said."""

from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, RunArgument, examples
from proxyhash.errors import UsageError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash evaluate runs/f64",
            "proxyhash evaluate runs/f64 --plots",
            "proxyhash evaluate runs/f64 --json | jq .map",
            "proxyhash evaluate runs/f64 --ties stable --cutoff 5000 --divisor hits",
        )
    )(evaluate)


def evaluate(
    run: RunArgument,
    gallery: Annotated[
        str,
        typer.Option(
            help="What is searched: literature (everything that is no query, train items "
            "included), strict (without train and validation items) or both.",
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
            help="R of mAP@R; the whole gallery by default.", min=1, show_default=False, metavar="R"
        ),
    ] = None,
    divisor: Annotated[
        str,
        typer.Option(
            help="What mAP@R divides by: hits (among the first R), min (of R and the relevant "
            "items) or relevant (all of them).",
            metavar="WHAT",
        ),
    ] = "hits",
    empty: Annotated[
        str,
        typer.Option(
            help="Queries with nothing relevant: skip (leave out and count) or zero.",
            metavar="RULE",
        ),
    ] = "skip",
    gain: Annotated[
        str,
        typer.Option(
            help="What s shared labels are worth in NDCG: exponential (2^s - 1) or linear (s).",
            metavar="KIND",
        ),
    ] = "exponential",
    plots: Annotated[
        bool,
        typer.Option(
            "--plots", help="Draw precision-recall curves and distances into RUN/plots as PNG."
        ),
    ] = False,
    plots_dir: Annotated[
        Path | None,
        typer.Option(help="Draw them into this folder instead.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Where the run's collection lies now, if it was moved.", show_default=False
        ),
    ] = None,
    save: Annotated[
        bool,
        typer.Option(
            "--save",
            help="Write the result into RUN/metrics.json, which is left alone otherwise.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print mAP in four directions, precision, recall and NDCG at N, look-up and bit statistics.

    By default the protocol of training: expected mAP over the whole gallery, with the literature's
    gallery and with the strict one. Needs the collection's manifest, but neither its images nor
    the model.
    """
    from proxyhash.data.run_data import read_run
    from proxyhash.evaluation import Protocol
    from proxyhash.evaluation.run import evaluate_run, save_metrics

    if save and gallery != "both":
        raise UsageError("metrics.json holds both galleries; use --save without --gallery")
    protocol = Protocol(
        ties=ties,  # type: ignore[arg-type]
        cutoff=cutoff,
        divisor=divisor,  # type: ignore[arg-type]
        empty=empty,  # type: ignore[arg-type]
        gain=gain,  # type: ignore[arg-type]
    )
    parts = read_run(run, data=data)
    result = evaluate_run(parts, protocol=protocol, gallery=gallery, track=console.track)
    if as_json:
        console.emit_json(result.metrics)
    else:
        from proxyhash.cli.evaluation_tables import print_tables

        method = parts.config.get("method", "?")
        print_tables(result.evaluations, title=f"{run.name}: {method}, {parts.codes.bits} bits")
    if save:
        console.note(f"written to {save_metrics(run, result.metrics)}")
    if plots or plots_dir:
        from proxyhash.evaluation.plots import draw_plots

        for evaluation in result.evaluations:
            for path in draw_plots(evaluation, plots_dir or run / "plots", name=run.name):
                console.note(f"drawn: {path}")
