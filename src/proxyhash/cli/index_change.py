"""`proxyhash index delete` and `index compact`: making an index smaller."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import IndexArgument, JsonOption, examples
from proxyhash.errors import UsageError

__all__ = ["add_verbs"]


def add_verbs(commands: typer.Typer) -> None:
    """Add the verbs to `proxyhash index`."""
    commands.command(
        epilog=examples(
            "proxyhash index delete photos.index 1000268201 1001773457",
            "proxyhash index delete photos.index --ids-from gone.txt",
            "jq -r .id gone.jsonl | proxyhash index delete photos.index --ids-from -",
        )
    )(delete)
    commands.command(
        epilog=examples("proxyhash index compact photos.index"),
    )(compact)


def delete(
    index: IndexArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Items to remove.", metavar="ID...")
    ] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(help="File with an id a line; - for standard input.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove items by id, with their thumbnails; ids that are not stored are passed over.

    The room on disk is given back by `index compact`.
    """
    from proxyhash.catalog.manage import delete_items

    wanted = list(dict.fromkeys([*(ids or []), *(_read_ids(ids_from) if ids_from else [])]))
    if not wanted:
        raise UsageError("give ids to remove, or a file of them with --ids-from")
    deleted = delete_items(index, wanted, track=console.track)
    if as_json:
        console.emit_json({"index": index, "ids": len(wanted), "deleted": deleted})
        return
    absent = f"; {len(wanted) - deleted:,} were not there" if deleted < len(wanted) else ""
    console.out(f"{index}: {deleted:,} deleted{absent}")


def compact(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Write an index folder anew without what was deleted or replaced.

    Takes the room of the index once more until it is done; others read on meanwhile.
    """
    from proxyhash.catalog.manage import compact_index

    before, after = compact_index(index)
    if as_json:
        console.emit_json({"index": index, "bytes_before": before, "bytes": after})
        return
    console.out(f"{index}: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")


def _read_ids(path: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); give a file with an id a line"
        ) from error
    return [line for line in text.split("\n") if line.strip()]
