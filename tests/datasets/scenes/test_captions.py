"""Captions say something true, and leave things out."""

from __future__ import annotations

import re

import pytest

from proxyhash.datasets.scenes.captions import (
    COLOR_WORDS,
    HOUR_WORDS,
    PLACE_WORDS,
    WORDS,
    plural,
    write_caption,
)
from proxyhash.datasets.scenes.dice import Dice
from proxyhash.datasets.scenes.pen import COLORS
from proxyhash.datasets.scenes.plan import SETTINGS, plan_scene
from proxyhash.datasets.scenes.thing import THINGS

PAIRS = [
    (scene := plan_scene(Dice(f"plan {number}")), write_caption(scene, Dice(f"caption {number}")))
    for number in range(600)
]


def mentions(caption: str, noun: str) -> bool:
    either = f"{re.escape(noun)}|{re.escape(plural(noun))}"
    return re.search(rf"\b({either})\b", caption, re.IGNORECASE) is not None


def named(caption: str, category: str) -> bool:
    words = WORDS[category]
    return any(mentions(caption, noun) for noun in (*words.nouns, *words.vague))


def exactly(caption: str, category: str) -> bool:
    return any(mentions(caption, noun) for noun in WORDS[category].nouns)


def test_something_in_the_image_is_named() -> None:
    for scene, caption in PAIRS:
        assert any(named(caption, name) for name in scene.labels), (caption, scene.labels)


def test_nothing_else_is_named() -> None:
    """By the first noun of each category; some of these are part of other names."""
    for scene, caption in PAIRS:
        for name in set(THINGS) - set(scene.labels) - {"balloon", "bird"}:
            assert not mentions(caption, WORDS[name].nouns[0]), (caption, name, scene.labels)


def test_text_and_labels_do_not_coincide() -> None:
    told = [exactly(caption, name) for scene, caption in PAIRS for name in scene.labels]
    assert 0.65 < sum(told) / len(told) < 0.9


def test_captions_differ() -> None:
    captions = [caption for _, caption in PAIRS]
    assert len(set(captions)) > 0.95 * len(captions)
    assert {caption[0].isupper() for caption in captions} == {True, False}


def test_captions_are_clean_english() -> None:
    for _, caption in PAIRS:
        assert "  " not in caption
        assert caption == caption.strip()
        assert not re.search(r"\ba [aeiou]", caption, re.IGNORECASE), caption
        assert not re.search(r"\ban [^aeiou]", caption, re.IGNORECASE), caption
        assert len(caption) < 220


def test_every_word_list_is_complete() -> None:
    assert set(WORDS) == set(THINGS)
    assert set(PLACE_WORDS) == set(SETTINGS)
    assert set(COLOR_WORDS) == set(COLORS)
    assert all(words.nouns and words.doing for words in WORDS.values())
    assert set(HOUR_WORDS) == {"day", "dusk", "night"}


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"),
        ("fish", "fish"),
        ("bus", "buses"),
        ("cactus", "cacti"),
        ("kitty", "kitties"),
        ("toy", "toys"),
        ("cup of coffee", "cups of coffee"),
        ("leafy tree", "leafy trees"),
        ("snowman", "snowmen"),
        ("coach", "coaches"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
