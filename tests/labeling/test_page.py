"""The page of found classes: escaped, complete in itself, bounded, readable in a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.data import Collection, Item
from proxyhash.labeling import FoundClass, FoundClasses
from proxyhash.labeling.page import SURE, UNSURE, render_classes, suggestions
from tests.browser import Browser, chromium, open_browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVIL = '<script>alert("x")</script>\u202e'


def found_of(collection: Collection, *, evil: bool = False) -> FoundClasses:
    draw = np.random.default_rng(0)
    values = draw.random((len(collection), 3)).astype(np.float32)
    values[:, 2] = np.maximum(values[:, 2], 0.5)
    names = (EVIL if evil else "red things", "blue things", "everything")
    classes = tuple(FoundClass(name, ((f"word {name}", 5),), ("old",)) for name in names)
    return FoundClasses("texts", classes, values, (f"a note {EVIL if evil else ''}",))


def test_texts_of_strangers_are_shown_and_not_run(scenes: Collection) -> None:
    items = [Item(i.id, {**i.sources, "text": EVIL}, ()) for i in scenes.items[:30]]
    collection = Collection.of(scenes.path, items)
    page = render_classes(collection, found_of(collection, evil=True), options={"seed": EVIL})
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_images_are_bounded_and_the_unsure_ones_marked(scenes: Collection) -> None:
    found = found_of(scenes)
    page = render_classes(scenes, found, options={"seed": 0}, edits=2)
    assert page.count("<img") == 3 * (SURE + UNSURE)
    assert page.count(", unsure</span>") == 3 * UNSURE
    assert "2 edits applied" in page
    rows = np.flatnonzero(found.labels[:, 0])
    best = sorted(rows, key=lambda row: -found.probabilities[row, 0])[:SURE]
    section = page[page.index('id="class-0"') : page.index('id="class-1"')]
    shown = re.findall(r"<span>([0-9.]+)</span>", section)
    assert shown == [f"{found.probabilities[row, 0]:.2f}" for row in best]
    assert f"{len(rows):,} items, mean confidence" in section


def test_images_that_are_gone_leave_their_texts(tmp_path: Path) -> None:
    items = [Item(f"{n}", {"image": "gone.png", "text": f"text {n}"}, ()) for n in range(12)]
    collection = Collection.of(tmp_path / "items.jsonl", items)
    page = render_classes(collection, found_of(collection), options={})
    assert "<img" not in page
    assert "<p>text 3</p>" in page


def test_suggestions_have_their_reasons() -> None:
    values = np.zeros((100, 5), np.float32)
    values[:30, 0] = values[:28, 1] = 0.9  # nearly the same items
    values[:4, 2] = 0.9  # few
    values[:60, 3] = 0.9  # many
    values[70:90, 4] = 0.55  # unsure
    found = FoundClasses("texts", tuple(FoundClass(n) for n in "abcde"), values)
    told = dict(suggestions(found))
    assert told.pop("merge a, b") == "93% of the items of either are in both"
    assert [*told] == ["drop c", "drop d", "drop e"]
    assert told["drop d"].startswith("more than 40% of all items")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(chromium(), tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(
    browser: Browser, scenes: Collection, tmp_path: Path, dark: bool
) -> None:
    file = tmp_path / "classes.html"
    file.write_text(render_classes(scenes, found_of(scenes), options={"seed": 0}))
    page = browser.open(file.as_uri())
    for width in (320, 1280):
        page.resize(width, 800, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.alt !== '')")
    assert [each for each in page.requests if not each.startswith("data:")] == [file.as_uri()]
    assert page.complaints == []
    links = page.evaluate(
        "[...document.querySelectorAll('a')].every(a => document.querySelector(a.hash))"
    )
    assert links
    shades = page.evaluate(
        "['body', '.muted', 'thead th', '.shown span', '.note'].map(name => {"
        "  const element = document.querySelector(name);"
        "  let behind = element;"
        "  const painted = node => getComputedStyle(node).backgroundColor;"
        "  while (painted(behind) === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;"
        "  return [getComputedStyle(element).color, painted(behind)];"
        "})"
    )
    for text, paper in shades:
        assert contrast(text, paper) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colors, by WCAG 2.1."""
    lights = []
    for color in (one, other):
        parts = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
