"""What a person meets first: images before codes, plain words, the next step, and nothing lost."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.service.web.made_up import PIXEL, answer_to, failure, open_site
from tests.service.web.test_comfort import NOTES, puzzled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

    from tests.service.web.made_up import Site

BOXES = """all => all.map(each => {
  const { x, y, right, bottom } = each.getBoundingClientRect();
  return [x, y, right, bottom].map(Math.round);
})"""


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_mosaic_of_the_start_page_fills_its_rows_and_leads_on(
    chromium: Browser, width: int
) -> None:
    with open_site(chromium, width=width, height=800, reduced_motion="reduce") as site:
        page = site.open()
        tiles = page.locator(".mosaic li:visible")
        expect(tiles.first).to_be_visible()
        boxes = tiles.evaluate_all(BOXES)
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
        covered = sum((box[2] - box[0] + 5) * (box[3] - box[1] + 5) for box in boxes)
        assert covered == pytest.approx((right - left + 5) * (bottom - top + 5), rel=0.02)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if width == 1280:
            assert bottom < 800  # all of it is in the first view
        before = tiles.first.get_by_role("button").get_attribute("aria-label")
        page.get_by_role("button", name="Show others").click()
        expect(tiles.first.get_by_role("button")).not_to_have_attribute("aria-label", str(before))
        other = tiles.nth(2).get_by_role("button")
        name = str(other.get_attribute("aria-label"))
        assert name.startswith("More images like “Item 2 of ")
        other.click()
        site.settle()
        assert site.bodies[-1]["id"].startswith("item/")
        assert site.bodies[-1]["modality"] == site.bodies[-1]["target"] == "image"
        assert site.complaints == []


def test_a_collection_without_images_begins_with_its_texts(site: Site) -> None:
    def texts(sample: dict[str, Any]) -> dict[str, Any]:
        for item in sample["items"]:
            item["thumbnail"] = None
        return sample | {"target": "text"}

    site.sample = texts
    page = site.open()
    expect(page.locator(".quotes li")).to_have_count(12)
    page.locator("#words").press("ArrowDown")
    expect(page.locator(".quotes button").first).to_be_focused()
    page.get_by_role("button", name="More texts like “Item 3 of 0”").click()
    site.settle()
    assert site.bodies[-1]["modality"] == site.bodies[-1]["target"] == "text"
    site.sample = lambda sample: {}  # a service that has no sample
    page.get_by_role("link", name="start page").click()
    expect(page.locator(".welcome h2")).to_be_visible()
    expect(page.locator(".sample")).to_have_count(0)


def test_ties_are_told(site: Site) -> None:
    cases = [
        (24, True, "24 equally near, showing 12 of 1,000 images"),
        (15, False, "12 nearest of 1,000 images; 3 more are as near as the last"),
        (13, False, "12 nearest of 1,000 images; 1 more is as near as the last"),
        (12, True, "12 nearest of 1,000 images"),
        (None, True, "12 nearest of 1,000 images"),
    ]

    def tied(route: Route, body: dict[str, Any]) -> None:
        within, level, _ = cases[len(site.bodies) - 1]
        answer = answer_to(body)
        for hit in answer["hits"] if level else ():
            hit["distance"] = 4
        answer["explain"]["within"] = within
        route.fulfill(json=answer)

    site.search = tied
    page = site.open()
    for place, (_, _, says) in enumerate(cases):
        site.find(f"dogs {place}")
        expect(page.get_by_role("status")).to_have_text(says)


def test_notes_are_shown_and_their_suggestions_search(site: Site) -> None:
    site.search = puzzled
    page = site.open("?q=dogs+in+Snwo&for=image&labels=dgo&labels=boat")
    notes = page.get_by_role("list", name="Notes on this search")
    expect(notes).to_contain_text("Searched for: dogs.")
    expect(notes).to_contain_text("Not known: snwo.")
    expect(notes.get_by_role("button")).to_have_text(["snow", "show", "dog"])
    assert notes.evaluate("each => each.getBoundingClientRect().bottom") < page.locator(
        "#hits"
    ).evaluate("each => each.getBoundingClientRect().top")
    notes.get_by_role("button", name="snow").click()
    site.settle()
    assert site.bodies[-1]["text"] == "dogs in snow"
    notes.get_by_role("button", name="dog").click()
    site.settle()
    assert site.address == "?q=dogs+in+snow&for=image&labels=dog&labels=boat"
    site.search = None
    site.find("two dogs")
    expect(notes).to_have_count(0)


def test_a_text_of_unknown_words_gets_suggestions_and_no_second_try(site: Site) -> None:
    sentence = "the model knows no word of 'snwo' (not known: snwo - did you mean snow or show?)"
    site.search = failure(422, sentence, code="unknown_words", notes=NOTES[:1])
    page = site.open("?q=snwo")
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("heading")).to_have_text("No known words")
    expect(alert).to_contain_text("The model knows no word of 'snwo'.")
    expect(alert).not_to_contain_text("request-7")
    expect(alert.get_by_role("button", name="Try again")).to_have_count(0)
    site.search = None
    alert.get_by_role("button", name="snow").click()
    expect(page.locator(".asked h2")).to_have_text("snow")
    expect(page.locator("#hits > li")).to_have_count(12)


def test_arrows_lead_through_the_results_in_full_and_the_focus_returns(site: Site) -> None:
    page = site.open("?q=a+dog&for=image&k=3")
    page.locator(".open").nth(1).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    for key, name in [("ArrowRight", 2), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0)]:
        page.keyboard.press(key)
        expect(dialog).to_have_accessible_name(f"Hit {name} for a dog")
    previous, following = (dialog.get_by_role("button", name=f"{each} result") for each in
                           ("Previous", "Next"))  # fmt: skip
    expect(previous).to_be_disabled()
    following.click()
    expect(following).to_be_focused()
    following.click()
    expect(following).to_be_disabled()
    assert page.evaluate("document.getElementById('detail').contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".open").nth(2)).to_be_focused()
    page.locator(".hit").first.hover()
    page.get_by_role("button", name="Why this result? Hit 0 for a dog").click()
    expect(dialog.locator(".comparison")).to_be_visible()


def test_the_original_takes_the_place_of_the_thumbnail_where_there_is_one(site: Site) -> None:
    large = base64.b64decode(
        "R0lGODlhAwACAIAAAAAAAP///yH5BAAAAAAALAAAAAADAAIAAAICRF4AOw=="
    )  # 3 x 2 pixels
    site.info["originals"] = True
    site.originals = lambda route: route.fulfill(body=large, content_type="image/gif")
    page = site.open("?q=a+dog&for=image")
    page.locator(".open").first.click()
    shown = page.locator(".stage img")
    expect(shown).to_have_js_property("naturalWidth", 3)
    expect(shown).to_have_attribute("alt", "Hit 0 for a dog")
    site.originals = failure(404, "there is none")  # type: ignore[assignment]
    site.originals = lambda route: route.fulfill(status=404)
    page.keyboard.press("ArrowRight")
    expect(shown).to_have_js_property("naturalWidth", 1)
    assert PIXEL[:4] == b"\x89PNG"


@pytest.mark.parametrize("target", ["image", "text"])
def test_empty_cards_have_the_layout_of_the_results(site: Site, target: str) -> None:
    site.search = site.hold
    page = site.page
    page.goto(f"http://127.0.0.1:9/?q=a+dog&for={target}")
    page.wait_for_selector(".skeleton")
    expect(page.locator(".asked h2")).to_have_text("a dog")
    shapes = page.locator(".hit").evaluate_all(BOXES)
    route, body = site.take_held()
    answer = answer_to(body)
    for hit in answer["hits"]:
        hit["payload"]["text"] = "Two dogs run over the snow by the house"
    route.fulfill(json=answer)
    expect(page.locator(".skeleton")).to_have_count(0)
    cards = page.locator(".hit").evaluate_all(BOXES)
    assert len(shapes) == len(cards)
    moved = max(
        abs(one - other)
        for shape, card in zip(shapes[:6], cards[:6], strict=True)
        for one, other in zip(shape, card, strict=True)
    )
    assert moved <= 12, (shapes[:4], cards[:4])


MARKS = "\u202e\u2067gnp.exe\u2069\u2069\u2069 <b>שלום</b>\u202d"


def test_marks_of_direction_stay_where_they_are(site: Site) -> None:
    def marked(route: Route, body: dict[str, Any]) -> None:
        answer = answer_to(body, hits=2)
        answer["hits"][0]["payload"] = {"text": MARKS, "labels": [MARKS, "dog"], "note": MARKS}
        answer["query"]["text"] = MARKS
        route.fulfill(json=answer)

    site.info["labels"] = [{"name": MARKS, "count": 7}, {"name": "dog", "count": 3}]
    site.search = marked
    page = site.open("?q=a+dog&for=image")
    assert page.title() == "gnp.exe <b>שלום</b> · proxyhash"
    # What stands around such a text is where it would be without it: the number after the label.
    chip = page.locator(".chip").first
    name, amount = chip.locator("span, small").evaluate_all(BOXES)
    assert name[2] <= amount[0]
    for text in page.locator(".asked h2, .hit .open, .hit .labels li, .chip span").all():
        expect(text).to_have_attribute("dir", "auto")
    page.locator(".open").first.click()
    expect(page.locator(".detail dd")).to_have_text(MARKS, use_inner_text=True)
    assert page.locator("b:has-text('שלום')").count() == 0
    for label in page.locator("[aria-label], [alt]").all():
        said = f"{label.get_attribute('aria-label')}{label.get_attribute('alt')}"
        assert not {"\u202e", "\u2067", "\u2069", "\u202d"} & set(said)


def test_labels_are_readable_and_filter_as_they_are_stored(site: Site) -> None:
    site.info["labels"] = [{"name": "crowd_group", "count": 7}, {"name": "type:shirt", "count": 3}]
    page = site.open("?q=a+dog&for=image")
    expect(page.locator(".chip span")).to_have_text(["crowd group", "type: shirt"])
    page.locator(".chip").first.click()
    site.settle()
    assert site.bodies[-1]["filter"] == {"or": [{"field": "labels", "contains": "crowd_group"}]}
    assert site.address.endswith("labels=crowd_group")


def test_the_first_view_has_neither_ids_nor_bits(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    text = page.locator("body").inner_text()
    assert "item/" not in text
    assert "bit" not in text.lower()
    page.goto("http://127.0.0.1:9/")
    expect(page.locator(".mosaic")).to_be_visible()
    assert "bit" not in page.locator("body").inner_text().lower()
