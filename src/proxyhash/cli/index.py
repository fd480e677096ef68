"""`proxyhash index`: build an index from a run and a manifest, change and maintain it."""

import shlex
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console, index_migrate, index_upkeep, index_vectors
from proxyhash.cli.index_upkeep import DryRunOption
from proxyhash.cli.index_vectors import KeepVectorsOption, as_kind
from proxyhash.cli.shared import (
    BadItemOption,
    DeviceOption,
    IndexArgument,
    JsonOption,
    LabelSeparatorOption,
    MegapixelsOption,
    ModelArgument,
    ModelOption,
    examples,
)
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from proxyhash.catalog.ingest import IndexReport

__all__ = ["register"]

commands = typer.Typer(
    help="Build, change and maintain an index; `proxyhash search` searches it.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    index_migrate.add_migrate(commands)
    index_upkeep.add_upkeep(commands)
    index_vectors.add_vectors(commands)
    app.add_typer(commands, name="index")


ManifestArgument = Annotated[
    Path, typer.Argument(help="Manifest file or folder of the items.", show_default=False)
]

ThumbnailsOption = Annotated[
    bool | None,
    typer.Option(
        "--thumbnails/--no-thumbnails",
        help="Store a small JPEG of every image. Default: if the index has thumbnails.",
        show_default=False,
    ),
]


@commands.command(
    epilog=examples(
        "proxyhash index build runs/f64 photos/ --out photos.index",
        "proxyhash index build runs/f64 photos/ --out photos.index --no-thumbnails",
        "proxyhash index build runs/f64 photos/ --out photos.index --keep-vectors int8",
        'proxyhash search photos.index --text "two dogs run through the snow"',
    )
)
def build(
    run: ModelArgument,
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="Index folder to create.", metavar="INDEX")],
    gallery_only: Annotated[
        bool,
        typer.Option("--gallery-only", help="Leave out the queries of the run's split."),
    ] = False,
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Store a small JPEG of every image in the index. Default: if there are images.",
            show_default=False,
        ),
    ] = None,
    model_copy: Annotated[
        bool,
        typer.Option(
            "--model-copy/--no-model-copy",
            help="Store a copy of the model in the index, so that searches by text and image "
            "work without the run.",
        ),
    ] = True,
    words: Annotated[
        bool,
        typer.Option(
            "--words/--no-words",
            help="Index the words of texts, labels and other keys, so that a text also finds items "
            "by its words, such as a model number or a name.",
        ),
    ] = True,
    keep_vectors: KeepVectorsOption = "none",
    on_bad_item: BadItemOption = "fail",
    max_megapixels: MegapixelsOption = None,
    label_separator: LabelSeparatorOption = None,
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
        keep_vectors=as_kind(keep_vectors),
        device=device,
        on_bad_item=on_bad_item,
        max_megapixels=max_megapixels,
        label_separator=label_separator,
        words=words,
        track=console.track,
    )
    _show(str(out), manifest, report, seconds=time.perf_counter() - start, as_json=as_json)
    if not as_json:
        given = "" if model_copy else f" --model {shlex.quote(str(run))}"
        _show_next(str(out), report, given)


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
    thumbnails: ThumbnailsOption = None,
    on_bad_item: BadItemOption = "fail",
    max_megapixels: MegapixelsOption = None,
    label_separator: LabelSeparatorOption = None,
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
        label_separator=label_separator,
        track=console.track,
    )
    _show(index, manifest, report, seconds=time.perf_counter() - start, as_json=as_json)
    if not as_json:
        _show_next(index, report, f" --model {shlex.quote(str(model))}" if model else "")


@commands.command(
    epilog=examples(
        "proxyhash index sync photos.index photos/ --dry-run",
        "proxyhash index sync photos.index photos/",
        "proxyhash index sync photos.index catalog.csv --on-bad-item skip --yes",
    )
)
def sync(
    index: IndexArgument,
    manifest: ManifestArgument,
    model: ModelOption = None,
    thumbnails: ThumbnailsOption = None,
    on_bad_item: BadItemOption = "fail",
    label_separator: LabelSeparatorOption = None,
    dry_run: DryRunOption = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Also remove more than half of the items, and those of folders that are away.",
        ),
    ] = False,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Add, change and remove items until an index holds those of a manifest or folder of images.

    Items whose texts, keys and files are as they were (by path, size and time) are not encoded
    again; after an interruption, the same command continues. Images that cannot be read are not
    taken for removed ones, nor is anything in a folder that is empty or missing, as an unmounted
    one is, or where rows of the manifest cannot be read.
    """
    from proxyhash.catalog.sync import sync_index

    start = time.perf_counter()
    report = sync_index(
        index,
        manifest,
        model=model,
        thumbnails=thumbnails,
        device=device,
        on_bad_item=on_bad_item,
        label_separator=label_separator,
        dry_run=dry_run,
        yes=yes,
        track=console.track,
    )
    seconds = time.perf_counter() - start
    more = {"removed": report.removed, "away": report.away}
    if report.away and not as_json:
        console.note(
            f"{report.away:,} items are not in {manifest}, but stay: {', '.join(report.places)} "
            "looks away (not mounted, empty or unreadable); --yes removes them"
        )
    if dry_run:
        planned = {
            "add": report.items.added,
            "change": report.items.replaced,
            "leave": report.items.unchanged,
            "keep what cannot be read of": report.items.kept,
            "remove": report.removed,
        }
        if as_json:
            counts = {**asdict(report.items), **more}
            console.emit_json({"index": index, "dry_run": True, **counts})
        else:
            parts = [f"{what} {count:,}" for what, count in planned.items() if count]
            console.out(f"{index}: would {', '.join(parts or ['do nothing'])}; nothing is changed")
        return
    _show(index, manifest, report.items, seconds=seconds, as_json=as_json, more=more)
    if not as_json:
        _show_next(index, report.items, f" --model {shlex.quote(str(model))}" if model else "")


def _show_next(index: str, report: "IndexReport", given: str) -> None:
    if report.kept or report.incomplete:  # mending comes first
        return
    from proxyhash.index import open_index

    with open_index(index) as found:
        query = '--text "..."' if "text" in found.modalities else "--image FILE"
    place = shlex.quote(index)
    console.next_steps(
        f"proxyhash search {place}{given} {query}", f"proxyhash serve {place}{given}"
    )


def _show(
    index: str,
    manifest: Path,
    report: "IndexReport",
    *,
    seconds: float,
    as_json: bool,
    more: Mapping[str, int] = MappingProxyType({}),
) -> None:
    if as_json:
        counts = {**asdict(report), **more}
        console.emit_json({"index": index, **counts, "seconds": round(seconds, 3)})
    else:
        counts = {
            "added": report.added,
            "replaced": report.replaced,
            "unchanged": report.unchanged,
            "removed": more.get("removed", 0),
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
        one = report.skipped == 1
        items, held = ("1 item", "it holds") if one else (f"{report.skipped:,} items", "they hold")
        raise DataError(
            f"{items} of {manifest} cannot be read, and what {held} is not stored; mend what "
            f"is named above, then `proxyhash index add {index} {manifest}`"
        )
