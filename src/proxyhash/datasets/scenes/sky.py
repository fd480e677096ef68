"""What is up in the air: sun, moon, star, cloud, kite, hot-air balloon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from proxyhash.datasets.scenes.colors import COLORS, darker, lighter, mix
from proxyhash.datasets.scenes.pen import Pen, arc
from proxyhash.datasets.scenes.thing import Look, thing

if TYPE_CHECKING:
    from proxyhash.datasets.scenes.pen import Point

__all__ = ["balloon", "cloud", "kite", "moon", "star", "sun"]

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
