"""`proxyhash encode`: compute the codes of a collection with a trained model."""

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
    model: Annotated[Path, typer.Argument(help="Run or model folder.", show_default=False)],
    data: Annotated[
        Path, typer.Argument(help="Manifest file or folder of the items.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Code file to write (.npz).", metavar="FILE")],
    on_bad_item: BadItemOption = "fail",
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Write the codes of every item in a collection.

    numpy alone reads the file: arrays ids, bits, model and, for each modality, its codes (such as
    image_codes, packed bits, uint8) and which items have it (has_image, bool). Features are cached,
    so a second run is quick.
    """
    from proxyhash.data import MODALITIES, read_collection
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
    counts = {kind.plural: int(codes.has(name).sum()) for name, kind in MODALITIES.items()}
    if as_json:
        console.emit_json(
            {
                "out": str(out),
                "items": len(codes),
                **counts,
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
