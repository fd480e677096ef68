"""`proxyhash data`: check, label, split, convert and generate collections."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from proxyhash.cli import console
from proxyhash.cli.data_check import (
    CHECK_EXAMPLES,
    FormatOption,
    PathArgument,
    check,
)
from proxyhash.cli.data_label import LABEL_EXAMPLES, label
from proxyhash.cli.shared import JsonOption, LabelSeparatorOption, OverwriteOption, examples
from proxyhash.errors import UsageError

__all__ = ["register"]

commands = typer.Typer(
    help="Check, label, split, convert and generate collections.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb, epilog in ((label, LABEL_EXAMPLES), (check, CHECK_EXAMPLES)):  # first in the help
        commands.command(epilog=epilog)(verb)
        commands.registered_commands.insert(0, commands.registered_commands.pop())
    app.add_typer(commands, name="data")


@commands.command(
    epilog=examples(
        "proxyhash data split photos/ --query 1000 --train 5000 --validation 500 --out split.json",
        "proxyhash data split photos/ --from-manifest --validation 200 --out split.json",
        "proxyhash data split mirflickr/ --protocol dcmh-mirflickr --out split.json",
    )
)
def split(
    path: PathArgument,
    out: Annotated[Path, typer.Option(help="Split file to write.", show_default=False)],
    query: Annotated[
        int | None,
        typer.Option(
            help="Number of queries. Default: a tenth of the items, at most 1,000.", min=0
        ),
    ] = None,
    train: Annotated[
        int | None,
        typer.Option(
            help="Number of training items. Default: four fifths of the rest.",
            min=1,
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            help="Number of training items for validation. Default: a twentieth of them, at most "
            "500.",
            min=0,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
    from_manifest: Annotated[
        bool,
        typer.Option("--from-manifest", help="Use the key `split` of the items."),
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Split sizes of the literature, such as dcmh-mirflickr; docs/datasets.md "
            "lists all.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    format: FormatOption = None,
    label_separator: LabelSeparatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw query, training and validation items and write their ids to a file."""
    from proxyhash.data import draw_split, read_collection, split_sizes
    from proxyhash.data.draw import MIN_LABELED, follow_manifest, validation_size
    from proxyhash.data.protocols import get_protocol
    from proxyhash.data.split import Split
    from proxyhash.files import check_output

    check_output(out, "a split", ours=Split.begins, overwrite=overwrite)
    if protocol and (from_manifest or (query, train) != (None, None)):
        raise UsageError(
            f"protocol {protocol} fixes the numbers of queries and training items; leave out "
            "--query, --train and --from-manifest"
        )
    named = get_protocol(protocol) if protocol else None
    collection = read_collection(path, format=format, label_separator=label_separator)
    if named:
        held_out = validation_size(named.train) if validation is None else validation
        parts = named.draw(collection, validation=held_out, seed=seed)
    elif from_manifest:
        parts = follow_manifest(collection, validation=validation, seed=seed)
    else:
        labeled = int(collection.labels.any(axis=1).sum())
        unlabeled = labeled < MIN_LABELED
        sizes = split_sizes(
            collection, query=query, train=train, validation=validation, unlabeled=unlabeled
        )
        parts = draw_split(
            collection,
            query=sizes.query,
            train=sizes.train,
            validation=sizes.validation,
            seed=seed,
            unlabeled=unlabeled,
        )
        if unlabeled:
            console.note(
                f"{labeled} items have labels, so queries and training items were drawn from all"
            )
    parts.save(out, collection)
    if as_json:
        console.emit_json({"out": str(out), "fingerprint": parts.fingerprint(collection)})
        return
    console.table(
        ("part", "items"),
        [
            ("query", f"{len(parts.query):,}"),
            ("gallery", f"{len(parts.gallery):,}"),
            ("  of them train", f"{len(parts.train):,}"),
            ("  of them validation", f"{len(parts.validation):,}"),
            ("  of them neither", f"{len(parts.strict_gallery):,}"),
        ],
        title=f"{collection.path}, seed {seed}",
        right=("items",),
    )
    console.note(f"written to {out}; train with it: proxyhash train {path} --split-file {out} ...")


class _ConvertCommand(TyperCommand):
    """Names the converters in the help, which are looked up only when that is printed."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the names and print the help."""
        from proxyhash.datasets import converter_names

        kind: Any = next(each for each in self.params if each.name == "kind")
        kind.help = f"Which data set it is: {', '.join(converter_names())}. Default: auto-detected."
        super().format_help(ctx, formatter)


@commands.command(
    cls=_ConvertCommand,
    epilog=examples(
        "proxyhash data convert downloads/mirflickr25k --out data/mirflickr --version dcmh",
        "proxyhash data convert downloads/coco --out data/coco --captions first",
        "proxyhash data convert downloads/wikipedia --out data/wikipedia",
    ),
)
def convert(
    path: Annotated[
        Path,
        typer.Argument(help="Folder or file of the published data set.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    kind: Annotated[
        str | None,
        typer.Option(
            help="Which data set it is, of those in docs/datasets.md. Default: auto-detected.",
            metavar="NAME",
        ),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="Which pairs to keep; see docs/datasets.md.", metavar="NAME"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images, if it is elsewhere.")
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(help="Captions per image: all (joined into one text) or first."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing manifest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert a published data set into a manifest, with its features in separate files.

    Image files stay where they are; the manifest has their paths relative to --out. Pairs are
    left out only if --version says so.
    """
    from proxyhash.data.protocols import PROTOCOLS
    from proxyhash.datasets import ConvertOptions
    from proxyhash.datasets.convert import convert_data_set

    _refuse_overwriting(out, force=force)
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
    parted = collection.names_splits
    arguments = [
        *(
            f"--{modality}-encoder features:{file}"
            for modality, file in conversion.features.items()
        ),
        *(f"--protocol {name}" for name in protocols[:1] if not parted),
        "--out runs/first",
    ]
    console.note(f"train on it: proxyhash train {out} {' '.join(arguments)}")


@commands.command(
    epilog=examples(
        "proxyhash data generate scenes/",
        "proxyhash data generate scenes/ --items 500 --seed 7 --size 96",
    )
)
def generate(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.", show_default=False)],
    items: Annotated[int, typer.Option(help="Number of images.", min=1, max=999_999)] = 3000,
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Width and height in pixels.", min=32, max=512)] = 128,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an existing manifest and images.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate an image set with captions and labels, the same on every machine."""
    from proxyhash.datasets.scenes import generate_scenes

    _refuse_overwriting(folder, force=force, others=("images",))
    collection = generate_scenes(folder, items=items, seed=seed, size=size, track=console.track)
    if as_json:
        console.emit_json(
            {
                "manifest": str(collection.path),
                "items": len(collection),
                "classes": list(collection.classes),
                "fingerprint": collection.fingerprint,
            }
        )
        return
    console.out(
        f"{len(collection):,} images with {len(collection.classes)} labels in {collection.path}"
    )
    console.next_steps(f"proxyhash data check {folder}")


def _refuse_overwriting(folder: Path, *, force: bool, others: Sequence[str] = ()) -> None:
    """Refuse a folder that has a manifest or files in the `others` of its folders, unless `force`.

    Raises:
        UsageError: "FOLDER/items.jsonl exists; choose another folder, or ... --force".
    """
    for path in (folder / "items.jsonl", *(folder / name for name in others)):
        there = any(path.iterdir()) if path.is_dir() else path.exists()
        if there and not force:
            raise UsageError(f"{path} exists; choose another folder, or overwrite it with --force")
