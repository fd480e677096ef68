"""Generating the offline image set: as many scenes as wanted, with captions and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from proxyhash.data.manifest import read_collection
from proxyhash.datasets.convert import write_manifest
from proxyhash.datasets.scenes.backgrounds import INDOORS, TINTS, paint_background
from proxyhash.datasets.scenes.captions import write_caption
from proxyhash.datasets.scenes.dice import Dice
from proxyhash.datasets.scenes.pen import COLORS, Pen, jitter
from proxyhash.datasets.scenes.plan import plan_scene
from proxyhash.datasets.scenes.thing import Look
from proxyhash.errors import UsageError
from proxyhash.files import make_folders, naming_full_disk
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from proxyhash.data.collection import Collection
    from proxyhash.datasets.scenes.plan import Actor, Scene

__all__ = ["draw_item", "generate_scenes", "render_scene"]

_QUALITY = 90


def generate_scenes(
    folder: Path | str, *, items: int = 3000, seed: int = 0, size: int = 128, track: Track = silent
) -> Collection:
    """Generate images in `folder/images`, write `folder/items.jsonl`, and return the collection.

    Item i depends on `seed` and i alone, so a larger set begins with the smaller one. Records and
    drawings are the same on every machine; the bytes of a JPEG may differ between versions of its
    encoder.

    Args:
        folder: created if missing; files of the same names are overwritten.
        items: number of images.
        seed: random seed of the set.
        size: width and height in pixels, 32 or more.
        track: progress callback.

    Raises:
        UsageError: `items` or `size` is too small.
    """
    if items < 1 or size < 32:
        raise UsageError(f"items is {items} and size is {size}; the minimum is 1 and 32")
    folder = Path(folder)
    make_folders(folder / "images")
    records = []
    for index in track(range(items), "generating images", items):
        image, record = draw_item(index, seed=seed, size=size)
        target = folder / str(record["image"])
        with naming_full_disk(target):
            image.save(target, quality=_QUALITY)
        records.append(record)
    write_manifest(folder / "items.jsonl", records)
    return read_collection(folder / "items.jsonl")


def draw_item(index: int, *, seed: int, size: int) -> tuple[Image.Image, dict[str, Any]]:
    """Return one image, RGB of `size` by `size` pixels, and its record for the manifest."""
    # These names are part of the data: every generated set changes with them.
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
    return render_scene(scene, Dice(f"{name} picture"), size=size), record


_FINER = 3  # drawn so much larger and averaged, for smooth edges
_SHADOW = (24, 22, 40)


def render_scene(scene: Scene, dice: Dice, *, size: int) -> Image.Image:
    """Return the scene as an RGB image, `size` pixels wide and high."""
    canvas = Image.new("RGB", (size * _FINER, size * _FINER))
    paint_background(canvas, scene.setting, tone=scene.tone, horizon=scene.horizon, dice=dice)
    indoors = scene.setting in INDOORS
    pen = Pen(canvas) if indoors else Pen(canvas, tint=TINTS[scene.tone])
    for actor in scene.actors:
        _draw(actor, pen, indoors=indoors, dice=dice)
    return canvas.reduce(_FINER)


def _draw(actor: Actor, pen: Pen, *, indoors: bool, dice: Dice) -> None:
    if actor.zone in ("front", "back") and actor.thing.name != "mountain":
        base = actor.y + actor.size * 0.485
        pen.oval(actor.x, base, actor.size * 0.4, actor.size * 0.05, _SHADOW, alpha=0.2)
    look = Look(
        color=jitter(COLORS[actor.color], dice),
        accent=jitter(COLORS[actor.accent], dice),
        indoors=indoors,
        dice=dice,
    )
    frame = pen.at(actor.x, actor.y, actor.size, degrees=actor.degrees, mirror=actor.mirror)
    actor.thing.draw(frame, look)
