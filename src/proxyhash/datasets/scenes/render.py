"""From a planned scene to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from proxyhash.datasets.scenes.backgrounds import INDOORS, TINTS, paint_background
from proxyhash.datasets.scenes.colors import COLORS, jitter
from proxyhash.datasets.scenes.pen import Pen
from proxyhash.datasets.scenes.thing import Look

if TYPE_CHECKING:
    from proxyhash.datasets.scenes.dice import Dice
    from proxyhash.datasets.scenes.plan import Actor, Scene

__all__ = ["render_scene"]

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
