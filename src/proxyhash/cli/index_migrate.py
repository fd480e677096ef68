"""`proxyhash index migrate`: re-encode an index with another model while the old one serves."""

import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.index_upkeep import DryRunOption
from proxyhash.cli.shared import (
    DeviceOption,
    IndexArgument,
    JsonOption,
    ManifestsOption,
    examples,
)

if TYPE_CHECKING:
    from proxyhash.catalog.migrate import MigrateReport

__all__ = ["add_migrate"]


def add_migrate(commands: typer.Typer) -> None:
    """Add the verb to `proxyhash index`."""
    commands.command(
        epilog=examples(
            "proxyhash index migrate photos.index runs/tuned64 --dry-run",
            "proxyhash index migrate photos.index runs/tuned64",
            "proxyhash index migrate photos.index runs/f16 --data /mnt/photos/items.jsonl",
        )
    )(migrate)


def migrate(
    index: IndexArgument,
    model: Annotated[
        Path,
        typer.Argument(
            help="Run or model folder of the new model, of any code length.", show_default=False
        ),
    ],
    data: ManifestsOption = None,
    on_bad_item: Annotated[
        str,
        typer.Option(
            help="On items that cannot be encoded again: fail, with the index as it was; or skip, "
            "which leaves out those that have no code then.",
            metavar="fail|skip",
        ),
    ] = "fail",
    wait: Annotated[
        float,
        typer.Option(
            help="Seconds to wait at the end for another process that writes the index.", min=0
        ),
    ] = 60.0,
    dry_run: DryRunOption = False,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Encode all items of an index folder with another model, which takes the old one's place.

    Meanwhile the index serves the old model and can be changed; what changes is encoded as well.
    Then codes and model are swapped in one step, and a running `serve` follows by itself. Ids,
    payloads and thumbnails stay. After an interruption, the same command continues. Texts are read
    from the index, images from their files. Takes about twice the disk space of items and codes.
    """
    from proxyhash.catalog.migrate import migrate_index

    start = time.perf_counter()
    report = migrate_index(
        index,
        model,
        data=data or (),
        device=device,
        on_bad_item=on_bad_item,
        dry_run=dry_run,
        wait=wait,
        track=console.track,
    )
    seconds = time.perf_counter() - start
    if as_json:
        counts = {**asdict(report), **({"dry_run": True} if dry_run else {})}
        console.emit_json({"index": index, **counts, "seconds": round(seconds, 3)})
        return
    for line in report.named:
        console.note(line)
    if dry_run:
        console.out(f"{index}: would {_planned(report)}; nothing is changed")
        return
    console.out(f"{index}: {_done(report)} ({seconds:.1f} s)")
    console.next_steps(f"proxyhash index info {shlex.quote(index)}")


def _planned(report: "MigrateReport") -> str:
    if not report.bytes_needed:
        return "do nothing: its codes are of this model"
    parts = [f"encode {report.encoded:,} of {report.items:,} items ({report.bits} bits)"]
    if report.resumed:
        parts.append(f"keep {report.resumed:,} encoded by an earlier call")
    if report.lost:
        parts.append(f"lose {report.lost:,} that have no code then")
    if report.incomplete:
        parts.append(f"leave {report.incomplete:,} without a code that they have now")
    return f"{', '.join(parts)}, and take up to {report.bytes_needed / 1e6:,.0f} MB of disk space"


def _done(report: "MigrateReport") -> str:
    counts = {
        "encoded": report.encoded,
        "encoded by an earlier call": report.resumed,
        "left out": report.lost,
        "without a code that they had": report.incomplete,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count]
    model = f"model {report.model[:12]}, {report.bits} bits"
    return f"{', '.join(parts) or 'nothing to do'}; {model}"
