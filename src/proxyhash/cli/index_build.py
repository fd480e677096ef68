"""`proxyhash index build` and `index add`: from a manifest into an index."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import (
    BadItemOption,
    DeviceOption,
    IndexArgument,
    JsonOption,
    ModelOption,
    examples,
)

if TYPE_CHECKING:
    from proxyhash.catalog.ingest import IndexReport

__all__ = ["add_verbs"]

ManifestArgument = Annotated[
    Path, typer.Argument(help="Manifest file or folder of the items.", show_default=False)
]


def add_verbs(commands: typer.Typer) -> None:
    """Add the verbs to `proxyhash index`."""
    commands.command(
        epilog=examples(
            "proxyhash index build runs/f64 photos/ --out photos.index",
            "proxyhash index build runs/f64 photos/ --out photos.index --thumbnails",
            'proxyhash search photos.index --text "two dogs run through the snow"',
        )
    )(build)
    commands.command(
        epilog=examples(
            "proxyhash index add photos.index more-photos/",
            "proxyhash index add http://localhost:19530 more-photos/ --model runs/f64",
        )
    )(add)


def build(
    run: Annotated[
        Path, typer.Argument(help="Run folder, or a model's folder.", show_default=False)
    ],
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="Index folder to make.", metavar="INDEX")],
    gallery_only: Annotated[
        bool,
        typer.Option("--gallery-only", help="Leave out the queries of the run's split."),
    ] = False,
    thumbnails: Annotated[
        bool,
        typer.Option("--thumbnails", help="Keep a small JPEG of every image in the index."),
    ] = False,
    model_copy: Annotated[
        bool,
        typer.Option(
            "--model-copy/--no-model-copy",
            help="Keep a copy of the model in the index, so that it can be searched by text and "
            "image when the run is gone or trained anew.",
        ),
    ] = True,
    on_bad_item: BadItemOption = "fail",
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Encode every item of a manifest with a run's model, and store the codes in a new index.

    Both modalities are stored, with text, labels, the image's path and every other key of the
    manifest as payload. What was stored when the work is stopped stays; `index add` with the same
    manifest goes on.
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
        track=console.track,
    )
    _show(str(out), report, seconds=time.perf_counter() - start, as_json=as_json)
    if not as_json:
        console.note(f'next: proxyhash search {out} --text "..."')


def add(
    index: IndexArgument,
    manifest: ManifestArgument,
    model: ModelOption = None,
    thumbnails: Annotated[
        bool,
        typer.Option(
            "--thumbnails",
            help="Keep a small JPEG of every image. Always, where the index has some already.",
        ),
    ] = False,
    on_bad_item: BadItemOption = "fail",
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Store a manifest's items in an index, in place of what it has under their ids.

    Items that are stored with the same codes and payload are left alone, so running it again, or
    after a stop, costs little.
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
        track=console.track,
    )
    _show(index, report, seconds=time.perf_counter() - start, as_json=as_json)


def _show(index: str, report: "IndexReport", *, seconds: float, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        console.emit_json({"index": index, **asdict(report), "seconds": round(seconds, 3)})
        return
    counts = {
        "added": report.added,
        "replaced": report.replaced,
        "unchanged": report.unchanged,
        "without a code": report.without_code,
    }
    parts = [f"{count:,} {what}" for what, count in counts.items() if count] or ["nothing to add"]
    if report.thumbnails:
        parts.append(f"{report.thumbnails:,} thumbnails")
    console.out(f"{index}: {', '.join(parts)} ({seconds:.1f} s)")
