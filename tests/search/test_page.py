"""The results page as text: complete, escaped, and without an address to anywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.index import Hit, IndexItem
from proxyhash.search import Answer, EncodedQuery, Note, Query
from proxyhash.search.page import render_page, write_page

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.search import RunSearcher

EVIL = '<script>alert("x")</script>\'"&{title}'

VOID = {"meta", "link", "img", "i", "path"}


class Outline(HTMLParser):
    """Collects tags and attributes, and checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += data + "\n"

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def test_shows_query_hits_texts_and_labels(searcher: RunSearcher) -> None:
    outline = Outline(render_page([searcher.search_text("red", k=4)], title="Search"))
    for words in ("red", "4 nearest of 6 images", "2 bits apart", "identical code", "green"):
        assert words in outline.words
    assert [image["alt"] for image in outline.all("img")] == ["red a", "red b", "blue plain"]
    # `gone` names an image that does not exist: its text is the card.
    assert [card["class"] for card in outline.all("li") if "class" in card].count("hit wordy") == 1
    # Codes and ids are behind a question: one of the query, one of each hit.
    assert len(outline.all("details")) == len(outline.all("svg")) == 1 + 4
    assert not any("open" in details for details in outline.all("details"))


def test_an_image_query_is_shown(searcher: RunSearcher, run: Path) -> None:
    page = render_page([searcher.search_image(run.parent / "data" / "c.png", k=2)], title="Search")
    outline = Outline(page)
    assert outline.all("img")[0]["alt"] == "The query: c.png"
    assert outline.all("section")[0]["class"] == "texts"


def test_an_item_as_query_is_named(searcher: RunSearcher) -> None:
    words = Outline(render_page([searcher.search_id("only-text", k=1)], title="Search")).words
    assert "Searching with a text of the collection" in words
    assert "8 bits, item \nonly-text\n" in words
    assert "blue <b>bold</b> & more" in words


def test_everything_is_escaped(searcher: RunSearcher) -> None:
    hit = Hit(EVIL, 1, {"text": EVIL, "labels": [EVIL], "image": f"/{EVIL}.png"})
    code = np.zeros(1, np.uint8)
    answer = Answer(
        EncodedQuery(
            Query(item=EVIL, modality="text"), code, item=IndexItem(EVIL, {}, {"text": EVIL})
        ),
        "image",
        (hit,),
        code[None],
        1,
        8,
    )
    page = render_page([answer], title=EVIL, figures={EVIL: EVIL}, footer=EVIL)
    assert "<script" not in page
    outline = Outline(page)
    assert outline.words.count(EVIL) == 10
    assert not any(name.startswith("on") for _, attributes in outline.tags for name in attributes)


def test_nothing_is_asked_of_the_network(searcher: RunSearcher) -> None:
    page = render_page([searcher.search_text("red", k=4)], title="Search")
    outline = Outline(page)
    addresses = [
        value
        for _, attributes in outline.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "poster", "action"}
    ]
    assert addresses
    assert all(address and address.startswith("data:") for address in addresses)
    assert not re.search(r"url\(|@import|https?:", page)
    policy = outline.all("meta")[2]["content"]
    assert policy is not None
    assert "default-src 'none'" in policy


def test_an_answer_may_be_empty(searcher: RunSearcher) -> None:
    code = np.zeros(1, np.uint8)
    answer = Answer(
        EncodedQuery(Query(text="x"), code), "image", (), np.zeros((0, 1), np.uint8), 0, 8
    )
    words = Outline(render_page([answer], title="Search")).words
    assert "0 nearest of 0 images" in words


def test_long_codes_go_without_strip_and_legend(searcher: RunSearcher) -> None:
    codes = np.zeros((1, 40), np.uint8)
    answer = Answer(EncodedQuery(Query(text="x"), codes[0]), "image", (Hit("a", 9),), codes, 1, 320)
    outline = Outline(render_page([answer], title="Search"))
    assert outline.all("svg") == []
    assert "differs from the query" not in outline.words
    assert "Item a" in outline.words


def test_notes_and_ties_are_told_and_labels_are_readable(searcher: RunSearcher) -> None:
    codes = np.zeros((2, 1), np.uint8)
    note = Note("unknown_word", "not known: snwo - did you mean snow?", "snwo", ("snow",))
    hits = (Hit("a", 3, {"labels": ["crowd_group"], "text": "\u202egnp.exe"}), Hit("b", 3))
    query = EncodedQuery(Query(text="dogs snwo"), codes[0])
    answer = Answer(query, "text", hits, codes, 9, 8, words=("dogs",), notes=(note,), within=5)
    page = render_page([answer], title="Search")
    outline = Outline(page)
    for words in (
        "searched for: dogs; not known: snwo - did you mean snow?",
        "5 are equally near, 2 of them are shown",
        "crowd group",
    ):
        assert words in outline.words
    assert '<p class="text" dir="auto">\u202egnp.exe</p>' in page
    assert replace(answer, within=2).ties == replace(answer, within=None).ties == ""
    assert replace(answer, hits=(Hit("a", 1), Hit("b", 3)), within=3).ties == (
        "1 more is as near as the last"
    )


def test_ties_are_counted_as_a_longer_answer_shows_them(searcher: RunSearcher) -> None:
    longest = searcher.search_text("red", k=6)
    assert longest.within is None
    for k in range(1, 7):
        answer = searcher.count_ties(searcher.search_text("red", k=k))
        last = answer.hits[-1].distance
        assert answer.within == sum(hit.distance <= last for hit in longest.hits)
        assert answer.to_dict()["within"] == answer.within


def test_figures_and_footer(searcher: RunSearcher, tmp_path: Path) -> None:
    answers = [searcher.search_text("red", k=1), searcher.search_text("blue", k=1, target="text")]
    write_page(
        tmp_path / "page.html", answers, title="Demo", figures={"mAP": ".83"}, footer="small print"
    )
    outline = Outline((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert [section["class"] for section in outline.all("section")] == ["images", "texts"]
    for words in ("mAP", ".83", "small print", "Demo"):
        assert words in outline.words


@pytest.mark.parametrize("distance", [0, 1, 2])
def test_distances_in_words(distance) -> None:
    codes = np.zeros((1, 1), np.uint8)
    answer = Answer(
        EncodedQuery(Query(text="x"), codes[0]), "text", (Hit("a", distance),), codes, 1, 8
    )
    words = Outline(render_page([answer], title="Search")).words
    assert ["identical code", "1 bit apart", "2 bits apart"][distance] in words
