"""`proxyhash proxies`: make codes for classes and measure the distances between them."""

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import JsonOption, OverwriteOption, examples
from proxyhash.errors import UsageError, check_option

if TYPE_CHECKING:
    from proxyhash.proxies import Proxies

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash proxies --classes 24 --bits 32",
            "proxyhash proxies --classes 80 --bits 64 --kind phnet --seed 1",
            "proxyhash proxies --classes 80 --bits 64 --out proxies.npz",
        )
    )(proxies)


def proxies(
    classes: Annotated[
        int, typer.Option(help="Number of classes C.", min=1, metavar="C", show_default=False)
    ],
    bits: Annotated[
        int,
        typer.Option(help="Code length K.", min=1, max=4096, metavar="K", show_default=False),
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="codebook (from coding theory or a search) or phnet (learned).", metavar="KIND"
        ),
    ] = "codebook",
    seed: Annotated[int, typer.Option(help="Random seed.", min=0)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Save the codes, -1 and +1: FILE.npz (int8 array codes, C by K) or FILE.csv.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a binary code for each of C classes and print the distances between the codes.

    The larger the minimum distance, the more wrong bits a code may have and still be nearest to its
    own class. No set of C codes exceeds the Plotkin bound.
    """
    from proxyhash.files import check_output
    from proxyhash.proxies.make_proxies import make_proxies

    check_option("kind", kind, ("codebook", "phnet"))
    if out is not None and out.suffix not in (".npz", ".csv"):
        raise UsageError(f"--out {out} must end in .npz or .csv")
    if out is not None:
        check_output(out, "a file of codes", ours=_is_codes, overwrite=overwrite)
    started = time.perf_counter()
    made = make_proxies(kind, classes=classes, bits=bits, seed=seed, track=console.track)
    seconds = time.perf_counter() - started
    if out is not None:
        _save(made, out)
    if as_json:
        console.emit_json(_to_dict(made, kind=kind, seed=seed, seconds=seconds))
    else:
        _show(made, kind=kind, seconds=seconds)
    if out is not None:
        console.note(f"codes written to {out}")


def plotkin_bound(classes: int, bits: int) -> int:
    """Return the largest minimum distance that `classes` codes of `bits` bits could have.

    Plotkin's argument: each bit adds at most floor(C/2) ceil(C/2) to the sum of all distances, so
    their mean, and hence the smallest, is at most K floor(C/2) ceil(C/2) / (C (C-1) / 2).
    """
    if classes < 2:
        return bits
    return bits * (classes // 2) * ((classes + 1) // 2) * 2 // (classes * (classes - 1))


def _to_dict(made: "Proxies", *, kind: str, seed: int, seconds: float) -> dict[str, Any]:
    histogram = made.distance_histogram().tolist()
    return {
        "classes": made.classes,
        "bits": made.bits,
        "kind": kind,
        "origin": made.origin,
        "seed": seed,
        "minimum_distance": made.minimum_distance,
        "plotkin_bound": plotkin_bound(made.classes, made.bits),
        "mean_distance": made.mean_distance,
        "histogram": {str(distance): n for distance, n in enumerate(histogram) if n},
        "seconds": round(seconds, 3),
    }


def _show(made: "Proxies", *, kind: str, seconds: float) -> None:
    name = kind if made.origin == kind else f"{kind} ({made.origin})"
    console.out(
        f"{made.classes} codes of {made.bits} bits, {name}, made in {seconds:.1f} s\n"
        f"minimum distance {made.minimum_distance} "
        f"(at most {plotkin_bound(made.classes, made.bits)} by Plotkin's bound), "
        f"mean {made.mean_distance:.2f}\n"
    )
    histogram = made.distance_histogram()
    top = max(1, int(histogram.max(initial=0)))
    console.table(
        ("distance", "pairs", ""),
        [
            (distance, f"{count:,}", "#" * max(1, round(40 * count / top)))
            for distance, count in enumerate(histogram.tolist())
            if count
        ],
        right=("distance", "pairs"),
    )


def _is_codes(head: bytes) -> bool:
    """Whether a file begins as those that `_save` writes."""
    return set(head) <= set(b"-01,\n") or (head[:2] == b"PK" and b"codes.npy" in head[:200])


def _save(made: "Proxies", path: Path) -> None:
    import numpy as np

    from proxyhash.files import writing_output

    with writing_output(path) as temporary:
        if path.suffix == ".npz":
            np.savez(temporary, allow_pickle=False, codes=made.codes)
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(made.codes.tolist())
