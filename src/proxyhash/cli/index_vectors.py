"""`proxyhash index vectors`: keep outputs beside the codes of an index, or drop them."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import (
    DeviceOption,
    IndexArgument,
    JsonOption,
    ManifestsOption,
    ModelOption,
    examples,
)
from proxyhash.errors import check_option

if TYPE_CHECKING:
    from proxyhash.codes.vectors import VectorKind

__all__ = ["KeepVectorsOption", "add_vectors", "as_kind"]

KeepVectorsOption = Annotated[
    str,
    typer.Option(
        help="Store the network's outputs beside the codes, so that `search --rerank vectors` can "
        "rank by them: int8 in one byte per bit of the code, float in four.",
        metavar="int8|float|none",
    ),
]


def as_kind(text: str) -> "VectorKind | None":
    """Return how vectors are kept, None for not at all.

    Raises:
        UsageError: "vectors is 'int4'; it must be one of float, int8, none".
    """
    from proxyhash.codes.vectors import VECTOR_KINDS, check_kind

    check_option("vectors", text, (*VECTOR_KINDS, "none"))
    return None if text == "none" else check_kind(text)


def add_vectors(commands: typer.Typer) -> None:
    """Add the verb to `proxyhash index`."""
    commands.command(
        epilog=examples(
            "proxyhash index vectors photos.index int8",
            "proxyhash index vectors photos.index int8 --data /mnt/photos/items.jsonl",
            "proxyhash index vectors photos.index none",
        )
    )(vectors)


def vectors(
    index: IndexArgument,
    kind: Annotated[
        str,
        typer.Argument(
            help="int8: a byte per bit of the code, float: four, none: codes alone.",
            metavar="int8|float|none",
            show_default=False,
        ),
    ],
    model: ModelOption = None,
    data: ManifestsOption = None,
    on_bad_item: Annotated[
        str,
        typer.Option(
            help="On items that cannot be encoded as they were: fail, with the index as it was; or "
            "skip, and let them count as sure of each bit.",
            metavar="fail|skip",
        ),
    ] = "fail",
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Keep outputs of the network beside the codes of an index folder, or drop them.

    `search --rerank vectors` ranks by them. Items are encoded once more; features that are cached
    are not computed again. The index is rewritten as by `index compact`, and stays as it was if
    that is stopped; readers are not interrupted. What is added later gets its vectors by itself.
    """
    from proxyhash.catalog.keep_vectors import keep_vectors

    start = time.perf_counter()
    report = keep_vectors(
        index,
        as_kind(kind),
        model=model,
        data=data or (),
        device=device,
        on_bad_item=on_bad_item,
        track=console.track,
    )
    seconds = time.perf_counter() - start
    if as_json:
        console.emit_json({"index": index, **asdict(report), "seconds": round(seconds, 3)})
        return
    kept = (
        f"{report.vectors} vectors of {report.bytes:,} bytes" if report.vectors else "codes alone"
    )
    unknown = f"; {report.unknown:,} items count as sure of each bit" if report.unknown else ""
    console.out(
        f"{index}: {report.items:,} items, {report.encoded:,} encoded; keeps {kept}{unknown} "
        f"({seconds:.1f} s)"
    )
