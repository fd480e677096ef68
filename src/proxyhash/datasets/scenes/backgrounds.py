"""Backgrounds of the settings, painted from the horizon to the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from proxyhash.datasets.scenes.pen import COLORS, RGB, Pen, arc, darker, jitter, lighter, mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from proxyhash.datasets.scenes.dice import Dice

__all__ = ["INDOORS", "TINTS", "TONES", "paint_background"]

TONES = ("day", "dusk", "night")

TINTS: dict[str, tuple[RGB, float]] = {
    "day": ((255, 255, 255), 0.0),
    "dusk": ((236, 116, 84), 0.14),
    "night": ((22, 28, 74), 0.36),
}
"""The light of each tone and its share in what it falls on."""

_SKIES: dict[str, tuple[tuple[RGB, RGB], ...]] = {
    "day": (
        ((112, 182, 236), (214, 238, 248)),
        ((146, 208, 240), (240, 246, 232)),
        ((92, 164, 226), (188, 224, 244)),
    ),
    "dusk": (
        ((104, 84, 154), (250, 172, 118)),
        ((226, 118, 120), (252, 214, 150)),
        ((86, 106, 170), (246, 190, 168)),
    ),
    "night": (
        ((16, 20, 56), (52, 62, 118)),
        ((22, 18, 52), (72, 56, 112)),
        ((10, 26, 54), (34, 78, 112)),
    ),
}

_WATER: RGB = (62, 142, 190)
_SNOW: RGB = (240, 246, 252)
_GRASSES: tuple[RGB, ...] = ((122, 178, 84), (150, 190, 92), (98, 160, 92))
_WALLS: tuple[RGB, ...] = (
    (238, 222, 196),
    (198, 216, 212),
    (232, 200, 190),
    (206, 206, 226),
    (220, 226, 190),
)
_WOODS: tuple[RGB, ...] = ((176, 124, 80), (148, 100, 66), (206, 162, 112))

_Painter: TypeAlias = "Callable[[Pen, float, Dice], None]"


def paint_background(
    canvas: Image.Image, setting: str, *, tone: str, horizon: float, dice: Dice
) -> None:
    """Paint over the whole canvas.

    Args:
        canvas: RGB image.
        setting: one of `_PAINTERS`.
        tone: one of `TONES`; of no effect indoors.
        horizon: height where the ground begins, from -0.5 at the top to 0.5 at the bottom.
        dice: for colors and details.
    """
    if setting in INDOORS:
        pen = Pen(canvas)
    else:
        Pen(canvas).wash(-0.5, horizon, *dice.choice(_SKIES[tone]))
        pen = Pen(canvas, tint=TINTS[tone])
    _PAINTERS[setting](pen, horizon, dice)


def _meadow(pen: Pen, horizon: float, dice: Dice) -> None:
    grass = jitter(dice.choice(_GRASSES), dice)
    _hills(
        pen, horizon, [mix(grass, (120, 170, 190), 0.55), mix(grass, (120, 170, 190), 0.25)], dice
    )
    pen.wash(horizon, 0.5, lighter(grass, 0.12), darker(grass, 0.14))
    for _ in range(22):
        x, y = dice.between(-0.5, 0.5), dice.between(horizon + 0.03, 0.5)
        for lean in (-0.012, 0.0, 0.012):
            pen.line([(x + lean * 0.3, y), (x + lean, y - 0.025)], darker(grass, 0.3), 0.006)


def _hills(pen: Pen, horizon: float, colors: list[RGB], dice: Dice) -> None:
    """Rounded hills behind the horizon, the farthest first."""
    for row, color in enumerate(colors):
        high = 0.16 - 0.06 * row
        for x in (-0.45, 0.0, 0.45):
            middle = x + dice.between(-0.2, 0.2)
            reach = dice.between(0.28, 0.5)
            crest = arc(middle, horizon + 0.01, reach, high * dice.between(0.4, 1.0), 180, 360)
            pen.polygon(crest, color)


def _beach(pen: Pen, horizon: float, dice: Dice) -> None:
    water, sand = jitter(_WATER, dice), jitter((236, 212, 160), dice)
    shore = horizon + dice.between(0.1, 0.17)
    pen.wash(horizon, shore + 0.06, darker(water, 0.12), lighter(water, 0.25))
    _ripples(pen, horizon, shore, dice)
    pen.wash(shore + 0.05, 0.5, sand, darker(sand, 0.1))
    bay = dice.between(-0.3, 0.3)
    for drop, color in ((0.0, (250, 252, 252)), (0.018, sand)):
        pen.oval(bay, shore + 0.16 + drop, 0.9, 0.17, color)
    for _ in range(26):
        x, y = dice.between(-0.5, 0.5), dice.between(shore + 0.06, 0.5)
        pen.disc(x, y, 0.004, darker(sand, 0.3))


def _ripples(pen: Pen, top: float, bottom: float, dice: Dice) -> None:
    for _ in range(12):
        x, y = dice.between(-0.5, 0.5), dice.between(top + 0.015, bottom)
        pen.line([(x, y), (x + dice.between(0.04, 0.1), y)], (255, 255, 255), 0.007, alpha=0.4)


def _city(pen: Pen, horizon: float, dice: Dice) -> None:
    brick = dice.choice(((150, 140, 160), (168, 132, 120), (122, 138, 158)))
    left = -0.5
    while left < 0.5:
        width = dice.between(0.1, 0.2)
        top = horizon - dice.between(0.1, 0.32)
        wall = jitter(mix(brick, COLORS["white"], dice.between(0.0, 0.3)), dice)
        pen.box(left, top, left + width, horizon + 0.01, wall)
        front = (left, top, left + width, horizon)
        _windows(pen, front, darker(wall, 0.3), dice)
        left += width
    pavement = jitter((186, 182, 178), dice)
    pen.wash(horizon, 0.5, lighter(pavement, 0.1), pavement)
    road = horizon + 0.13
    pen.wash(road, 0.5, (98, 98, 108), (78, 78, 88))
    pen.box(-0.5, road, 0.5, road + 0.012, (216, 214, 206))
    for dash in range(5):
        x = -0.5 + dash * 0.24
        pen.box(x, 0.4, x + 0.12, 0.42, (240, 232, 200))


def _windows(pen: Pen, front: tuple[float, float, float, float], dark: RGB, dice: Dice) -> None:
    """Rows of windows over a house front (left, top, right, bottom), some of them lit."""
    left, top, right, bottom = front
    width = right - left
    columns = int(width / 0.045)
    gap = width / columns
    y = top + 0.03
    while y < bottom - 0.03:
        for column in range(columns):
            x = left + gap * (column + 0.3)
            if dice.chance(0.3):
                pen.bright().box(x, y, x + gap * 0.45, y + 0.022, (255, 226, 150))
            else:
                pen.box(x, y, x + gap * 0.45, y + 0.022, dark)
        y += 0.05


def _snow(pen: Pen, horizon: float, dice: Dice) -> None:
    _hills(
        pen, horizon, [mix(_SNOW, (110, 150, 200), 0.35), mix(_SNOW, (110, 150, 200), 0.16)], dice
    )
    pen.wash(horizon, 0.5, _SNOW, mix(_SNOW, (130, 170, 220), 0.22))
    pen.oval(dice.between(-0.4, 0.4), 0.5, 0.5, 0.12, mix(_SNOW, (255, 255, 255), 0.6))
    if dice.chance(0.6):
        for _ in range(45):
            x, y = dice.between(-0.5, 0.5), dice.between(-0.5, 0.5)
            pen.bright().disc(x, y, dice.between(0.004, 0.009), (255, 255, 255), alpha=0.9)


def _sea(pen: Pen, horizon: float, dice: Dice) -> None:
    """The water is cut open: waves at the horizon, and all that swims below it."""
    water = jitter(_WATER, dice)
    pen.wash(horizon, 0.5, lighter(water, 0.35), darker(water, 0.4))
    crests = 9
    for crest in range(crests + 1):
        x = -0.5 + crest / crests
        pen.oval(x, horizon + 0.004, 0.6 / crests, 0.022, lighter(water, 0.42))
    for _ in range(3):
        x = dice.between(-0.5, 0.4)
        beam = [(x, horizon), (x + 0.07, horizon), (x + 0.2, 0.5), (x + 0.02, 0.5)]
        pen.polygon(beam, (255, 255, 255), alpha=0.09)
    sand = (206, 190, 150)
    pen.oval(dice.between(-0.4, 0.4), 0.53, 0.7, 0.09, mix(sand, water, 0.25))
    for _ in range(dice.integer(2, 5)):
        x, high = dice.between(-0.48, 0.48), dice.between(0.07, 0.16)
        for lean in (-0.02, 0.0, 0.025):
            weed = [(x + lean, 0.5), (x + lean * 1.8, 0.47 - high / 2), (x + lean, 0.46 - high)]
            pen.line(weed, (54, 130, 100), 0.014)


def _desert(pen: Pen, horizon: float, dice: Dice) -> None:
    sand = jitter((230, 182, 112), dice)
    _hills(pen, horizon, [mix(sand, (214, 130, 100), 0.5), mix(sand, (214, 130, 100), 0.2)], dice)
    pen.wash(horizon, 0.5, lighter(sand, 0.15), darker(sand, 0.1))
    for _ in range(4):
        x, y = dice.between(-0.5, 0.5), dice.between(horizon + 0.08, 0.5)
        pen.oval(x, y, dice.between(0.15, 0.35), 0.022, darker(sand, 0.12))


def _room(pen: Pen, horizon: float, dice: Dice) -> None:
    _wallpaper(pen, horizon, dice)
    wood = jitter(dice.choice(_WOODS), dice)
    pen.wash(horizon, 0.5, darker(wood, 0.12), lighter(wood, 0.1))
    for plank in range(-5, 6):
        pen.line([(plank * 0.11, horizon), (plank * 0.2, 0.5)], darker(wood, 0.25), 0.006)
    pen.box(-0.5, horizon - 0.03, 0.5, horizon + 0.008, (246, 242, 234))
    if dice.chance(0.6):
        rug = jitter(COLORS[dice.choice(("red", "blue", "turquoise", "purple", "pink"))], dice)
        x = dice.between(-0.15, 0.15)
        for share, color in ((1.0, darker(rug, 0.1)), (0.85, lighter(rug, 0.5)), (0.74, rug)):
            pen.oval(x, horizon + 0.2, 0.36 * share, 0.1 * share, color)


def _wallpaper(pen: Pen, horizon: float, dice: Dice) -> None:
    wall = jitter(dice.choice(_WALLS), dice)
    pen.wash(-0.5, horizon, lighter(wall, 0.15), wall)
    pattern = dice.choice(("plain", "stripes", "dots"))
    if pattern == "stripes":
        for stripe in range(8):
            x = -0.5 + stripe / 8
            pen.box(x, -0.5, x + 0.06, horizon, darker(wall, 0.1))
    elif pattern == "dots":
        for row in range(9):
            for column in range(9):
                x, y = -0.5 + (column + row % 2 / 2) / 8, -0.46 + row * 0.11
                if y < horizon - 0.03:
                    pen.disc(x, y, 0.014, darker(wall, 0.14))


def _table(pen: Pen, horizon: float, dice: Dice) -> None:
    _wallpaper(pen, horizon, dice)
    if dice.chance(0.5):
        wood = jitter(dice.choice(_WOODS), dice)
        pen.wash(horizon, 0.5, lighter(wood, 0.15), darker(wood, 0.08))
        for grain in range(1, 5):
            y = horizon + grain * 0.08
            pen.line([(-0.5, y), (0.5, y + 0.01)], darker(wood, 0.14), 0.006)
    else:
        cloth = jitter(COLORS[dice.choice(("red", "blue", "green", "orange"))], dice)
        pen.wash(horizon, 0.5, (246, 242, 234), (246, 242, 234))
        for line in range(-6, 7):
            pen.line([(line * 0.1, horizon), (line * 0.17, 0.5)], cloth, 0.04, alpha=0.45)
        for depth in (0.03, 0.1, 0.18, 0.28, 0.4):
            pen.line([(-0.5, horizon + depth), (0.5, horizon + depth)], cloth, 0.04, alpha=0.45)
    pen.box(-0.5, horizon, 0.5, horizon + 0.012, (90, 66, 54), alpha=0.35)


_PAINTERS: dict[str, _Painter] = {
    "meadow": _meadow,
    "beach": _beach,
    "city": _city,
    "snow": _snow,
    "sea": _sea,
    "desert": _desert,
    "room": _room,
    "table": _table,
}

INDOORS = frozenset({"room", "table"})
"""Settings without a sky."""
