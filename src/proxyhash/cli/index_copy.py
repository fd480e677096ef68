"""`proxyhash index snapshot` and `index copy`: an index in another place."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import IndexArgument, JsonOption, examples

__all__ = ["add_verbs"]


def add_verbs(commands: typer.Typer) -> None:
    """Add the verbs to `proxyhash index`."""
    commands.command(
        epilog=examples(
            "proxyhash index snapshot photos.index backup/photos-monday.index",
            "proxyhash index snapshot damaged.index rest.index --salvage",
        )
    )(snapshot)
    commands.command(
        epilog=examples(
            "proxyhash index copy photos.index http://localhost:19530",
            "proxyhash index copy http://localhost:19530 photos.index",
            "proxyhash index copy photos.index photos.db",
        )
    )(copy)


def snapshot(
    index: IndexArgument,
    folder: Annotated[
        Path, typer.Argument(help="Folder of the copy; new, or empty.", show_default=False)
    ],
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage", help="Copy what is readable of a damaged index; leave out the rest."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy an index folder as it is now, while others read and write it.

    The copy is an index of its own, compacted, with model and thumbnails.
    """
    from proxyhash.catalog.manage import snapshot_index

    report = snapshot_index(index, folder, salvage=salvage)
    if as_json:
        console.emit_json({"index": index, "snapshot": str(folder), **asdict(report)})
        return
    lost = f"; {report.lost:,} could not be read" if report.lost else ""
    console.out(f"{index}: {report.items:,} items copied to {folder}{lost}")
    if report.problem:
        console.note(f"left out: {report.problem}")


def copy(
    source: Annotated[
        str, typer.Argument(help="Index folder, file or address to read.", show_default=False)
    ],
    target: Annotated[
        str, typer.Argument(help="Where to copy it; made if it is missing.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Copy all items to another index, of whatever kind, and compare counts and checksums.

    A copy that was stopped goes on when the same command is given again. Between folders, model
    and thumbnails come along; elsewhere searching by text or image needs --model.
    """
    from proxyhash.catalog.manage import copy_index

    report = copy_index(source, target, track=console.track)
    if as_json:
        console.emit_json(
            {
                "source": source,
                "target": target,
                "items": report.items,
                "written": report.written,
                "sha256": report.sha256,
            }
        )
        return
    console.out(
        f"{target}: {report.items:,} items, the same as in {source} (SHA-256 {report.sha256[:12]})"
    )
