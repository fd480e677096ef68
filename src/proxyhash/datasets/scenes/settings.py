"""Where a scene may take place, and which categories may appear there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a scene may take place, and who may appear in which part of it.

    Attributes:
        weight: how often it is chosen, relative to the others.
        horizon: range of heights, from -0.5 at the top of the image to 0.5 at its bottom.
        tones: how often it is day, dusk and night, relative to one another.
        cast: categories by zone: `sky` floats above the horizon, `back` stands on it, `front`
            stands on the ground, `surface` swims on the horizon, `deep` swims below it.
    """

    weight: float
    horizon: tuple[float, float]
    tones: Mapping[str, float]
    cast: Mapping[str, tuple[str, ...]]


_OUTDOORS = {"day": 0.55, "dusk": 0.2, "night": 0.25}
_DAYLIGHT = {"day": 1.0}


def _names(names: str) -> tuple[str, ...]:
    return tuple(names.split())


SETTINGS: Mapping[str, Setting] = {
    "meadow": Setting(
        1.3,
        (0.0, 0.14),
        _OUTDOORS,
        {
            "sky": _names("sun moon star cloud bird kite kite balloon"),
            "back": _names("mountain house tree"),
            "front": _names("flower mushroom cat ball bicycle duck"),
        },
    ),
    "beach": Setting(
        1.0,
        (-0.1, 0.02),
        _OUTDOORS,
        {
            "sky": _names("sun moon star cloud bird kite kite"),
            "surface": _names("boat boat"),
            "front": _names("umbrella ball bicycle duck"),
        },
    ),
    "city": Setting(
        1.2,
        (0.06, 0.16),
        _OUTDOORS,
        {
            "sky": _names("sun moon cloud bird balloon"),
            "back": _names("tree house"),
            "front": _names("car bus bicycle cat umbrella lamp"),
        },
    ),
    "snow": Setting(
        1.1,
        (0.0, 0.12),
        _OUTDOORS,
        {
            "sky": _names("sun moon star cloud bird"),
            "back": _names("mountain house tree"),
            "front": _names("snowman snowman snowman cat car bus"),
        },
    ),
    "sea": Setting(
        1.2,
        (-0.12, 0.02),
        _OUTDOORS,
        {
            "sky": _names("sun moon star cloud bird balloon"),
            "back": _names("mountain"),
            "surface": _names("boat duck"),
            "deep": _names("fish fish"),
        },
    ),
    "desert": Setting(
        0.9,
        (0.0, 0.14),
        _OUTDOORS,
        {
            "sky": _names("sun moon star star bird balloon"),
            "back": _names("mountain"),
            "front": _names("cactus cactus cactus car bus bicycle"),
        },
    ),
    "room": Setting(
        0.8,
        (0.1, 0.2),
        _DAYLIGHT,
        {"front": _names("lamp cat ball umbrella flower clock")},
    ),
    "table": Setting(
        1.1,
        (0.06, 0.16),
        _DAYLIGHT,
        {"front": _names("cup cup lamp clock clock flower cat mushroom")},
    ),
}
"""Every setting by the name its painter goes by; a name given twice is cast twice as often."""
