"""What scenes show, and where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.datasets.scenes.backgrounds import TONES
from proxyhash.datasets.scenes.dice import Dice
from proxyhash.datasets.scenes.pen import COLORS
from proxyhash.datasets.scenes.plan import SETTINGS, Scene, plan_scene
from proxyhash.datasets.scenes.thing import THINGS, thing

SCENES = st.integers(0, 10**9).map(lambda seed: plan_scene(Dice(f"plan {seed}")))


@given(SCENES)
def test_scenes_make_sense(scene: Scene) -> None:
    setting = SETTINGS[scene.setting]
    assert scene.tone in TONES
    assert setting.horizon[0] <= scene.horizon <= setting.horizon[1]
    assert 1 <= len(scene.labels) <= 4
    assert not {"sun", "moon"} <= set(scene.labels)
    if scene.tone == "night":
        assert "sun" not in scene.labels
    for actor in scene.actors:
        assert actor.thing.name in setting.cast[actor.zone]
        assert {actor.color, actor.accent} <= set(COLORS)
        assert actor.color != actor.accent
        assert abs(actor.x) < 0.5
        assert abs(actor.y) < 0.5


@given(SCENES)
def test_the_nearer_is_drawn_later(scene: Scene) -> None:
    front = [actor.y + actor.size / 2 for actor in scene.actors if actor.zone == "front"]
    assert front == sorted(front)


@given(SCENES)
def test_things_in_one_flock_look_alike(scene: Scene) -> None:
    for name in scene.labels:
        flock = [actor for actor in scene.actors if actor.thing.name == name]
        assert len(flock) <= THINGS[name].flock
        assert len({(actor.color, actor.accent, actor.zone) for actor in flock}) == 1


def test_labels_are_seldom_hidden() -> None:
    """The nearest things may stand before others, but not before the whole of them."""
    scenes = [plan_scene(Dice(f"hidden {number}")) for number in range(300)]
    hidden = 0
    for scene in scenes:
        for place, actor in enumerate(scene.actors):
            nearer = scene.actors[place + 1 :]
            hidden += sum(other.hides(actor) for other in nearer) > 0.6
    assert hidden <= 0.02 * sum(len(scene.actors) for scene in scenes)


def test_every_category_has_a_part() -> None:
    cast = {
        name for setting in SETTINGS.values() for names in setting.cast.values() for name in names
    }
    assert cast == set(THINGS)


def test_every_category_is_common_enough() -> None:
    counts = dict.fromkeys(THINGS, 0)
    for number in range(1000):
        for name in plan_scene(Dice(f"common {number}")).labels:
            counts[name] += 1
    assert min(counts.values()) >= 40
    assert max(counts.values()) <= 250


def test_a_name_is_registered_once() -> None:
    before = dict(THINGS)
    try:

        @thing(colors="red blue", size=(0.1, 0.2))
        def teapot(pen: object, look: object) -> None: ...

        assert THINGS["teapot"].colors == ("red", "blue")
        with pytest.raises(ValueError, match="is already a drawing of 'teapot'"):
            thing(colors="red", size=(0.1, 0.2))(teapot)
    finally:
        THINGS.clear()
        THINGS.update(before)
