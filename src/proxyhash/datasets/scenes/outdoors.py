"""Things of sky and landscape: sun, moon, star, cloud, kite, balloon; mountain, tree and plants."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxyhash.datasets.scenes.pen import COLORS, RGB, Pen, arc, darker, jitter, lighter, mix
from proxyhash.datasets.scenes.thing import Look, thing

if TYPE_CHECKING:
    from proxyhash.datasets.scenes.dice import Dice
    from proxyhash.datasets.scenes.pen import Point

__all__ = [
    "balloon",
    "cactus",
    "cloud",
    "flower",
    "kite",
    "moon",
    "mountain",
    "mushroom",
    "star",
    "sun",
    "tree",
]

_FACE = (92, 60, 48)


@thing(colors="yellow yellow orange", size=(0.22, 0.36), tilt=20)
def sun(pen: Pen, look: Look) -> None:
    """A disc with rays, now and then with a smile."""
    pen, dice = pen.bright(), look.dice
    for radius, alpha in ((0.62, 0.12), (0.52, 0.16)):
        pen.disc(0, 0, radius, lighter(look.color, 0.5), alpha=alpha)
    rays = dice.integer(8, 13)
    for ray in range(rays):
        middle = math.tau * ray / rays
        half = math.pi / rays * 0.55
        pen.polygon(
            [
                (0.33 * math.cos(middle - half), 0.33 * math.sin(middle - half)),
                (0.49 * math.cos(middle), 0.49 * math.sin(middle)),
                (0.33 * math.cos(middle + half), 0.33 * math.sin(middle + half)),
            ],
            look.color,
        )
    pen.disc(0, 0, 0.3, look.color)
    pen.disc(-0.03, -0.03, 0.25, lighter(look.color, 0.25))
    if dice.chance(0.5):
        _smile(pen, 0.0, 0.0, 0.2)


@thing(colors="white yellow yellow", size=(0.2, 0.32), tilt=20)
def moon(pen: Pen, look: Look) -> None:
    """A crescent, or a full moon with craters."""
    pen, dice = pen.bright(), look.dice
    pen.disc(0, 0, 0.6, look.color, alpha=0.13)
    if dice.chance(0.7):
        outer = arc(-0.02, 0, 0.42, 0.42, 65, 295, steps=24)
        inner = arc(0.14, 0, 0.3, 0.38, 270, 90, steps=20)
        pen.polygon(outer + inner, look.color)
        pen.disc(-0.28, 0.06, 0.035, darker(look.color, 0.15))
        pen.disc(-0.2, -0.2, 0.025, darker(look.color, 0.15))
        return
    pen.disc(0, 0, 0.4, look.color)
    for x, y, radius in ((-0.14, -0.12, 0.09), (0.16, 0.02, 0.06), (-0.04, 0.19, 0.07)):
        pen.disc(x, y, radius, darker(look.color, 0.14))


@thing(colors="yellow yellow white", size=(0.1, 0.2), tilt=25, flock=5)
def star(pen: Pen, look: Look) -> None:
    """Five points, with a glow."""
    pen = pen.bright()
    pen.disc(0, 0, 0.55, look.color, alpha=0.14)
    pen.polygon(_star(0.5, 0.21), look.color)
    pen.polygon(_star(0.28, 0.12), lighter(look.color, 0.5))


def _star(outer: float, inner: float) -> list[Point]:
    points = []
    for corner in range(10):
        angle = math.pi * (corner / 5 - 0.5)
        radius = inner if corner % 2 else outer
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


@thing(colors="white white grey", size=(0.3, 0.5), tilt=0, flock=2)
def cloud(pen: Pen, look: Look) -> None:
    """Puffs on a flat bottom."""
    dice = look.dice
    puffs = [
        (-0.3, 0.06, dice.between(0.13, 0.17)),
        (-0.1, -0.06, dice.between(0.18, 0.24)),
        (0.14, -0.02, dice.between(0.15, 0.21)),
        (0.32, 0.08, dice.between(0.1, 0.14)),
    ]
    for x, y, radius in puffs:
        pen.disc(x, y + 0.03, radius, darker(look.color, 0.16))
    pen.oval(0, 0.16, 0.42, 0.1, darker(look.color, 0.16))
    for x, y, radius in puffs:
        pen.disc(x, y, radius, look.color)
    pen.oval(0, 0.13, 0.4, 0.09, look.color)


@thing(colors="red blue green purple orange pink", size=(0.2, 0.34), tilt=25)
def kite(pen: Pen, look: Look) -> None:
    """A diamond in two colors, with a tail of bows."""
    top, left, right, bottom = (0.0, -0.5), (-0.26, -0.2), (0.26, -0.2), (0.0, 0.18)
    tail = [(0.0, 0.18), (0.06, 0.28), (-0.05, 0.38), (0.06, 0.5), (0.0, 0.6)]
    pen.line(tail, darker(look.accent), 0.018)
    for x, y in tail[1:]:
        pen.polygon([(x - 0.06, y - 0.035), (x, y), (x - 0.06, y + 0.035)], look.accent)
        pen.polygon([(x + 0.06, y - 0.035), (x, y), (x + 0.06, y + 0.035)], look.accent)
    pen.polygon([top, right, bottom, left], look.color)
    pen.polygon([top, right, (0.0, -0.2)], lighter(look.color))
    pen.polygon([bottom, left, (0.0, -0.2)], look.accent)
    pen.line([top, bottom], darker(look.color, 0.4), 0.016)
    pen.line([left, right], darker(look.color, 0.4), 0.016)


@thing(colors="red orange blue purple yellow turquoise", size=(0.22, 0.42), tilt=5)
def balloon(pen: Pen, look: Look) -> None:
    """A hot-air balloon with stripes and a basket."""
    rope = (110, 84, 62)
    pen.line([(-0.17, 0.14), (-0.07, 0.37)], rope, 0.014)
    pen.line([(0.17, 0.14), (0.07, 0.37)], rope, 0.014)
    pen.box(-0.085, 0.36, 0.085, 0.5, (160, 112, 66))
    pen.box(-0.1, 0.35, 0.1, 0.385, (122, 82, 48))
    stripes = [look.color, lighter(look.accent, 0.15)]
    for place, width in enumerate((0.36, 0.27, 0.17, 0.06)):
        shade = mix(stripes[place % 2], COLORS["white"], 0.05 * place)
        envelope = arc(0, -0.14, width, 0.36, 180, 360, steps=18)
        neck = [(width * 0.3, 0.25), (-width * 0.3, 0.25)]
        pen.polygon([*envelope, (width * 0.86, 0.02), *neck, (-width * 0.86, 0.02)], shade)
    pen.polygon([(-0.11, 0.23), (0.11, 0.23), (0.09, 0.27), (-0.09, 0.27)], darker(look.color))


def _smile(pen: Pen, x: float, y: float, radius: float) -> None:
    for side in (-1, 1):
        pen.disc(x + side * radius * 0.42, y - radius * 0.15, radius * 0.13, _FACE)
        pen.disc(
            x + side * radius * 0.75, y + radius * 0.3, radius * 0.18, (240, 130, 90), alpha=0.4
        )
    mouth = arc(x, y + radius * 0.1, radius * 0.45, radius * 0.42, 20, 160, steps=8)
    pen.line(mouth, _FACE, radius * 0.13)


_BARK = (118, 82, 56)
_STEM = (78, 146, 72)


@thing(colors="grey grey blue purple brown", size=(0.5, 0.85), tilt=0)
def mountain(pen: Pen, look: Look) -> None:
    """One or two peaks with snow on them."""
    dice = look.dice
    if dice.chance(0.6):
        _peak(pen, dice.between(0.18, 0.26), 0.3, 0.05, mix(look.color, COLORS["white"], 0.2))
    _peak(pen, dice.between(-0.12, -0.02), 0.4, -0.18, look.color)


def _peak(pen: Pen, x: float, reach: float, top: float, color: RGB) -> None:
    pen.polygon([(x - reach, 0.5), (x, top), (x + reach, 0.5)], color)
    pen.polygon([(x, top), (x + reach, 0.5), (x + reach * 0.15, 0.5)], darker(color, 0.2))
    slope = reach / (0.5 - top)
    low = top + (0.5 - top) * 0.34
    half = (low - top) * slope
    snow = COLORS["white"]
    ragged = [(x + half * share, low + drop) for share, drop in _RAGGED]
    pen.polygon([(x, top), *ragged], snow)
    pen.polygon([(x, top), (x + half, low), (x + half * 0.3, low - 0.02)], darker(snow, 0.14))


_RAGGED = ((1.0, 0.0), (0.55, -0.05), (0.25, 0.02), (-0.1, -0.05), (-0.5, 0.02), (-1.0, 0.0))


@thing(colors="green green green orange", size=(0.32, 0.56), tilt=3, flock=2)
def tree(pen: Pen, look: Look) -> None:
    """A round crown or a fir."""
    evergreen = look.color[1] > look.color[0]
    if evergreen and look.dice.chance(0.45):
        pen.box(-0.045, 0.3, 0.045, 0.5, _BARK)
        dark = darker(look.color, 0.22)
        for top, bottom, half in ((-0.08, 0.38, 0.32), (-0.28, 0.16, 0.25), (-0.5, -0.08, 0.17)):
            pen.polygon([(0, top), (half, bottom), (-half, bottom)], dark)
            pen.polygon([(0, top), (half * 0.35, bottom), (-half, bottom)], look.color)
        return
    pen.polygon([(-0.05, 0.1), (0.05, 0.1), (0.08, 0.5), (-0.08, 0.5)], _BARK)
    pen.line([(0, 0.24), (0.13, 0.08)], _BARK, 0.04)
    _crown(pen, look.color, look.dice)


def _crown(pen: Pen, color: RGB, dice: Dice) -> None:
    puffs = [(-0.2, 0.0), (0.2, 0.0), (0.0, -0.08), (-0.11, -0.24), (0.13, -0.22)]
    sizes = [dice.between(0.17, 0.22) for _ in puffs]
    for (x, y), radius in zip(puffs, sizes, strict=True):
        pen.disc(x, y, radius, darker(color, 0.24))
    for (x, y), radius in zip(puffs, sizes, strict=True):
        pen.disc(x - 0.025, y - 0.035, radius * 0.88, color)
    for x, y in ((-0.2, -0.1), (0.06, -0.3), (-0.06, -0.16)):
        pen.disc(x, y, 0.06, lighter(color, 0.22))
    if dice.chance(0.3):
        for x, y in ((-0.22, 0.04), (0.16, -0.06), (0.02, -0.2), (0.2, 0.08), (-0.06, 0.02)):
            pen.disc(x, y, 0.035, (206, 52, 52))


@thing(colors="red pink yellow purple white blue", size=(0.17, 0.3), tilt=10, flock=4)
def flower(pen: Pen, look: Look) -> None:
    """Petals around a center, or a tulip; in a pot indoors."""
    dice = look.dice
    if look.indoors:
        pot = jitter((196, 106, 72), dice)
        pen.polygon([(-0.17, 0.22), (0.17, 0.22), (0.12, 0.5), (-0.12, 0.5)], pot)
        pen.box(-0.19, 0.18, 0.19, 0.26, darker(pot, 0.12))
    pen.line([(0, 0.5 if not look.indoors else 0.2), (0.02, 0.2), (0, -0.15)], _STEM, 0.045)
    for side in (-1, 1):
        leaf = [(0, 0.2), (side * 0.1, 0.06), (side * 0.24, 0.04), (side * 0.13, 0.18)]
        pen.blob(leaf, _STEM)
    if dice.chance(0.3):
        _tulip(pen, look.color)
        return
    petals = dice.integer(5, 8)
    turn = dice.between(0, 360)
    for petal in range(petals):
        degrees = turn + 360 * petal / petals
        x, y = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        shade = look.color if petal % 2 else lighter(look.color, 0.2)
        pen.oval(0.17 * x, 0.17 * y - 0.2, 0.14, 0.09, shade, degrees=degrees)
    center = COLORS["yellow"] if look.color[2] > 90 or look.color[1] < 120 else COLORS["brown"]
    pen.disc(0, -0.2, 0.09, center)
    pen.disc(-0.02, -0.22, 0.045, lighter(center))


def _tulip(pen: Pen, color: RGB) -> None:
    pen.blob([(-0.16, -0.4), (-0.17, -0.2), (0, -0.04), (0.17, -0.2), (0.16, -0.4)], darker(color))
    pen.blob([(0, -0.46), (-0.1, -0.24), (0, -0.05), (0.1, -0.24)], lighter(color, 0.15))


@thing(colors="red red brown orange", size=(0.18, 0.32), tilt=8, flock=3)
def mushroom(pen: Pen, look: Look) -> None:
    """A cap with dots on a pale stalk."""
    stalk = (240, 228, 206)
    pen.blob(
        [(-0.09, -0.05), (0.09, -0.05), (0.12, 0.42), (0.08, 0.5), (-0.08, 0.5), (-0.12, 0.42)],
        stalk,
    )
    pen.oval(0.05, 0.28, 0.04, 0.2, darker(stalk, 0.14))
    pen.oval(0, -0.01, 0.36, 0.08, darker(stalk, 0.2))
    pen.polygon(arc(0, 0, 0.42, 0.42, 180, 360, steps=20), look.color)
    pen.polygon([*arc(0.06, 0, 0.36, 0.34, 270, 360, steps=10), (0.06, 0)], darker(look.color, 0.1))
    dots = ((-0.22, -0.14, 0.06), (0.0, -0.27, 0.07), (0.2, -0.16, 0.06), (0.02, -0.08, 0.045))
    for x, y, radius in dots:
        pen.disc(x, y, radius, COLORS["white"])


@thing(colors="green", size=(0.3, 0.5), tilt=3, flock=2)
def cactus(pen: Pen, look: Look) -> None:
    """A column with two arms, and a flower on top."""
    dice, color = look.dice, look.color
    dark = darker(color, 0.22)
    left, right = dice.between(-0.1, 0.12), dice.between(-0.16, 0.06)
    for side, height in ((-1, left), (1, right)):
        elbow = height + 0.2
        limb = [(0, elbow), (side * 0.24, elbow), (side * 0.24, height - 0.06)]
        pen.line(limb, dark if side > 0 else color, 0.12)
        pen.disc(side * 0.24, height - 0.06, 0.06, dark if side > 0 else color)
    pen.box(-0.1, -0.36, 0.1, 0.5, color)
    pen.disc(0, -0.36, 0.1, color)
    pen.box(0.04, -0.34, 0.1, 0.5, dark)
    for x in (-0.05, 0.0):
        pen.line([(x, -0.38), (x, 0.48)], lighter(color, 0.25), 0.014)
    if dice.chance(0.6):
        pen.disc(-0.04, -0.47, 0.05, COLORS["pink"])
        pen.disc(0.04, -0.47, 0.05, darker(COLORS["pink"], 0.1))
