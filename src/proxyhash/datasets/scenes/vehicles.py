"""What carries people: car, bus, bicycle, boat."""

from __future__ import annotations

from proxyhash.datasets.scenes.colors import COLORS, darker, lighter
from proxyhash.datasets.scenes.pen import Pen, rounded
from proxyhash.datasets.scenes.thing import Look, thing

__all__ = ["bicycle", "boat", "bus", "car"]

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
