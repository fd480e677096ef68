"""`proxyhash encode`: the codes of a collection, by a trained model."""

import time
from pathlib import Path
from typing import Annotated

import typer

from proxyhash.cli import console
from proxyhash.cli.shared import BadItemOption, DeviceOption, JsonOption, examples

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
    model: Annotated[
        Path, typer.Argument(help="Run folder, or a model's folder.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Argument(help="Manifest file or folder of the items.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Code file to write (.npz).", metavar="FILE")],
    on_bad_item: BadItemOption = "fail",
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Write the image and text codes of every item of a collection.

    The file is read by numpy alone: arrays ids, image_codes and text_codes (packed bits, uint8),
    has_image, has_text, bits and model. Features are cached, so a second run is quick.
    """
    from proxyhash.data import read_collection
    from proxyhash.encoders.cache import FeatureCache
    from proxyhash.hashing import HashModel, model_folder

    collection = read_collection(data, on_bad_item=on_bad_item)
    hash_model = HashModel.load(model_folder(model), device=device)
    start = time.perf_counter()
    codes = hash_model.encode_collection(
        collection, cache=FeatureCache(), on_bad_item=on_bad_item, track=console.track
    )
    seconds = time.perf_counter() - start
    codes.save(out)
    if as_json:
        console.emit_json(
            {
                "out": str(out),
                "items": len(codes),
                "images": int(codes.has_image.sum()),
                "texts": int(codes.has_text.sum()),
                "bits": codes.bits,
                "model": codes.model,
                "seconds": round(seconds, 3),
            }
        )
    else:
        console.out(
            f"{len(codes):,} items, {codes.has_image.sum():,} images and "
            f"{codes.has_text.sum():,} texts, {codes.bits} bits each: {out} ({seconds:.1f} s)"
        )
