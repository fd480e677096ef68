"""Drawing on a canvas in a thing's own coordinates, and the named colors to draw with."""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyhash.datasets.scenes.dice import Dice

__all__ = ["COLORS", "RGB", "Pen", "Point", "arc", "darker", "jitter", "lighter", "mix", "rounded"]

Point: TypeAlias = tuple[float, float]

_SHADES = 32

_CIRCLE = [(math.cos(math.tau * step / 32), math.sin(math.tau * step / 32)) for step in range(32)]


class Pen:
    """Fills shapes in a frame of its own: x to the right and y down, each from -0.5 to 0.5.

    Args:
        canvas: RGB image that is drawn on; shapes have hard edges, so it should be larger than
            the final image and be scaled down.
        tint: color of the light and its share in everything that is drawn.
    """

    def __init__(self, canvas: Image.Image, *, tint: tuple[RGB, float] = ((0, 0, 0), 0.0)) -> None:
        self._canvas = canvas
        self._draw = ImageDraw.Draw(canvas, "RGBA")
        self._tint = tint
        self._place(canvas.width / 2, canvas.height / 2, canvas.width, 0.0, mirror=False)

    def _place(self, x: float, y: float, scale: float, angle: float, *, mirror: bool) -> None:
        self._origin = (x, y)
        self._scale = scale
        self._upright = angle == 0
        cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
        side = -1.0 if mirror else 1.0
        self._matrix = (side * cosine, -sine, side * sine, cosine)

    def at(
        self, x: float, y: float, size: float, *, degrees: float = 0.0, mirror: bool = False
    ) -> Pen:
        """A pen whose frame is centered here, `size` of this frame wide, tilted clockwise."""
        pen = copy(self)
        (left, top), *_ = self._points([(x, y)])
        pen._place(left, top, self._scale * size, math.radians(degrees), mirror=mirror)
        return pen

    def bright(self) -> Pen:
        """The same pen for things that shine: the light around does not tint them."""
        pen = copy(self)
        pen._tint = (self._tint[0], 0.0)
        return pen

    def _points(self, points: Sequence[Point]) -> list[Point]:
        xx, xy, yx, yy = self._matrix
        left, top = self._origin
        return [(left + xx * x + xy * y, top + yx * x + yy * y) for x, y in points]

    def _ink(self, color: RGB, alpha: float) -> tuple[int, int, int, int]:
        light, share = self._tint
        red, green, blue = mix(color, light, share) if share else color
        return red, green, blue, round(255 * alpha)

    def wash(self, top: float, bottom: float, upper: RGB, lower: RGB) -> None:
        """Fill the canvas from side to side between two heights, one color running into another.

        For a pen whose frame is the canvas.
        """
        start, end = (round((y + 0.5) * self._canvas.height) for y in (top, bottom))
        strip = Image.new("RGB", (1, _SHADES))
        steps = (step / (_SHADES - 1) for step in range(_SHADES))
        strip.putdata([self._ink(mix(upper, lower, share), 1.0)[:3] for share in steps])
        size = (self._canvas.width, max(1, end - start))
        self._canvas.paste(strip.resize(size, Image.Resampling.BILINEAR), (0, start))

    def polygon(self, points: Sequence[Point], color: RGB, *, alpha: float = 1.0) -> None:
        """Fill the polygon with these corners."""
        self._draw.polygon(self._points(points), fill=self._ink(color, alpha))

    def box(
        self, left: float, top: float, right: float, bottom: float, color: RGB, *, alpha: float = 1
    ) -> None:
        """Fill a rectangle."""
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.polygon(corners, color, alpha=alpha)

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        color: RGB,
        *,
        degrees: float = 0.0,
        alpha: float = 1.0,
    ) -> None:
        """Fill an ellipse with these half axes around a center, tilted clockwise."""
        if self._upright and degrees == 0:
            (left, top), *_ = self._points([(x, y)])
            wide, high = rx * self._scale, ry * self._scale
            bounds = (left - wide, top - high, left + wide, top + high)
            self._draw.ellipse(bounds, fill=self._ink(color, alpha))
            return
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        outline = [
            (x + rx * c * cosine - ry * s * sine, y + rx * c * sine + ry * s * cosine)
            for c, s in _CIRCLE
        ]
        self.polygon(outline, color, alpha=alpha)

    def disc(self, x: float, y: float, radius: float, color: RGB, *, alpha: float = 1.0) -> None:
        """Fill a circle."""
        self.oval(x, y, radius, radius, color, alpha=alpha)

    def line(
        self, points: Sequence[Point], color: RGB, width: float, *, alpha: float = 1.0
    ) -> None:
        """Draw a line through the points, with round joints."""
        pixels = max(1, round(width * self._scale))
        ink = self._ink(color, alpha)
        self._draw.line(self._points(points), fill=ink, width=pixels, joint="curve")

    def ring(self, x: float, y: float, radius: float, color: RGB, width: float) -> None:
        """Draw a circle's line, its outer edge at `radius`."""
        (left, top), *_ = self._points([(x, y)])
        reach = radius * self._scale
        bounds = (left - reach, top - reach, left + reach, top + reach)
        pixels = max(1, round(width * self._scale))
        self._draw.ellipse(bounds, outline=self._ink(color, 1.0), width=pixels)

    def blob(self, points: Sequence[Point], color: RGB, *, alpha: float = 1.0) -> None:
        """Fill the smooth closed shape through the points."""
        self.polygon(rounded(points), color, alpha=alpha)


def rounded(points: Sequence[Point], *, steps: int = 5) -> list[Point]:
    """The outline of the closed Catmull-Rom curve through the points."""
    outline = []
    count = len(points)
    for place in range(count):
        (ax, ay), (bx, by) = points[place - 1], points[place]
        (cx, cy), (dx, dy) = points[(place + 1) % count], points[(place + 2) % count]
        for step in range(steps):
            t = step / steps
            first = ((-t + 2) * t - 1) * t / 2
            second = ((3 * t - 5) * t * t + 2) / 2
            third = ((-3 * t + 4) * t + 1) * t / 2
            fourth = (t - 1) * t * t / 2
            outline.append(
                (
                    first * ax + second * bx + third * cx + fourth * dx,
                    first * ay + second * by + third * cy + fourth * dy,
                )
            )
    return outline


def arc(  # noqa: PLR0917
    x: float, y: float, rx: float, ry: float, start: float, end: float, *, steps: int = 16
) -> list[Point]:
    """Points along an ellipse from one angle to the other, in degrees clockwise from the right."""
    angles = (math.radians(start + (end - start) * step / steps) for step in range(steps + 1))
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


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
