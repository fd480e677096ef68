"""Planning one scene: setting, classes, colors, and places for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from proxyhash.datasets.scenes import animals, made, outdoors
from proxyhash.datasets.scenes.thing import THINGS, Thing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxyhash.datasets.scenes.dice import Dice

__all__ = ["SETTINGS", "Actor", "Scene", "Setting", "plan_scene"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A place for scenes, and which classes may appear in which part of it.

    Attributes:
        weight: how often it is chosen, relative to the others.
        horizon: range of heights, from -0.5 at the top of the image to 0.5 at its bottom.
        tones: how often it is day, dusk and night, relative to one another.
        cast: classes by zone: `sky` floats above the horizon, `back` stands on it, `front`
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


DRAWINGS = (animals, made, outdoors)
"""The files whose import fills `THINGS`."""

_COUNTS = {1: 0.1, 2: 0.34, 3: 0.36, 4: 0.2}
_NOT_AT = {"day": {"moon", "star"}, "dusk": {"kite"}, "night": {"sun", "kite", "cloud"}}
_NEVER_WITH = {"sun": "moon", "moon": "sun"}
_ACCENTS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white")
_ZONES = ("sky", "back", "surface", "deep", "front")  # from the farthest to the nearest
_TRIES = 14
_HIDDEN_AT_MOST = 0.12  # of a thing's frame, where a place with less is not found at once


@dataclass(frozen=True, slots=True)
class Actor:
    """One thing to draw.

    Attributes:
        thing: its class.
        zone: where it stands, floats or swims; see `Setting`.
        x, y: center of its frame, from -0.5 to 0.5.
        size: width of its frame as a share of the image's.
        degrees: tilt, clockwise.
        mirror: whether it faces the other way.
        color, accent: names in `COLORS`.
    """

    thing: Thing
    zone: str
    x: float
    y: float
    size: float
    degrees: float
    mirror: bool
    color: str
    accent: str

    def hides(self, other: Actor) -> float:
        """Return the share of the other's frame under this one's, taking their cores as squares."""
        reach = 0.4 * (self.size + other.size)
        wide, high = reach - abs(self.x - other.x), reach - abs(self.y - other.y)
        return max(0.0, wide) * max(0.0, high) / other.size**2


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene to draw and describe: the actors from the farthest to the nearest."""

    setting: str
    tone: str
    horizon: float
    actors: tuple[Actor, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The visible classes, each once, sorted."""
        return tuple(sorted({actor.thing.name for actor in self.actors}))


def plan_scene(dice: Dice) -> Scene:
    """Return a scene of one to four classes, some of them in flocks."""
    name = dice.weighted({name: setting.weight for name, setting in SETTINGS.items()})
    setting = SETTINGS[name]
    tone = dice.weighted(setting.tones)
    horizon = dice.between(*setting.horizon)
    placed: list[Actor] = []
    for label, zone in _choose_cast(setting, tone, dice):
        placed.extend(_flock(THINGS[label], zone, horizon, placed, dice))
    placed.sort(key=lambda actor: (_ZONES.index(actor.zone), actor.y + actor.size / 2))
    return Scene(name, tone, horizon, tuple(placed))


def _choose_cast(setting: Setting, tone: str, dice: Dice) -> list[tuple[str, str]]:
    """Return distinct classes with their zones, at most two of them in the sky."""
    pool = [
        (label, zone)
        for zone, cast in setting.cast.items()
        for label in cast
        if label not in _NOT_AT[tone]
    ]
    wanted = dice.weighted(_COUNTS)
    chosen: dict[str, str] = {}
    for label, zone in dice.shuffled(pool):
        crowded = zone == "sky" and list(chosen.values()).count("sky") >= 2
        if len(chosen) < wanted and not crowded and _NEVER_WITH.get(label) not in chosen:
            chosen.setdefault(label, zone)
    return list(chosen.items())


def _flock(thing: Thing, zone: str, horizon: float, placed: list[Actor], dice: Dice) -> list[Actor]:
    """One actor, or several smaller ones that look alike."""
    count = dice.integer(2, thing.flock) if thing.flock > 1 and dice.chance(0.4) else 1
    color = dice.choice(thing.colors)
    model = Actor(
        thing=thing,
        zone=zone,
        x=0.0,
        y=0.0,
        size=dice.between(*thing.size) * (0.72 if count > 1 else 1.0),
        degrees=0.0,
        mirror=False,
        color=color,
        accent=dice.choice([name for name in _ACCENTS if name != color]),
    )
    flock: list[Actor] = []
    for _ in range(count):
        tries = (_somewhere(model, horizon, dice) for _ in range(_TRIES))
        flock.append(_least_hidden(tries, (*placed, *flock)))
    return flock


def _least_hidden(tries: Iterator[Actor], others: Sequence[Actor]) -> Actor:
    """The first that hides next to nothing and is not hidden, else the best of all tries."""
    best, least = next(tries), math.inf
    for actor in chain([best], tries):
        hidden = sum(actor.hides(other) + other.hides(actor) for other in others)
        if hidden < least:
            best, least = actor, hidden
        if hidden <= _HIDDEN_AT_MOST:
            break
    return best


def _somewhere(model: Actor, horizon: float, dice: Dice) -> Actor:
    """The model at some place of its zone, the larger the nearer."""
    near = dice.between(0.0, 1.0)
    size = model.size * (0.85 + 0.25 * near if model.zone == "front" else 0.88)
    side = 0.5 - size * 0.42
    return replace(
        model,
        x=dice.between(-side, side),
        y=_height(model.zone, size, horizon=horizon, near=near),
        size=size * dice.between(0.9, 1.1),
        degrees=dice.between(-model.thing.tilt, model.thing.tilt),
        mirror=model.thing.turns and dice.chance(0.5),
    )


def _height(zone: str, size: float, *, horizon: float, near: float) -> float:
    """Return the height of a frame's center; `near` goes from 0, far from the viewer, to 1."""
    if zone == "sky":
        return (0.42 * size - 0.5) * (1 - near) - 0.12 * near
    if zone == "back":
        return horizon + 0.015 + 0.05 * near - size / 2
    if zone == "surface":
        return horizon + 0.03 * near - 0.38 * size
    if zone == "deep":
        low, high = horizon + 0.04 + size * 0.4, 0.48 - size * 0.4
        return low + near * max(0.0, high - low)
    return horizon + 0.1 + near * (0.36 - horizon) - size / 2
