"""Finding by words on the page: the choice, its link, and what is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.service.web.made_up import Site


def test_there_is_no_choice_without_words(site: Site) -> None:
    page = site.open("?q=a+dog&for=image&by=words")
    expect(page.get_by_role("group", name="Find by")).to_have_count(0)
    assert "mode" not in site.bodies[-1]


def test_what_a_text_finds_by_can_be_chosen_and_linked(site: Site) -> None:
    site.info["words"] = True
    page = site.open("?q=hit+10&for=image")
    assert "mode" not in site.bodies[-1]  # the service's own default
    page.get_by_role("radio", name="Words", exact=True).check(force=True)
    site.settle()
    assert site.bodies[-1]["mode"] == "words"
    assert site.address == "?q=hit+10&for=image&by=words"
    expect(page.get_by_role("radio", name="Words", exact=True)).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("12 with these words among 1,000 images")
    card = page.locator("#hits .open").first
    assert card.inner_html() == "<mark>Hit</mark> 0 for hit 10".replace(
        "hit 10", "<mark>hit</mark> <mark>10</mark>"
    )
    card.click()
    expect(page.locator("#detail-title mark").first).to_have_text("Hit")
    page.keyboard.press("Escape")
    page.go_back()
    site.settle()
    expect(page.get_by_role("radio", name="Meaning", exact=True)).to_be_checked()
    page.get_by_role("button", name="More images like “Hit 0 for hit 10”").click()
    site.settle()
    expect(page.get_by_role("group", name="Find by")).to_have_count(0)  # images have no words
    assert "mode" not in site.bodies[-1]


def test_a_longer_list_that_begins_in_another_way_takes_the_place_of_the_old(site: Site) -> None:
    from tests.service.web.made_up import answer_to

    def search(route, body) -> None:  # type: ignore[no-untyped-def]
        answer = answer_to(body)
        if body["k"] > 12:
            answer["hits"][0], answer["hits"][1] = answer["hits"][1], answer["hits"][0]
        route.fulfill(json=answer)

    site.search = search
    page = site.open("?q=dog&for=image")
    page.get_by_role("button", name="Show more").click()
    site.settle()
    expect(page.locator("#hits > li")).to_have_count(24)
    names = page.locator("#hits .open").all_inner_texts()
    assert len(set(names)) == 24
    assert names[:2] == ["Hit 1 for dog", "Hit 0 for dog"]
