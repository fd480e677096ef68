"""Every thing and every background leaves its mark on the canvas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from proxyhash.datasets.scenes.backgrounds import TONES, paint_background
from proxyhash.datasets.scenes.dice import Dice
from proxyhash.datasets.scenes.generate import render_scene
from proxyhash.datasets.scenes.pen import COLORS, Pen, arc, jitter, mix, rounded
from proxyhash.datasets.scenes.plan import SETTINGS, plan_scene
from proxyhash.datasets.scenes.thing import THINGS, Look

GREEN = (0, 255, 0)


def look(number: int, *, indoors: bool) -> Look:
    return Look(COLORS["red"], COLORS["blue"], indoors, Dice(f"look {number}"))


@pytest.mark.parametrize("name", sorted(THINGS))
def test_things_fill_their_frame(name: str) -> None:
    for number in range(6):
        canvas = Image.new("RGB", (120, 120), GREEN)
        THINGS[name].draw(Pen(canvas).at(0, 0, 0.6), look(number, indoors=number % 2 == 0))
        changed = (np.asarray(canvas) != GREEN).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert 0.02 < changed.mean() < 0.6
        # A glow or a tail may reach a little beyond the frame, from 24 to 96.
        assert columns[0] >= 8
        assert columns[-1] <= 111
        assert rows[0] >= 8
        assert rows[-1] <= 111


@pytest.mark.parametrize("name", sorted(THINGS))
def test_things_show_their_color(name: str) -> None:
    images = set()
    for color in THINGS[name].colors:
        canvas = Image.new("RGB", (60, 60), GREEN)
        shown = Look(COLORS[color], COLORS["white"], True, Dice("fixed"))
        THINGS[name].draw(Pen(canvas).at(0, 0, 0.8), shown)
        images.add(canvas.tobytes())
    assert len(images) == len(set(THINGS[name].colors))


@pytest.mark.parametrize("setting", sorted(SETTINGS))
@pytest.mark.parametrize("tone", TONES)
def test_backgrounds_cover_the_canvas(setting: str, tone: str) -> None:
    for number in range(3):
        canvas = Image.new("RGB", (90, 90), GREEN)
        dice = Dice(f"background {number}")
        paint_background(canvas, setting, tone=tone, horizon=0.1, dice=dice)
        assert not (np.asarray(canvas) == GREEN).all(axis=2).any()


def test_night_is_darker_than_day() -> None:
    def brightness(tone: str) -> float:
        canvas = Image.new("RGB", (60, 60))
        paint_background(canvas, "meadow", tone=tone, horizon=0.0, dice=Dice("fixed"))
        return float(np.asarray(canvas).mean())

    assert brightness("night") < 0.6 * brightness("day")


def test_images_have_the_size_asked_for() -> None:
    scene = plan_scene(Dice("any"))
    for size in (32, 77):
        assert render_scene(scene, Dice("any"), size=size).size == (size, size)


class TestPen:
    def test_frames_nest_tilt_and_mirror(self) -> None:
        canvas = Image.new("RGB", (100, 100))
        pen = Pen(canvas).at(0.2, -0.1, 0.5)
        assert pen._points([(0, 0)])[0] == pytest.approx((70, 40))
        assert pen._points([(0.5, 0.5)])[0] == pytest.approx((95, 65))
        assert Pen(canvas).at(0, 0, 1, degrees=90)._points([(0.5, 0)])[0] == pytest.approx(
            (50, 100)
        )
        assert Pen(canvas).at(0, 0, 1, mirror=True)._points([(0.5, 0.2)])[0] == pytest.approx(
            (0, 70)
        )

    def test_tint_and_its_absence(self) -> None:
        canvas = Image.new("RGB", (20, 20))
        pen = Pen(canvas, tint=((0, 0, 0), 0.5))
        pen.box(-0.5, -0.5, 0, 0.5, (200, 100, 50))
        pen.bright().box(0, -0.5, 0.5, 0.5, (200, 100, 50))
        assert canvas.getpixel((2, 10)) == (100, 50, 25)
        assert canvas.getpixel((17, 10)) == (200, 100, 50)

    def test_tilted_ovals_cover_what_upright_ones_do(self) -> None:
        areas = []
        for degrees in (0.0, 30.0, 90.0):
            canvas = Image.new("L", (200, 200)).convert("RGB")
            Pen(canvas).oval(0, 0, 0.4, 0.2, (255, 255, 255), degrees=degrees)
            areas.append((np.asarray(canvas) > 0).mean())
        assert areas == pytest.approx([math.pi * 0.4 * 0.2] * 3, rel=0.03)

    def test_wash_runs_from_one_color_to_the_other(self) -> None:
        canvas = Image.new("RGB", (10, 50))
        Pen(canvas).wash(-0.5, 0.5, (0, 0, 0), (250, 250, 250))
        column = np.asarray(canvas)[:, 3, 0].astype(int)
        assert column[0] < 8
        assert column[-1] > 242
        assert (np.diff(column) >= 0).all()


def test_rounded_passes_through_its_points() -> None:
    corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    outline = rounded(corners, steps=4)
    assert len(outline) == 16
    assert outline[::4] == corners


def test_arc_begins_and_ends_where_it_says() -> None:
    points = arc(1.0, 2.0, 3.0, 4.0, 0, 90)
    assert points[0] == pytest.approx((4.0, 2.0))
    assert points[-1] == pytest.approx((1.0, 6.0))


def test_mixing_and_jitter_stay_colors() -> None:
    assert mix((0, 0, 0), (200, 100, 50), 0.5) == (100, 50, 25)
    for number in range(200):
        found = jitter((250, 4, 128), Dice(f"jitter {number}"))
        assert all(0 <= channel <= 255 for channel in found)
        assert max(abs(a - b) for a, b in zip(found, (250, 4, 128), strict=True)) <= 23
