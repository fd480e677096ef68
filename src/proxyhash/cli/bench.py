"""`proxyhash bench`: compare methods across bits, seeds and data sets."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, accept_old_names, examples
from proxyhash.errors import ProxyhashError, UsageError

if TYPE_CHECKING:
    from proxyhash.bench import Cell, Suite
    from proxyhash.bench.results import Results
    from proxyhash.evaluation.report import Spread

__all__ = ["register"]


class _SuiteFirst(TyperGroup):
    """Runs a suite unless the first word is another verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["run", *args])


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    verbs = typer.Typer(cls=_SuiteFirst, help="Compare methods across bits, seeds and data sets.")
    verbs.command(
        "run",
        cls=accept_old_names({"--only": "--data"}),
        epilog=examples(
            "proxyhash bench runs/demo.toml --out runs/demo",
            "proxyhash bench run runs/demo.toml --out runs/demo  # the same",
            "proxyhash bench runs/field.toml --out runs/field --data flickr8k --memory 4",
            "proxyhash bench runs/field.toml --out runs/field --methods dchml,dcmh --bits 16,64",
            "proxyhash bench runs/field.toml --out runs/field --list",
            "proxyhash bench runs/field.toml --out runs/field --report-only",
            "proxyhash bench --list-methods",
            "proxyhash bench compare runs/field runs/field-new",
        ),
    )(bench)
    verbs.command(
        epilog=examples(
            "proxyhash bench compare runs/field runs/field-new",
            "proxyhash bench compare runs/field runs/field-new --json",
        ),
    )(compare)
    app.add_typer(verbs, name="bench")


def _list_methods(value: bool) -> None:
    """Print the methods that a suite may name, and exit."""
    if not value:
        return
    from proxyhash.methods import METHODS

    rows = []
    for name, method in METHODS.items():
        parts = [
            word
            for word, needed in (
                ("labels", method.needs_labels or method.reads_labels),
                ("pairs", method.needs_pairs),
            )
            if needed
        ]
        learns = " and ".join(parts) or "nothing given"
        rows.append([name, learns, method.card.idea if method.card else "-"])
    console.table(["method", "learns from", "idea"], rows)
    raise typer.Exit


def bench(
    suite: Annotated[
        Path,
        typer.Argument(help="Suite file, TOML: methods, bits, seeds, data.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for cells and report.", metavar="FOLDER", show_default=False),
    ],
    data: Annotated[
        str, typer.Option(help="Only these data sets of the suite.", metavar="NAME,...")
    ] = "",
    methods: Annotated[
        str, typer.Option(help="Only these methods of the suite.", metavar="NAME,...")
    ] = "",
    bits: Annotated[str, typer.Option(help="Only these code lengths.", metavar="K,...")] = "",
    seeds: Annotated[str, typer.Option(help="Only these seeds.", metavar="N,...")] = "",
    processes: Annotated[
        int | None,
        typer.Option(
            help="Parallel runs. Default: one per core, limited by memory.",
            min=1,
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(
            help="Memory limit in GiB. Default: three quarters of what is available.",
            min=0.1,
            show_default=False,
            metavar="GIB",
        ),
    ] = None,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep every cell's model, tens of MB each.")
    ] = False,
    rerun_changed: Annotated[
        bool,
        typer.Option(
            "--rerun-changed", help="Rerun finished cells whose settings the suite changed."
        ),
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only rewrite tables and report.")
    ] = False,
    list_cells: Annotated[
        bool, typer.Option("--list", help="List the cells and their state.")
    ] = False,
    list_methods: Annotated[  # noqa: ARG001 -- its callback prints and exits
        bool,
        typer.Option(
            "--list-methods",
            callback=_list_methods,
            is_eager=True,
            help="List the methods that a suite may name, and exit; those of a plug-in, too, after "
            "`proxyhash --plugin FILE`.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate methods x bits x seeds x data sets, and write tables and a report.

    Every cell is a run folder below OUT/cells. Finished cells are not rerun, so a suite that was
    stopped continues where it was. Cells that fail are listed at the end. Where the suite has
    shared_encoders, they are tuned first, in run folders below OUT/encoders; where it has
    yardsticks, quantizers of the same encoders are measured last, below OUT/yardsticks.
    """
    from proxyhash.bench import cells_of, encoder_cells, read_suite, yardstick_cells
    from proxyhash.bench.report import write_report
    from proxyhash.bench.results import read_results

    whole = read_suite(suite)
    part = whole.narrowed(
        data=_names(data, [each.name for each in whole.data]),
        methods=_names(methods, [each.name for each in whole.variants]),
        bits=_numbers(bits, "--bits"),
        seeds=_numbers(seeds, "--seeds"),
    )
    if list_cells:
        _list(
            [*encoder_cells(part, out), *cells_of(part, out), *yardstick_cells(part, out)],
            as_json=as_json,
        )
        return
    failed: list[str] = []
    if not report_only:
        failed = _fill(
            part,
            out,
            processes=processes,
            memory=memory,
            keep_models=keep_models,
            rerun_changed=rerun_changed,
        )
    cells = cells_of(whole, out)
    changed = sum(cell.state == "changed" for cell in cells)
    if changed:
        console.note(f"{changed} cells in the report have other settings than the suite")
    yardsticks = yardstick_cells(whole, out)
    results = read_results(whole, cells, encoder_cells(whole, out), yardsticks)
    if not results.measured:
        raise UsageError(f"{out} has no finished cell of {suite} to report on")
    written = write_report(results, out, note=console.note, track=console.track)
    if as_json:
        console.emit_json(_to_dict(results, failed, written))
    else:
        _show(results, part, written)
    if failed:
        raise ProxyhashError(
            f"{len(failed)} of {len(cells_of(part, out))} cells failed; the others are kept, and "
            "the same command retries them:\n" + "\n".join(failed)
        )


def compare(
    first: Annotated[
        Path, typer.Argument(help="Folder of results to start from.", show_default=False)
    ],
    second: Annotated[
        Path, typer.Argument(help="Folder of results to set against it.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Compare the figures of two result folders, cell by cell, paired by seed.

    A difference is that of the second folder against the first one, over the seeds that both have
    with the same queries. p is of a paired t-test and not corrected for the number of figures.
    """
    from proxyhash.bench.changes import compare_folders
    from proxyhash.evaluation.report import figure

    changes = compare_folders(first, second)
    if as_json:
        console.emit_json(asdict(changes))
        return
    columns = ["data", "bits", "method", "figure", "first", "second", "difference", "seeds", "p"]
    console.table(
        columns,
        [
            [
                *(each.data, each.bits, each.method, each.figure, each.before, each.after),
                _signed(each.difference),
                each.difference.count,
                figure(each.p, digits=3),
            ]
            for each in changes.found
        ],
        right=[columns[1], *columns[4:]],
    )
    for names, what in (
        (changes.only_first, f"in {first} alone"),
        (changes.only_second, f"in {second} alone"),
        (changes.other_queries, "left out, as their queries differ"),
    ):
        if names:
            console.note(f"{what}: {'; '.join(names)}")


def _signed(difference: "Spread") -> str:
    deviation = f" ± {difference.deviation:.3f}" if difference.count > 1 else ""
    return f"{difference.mean:+.3f}{deviation}"


def _fill(part: "Suite", out: Path, **options: Any) -> list[str]:
    """Fill the open cells; return one line per failure."""
    from proxyhash.bench import fill_suite

    filled = fill_suite(part, out, note=console.note, track=console.track, **options)
    return [f"  {each.cell.name}: {each.error}" for each in filled.failed]


def _list(cells: "list[Cell]", *, as_json: bool) -> None:
    rows = [
        {
            "data": cell.data,
            "method": cell.method,
            "bits": cell.bits,
            "seed": cell.seed,
            "state": cell.state,
            "changes": list(cell.changes),
            "folder": str(cell.folder),
        }
        for cell in cells
    ]
    if as_json:
        console.emit_json(rows)
        return
    columns = ("data", "method", "bits", "seed", "state")
    console.table(
        columns, [[row[name] for name in columns] for row in rows], right=("bits", "seed")
    )
    counts = Counter(str(row["state"]) for row in rows)
    console.note(f"{len(rows)} cells: {', '.join(f'{n} {name}' for name, n in counts.items())}")


def _show(results: "Results", part: "Suite", written: list[Path]) -> None:
    from proxyhash.bench.tables import columns_of, encoders_words, heading, table_rows

    for data in part.data:
        rows = table_rows(results, data.name)
        if not rows:
            continue
        figures = [heading(*column) for column in columns_of(results, data.name)]
        if all(row[name] is None for row in rows for name in figures):
            _show_pairs(results, data.name)
        else:
            console.table(
                ["bits", "method", *figures, "seconds"],
                [
                    [
                        row["bits"],
                        row["method"],
                        *("-" if row[name] is None else row[name] for name in figures),
                        f"{row['seconds']:.1f}",
                    ]
                    for row in rows
                ],
                title=f"{data.name}, mAP@all",
                right=["bits", *figures, "seconds"],
            )
        if tuned := encoders_words(results, data.name):
            console.note(tuned)
        console.out("")
    console.note("\n".join(["written:", *(f"  {path}" for path in written)]))


def _show_pairs(results: "Results", data: str) -> None:
    """Print the table of pairs of a data set without labels, which has no mAP."""
    from proxyhash.bench.side_tables import side_tables

    for table in side_tables(results, data):
        if table.slug == "pairs":
            names = [column.heading for column in table.columns]
            console.table(
                ["bits", "method", *names],
                [
                    [
                        row.size,
                        row.method,
                        *(
                            column.shown(found)
                            for column, found in zip(table.columns, row.figures, strict=True)
                        ),
                    ]
                    for row in table.rows
                ],
                title=f"{data}, no labels: own other half",
                right=["bits", *names],
            )


def _to_dict(results: "Results", failed: list[str], written: list[Path]) -> dict[str, Any]:
    from proxyhash.bench.side_tables import side_tables
    from proxyhash.bench.tables import columns_of, encoders_words, heading, table_rows

    return {
        "suite": results.suite.name,
        "cells": results.expected,
        "finished": len(results.measured),
        "failed": [each.strip() for each in failed],
        "tables": {
            data.name: [
                {
                    **{key: row[key] for key in ("bits", "method", "seeds", "seconds")},
                    **{
                        name: row[name]
                        and {"mean": row[name].mean, "deviation": row[name].deviation}
                        for name in (heading(*each) for each in columns_of(results, data.name))
                    },
                }
                for row in table_rows(results, data.name)
            ]
            for data in results.suite.data
        },
        "side_tables": {
            data.name: {table.slug: table.lines() for table in side_tables(results, data.name)}
            for data in results.suite.data
        },
        "encoders": {data.name: encoders_words(results, data.name) for data in results.suite.data},
        "written": [str(path) for path in written],
    }


def _names(text: str, known: list[str]) -> list[str]:
    """Split a list of names, at commas that no known name has inside."""
    left, found = text.strip(), []
    while left:
        whole = [name for name in known if left == name or left.startswith(f"{name},")]
        name = max(whole, key=len) if whole else left.partition(",")[0]
        found.append(name.strip())
        left = left[len(name) :].lstrip(", ")
    return found


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",") if each.strip()]
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a list of numbers, for example 16,64") from None
