"""A search is its link: opened, copied, gone back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.service.web.made_up import ADDRESS

if TYPE_CHECKING:
    from tests.service.web.made_up import Site


LINKS = [
    "?q=a+dog&for=text",
    "?q=100%25+%26+%22quoted%22+%C3%A4%E4%B8%AD&for=image",
    "?id=item%2F3&from=text&for=image&k=6",
    "?code=00ff00ff00ff00ff&for=image&labels=dog&labels=a%2C+b&match=all",
]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_gives_the_same_search_and_the_same_link(site: Site, link: str) -> None:
    page = site.open(link)
    expect(page.locator("#hits > li").first).to_be_visible()
    assert site.address == link
    again = page.evaluate(
        "async (info) => { const { readAddress, writeAddress } = await import('/web/address.js');"
        " return writeAddress(readAddress(new URLSearchParams(location.search), info)); }",
        site.info,
    )
    assert again == link


@pytest.mark.parametrize(
    "link", ["?q=+&for=sound&k=-3", "?k=1e9", "?code=xyz", "?k=2.5&match=none", "?q=&id="]
)
def test_a_link_that_says_nothing_leads_to_the_start_page(site: Site, link: str) -> None:
    page = site.open(link)
    expect(page.locator(".welcome h2")).to_be_visible()
    assert site.bodies == []


def test_back_and_forward_show_what_was_found_without_asking_again(site: Site) -> None:
    page = site.open()
    site.find("first")
    site.find("second")
    asked = len(site.bodies)
    page.go_back()
    expect(page.locator(".hit").first).to_contain_text("Hit 0 for first")
    expect(page.locator("#words")).to_have_value("first")
    page.go_forward()
    expect(page.locator(".hit").first).to_contain_text("Hit 0 for second")
    page.go_back()
    page.go_back()
    expect(page.locator(".welcome h2")).to_be_visible()
    assert len(site.bodies) == asked


def test_the_link_to_a_code_is_copied(site: Site) -> None:
    page = site.open("?q=a+dog&for=text")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="How this was found").click()
    page.get_by_role("button", name="Copy link to this code").click()
    expect(page.get_by_role("status")).to_contain_text("Link copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"{ADDRESS}/?code=")
    assert copied.endswith("&for=text")
