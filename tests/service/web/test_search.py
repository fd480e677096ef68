"""Searching on the page: what it asks the service for, and what it makes of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.service.web.made_up import answer_to, distance, failure

if TYPE_CHECKING:
    from playwright.sync_api import Route

    from tests.service.web.made_up import Site


def test_the_start_page_says_what_is_there_and_offers_words(site: Site) -> None:
    page = site.open()
    expect(page.locator(".welcome h2")).to_be_visible()
    expect(page.locator(".lead")).to_contain_text("1,000 images and 900 texts")
    expect(page.locator("#words")).to_be_focused()
    page.get_by_role("button", name="boat", exact=True).click()
    site.settle()
    assert site.bodies == [{"text": "boat", "target": "image", "k": 12, "explain": True}]
    assert site.address == "?q=boat&for=image"


def test_words_find_cards_with_text_labels_distance_and_alt_text(site: Site) -> None:
    page = site.open()
    site.find("a dog")
    cards = page.locator("#hits > li")
    expect(cards).to_have_count(12)
    expect(cards.first).to_contain_text("Hit 0 for a dog")
    expect(cards.first.locator(".labels li")).to_have_text(["dog", "snow"])
    expect(cards.first.get_by_role("img")).to_have_attribute("alt", "Hit 0 for a dog")
    expect(cards.first.locator("img")).to_have_js_property("naturalWidth", 1)
    expect(page.get_by_role("status")).to_contain_text("12 nearest of 1,000 images")
    assert page.title() == "a dog · proxyhash"


def test_sure_bits_can_count_more(site: Site) -> None:
    page = site.open()
    site.find("a dog")
    page.locator(".how").click()
    expect(page.locator(".footnote")).to_contain_text("in the order of their ids")
    page.get_by_role("button", name="Count sure bits more").click()
    site.settle()
    assert site.bodies[-1]["rerank"] == "asymmetric"
    assert site.address.endswith("&order=asymmetric")
    expect(page.locator(".footnote")).to_contain_text("bits that the query is less sure of")
    expect(page.get_by_role("button", name="Count all bits alike")).to_be_visible()
    page.get_by_role("button", name="Show more").click()
    site.settle()
    assert (site.bodies[-1]["k"], site.bodies[-1]["rerank"]) == (24, "asymmetric")
    page.go_back()
    site.settle()
    expect(page.locator(".footnote")).to_contain_text("in the order of their ids")
    page.get_by_role("button", name="More images like “Hit 0 for a dog”").click()
    site.settle()
    assert "rerank" not in site.bodies[-1]
    expect(page.get_by_role("button", name="Count sure bits more")).to_have_count(0)


def test_kept_vectors_can_be_compared(site: Site) -> None:
    site.info["vectors"] = "int8"
    page = site.open()
    site.find("a dog")
    page.locator(".how").click()
    page.get_by_role("button", name="Count sure bits more").click()
    site.settle()
    page.get_by_role("button", name="Compare vectors").click()
    site.settle()
    assert site.bodies[-1]["rerank"] == "vectors"
    assert site.address.endswith("&order=vectors")
    expect(page.locator(".footnote")).to_contain_text("the query or the result is less sure of")
    page.get_by_role("button", name="More images like “Hit 0 for a dog”").click()
    site.settle()
    expect(page.get_by_role("button", name="Count sure bits more")).to_have_count(0)
    page.get_by_role("button", name="Count all bits alike").click()
    site.settle()
    assert "rerank" not in site.bodies[-1]
    page.get_by_role("button", name="Compare vectors").click()  # an item has a vector of its own
    site.settle()
    assert site.bodies[-1]["rerank"] == "vectors"


def test_grids_show_the_codes_and_mark_exactly_the_bits_that_differ(site: Site) -> None:
    page = site.open("?q=codes&for=image&k=3")
    answer = answer_to(site.bodies[0])
    query = answer["query"]["code"]
    assert page.locator(".bits:visible").count() == 0  # no code in the first view
    page.locator(".how").click()
    page.locator(".open").first.click()
    page.locator(".reason summary").click()
    for place, hit in enumerate(answer["hits"], start=1):
        expect(page.locator(".detail .kind")).to_have_text(f"Result {place} of 3")
        grids = page.evaluate(GRIDS)
        pairs = [(query, query), (query, hit["code"]), (hit["code"], query)]
        for grid, (code, other) in zip(grids, pairs, strict=True):
            bits, wanted = f"{int(code, 16):064b}", f"{int(other, 16):064b}"
            for square in range(64):
                name = ("on" if bits[square] == "1" else "off") + (
                    "" if bits[square] == wanted[square] else " far"
                )
                assert grid[f"{square % 8} {square // 8}"] == name
        near = page.locator(".near b").first
        assert near.inner_text() == f"{distance(hit['code'], query)} bits apart"
        page.keyboard.press("ArrowRight")


GRIDS = """() => [...document.querySelectorAll(".bits")].map(grid => Object.fromEntries(
  [...grid.querySelectorAll("path")].flatMap(path =>
    [...path.getAttribute("d").matchAll(/M(\\d+) (\\d+)h/g)].map(([, x, y]) =>
      [`${x} ${y}`, path.getAttribute("class")]))))"""


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 48, 60, 128, 256])
def test_codes_of_every_length_are_unpacked_as_the_library_does(site: Site, bits: int) -> None:
    import numpy as np

    from proxyhash.codes import pack

    wanted = np.random.default_rng(bits).integers(0, 2, (1, bits)).astype(bool)
    code = pack(wanted)[0].tobytes().hex()
    page = site.open()
    found = page.evaluate(
        "async ([code, bits]) => { const { toBits, bitGrid } = await import('/web/bits.js');"
        " return [toBits(code, bits), bitGrid(code, bits).innerHTML]; }",
        [code, bits],
    )
    assert found[0] == wanted[0].astype(int).tolist()
    assert found[1].count("M") == bits


def test_targets_switch_and_texts_come_as_cards(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    page.get_by_role("radio", name="Texts").check(force=True)
    site.settle()
    assert site.bodies[-1]["target"] == "text"
    assert site.address == "?q=a+dog&for=text"
    expect(page.locator("#hits.texts > li")).to_have_count(12)
    expect(page.get_by_role("status")).to_contain_text("1,000 texts")


def test_a_modality_that_the_index_lacks_cannot_be_chosen(site: Site) -> None:
    site.info["modalities"] = {"image": 0, "text": 900}
    page = site.open("?q=a+dog&for=image")
    assert site.bodies[-1]["target"] == "text"
    expect(page.get_by_role("radio", name="Images")).to_be_disabled()


def test_without_encoders_only_what_works_is_offered(site: Site) -> None:
    site.info["model"] |= {"text_encoder": None, "image_encoder": None}
    page = site.open()
    expect(page.locator("#words")).to_be_disabled()
    expect(page.locator("#choose")).to_be_hidden()
    expect(page.locator(".examples")).to_have_count(0)


def test_more_results_are_added_below_up_to_the_limit(site: Site) -> None:
    def ordered(route: Route, body: dict[str, Any]) -> None:
        answer = answer_to(body, hits=50)
        answer["hits"] = answer["hits"][: body["k"]]
        route.fulfill(json=answer)

    site.search = ordered
    page = site.open("?q=a+dog")
    first = page.locator(".hit").first.element_handle()
    assert first is not None
    page.set_viewport_size({"width": 1280, "height": 600})
    more = page.get_by_role("button", name="Show more")
    more.focus()
    before = page.evaluate("scrollY")
    assert before > 0
    page.keyboard.press("Enter")
    expect(page.locator("#hits > li")).to_have_count(24)
    expect(page.locator(".hit .open").nth(12)).to_be_focused()
    assert first.evaluate("each => each.isConnected")
    assert page.evaluate("scrollY") == before
    assert site.bodies[-1]["k"] == 24
    assert site.address == "?q=a+dog&for=image&k=24"
    site.search = failure(503, "it is busy")
    more.click()
    expect(page.get_by_role("alert")).to_have_text("it is busy")
    site.search = ordered
    more.click()
    expect(page.locator("#hits > li")).to_have_count(48)
    more.click()
    expect(page.locator("#hits > li")).to_have_count(50)
    expect(page.locator("#more")).to_have_text("This service shows 50 at most.")


def test_labels_filter_with_any_or_all_and_are_cleared(site: Site) -> None:
    page = site.open("?q=park&for=image")
    page.get_by_role("button", name="dog 100").click()
    site.settle()
    dog, tent = ({"field": "labels", "contains": name} for name in ("dog", "tent"))
    assert site.bodies[-1]["filter"] == {"or": [dog]}
    expect(page.get_by_role("button", name="dog 100")).to_be_focused()
    page.get_by_role("button", name="6 more").click()
    page.get_by_role("button", name="tent 87").click()
    site.settle()
    assert site.bodies[-1]["filter"] == {"or": [dog, tent]}
    page.get_by_role("radio", name="all").check(force=True)
    site.settle()
    assert site.bodies[-1]["filter"] == {"and": [dog, tent]}
    assert site.address == "?q=park&for=image&labels=dog&labels=tent&match=all"
    expect(page.get_by_role("button", name="dog 100")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".hit").first.locator(".labels .chosen")).to_have_text(["dog"])
    page.get_by_role("button", name="Clear").click()
    site.settle()
    assert "filter" not in site.bodies[-1]


def test_more_like_one_asks_by_its_id_and_the_side_that_was_shown(site: Site) -> None:
    page = site.open("?q=a+dog&for=text")
    page.locator(".hit").nth(2).hover()
    page.get_by_role("button", name="More texts like “Hit 2 for a dog”").click()
    site.settle()
    assert site.bodies[-1] == {
        "id": "item/2",
        "modality": "text",
        "target": "text",
        "k": 12,
        "explain": True,
    }
    assert site.address == "?id=item%2F2&from=text&for=text"
    expect(page.locator("#results")).to_be_focused()
    expect(page.locator(".given")).to_contain_text("Caption of item/2")
    expect(page.locator(".asked h2")).to_have_text("Caption of item/2")


def test_one_hit_in_full_shows_both_codes_and_leads_on(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    page.get_by_role("button", name="Hit 1 for a dog", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name("Hit 1 for a dog")
    expect(dialog.locator(".fields")).to_contain_text("1999")
    expect(dialog.locator(".bits:visible")).to_have_count(0)
    dialog.get_by_text("Why this result?").click()
    expect(dialog.locator(".bits:visible")).to_have_count(2)
    expect(dialog.locator(".id")).to_contain_text("item/1")
    apart = int(dialog.locator(".near b").first.inner_text().split()[0])
    expect(dialog.locator(".comparison")).to_contain_text(f"{64 - apart} of 64 bits agree")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Hit 1 for a dog", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Texts like this").click()
    site.settle()
    assert site.address == "?id=item%2F1&from=image&for=text"


def test_the_histogram_counts_and_marks_the_cut(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    page.locator(".how").click()
    chart = page.locator(".histogram svg")
    cut = answer_to(site.bodies[0])["hits"][-1]["distance"]
    bars = page.evaluate(
        "['near', 'rest'].map(name => [...document.querySelector(`.histogram .${name}`)"
        ".getAttribute('d').matchAll(/M(\\d+) \\d+v-([\\d.]+)/g)]"
        ".map(([, x, height]) => [Number(x), Number(height)]))"
    )
    assert [x for x, _ in bars[0]] == list(range(20, cut + 1))
    assert [x for x, _ in bars[1]] == list(range(cut + 1, 50))
    heights = dict(bars[0] + bars[1])
    assert heights[49] / heights[20] == pytest.approx((59 / 30) ** 0.5, rel=0.01)
    expect(chart).to_have_accessible_name(
        "Distances of the images: from 20 to 49, most often 49. "
        f"The results reach to distance {cut}."
    )
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 30.5 / 65, box["y"] + 20)
    expect(page.locator(".histogram .readout")).to_have_text("40 at distance 30")


def test_the_nearest_classes_and_the_times_are_told(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    page.locator(".how").click()
    rows = page.locator(".proxies li")
    assert rows.all_inner_texts()[:2] == ["dog\n8", "boat\n9"]
    shares = page.locator(".proxies .share").evaluate_all(
        "all => all.map(r => r.width.baseVal.value)"
    )
    assert shares[0] == pytest.approx(75)  # 8 of the 32 bits that chance would give
    assert page.locator(".times dd").all_inner_texts() == ["1.3 ms", "0.5 ms", "0.3 ms"]
    widths = page.locator(".times rect").evaluate_all("all => all.map(r => r.width.baseVal.value)")
    assert widths == pytest.approx([62.5, 25, 12.5])


def test_a_service_that_explains_nothing_still_shows_results(site: Site) -> None:
    site.search = lambda route, body: route.fulfill(json=answer_to(body) | {"explain": None})
    page = site.open("?q=a+dog")
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator(".histogram")).to_have_count(0)
