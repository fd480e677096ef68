"""`proxyhash data convert`: a published data set becomes a manifest."""

from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, examples
from proxyhash.errors import UsageError

__all__ = ["KINDS", "refuse_overwriting", "register_convert"]

KINDS = ("mirflickr", "nus-wide", "coco", "iapr-tc12", "wikipedia", "text-lists", "arrays")
"""Names of the converters, which a test holds to those there are; importing them is slow."""


def register_convert(commands: typer.Typer) -> None:
    """Add the verb to those of `proxyhash data`."""
    commands.command(
        epilog=examples(
            "proxyhash data convert downloads/mirflickr25k --out data/mirflickr --version dcmh",
            "proxyhash data convert downloads/coco --out data/coco --captions first",
            "proxyhash data convert downloads/wikipedia --out data/wikipedia",
        )
    )(convert)


def convert(
    path: Annotated[
        Path,
        typer.Argument(help="Folder or file of the data set as published.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    kind: Annotated[
        str | None,
        typer.Option(
            help=f"Which data set it is: {', '.join(KINDS)}. By default the files tell.",
            metavar="NAME",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Which pairs to keep, as docs/datasets.md lists.", metavar="NAME"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, where they lie apart.")
    ] = None,
    captions: Annotated[
        str | None, typer.Option(help="all captions of an image as one text, or the first.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an older manifest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a published data set into a manifest, with its features beside it.

    Image files stay where they are; the manifest names them by their paths from --out. A pair
    is left out only where --version says so.
    """
    from proxyhash.data.protocols import PROTOCOLS
    from proxyhash.datasets import ConvertOptions
    from proxyhash.datasets.convert import convert_data_set

    refuse_overwriting(out, force=force)
    options = ConvertOptions(version=version, images=images, captions=captions)
    conversion = convert_data_set(path, out, kind=kind, options=options)
    collection = conversion.collection
    protocols = [each.name for each in PROTOCOLS.values() if each.fits(collection)]
    if as_json:
        console.emit_json(
            {
                "source": conversion.source,
                "manifest": str(collection.path),
                "items": len(collection),
                "classes": list(collection.classes),
                "features": {name: str(file) for name, file in conversion.features.items()},
                "protocols": protocols,
            }
        )
        return
    console.out(
        f"{conversion.source}: {len(collection):,} items of {len(collection.classes)} classes in "
        f"{collection.path}"
    )
    for modality, file in conversion.features.items():
        console.out(f"{modality} features: {file}")
    parted = any(item.split is not None for item in collection.items)
    arguments = [
        *(
            f"--{modality}-encoder features:{file}"
            for modality, file in conversion.features.items()
        ),
        *(f"--protocol {name}" for name in protocols[:1] if not parted),
        "--out runs/first",
    ]
    console.note(f"train on it: proxyhash train {out} {' '.join(arguments)}")


def refuse_overwriting(folder: Path, *, force: bool) -> None:
    """Refuse a folder that has a manifest, unless `force`.

    Raises:
        UsageError: "FOLDER/items.jsonl exists; choose another folder, or ... --force".
    """
    manifest = folder / "items.jsonl"
    if manifest.exists() and not force:
        raise UsageError(f"{manifest} exists; choose another folder, or write over it with --force")
