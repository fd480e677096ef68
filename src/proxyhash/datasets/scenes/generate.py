"""The offline image set: as many scenes as wanted, with captions and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data.manifest import read_collection
from proxyhash.datasets.convert import write_manifest
from proxyhash.datasets.scenes.captions import write_caption
from proxyhash.datasets.scenes.dice import Dice
from proxyhash.datasets.scenes.plan import plan_scene
from proxyhash.datasets.scenes.render import render_scene
from proxyhash.errors import UsageError
from proxyhash.files import naming_full_disk
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from PIL import Image

    from proxyhash.data.collection import Collection

__all__ = ["draw_item", "generate_scenes"]

_QUALITY = 90


def generate_scenes(
    folder: Path | str, *, items: int = 3000, seed: int = 0, size: int = 128, track: Track = silent
) -> Collection:
    """Draw images into `folder/images`, write `folder/items.jsonl`, and return what it reads as.

    Item i depends on `seed` and i alone, so a larger set begins with the smaller one. Records and
    drawings are the same on every machine; the bytes of a JPEG may differ between versions of its
    encoder.

    Args:
        folder: made where it is missing; files of the same names are written over.
        items: how many images.
        seed: of the whole set.
        size: width and height in pixels, 32 or more.
        track: is told of each image.

    Raises:
        UsageError: `items` or `size` is too small.
    """
    if items < 1 or size < 32:
        raise UsageError(f"items is {items} and size is {size}; 1 and 32 are the least")
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    records = []
    for index in track(range(items), "draw images", items):
        image, record = draw_item(index, seed=seed, size=size)
        target = folder / str(record["image"])
        with naming_full_disk(target):
            image.save(target, quality=_QUALITY)
        records.append(record)
    write_manifest(folder / "items.jsonl", records)
    return read_collection(folder / "items.jsonl")


def draw_item(index: int, *, seed: int, size: int) -> tuple[Image.Image, dict[str, Any]]:
    """Return one image, RGB of `size` by `size` pixels, and its record for the manifest."""
    name = f"scene {seed} {index}"
    scene = plan_scene(Dice(f"{name} plan"))
    record = {
        "id": f"{index:06d}",
        "image": f"images/{index:06d}.jpg",
        "text": write_caption(scene, Dice(f"{name} caption")),
        "labels": list(scene.labels),
        "setting": scene.setting,
        "hour": scene.tone,
    }
    return render_scene(scene, Dice(f"{name} image"), size=size), record
