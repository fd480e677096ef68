"""`proxyhash data check`: the report on a collection."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, LabelSeparatorOption, MegapixelsOption, examples
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from proxyhash.data.check import CheckReport

__all__ = ["CHECK_EXAMPLES", "FormatOption", "PathArgument", "check"]

SHOWN = 10
"""Findings of one kind that are printed; `--json` has all of them."""

CHECK_EXAMPLES = examples(
    "proxyhash data check photos/",
    "proxyhash data check photos/items.jsonl --json > report.json",
    "proxyhash data check captions.csv --label-separator ,",
    "proxyhash data check huge.parquet --no-images",
)

PathArgument = Annotated[
    Path,
    typer.Argument(
        help="Manifest, a folder that contains one, or a folder of images.", show_default=False
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        help="Reader of the manifest: jsonl, csv, parquet, imagefolder or one of a plug-in. "
        "Default: auto-detected.",
        metavar="NAME",
    ),
]


def check(
    path: PathArgument,
    format: FormatOption = None,
    label_separator: LabelSeparatorOption = None,
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
    (labels as a list), or the metadata file of a Hugging Face image folder. A folder of images, a
    folder per class, and a table of file names and captions need no ids. Class numbers get their
    names from classes.txt beside the manifest, one per line. Labels may be probabilities, an object
    such as {"dog": 0.8}, as `data label` writes them.
    """
    from proxyhash.data.check import check_collection
    from proxyhash.data.images import ImageLimits, image_limits

    with image_limits(ImageLimits.of_megapixels(max_megapixels)):
        report = check_collection(
            path,
            format=format,
            label_separator=label_separator,
            files=images,
            threads=threads,
            track=console.track,
        )
    methods, verdict = _training(report)
    if as_json:
        training = {"can_start": bool(methods), "methods": methods, "message": verdict}
        console.emit_json({**report.to_dict(), "training": training})
    else:
        _print_report(report, images=images)
        console.out(f"{'' if report.errors == 0 else chr(10)}{verdict}")
    if report.errors:
        plural = "s" if report.errors > 1 else ""
        raise DataError(f"{report.path}: {report.errors:,} error{plural}, listed above")
    if report.without_sources == report.items:
        raise DataError(f"{report.path}: {verdict}")


def _training(report: "CheckReport") -> tuple[list[str], str]:
    """Return the methods that training can start with, and a sentence about it."""
    from proxyhash.data.draw import MIN_LABELED

    if report.without_sources == report.items:
        return [], "training cannot start: no item has an image or a text"
    labeled = report.items - report.without_labels
    if report.items < MIN_LABELED:
        return [], (
            f"training cannot start: there are {report.items} items, and {MIN_LABELED} are needed"
        )
    from proxyhash.methods import METHODS

    every = list(METHODS)
    free = [name for name in every if not METHODS[name].reads_labels]
    if report.complete == 0 and len([each for each in report.having.values() if each]) == 1:
        free = [name for name in free if not METHODS[name].needs_pairs]
    skip = ", with --on-bad-item skip," if report.errors else ""
    if labeled >= MIN_LABELED:
        return every, f"training can start{skip} with any of {len(every)} methods, such as dchml"
    return free, (
        f"training can start{skip} with {', '.join(free)}, which read no labels ({labeled:,} of "
        f"{report.items:,} items have some; the other methods need {MIN_LABELED})"
    )


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
            *(
                [("labels are probabilities", f"{report.with_probabilities:,}")]
                if report.with_probabilities
                else []
            ),
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
    if report.recognized:
        console.out(f"\nrecognized: {console.printable(report.recognized)}")
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
    for name, files in report.files.items():
        if bad := len(files.missing) + len(files.unreadable):
            named = bad + files.read
            console.out(f"\n{bad:,} of {named:,} {MODALITIES[name].plural} could not be read")
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
