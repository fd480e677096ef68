"""Things that people make: house, ball, umbrella, snowman, cup, lamp, clock, and vehicles."""

from __future__ import annotations

import math
from itertools import pairwise

from proxyhash.datasets.scenes.pen import COLORS, Pen, arc, darker, lighter, mix, rounded
from proxyhash.datasets.scenes.thing import Look, thing

__all__ = [
    "ball",
    "bicycle",
    "boat",
    "bus",
    "car",
    "clock",
    "cup",
    "house",
    "lamp",
    "snowman",
    "umbrella",
]

_INK = (52, 46, 56)
_WOOD = (138, 94, 60)
_GLOW = (255, 226, 140)


@thing(colors="white yellow pink red blue", size=(0.34, 0.54), tilt=0)
def house(pen: Pen, look: Look) -> None:
    """Walls, a roof with a chimney, a door and windows."""
    wall, dice = lighter(look.color, 0.15), look.dice
    roof = darker(look.accent, 0.2)
    lit = _GLOW if dice.chance(0.5) else (178, 214, 232)
    pen.box(0.16, -0.42, 0.27, -0.1, darker(roof, 0.2))
    pen.box(-0.38, -0.08, 0.38, 0.5, wall)
    pen.box(0.2, -0.08, 0.38, 0.5, darker(wall, 0.1))
    pen.polygon([(-0.48, -0.06), (0.0, -0.46), (0.48, -0.06)], roof)
    pen.polygon([(0.0, -0.46), (0.48, -0.06), (0.2, -0.06)], darker(roof, 0.2))
    door = 0.0 if dice.chance(0.5) else -0.22
    pen.box(door - 0.08, 0.2, door + 0.08, 0.5, _WOOD)
    pen.disc(door + 0.05, 0.36, 0.018, _GLOW)
    for x in (-0.22, 0.22) if door == 0.0 else (0.02, 0.24):
        pen.box(x - 0.09, 0.04, x + 0.09, 0.22, COLORS["white"])
        pen.bright().box(x - 0.07, 0.06, x + 0.07, 0.2, lit)
        pen.line([(x, 0.05), (x, 0.21)], COLORS["white"], 0.02)
        pen.line([(x - 0.08, 0.13), (x + 0.08, 0.13)], COLORS["white"], 0.02)
    pen.disc(0, -0.2, 0.06, COLORS["white"])
    pen.disc(0, -0.2, 0.04, lit)


@thing(colors="red blue orange green purple", size=(0.16, 0.28), tilt=60, flock=2)
def ball(pen: Pen, look: Look) -> None:
    """A beach ball with colored gores, or a rubber ball with a band."""
    color, radius = look.color, 0.46
    if look.dice.chance(0.65):
        for gore in range(6):
            shade = (color, COLORS["white"], look.accent)[gore % 3]
            edge = arc(0, 0, radius, radius, gore * 60, gore * 60 + 60, steps=7)
            pen.polygon([(0.08, -0.1), *edge], shade)
        pen.disc(0.08, -0.1, 0.08, COLORS["white"])
    else:
        pen.disc(0, 0, radius, color)
        band = arc(0, 0, radius, radius, -20, 20) + arc(0, 0, radius, radius, 160, 200)
        pen.polygon(band, look.accent)
        pen.oval(-0.16, -0.24, 0.11, 0.06, lighter(color, 0.6), degrees=-30)
    pen.polygon(
        arc(0, 0, radius, radius, 20, 160) + arc(0, -0.08, 0.44, 0.36, 160, 20), _INK, alpha=0.14
    )


@thing(colors="red yellow blue purple green pink", size=(0.34, 0.52), tilt=12)
def umbrella(pen: Pen, look: Look) -> None:
    """Open, in gores of two colors, with a crook or a pole."""
    pen.line([(0, -0.4), (0, 0.4)], (112, 92, 80), 0.03)
    if look.indoors or look.dice.chance(0.5):
        pen.line(arc(0.06, 0.4, 0.06, 0.08, 180, 10, steps=8), (112, 92, 80), 0.036)
    else:
        pen.line([(0, 0.4), (0, 0.5)], (112, 92, 80), 0.03)
    shades = (look.color, lighter(look.accent, 0.5))
    ribs = (-0.48, -0.32, -0.11, 0.11, 0.32, 0.48)
    for gore, (left, right) in enumerate(pairwise(ribs)):
        # Each rib is a quarter of an ellipse from the tip down to the rim.
        down, up = arc(0, 0, left, 0.42, 270, 360), arc(0, 0, right, 0.42, 360, 270)
        hem = arc((left + right) / 2, 0.0, (right - left) / 2, 0.06, 180, 360, steps=8)
        pen.polygon([*down, *hem, *up], shades[gore % 2])
    pen.polygon(arc(0, 0, 0.48, 0.42, 300, 360) + arc(0, 0, 0.32, 0.42, 360, 300), _INK, alpha=0.1)
    pen.line([(0, -0.48), (0, -0.4)], (112, 92, 80), 0.026)


@thing(colors="red blue green purple", size=(0.32, 0.48), tilt=3)
def snowman(pen: Pen, look: Look) -> None:
    """Three balls of snow, a hat, a scarf of the main color and a carrot."""
    snow, shade = (250, 250, 252), (206, 216, 232)
    for side in (-1, 1):
        pen.line([(side * 0.16, 0.02), (side * 0.4, -0.12)], _WOOD, 0.028)
        pen.line([(side * 0.33, -0.08), (side * 0.42, -0.02)], _WOOD, 0.02)
    for y, radius in ((0.27, 0.24), (-0.02, 0.18), (-0.25, 0.135)):
        pen.disc(0.012, y + 0.012, radius, shade)
        pen.disc(-0.01, y - 0.008, radius * 0.94, snow)
    pen.polygon([(-0.14, -0.17), (0.14, -0.17), (0.13, -0.1), (-0.13, -0.1)], look.color)
    pen.polygon([(0.06, -0.12), (0.14, -0.12), (0.17, 0.08), (0.09, 0.08)], darker(look.color))
    pen.box(-0.16, -0.38, 0.16, -0.34, _INK)
    pen.box(-0.1, -0.5, 0.1, -0.36, _INK)
    pen.box(-0.1, -0.41, 0.1, -0.375, look.color)
    for x in (-0.05, 0.05):
        pen.disc(x, -0.28, 0.02, _INK)
    pen.polygon([(0, -0.25), (0.14, -0.22), (0, -0.215)], COLORS["orange"])
    for y in (-0.02, 0.08, 0.2):
        pen.disc(0, y, 0.022, _INK)


@thing(colors="white blue red yellow green pink", size=(0.2, 0.34), tilt=2, flock=2)
def cup(pen: Pen, look: Look) -> None:
    """A mug with a handle, often steaming."""
    color, dice = look.color, look.dice
    if dice.chance(0.6):
        for x in (-0.16, 0.02):
            steam = [(x, -0.2), (x + 0.05, -0.28), (x - 0.03, -0.38), (x + 0.03, -0.48)]
            pen.line(steam, (255, 255, 255), 0.035, alpha=0.55)
    pen.line(arc(0.26, 0.14, 0.17, 0.15, -80, 80, steps=12), darker(color, 0.12), 0.065)
    pen.polygon([(-0.36, -0.12), (0.26, -0.12), (0.2, 0.48), (-0.3, 0.48)], color)
    pen.oval(-0.05, 0.47, 0.25, 0.03, darker(color, 0.1))
    pen.polygon([(0.1, -0.12), (0.26, -0.12), (0.2, 0.48), (0.08, 0.48)], darker(color, 0.1))
    if dice.chance(0.5):
        pen.polygon([(-0.35, 0.1), (0.235, 0.1), (0.225, 0.22), (-0.335, 0.22)], look.accent)
    pen.oval(-0.05, -0.12, 0.31, 0.07, lighter(color, 0.3))
    pen.oval(-0.05, -0.11, 0.26, 0.05, (96, 60, 40))


@thing(colors="yellow red green blue", size=(0.28, 0.46), tilt=1)
def lamp(pen: Pen, look: Look) -> None:
    """A table lamp in a room, a lantern on a post outdoors."""
    glow = pen.bright()
    if look.indoors:
        glow.disc(0, -0.2, 0.5, _GLOW, alpha=0.2)
        pen.oval(0, 0.46, 0.18, 0.045, darker(look.accent, 0.3))
        pen.blob(
            [(-0.05, 0.0), (0.05, 0.0), (0.13, 0.3), (0.06, 0.46), (-0.06, 0.46), (-0.13, 0.3)],
            look.accent,
        )
        pen.polygon([(-0.17, -0.46), (0.17, -0.46), (0.32, 0.02), (-0.32, 0.02)], look.color)
        light = mix(look.color, _GLOW, 0.6)
        glow.polygon([(-0.1, -0.46), (0.06, -0.46), (0.1, 0.02), (-0.2, 0.02)], light)
        return
    for radius, alpha in ((0.3, 0.16), (0.2, 0.2)):
        glow.disc(0, -0.3, radius, _GLOW, alpha=alpha)
    iron = darker(look.color, 0.3)
    pen.box(-0.035, -0.16, 0.035, 0.46, iron)
    pen.polygon([(-0.06, 0.36), (0.06, 0.36), (0.1, 0.5), (-0.1, 0.5)], darker(iron, 0.2))
    pen.box(-0.09, -0.02, 0.09, 0.02, iron)
    glow.polygon([(-0.14, -0.38), (0.14, -0.38), (0.08, -0.14), (-0.08, -0.14)], _GLOW)
    pen.line([(-0.14, -0.38), (-0.08, -0.14), (0.08, -0.14), (0.14, -0.38)], iron, 0.03)
    pen.polygon([(-0.19, -0.37), (0, -0.5), (0.19, -0.37)], darker(iron, 0.2))


@thing(colors="red blue white turquoise brown", size=(0.24, 0.36), tilt=4, turns=False)
def clock(pen: Pen, look: Look) -> None:
    """An alarm clock with bells and feet."""
    dice, color = look.dice, look.color
    for side in (-1, 1):
        pen.line([(side * 0.2, 0.3), (side * 0.28, 0.48)], darker(color, 0.4), 0.06)
        pen.oval(side * 0.22, -0.36, 0.14, 0.1, darker(color, 0.15), degrees=side * 35)
    pen.line([(0, -0.34), (0, -0.46)], _INK, 0.03)
    pen.disc(0, 0.04, 0.38, color)
    pen.disc(0, 0.04, 0.3, (252, 248, 238))
    for hour in range(12):
        x, y = math.sin(math.tau * hour / 12), -math.cos(math.tau * hour / 12)
        pen.disc(0.25 * x, 0.04 + 0.25 * y, 0.026 if hour % 3 == 0 else 0.014, _INK)
    for length, width in ((0.14, 0.036), (0.21, 0.024)):
        turn = dice.between(0, math.tau)
        pen.line(
            [(0, 0.04), (length * math.sin(turn), 0.04 - length * math.cos(turn))], _INK, width
        )
    pen.disc(0, 0.04, 0.03, (206, 60, 56))


_GLASS = (186, 222, 238)
_TYRE = (44, 42, 50)
_CHROME = (206, 210, 216)


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc(x, y, radius, _TYRE)
    pen.disc(x, y, radius * 0.52, _CHROME)
    pen.disc(x, y, radius * 0.22, darker(_CHROME, 0.4))


@thing(colors="red red blue yellow green white grey", size=(0.34, 0.5), tilt=2)
def car(pen: Pen, look: Look) -> None:
    """Side view: saloon or hatchback."""
    color, long_back = look.color, look.dice.chance(0.5)
    back = -0.36 if long_back else -0.28
    pen.blob([(back, 0.2), (back + 0.1, -0.02), (0.12, -0.03), (0.28, 0.2)], color)
    pen.polygon([(back + 0.07, 0.18), (back + 0.13, 0.02), (-0.06, 0.02), (-0.06, 0.18)], _GLASS)
    pen.polygon([(-0.02, 0.18), (-0.02, 0.02), (0.11, 0.02), (0.21, 0.18)], _GLASS)
    body = [
        (-0.5, 0.24),
        (-0.42, 0.17),
        (0.3, 0.17),
        (0.47, 0.22),
        (0.5, 0.38),
        (0.44, 0.42),
        (-0.46, 0.42),
        (-0.5, 0.38),
    ]
    pen.polygon(rounded(body, steps=4), color)
    pen.box(-0.47, 0.36, 0.47, 0.42, darker(color, 0.35))
    pen.line([(-0.04, 0.2), (-0.04, 0.37)], darker(color), 0.012)
    pen.line([(0.0, 0.24), (0.06, 0.24)], darker(color, 0.4), 0.016)
    pen.oval(0.46, 0.26, 0.035, 0.04, (255, 236, 150))
    pen.oval(-0.475, 0.26, 0.025, 0.04, (210, 50, 50))
    for x in (-0.27, 0.28):
        pen.disc(x, 0.38, 0.135, darker(color, 0.5))
        _wheel(pen, x, 0.39, 0.11)


@thing(colors="red yellow blue orange green", size=(0.4, 0.58), tilt=1)
def bus(pen: Pen, look: Look) -> None:
    """Side view, with a row of windows; sometimes a double-decker."""
    color = look.color
    double = look.dice.chance(0.35)
    top = -0.34 if double else -0.12
    cut = 0.05
    left, right = -0.48, 0.48
    roof = [(left, top + cut), (left + cut, top), (right - cut, top), (right, top + cut)]
    pen.polygon([*roof, (right, 0.4), (left, 0.4)], color)
    pen.box(-0.48, 0.22, 0.48, 0.27, lighter(look.accent, 0.4))
    pen.box(-0.46, 0.36, 0.46, 0.41, darker(color, 0.35))
    rows = (-0.27, -0.04) if double else (-0.05,)
    for row in rows:
        for x in (-0.42, -0.24, -0.06, 0.12):
            pen.box(x, row, x + 0.14, row + 0.17, _GLASS)
    pen.box(0.31, -0.04, 0.44, 0.36, darker(_GLASS, 0.2))
    pen.line([(0.375, -0.04), (0.375, 0.36)], darker(color), 0.012)
    pen.oval(0.47, 0.31, 0.022, 0.035, (255, 236, 150))
    for x in (-0.28, 0.2):
        pen.disc(x, 0.39, 0.125, darker(color, 0.5))
        _wheel(pen, x, 0.4, 0.1)


@thing(colors="red blue green black purple", size=(0.32, 0.48), tilt=4)
def bicycle(pen: Pen, look: Look) -> None:
    """Side view, leaning on nothing."""
    color = look.color
    back, front, crank = (-0.29, 0.27), (0.29, 0.27), (-0.04, 0.28)
    for x, y in (back, front):
        for dx, dy in ((0.2, 0.0), (0.1, 0.17), (-0.1, 0.17)):
            pen.line([(x - dx, y - dy), (x + dx, y + dy)], (168, 172, 180), 0.01)
        pen.ring(x, y, 0.225, _TYRE, 0.04)
    seat, head = (-0.14, -0.08), (0.19, -0.1)
    pen.line([back, seat, crank, back], color, 0.036)
    pen.line([seat, head, crank], color, 0.036)
    pen.line([front, head, (0.16, -0.22)], color, 0.036)
    pen.line([seat, (-0.16, -0.16)], color, 0.036)
    pen.line([(0.06, -0.2), (0.16, -0.24), (0.25, -0.18)], _TYRE, 0.036)
    pen.oval(-0.17, -0.18, 0.1, 0.032, _TYRE)
    pen.disc(*crank, 0.05, darker(color, 0.4))
    pen.line([(-0.08, 0.36), (0.0, 0.2)], _TYRE, 0.024)


@thing(colors="red blue brown white green", size=(0.34, 0.54), tilt=5, flock=2)
def boat(pen: Pen, look: Look) -> None:
    """A sailing boat, or a steamer with a funnel."""
    color = look.color
    hull = [(-0.46, 0.22), (0.48, 0.22), (0.34, 0.46), (-0.34, 0.46)]
    if look.dice.chance(0.68):
        sail = lighter(look.accent, 0.6)
        pen.line([(0, 0.24), (0, -0.48)], (112, 80, 54), 0.026)
        pen.polygon([(0.03, -0.46), (0.03, 0.14), (0.38, 0.14)], COLORS["white"])
        pen.polygon([(-0.03, -0.4), (-0.03, 0.14), (-0.32, 0.14)], sail)
        pen.polygon([(0, -0.5), (0.14, -0.45), (0, -0.4)], look.accent)
    else:
        for x, y, radius in ((0.06, -0.4, 0.07), (-0.05, -0.46, 0.09)):
            pen.disc(x, y, radius, (226, 226, 230), alpha=0.8)
        pen.box(0.02, -0.32, 0.14, 0.0, darker(look.accent, 0.1))
        pen.box(0.02, -0.26, 0.14, -0.2, COLORS["white"])
        pen.box(-0.28, -0.02, 0.28, 0.22, COLORS["white"])
        for x in (-0.18, -0.02, 0.14):
            pen.disc(x + 0.02, 0.09, 0.05, _GLASS)
    pen.polygon(hull, color)
    pen.polygon([(-0.46, 0.22), (0.48, 0.22), (0.45, 0.28), (-0.43, 0.28)], lighter(color, 0.45))
