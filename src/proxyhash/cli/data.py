"""`proxyhash data`: check, split, convert and generate collections."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, MegapixelsOption, examples
from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from proxyhash.data.check import CheckReport

__all__ = ["register"]

SHOWN = 10
"""Findings of one kind that are printed; `--json` has all of them."""

PathArgument = Annotated[
    Path,
    typer.Argument(help="Manifest, or the folder that contains it.", show_default=False),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        help="Reader of the manifest: jsonl, csv, parquet, imagefolder or one of a plug-in. "
        "Default: auto-detected.",
        metavar="NAME",
    ),
]

commands = typer.Typer(help="Check, split, convert and generate collections.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    app.add_typer(commands, name="data")


@commands.command(
    epilog=examples(
        "proxyhash data check photos/",
        "proxyhash data check photos/items.jsonl --json > report.json",
        "proxyhash data check huge.parquet --no-images",
    )
)
def check(
    path: PathArgument,
    format: FormatOption = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Decode every image.")
    ] = True,
    max_megapixels: MegapixelsOption = None,
    threads: Annotated[int, typer.Option(help="Decoding threads.", min=1)] = 4,
    as_json: JsonOption = False,
) -> None:
    """Read a collection and report its contents and problems; exit code 3 on errors.

    A manifest has one row per item with id, image (a path relative to the manifest's folder),
    text, labels and split, of which all but the id may be missing; other keys are kept. It is a
    file of JSON lines, CSV or TSV (labels as dog|beach, as dog;beach or as a JSON list), Parquet
    (labels as a list), or the metadata file of a Hugging Face image folder.
    """
    from proxyhash.data.check import check_collection
    from proxyhash.data.images import ImageLimits, image_limits

    with image_limits(ImageLimits.of_megapixels(max_megapixels)):
        report = check_collection(
            path, format=format, files=images, threads=threads, track=console.track
        )
    if as_json:
        console.emit_json(report.to_dict())
    else:
        _print_report(report, images=images)
    if report.errors:
        plural = "s" if report.errors > 1 else ""
        raise DataError(f"{report.path}: {report.errors:,} error{plural}, listed above")


def _print_report(report: "CheckReport", *, images: bool) -> None:
    from proxyhash.data import MODALITIES

    pair = len(report.having) == 2
    console.table(
        ("", "items"),
        [
            ("total", f"{report.items:,}"),
            *((f"with {MODALITIES[name].one}", f"{n:,}") for name, n in report.having.items()),
            ("with both" if pair else "with all of these", f"{report.complete:,}"),
            ("with neither" if pair else "with none of these", f"{report.without_sources:,}"),
            ("without labels", f"{report.without_labels:,}"),
            *((f"split {name}", f"{count:,}") for name, count in report.splits.items()),
        ],
        title=f"{report.path} ({report.format})",
        right=("items",),
    )
    if report.labels:
        console.out("")
        console.table(
            ("label", "items"),
            [(name, f"{count:,}") for name, count in report.labels.items()],
            title=f"{len(report.labels)} labels",
            right=("items",),
        )
    _print_findings("invalid rows", report.bad_rows)
    _print_findings("rows with a duplicate id", report.duplicate_ids)
    for name, files in report.files.items():
        plural = MODALITIES[name].plural
        _print_findings(f"missing {plural}", files.missing)
        _print_findings(f"unreadable {plural}", files.unreadable)
    for name, rows in report.blank.items():
        title = f"items with an empty {name}"
        _print_findings(title, [f"row {row}" for row in rows])
    for name, files in report.files.items():
        title = f"groups of items with the same {name}"
        _print_findings(title, [", ".join(ids) for ids in files.duplicates])
    for hint in report.hints:
        console.out(f"\nhint: {console.printable(hint)}")
    if not report.errors:
        read = [
            f"{files.read:,} {MODALITIES[name].plural} read"
            if images
            else f"{MODALITIES[name].plural} not checked"
            for name, files in report.files.items()
        ]
        console.out(f"\nno errors, {', '.join(read)}")


def _print_findings(title: str, findings: Sequence[object]) -> None:
    if not findings:
        return
    console.out(f"\n{title}: {len(findings):,}")
    for finding in findings[:SHOWN]:
        console.out(f"  {console.printable(str(finding))}")
    if len(findings) > SHOWN:
        console.out(f"  and {len(findings) - SHOWN:,} more; --json lists them all")


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
            help="Number of training items. Default: four fifths of the rest, at most 50,000.",
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
    format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw query, training and validation items and write their ids to a file."""
    from proxyhash.data import draw_split, read_collection, split_sizes
    from proxyhash.data.draw import MIN_LABELED, follow_manifest, validation_size
    from proxyhash.data.protocols import get_protocol

    if protocol and (from_manifest or (query, train) != (None, None)):
        raise UsageError(
            f"protocol {protocol} fixes the numbers of queries and training items; leave out "
            "--query, --train and --from-manifest"
        )
    named = get_protocol(protocol) if protocol else None
    collection = read_collection(path, format=format)
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
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing manifest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate an image set with captions and labels, the same on every machine."""
    from proxyhash.datasets.scenes import generate_scenes

    _refuse_overwriting(folder, force=force)
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
    console.note(f"next: proxyhash data check {folder}")


def _refuse_overwriting(folder: Path, *, force: bool) -> None:
    """Refuse a folder that has a manifest, unless `force`.

    Raises:
        UsageError: "FOLDER/items.jsonl exists; choose another folder, or ... --force".
    """
    manifest = folder / "items.jsonl"
    if manifest.exists() and not force:
        raise UsageError(f"{manifest} exists; choose another folder, or overwrite it with --force")
