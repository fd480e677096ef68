"""Named colors and what is done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from proxyhash.datasets.scenes.dice import Dice

__all__ = ["COLORS", "RGB", "darker", "jitter", "lighter", "mix"]

RGB: TypeAlias = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (214, 62, 54),
    "orange": (238, 138, 48),
    "yellow": (247, 202, 68),
    "green": (82, 158, 84),
    "turquoise": (64, 170, 166),
    "blue": (64, 118, 196),
    "purple": (142, 94, 178),
    "pink": (238, 146, 172),
    "white": (246, 243, 236),
    "grey": (146, 152, 162),
    "brown": (146, 98, 62),
    "black": (62, 60, 68),
}

_INK: RGB = (34, 30, 48)
_LIGHT: RGB = (255, 252, 240)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The color that is `share` of the way from the first to the second."""
    keep = 1.0 - share
    return (
        round(first[0] * keep + second[0] * share),
        round(first[1] * keep + second[1] * share),
        round(first[2] * keep + second[2] * share),
    )


def darker(color: RGB, share: float = 0.25) -> RGB:
    """The color in shade."""
    return mix(color, _INK, share)


def lighter(color: RGB, share: float = 0.3) -> RGB:
    """The color in light."""
    return mix(color, _LIGHT, share)


def jitter(color: RGB, dice: Dice) -> RGB:
    """A color near this one, that still goes by the same name."""
    light = dice.integer(-16, 12)
    red, green, blue = (
        min(255, max(0, channel + light + dice.integer(-7, 7))) for channel in color
    )
    return red, green, blue
