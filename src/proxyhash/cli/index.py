"""`proxyhash index`: build an index from a run and a manifest, change and maintain it."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import (
    BadItemOption,
    DeviceOption,
    IndexArgument,
    JsonOption,
    MegapixelsOption,
    ModelOption,
    examples,
)
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from proxyhash.catalog.ingest import IndexReport

__all__ = ["register"]

commands = typer.Typer(
    help="Build, change and maintain an index; `proxyhash search` searches it.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(commands, name="index")


ManifestArgument = Annotated[
    Path, typer.Argument(help="Manifest file or folder of the items.", show_default=False)
]


@commands.command(
    epilog=examples(
        "proxyhash index build runs/f64 photos/ --out photos.index",
        "proxyhash index build runs/f64 photos/ --out photos.index --thumbnails",
        'proxyhash search photos.index --text "two dogs run through the snow"',
    )
)
def build(
    run: Annotated[Path, typer.Argument(help="Run or model folder.", show_default=False)],
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="Index folder to create.", metavar="INDEX")],
    gallery_only: Annotated[
        bool,
        typer.Option("--gallery-only", help="Leave out the queries of the run's split."),
    ] = False,
    thumbnails: Annotated[
        bool,
        typer.Option("--thumbnails", help="Store a small JPEG of every image in the index."),
    ] = False,
    model_copy: Annotated[
        bool,
        typer.Option(
            "--model-copy/--no-model-copy",
            help="Store a copy of the model in the index, so that searches by text and image "
            "work without the run.",
        ),
    ] = True,
    on_bad_item: BadItemOption = "fail",
    max_megapixels: MegapixelsOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Encode every item of a manifest with a run's model and store the codes in a new index.

    All modalities are stored, with text, labels, the image's path and every other key of the
    manifest as payload. A build that was stopped keeps what it stored; `index add` with the same
    manifest continues it.
    """
    from proxyhash.catalog.build import build_index

    start = time.perf_counter()
    report = build_index(
        run,
        manifest,
        out,
        gallery_only=gallery_only,
        thumbnails=thumbnails,
        copy_model=model_copy,
        device=device,
        on_bad_item=on_bad_item,
        max_megapixels=max_megapixels,
        track=console.track,
    )
    _show(str(out), manifest, report, seconds=time.perf_counter() - start, as_json=as_json)
    if not as_json:
        console.note(f'next: proxyhash search {out} --text "..."')


@commands.command(
    epilog=examples(
        "proxyhash index add photos.index more-photos/",
        "proxyhash index add http://localhost:19530 more-photos/ --model runs/f64",
    )
)
def add(
    index: IndexArgument,
    manifest: ManifestArgument,
    model: ModelOption = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Store a small JPEG of every image. Always on if the index has thumbnails.",
        ),
    ] = False,
    on_bad_item: BadItemOption = "fail",
    max_megapixels: MegapixelsOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Add a manifest's items to an index, replacing items with the same ids.

    Items that are stored with the same codes and payload are not written, so running it again, or
    after an interruption, is quick.
    """
    from proxyhash.catalog.build import add_to_index

    start = time.perf_counter()
    report = add_to_index(
        index,
        manifest,
        model=model,
        thumbnails=thumbnails,
        device=device,
        on_bad_item=on_bad_item,
        max_megapixels=max_megapixels,
        track=console.track,
    )
    _show(index, manifest, report, seconds=time.perf_counter() - start, as_json=as_json)


def _show(
    index: str, manifest: Path, report: "IndexReport", *, seconds: float, as_json: bool
) -> None:
    if as_json:
        console.emit_json({"index": index, **asdict(report), "seconds": round(seconds, 3)})
    else:
        counts = {
            "added": report.added,
            "replaced": report.replaced,
            "unchanged": report.unchanged,
            "without a code": report.without_code,
            "kept as stored where they cannot be read": report.kept,
            "without what cannot be read": report.incomplete,
            "skipped": report.skipped,
        }
        parts = [f"{count:,} {what}" for what, count in counts.items() if count]
        if report.thumbnails:
            size = f" ({report.thumbnail_bytes / 1e6:,.1f} MB)"
            parts.append(f"{report.thumbnails:,} thumbnails{size}")
        console.out(f"{index}: {', '.join(parts or ['nothing to add'])} ({seconds:.1f} s)")
    if report.skipped:
        items = "1 item" if report.skipped == 1 else f"{report.skipped:,} items"
        raise DataError(
            f"{items} of {manifest} cannot be read, and what they hold is not stored; mend what "
            f"is named above, then `proxyhash index add {index} {manifest}`"
        )


@commands.command(
    epilog=examples(
        "proxyhash index delete photos.index 1000268201 1001773457",
        "proxyhash index delete photos.index --ids-from gone.txt",
        "jq -r .id gone.jsonl | proxyhash index delete photos.index --ids-from -",
    )
)
def delete(
    index: IndexArgument,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of the items.", metavar="ID...")
    ] = None,
    ids_from: Annotated[
        Path | None,
        typer.Option(help="File with one id per line; - for standard input.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Delete items by id, with their thumbnails; ids that are not stored are ignored.

    `index compact` reclaims the disk space.
    """
    from proxyhash.catalog.manage import delete_items

    wanted = list(dict.fromkeys([*(ids or []), *(_read_ids(ids_from) if ids_from else [])]))
    if not wanted:
        raise UsageError("give the ids to delete, or a file of them with --ids-from")
    deleted = delete_items(index, wanted, track=console.track)
    if as_json:
        console.emit_json({"index": index, "ids": len(wanted), "deleted": deleted})
        return
    absent = f"; {len(wanted) - deleted:,} not found" if deleted < len(wanted) else ""
    console.out(f"{index}: {deleted:,} deleted{absent}")


@commands.command(
    epilog=examples("proxyhash index compact photos.index"),
)
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


def _read_ids(path: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); give a file with one id per line"
        ) from error
    return [line for line in text.split("\n") if line.strip()]


@commands.command(
    epilog=examples(
        "proxyhash index info photos.index",
        "proxyhash index info photos.db --json",
    )
)
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


@commands.command(epilog=examples("proxyhash index verify photos.index"))
def verify(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Read all of an index folder and compare checksums; exit code 3 if there are problems."""
    from proxyhash.catalog.manage import verify_index

    problems = verify_index(index)
    if as_json:
        console.emit_json({"index": index, "problems": problems})
    else:
        for problem in problems:
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


@commands.command(
    epilog=examples(
        "proxyhash index snapshot photos.index backup/photos-monday.index",
        "proxyhash index snapshot damaged.index rest.index --salvage",
    )
)
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


@commands.command(
    epilog=examples(
        "proxyhash index copy photos.index http://localhost:19530",
        "proxyhash index copy http://localhost:19530 photos.index",
        "proxyhash index copy photos.index photos.db",
    )
)
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
