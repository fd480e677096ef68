"""`proxyhash encode`: compute the codes of a collection with a trained model."""

import time
from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import (
    BadItemOption,
    DeviceOption,
    JsonOption,
    MegapixelsOption,
    ModelArgument,
    OverwriteOption,
    examples,
    together,
)
from proxyhash.errors import DataError, UsageError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash encode runs/f64 photos/ --out codes.npz",
            "proxyhash encode runs/f64/model more/items.csv --out more.npz --on-bad-item skip",
            "torchrun --nproc-per-node 8 -m proxyhash encode runs/f64 photos/ --out codes.npz "
            "--device cuda",
            "proxyhash encode runs/f64 photos/ --out codes.npz --ray auto",
        )
    )(encode)


def encode(
    model: ModelArgument,
    data: Annotated[
        Path, typer.Argument(help="Manifest file or folder of the items.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Code file to write (.npz).", metavar="FILE")],
    on_bad_item: BadItemOption = "fail",
    max_megapixels: MegapixelsOption = None,
    overwrite: OverwriteOption = False,
    device: DeviceOption = "cpu",
    shard_items: Annotated[
        int,
        typer.Option(
            help="Items encoded and stored together: what a killed run repeats at most.", min=1
        ),
    ] = 4096,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Encode on a Ray cluster, whose machines see model and images under these paths: "
            "auto for that of this machine, HOST:PORT or ray://HOST:PORT for another, local for "
            "one that is started for this command. Needs the extra ray.",
            metavar="auto|local|ADDRESS",
            show_default=False,
        ),
    ] = None,
    ray_workers: Annotated[
        int | None,
        typer.Option(
            help="Workers on the Ray cluster. Default: one per GPU with --device cuda, else one "
            "per 4 processor cores.",
            min=1,
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the codes of every item in a collection.

    numpy alone reads the file: arrays ids, bits, model and, for each modality, its codes (such as
    image_codes, packed bits, uint8) and which items have it (has_image, bool). Features are cached,
    so a second run is quick.

    Codes are kept shard by shard in FILE.shards until all are there, so the same command continues
    a run that was stopped or killed. Under torchrun the processes share the shards; FILE is then on
    a disk that all machines see. The codes are the same, whoever computes them.

    With --on-bad-item skip, an item that cannot be read keeps the code that FILE has of it, or is
    marked in the file (unreadable_image, bool); exit code 3 if nothing of an item is there.
    """
    from proxyhash.codes import CodeFile
    from proxyhash.data import MODALITIES, read_collection
    from proxyhash.encoders.cache import FeatureCache
    from proxyhash.encoding import RayOptions, encode_to_file
    from proxyhash.files import check_output

    if ray is None and ray_workers is not None:
        raise UsageError("--ray-workers goes with --ray; give --ray auto, local or an address")
    start = time.perf_counter()
    with together() as processes:
        check_output(out, "a code file", ours=CodeFile.begins, overwrite=overwrite)
        collection = read_collection(data, on_bad_item=on_bad_item)
        done = encode_to_file(
            model,
            collection,
            out,
            device=device,
            on_bad_item=on_bad_item,
            max_megapixels=max_megapixels,
            shard_items=shard_items,
            cache=FeatureCache(),
            processes=processes,
            ray=None if ray is None else RayOptions(ray, ray_workers),
            track=console.track,
        )
    if done is None:
        return
    codes, seconds = done.codes, time.perf_counter() - start
    skipped = done.without + collection.skipped
    counts = {kind.plural: int(codes.has(name).sum()) for name, kind in MODALITIES.items()}
    if as_json:
        console.emit_json(
            {
                "out": str(out),
                "items": len(codes),
                **counts,
                "kept": done.kept,
                "unreadable": done.missed - done.kept,
                "skipped": skipped,
                "resumed": done.resumed,
                "bits": codes.bits,
                "model": codes.model,
                "seconds": round(seconds, 3),
            }
        )
    else:
        console.out(
            f"{len(codes):,} items, "
            + " and ".join(f"{count:,} {plural}" for plural, count in counts.items())
            + f", {codes.bits} bits each: {out} ({seconds:.1f} s)"
        )
        if done.resumed:
            console.note(f"{done.resumed:,} items were encoded by a run that did not end")
        if done.missed:
            console.note(f"{done.missed:,} could not be read; {done.kept:,} kept from {out}")
    if skipped and on_bad_item == "skip":
        items = "1 item" if skipped == 1 else f"{skipped:,} items"
        raise DataError(
            f"{items} of {data} cannot be read and have no code in {out}; mend what is named "
            "above, then run the same command again"
        )
