"""Animals: bird, duck, fish, cat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.datasets.scenes.pen import COLORS, RGB, darker, lighter
from proxyhash.datasets.scenes.thing import Look, thing

if TYPE_CHECKING:
    from proxyhash.datasets.scenes.pen import Pen

__all__ = ["bird", "cat", "duck", "fish"]

_EYE = (36, 32, 40)
_BEAK = (240, 150, 50)


def _eye(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc(x, y, radius, (255, 255, 255))
    pen.disc(x + radius * 0.2, y, radius * 0.6, _EYE)


@thing(colors="blue red black yellow turquoise", size=(0.18, 0.32), tilt=14, flock=3)
def bird(pen: Pen, look: Look) -> None:
    """In flight, wing up or down."""
    color = look.color
    up = look.dice.chance(0.6)
    pen.polygon([(-0.2, 0.02), (-0.5, -0.08), (-0.46, 0.06), (-0.48, 0.16)], darker(color))
    if up:
        pen.blob(
            [(-0.02, 0.0), (-0.2, -0.3), (-0.3, -0.44), (-0.02, -0.3), (0.12, -0.04)],
            darker(color, 0.35),
        )
    pen.oval(0.0, 0.05, 0.28, 0.16, color)
    pen.oval(0.05, 0.12, 0.18, 0.09, lighter(color, 0.5))
    pen.polygon([(0.38, -0.1), (0.52, -0.04), (0.37, 0.0)], _BEAK)
    pen.disc(0.27, -0.06, 0.14, color)
    _eye(pen, 0.31, -0.09, 0.042)
    wing = (
        [(-0.12, 0.02), (-0.1, -0.22), (0.0, -0.48), (0.12, -0.2), (0.12, 0.02)]
        if up
        else [(-0.12, 0.0), (0.12, 0.0), (0.02, 0.2), (-0.16, 0.42), (-0.16, 0.18)]
    )
    pen.blob(wing, darker(color, 0.18))


@thing(colors="yellow yellow white brown", size=(0.22, 0.34), tilt=4, flock=3)
def duck(pen: Pen, look: Look) -> None:
    """Side view, sitting or swimming."""
    color = look.color
    pen.blob(
        [
            (-0.48, 0.06),
            (-0.34, 0.14),
            (0.0, 0.1),
            (0.3, 0.12),
            (0.36, 0.3),
            (0.2, 0.48),
            (-0.2, 0.5),
            (-0.4, 0.34),
        ],
        color,
    )
    pen.blob([(0.1, 0.2), (0.12, -0.1), (0.3, -0.1), (0.34, 0.24)], color)
    pen.polygon([(0.38, -0.2), (0.56, -0.12), (0.38, -0.06)], _BEAK)
    pen.disc(0.23, -0.16, 0.19, color)
    _eye(pen, 0.29, -0.21, 0.045)
    pen.blob(
        [(-0.3, 0.22), (-0.05, 0.18), (0.12, 0.28), (-0.02, 0.4), (-0.22, 0.36)],
        darker(color, 0.16),
    )


@thing(colors="orange orange red blue purple yellow", size=(0.2, 0.36), tilt=12, flock=4)
def fish(pen: Pen, look: Look) -> None:
    """Side view, with fins, often striped."""
    color, accent = look.color, look.accent
    pen.blob([(-0.24, 0.0), (-0.48, -0.24), (-0.42, 0.0), (-0.48, 0.24)], darker(color))
    pen.blob([(-0.12, -0.2), (0.0, -0.4), (0.16, -0.34), (0.14, -0.18)], darker(color))
    pen.blob([(-0.02, 0.18), (-0.04, 0.34), (0.1, 0.3), (0.12, 0.16)], darker(color))
    body = [
        (-0.3, 0.0),
        (-0.14, -0.19),
        (0.12, -0.25),
        (0.36, -0.14),
        (0.46, 0.02),
        (0.36, 0.15),
        (0.12, 0.24),
        (-0.14, 0.18),
    ]
    pen.blob(body, color)
    if look.dice.chance(0.6):
        stripe = lighter(accent, 0.45)
        pen.polygon([(0.1, -0.24), (0.19, -0.22), (0.17, 0.22), (0.08, 0.23)], stripe)
        pen.polygon([(-0.1, -0.19), (-0.03, -0.21), (-0.03, 0.21), (-0.1, 0.18)], stripe)
    pen.blob([(0.0, 0.02), (-0.14, 0.08), (-0.1, 0.16), (0.04, 0.1)], darker(color, 0.15))
    _eye(pen, 0.31, -0.04, 0.055)
    pen.line([(0.44, 0.06), (0.37, 0.08)], darker(color, 0.5), 0.018)


@thing(colors="orange grey black white brown", size=(0.26, 0.42), tilt=2)
def cat(pen: Pen, look: Look) -> None:
    """Sitting, with its tail up."""
    color, dice = look.color, look.dice
    dark = darker(color, 0.22)
    tail = [(0.14, 0.42), (0.34, 0.4), (0.4, 0.2), (0.32, 0.02), (0.38, -0.1)]
    pen.line(tail, dark, 0.085)
    pen.disc(*tail[-1], 0.042, dark)
    pen.blob(
        [(-0.2, 0.5), (-0.22, 0.2), (-0.12, -0.06), (0.1, -0.06), (0.22, 0.2), (0.22, 0.5)], color
    )
    pen.oval(0.0, 0.26, 0.1, 0.17, lighter(color, 0.3))
    for side in (-1, 1):
        pen.oval(side * 0.1, 0.46, 0.09, 0.05, lighter(color, 0.18))
        ear = [(side * 0.22, -0.14), (side * 0.2, -0.48), (side * 0.02, -0.32)]
        pen.polygon(ear, dark)
        pen.polygon(
            [(side * 0.19, -0.22), (side * 0.185, -0.4), (side * 0.07, -0.31)], COLORS["pink"]
        )
    pen.oval(0, -0.16, 0.24, 0.2, color)
    _cat_face(pen, color, stripes=dice.chance(0.5))


def _cat_face(pen: Pen, color: RGB, *, stripes: bool) -> None:
    if stripes:
        for x in (-0.06, 0.0, 0.06):
            pen.line([(x, -0.34), (x * 0.8, -0.26)], darker(color, 0.35), 0.026)
    light = sum(color) < 260
    whisker = (220, 220, 220) if light else (70, 62, 66)
    for side in (-1, 1):
        pen.oval(side * 0.1, -0.18, 0.052, 0.058, (200, 224, 120))
        pen.oval(side * 0.1, -0.18, 0.022, 0.05, _EYE)
        for y in (-0.09, -0.05):
            pen.line([(side * 0.08, -0.07), (side * 0.3, y - 0.03)], whisker, 0.01)
    pen.oval(0, -0.06, 0.08, 0.05, lighter(color, 0.4))
    pen.polygon([(-0.03, -0.1), (0.03, -0.1), (0, -0.06)], (224, 110, 120))
