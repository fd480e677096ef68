"""`proxyhash index delete|compact|words|info|verify|snapshot|copy`: how an index is maintained."""

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import IndexArgument, JsonOption, examples
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from proxyhash.index.filters import Filter

__all__ = ["DryRunOption", "add_upkeep"]

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; print what would be done.")
]


def add_upkeep(commands: typer.Typer) -> None:
    """Add the verbs to `proxyhash index`."""
    for verb, epilog in _VERBS.items():
        commands.command(epilog=examples(*epilog))(verb)


def delete(
    index: IndexArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of the items.", metavar="ID...")
    ] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(help="File with one id per line; - for standard input.", metavar="FILE"),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="Delete the items whose payload meets a condition, as in `search`.",
            metavar="CONDITION",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete items by id or condition, with their thumbnails; ids that are not stored are ignored.

    `index compact` reclaims the disk space.
    """
    from proxyhash.catalog.manage import count_items, delete_items, delete_where

    if where is not None:
        from proxyhash.index.filter_text import parse_filter_text

        if ids or ids_from:
            raise UsageError("give ids or --where, not both")
        condition = parse_filter_text(where)
        _check_condition(index, condition)
        deleted = delete_where(index, condition, dry_run=dry_run, track=console.track)
        asked: dict[str, object] = {"where": where}
        absent = ""
    else:
        from proxyhash.data.text_file import read_ids

        wanted = list(dict.fromkeys([*(ids or []), *(read_ids(ids_from) if ids_from else [])]))
        if not wanted and ids_from:
            raise UsageError(f"{ids_from} has no ids; nothing is deleted: write one per line")
        if not wanted:
            raise UsageError(
                "give the ids to delete, a file of them with --ids-from, or a condition with "
                "--where"
            )
        deleted = (
            count_items(index, wanted)
            if dry_run
            else delete_items(index, wanted, track=console.track)
        )
        asked = {"ids": len(wanted)}
        absent = f"; {len(wanted) - deleted:,} not found" if deleted < len(wanted) else ""
    if as_json:
        dry = {"dry_run": True} if dry_run else {}
        console.emit_json({"index": index, **asked, "deleted": deleted, **dry})
        return
    done = "would be deleted; nothing is changed" if dry_run else "deleted"
    console.out(f"{index}: {deleted:,} {done}{absent}")


def _check_condition(index: str, condition: "Filter") -> None:
    """Refuse a condition about what no item has: `not prise > 3` would delete everything."""
    from proxyhash.index.open import open_index
    from proxyhash.search.notes import FilterReader

    with open_index(index) as opened:
        notes = FilterReader(opened).read(condition)
    if notes:
        said = "; ".join(note.message for note in notes)
        if any(note.subject == "id" for note in notes):
            said += f" (`proxyhash index delete {index} ID` deletes by id)"
        raise UsageError(f"{said}; nothing is deleted")


def compact(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Rewrite an index folder without deleted and replaced items.

    Needs as much free disk space as the index takes; readers are not interrupted.
    """
    from proxyhash.catalog.manage import compact_index

    before, after = compact_index(index)
    if as_json:
        console.emit_json({"index": index, "bytes_before": before, "bytes": after})
        return
    console.out(f"{index}: {before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")


def words(
    index: IndexArgument,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="Index the words of this key of the payload only; may be given several times. "
            "Default: every key but image.",
            metavar="KEY",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Index the words of an index folder's items, so that texts find them by their words, too.

    `index build` does that by itself; this is for an index that was built without, for other
    fields, and for a word index that is damaged. Others may search and change the index meanwhile;
    what they add is indexed, too.
    """
    from proxyhash.catalog.manage import index_words

    count = index_words(index, fields=field or [], track=console.track)
    if as_json:
        console.emit_json({"index": index, "items": count, "fields": field or None})
        return
    console.out(f"{index}: the words of {count:,} items are indexed")
    console.next_steps(f'proxyhash search {shlex.quote(index)} --text "..." --mode words')


def info(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Print the items, bits, model, size and search engine of an index."""
    from proxyhash.catalog.manage import describe_index

    described = describe_index(index)
    if as_json:
        console.emit_json(described)
        return
    console.table(
        ["", index], [[name.replace("_", " "), _shown(value)] for name, value in described.items()]
    )


def verify(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Read all of an index folder and compare checksums; exit code 3 if there are problems."""
    from proxyhash.catalog.manage import verify_index

    compared: list[str] = []
    problems = verify_index(index, report=compared.append)
    if as_json:
        console.emit_json({"index": index, "problems": problems, "compared": compared})
    else:
        for problem in [*compared, *problems]:
            console.out(console.printable(problem))
    if problems:
        plural = "s" if len(problems) > 1 else ""
        raise DataError(f"{index}: {len(problems):,} problem{plural}, listed above")
    if not as_json:
        console.out(f"{index}: no problems found")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} ({_shown(each)})" if isinstance(each, dict) else f"{name} {_shown(each)}"
            for name, each in value.items()
        )
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def snapshot(
    index: IndexArgument,
    folder: Annotated[
        Path, typer.Argument(help="Folder of the copy; new or empty.", show_default=False)
    ],
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="Copy the readable part of a damaged index."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy an index folder while others read and write it.

    The copy is a complete, compacted index with model and thumbnails.
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
        str,
        typer.Argument(help="Place to copy to; created if missing.", show_default=False),
    ],
    as_json: JsonOption = False,
) -> None:
    """Copy all items to another index of any kind, and compare counts and checksums.

    Run the same command again to continue an interrupted copy. Between folders, model and
    thumbnails are copied too; elsewhere searching by text or image needs --model.
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


_VERBS: dict[Callable[..., None], tuple[str, ...]] = {
    delete: (
        "proxyhash index delete photos.index 1000268201 1001773457",
        "proxyhash index delete photos.index --ids-from gone.txt",
        "proxyhash index delete photos.index --where 'year < 2010' --dry-run",
        "jq -r .id gone.jsonl | proxyhash index delete photos.index --ids-from -",
    ),
    compact: ("proxyhash index compact photos.index",),
    words: (
        "proxyhash index words photos.index",
        "proxyhash index words products.index --field text --field sku",
    ),
    info: ("proxyhash index info photos.index", "proxyhash index info photos.db --json"),
    verify: ("proxyhash index verify photos.index",),
    snapshot: (
        "proxyhash index snapshot photos.index backup/photos-monday.index",
        "proxyhash index snapshot damaged.index rest.index --salvage",
    ),
    copy: (
        "proxyhash index copy photos.index http://localhost:19530",
        "proxyhash index copy http://localhost:19530 photos.index",
        "proxyhash index copy photos.index photos.db",
    ),
}
