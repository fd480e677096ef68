"""`proxyhash encode`: compute the codes of a collection with a trained model."""

import time
from contextlib import suppress
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
)
from proxyhash.errors import DataError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command(
        epilog=examples(
            "proxyhash encode runs/f64 photos/ --out codes.npz",
            "proxyhash encode runs/f64/model more/items.csv --out more.npz --on-bad-item skip",
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
    as_json: JsonOption = False,
) -> None:
    """Write the codes of every item in a collection.

    numpy alone reads the file: arrays ids, bits, model and, for each modality, its codes (such as
    image_codes, packed bits, uint8) and which items have it (has_image, bool). Features are cached,
    so a second run is quick.

    With --on-bad-item skip, an item that cannot be read keeps the code that FILE has of it, or is
    marked in the file (unreadable_image, bool); exit code 3 if nothing of an item is there.
    """
    import numpy as np

    from proxyhash.codes import CodeFile
    from proxyhash.data import MODALITIES, read_collection
    from proxyhash.data.images import ImageLimits, image_limits
    from proxyhash.encoders.cache import FeatureCache
    from proxyhash.files import check_output
    from proxyhash.hashing import HashModel, model_folder

    check_output(out, "a code file", ours=CodeFile.begins, overwrite=overwrite)
    collection = read_collection(data, on_bad_item=on_bad_item)
    hash_model = HashModel.load(model_folder(model), device=device)
    start = time.perf_counter()
    with image_limits(ImageLimits.of_megapixels(max_megapixels)):
        codes = hash_model.encode_collection(
            collection, cache=FeatureCache(), on_bad_item=on_bad_item, track=console.track
        )
    missed = sum(int(codes.missed(name).sum()) for name in codes.modalities)
    if missed and out.is_file():
        with suppress(DataError):  # another model's codes, or no code file: it is replaced
            codes = codes.filled_from(CodeFile.load(out))
    left = sum(int(codes.missed(name).sum()) for name in codes.modalities)
    has_any = np.any([codes.has(name) for name in codes.modalities], axis=0)
    named = np.any([codes.missed(name) for name in codes.modalities], axis=0)
    skipped = int((named & ~has_any).sum()) + collection.skipped
    seconds = time.perf_counter() - start
    codes.save(out)
    counts = {kind.plural: int(codes.has(name).sum()) for name, kind in MODALITIES.items()}
    if as_json:
        console.emit_json(
            {
                "out": str(out),
                "items": len(codes),
                **counts,
                "kept": missed - left,
                "unreadable": left,
                "skipped": skipped,
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
        if missed:
            console.note(f"{missed:,} could not be read; {missed - left:,} kept from {out}")
    if skipped and on_bad_item == "skip":
        items = "1 item" if skipped == 1 else f"{skipped:,} items"
        raise DataError(
            f"{items} of {data} cannot be read and have no code in {out}; mend what is named "
            "above, then run the same command again"
        )
