"""Things that can be drawn: each class is a function and a line of facts about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.datasets.scenes.dice import Dice
    from proxyhash.datasets.scenes.pen import RGB, Pen

__all__ = ["THINGS", "Look", "Thing", "thing"]


@dataclass(frozen=True, slots=True)
class Look:
    """Look of one thing in one image.

    Attributes:
        color: the main color, that a caption may name.
        accent: another color, for the smaller parts.
        indoors: whether the thing stands in a room.
        dice: for the rest.
    """

    color: RGB
    accent: RGB
    indoors: bool
    dice: Dice


Drawing: TypeAlias = "Callable[[Pen, Look], None]"


@dataclass(frozen=True, slots=True)
class Thing:
    """One class.

    Attributes:
        name: the label.
        draw: fills the pen's frame; what stands, stands at y = 0.5.
        colors: names of its typical colors.
        size: width of the frame, as a share of the image's width, from and to.
        tilt: degrees it may lean to either side.
        flock: how many of it may be drawn together.
        turns: whether it may face either side.
    """

    name: str
    draw: Drawing
    colors: tuple[str, ...]
    size: tuple[float, float]
    tilt: float
    flock: int
    turns: bool


THINGS: dict[str, Thing] = {}
"""Every class by its label."""


def thing(
    *,
    colors: str,
    size: tuple[float, float],
    tilt: float = 4.0,
    flock: int = 1,
    turns: bool = True,
) -> Callable[[Drawing], Drawing]:
    """Register the decorated function as the drawing of the class it is named after.

    Raises:
        ValueError: there is one of that name.
    """

    def register(draw: Drawing) -> Drawing:
        name = draw.__name__
        if name in THINGS:
            raise ValueError(f"there is already a drawing of {name!r}")
        THINGS[name] = Thing(name, draw, tuple(colors.split()), size, tilt, flock, turns)
        return draw

    return register
