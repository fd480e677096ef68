"""Images that people give the page: chosen, dropped, pasted, refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.service.web.made_up import Site

IMAGE = {"name": "my dog.png", "mimeType": "image/png", "buffer": b"\x89PNG made up"}


def test_an_image_that_is_chosen_is_sent_and_linked_by_its_code(site: Site) -> None:
    page = site.open()
    page.set_input_files("#file", files=[IMAGE])
    page.wait_for_selector("#hits")
    body = site.bodies[-1]
    assert body == {"image": IMAGE["buffer"], "target": "image", "k": 12, "explain": True}
    assert site.address.startswith("?code=")
    expect(page.locator(".given")).to_contain_text("my dog.png")
    expect(page.locator(".asked h2")).to_have_text("my dog.png")
    page.get_by_role("radio", name="Texts").check(force=True)
    site.settle()
    assert site.bodies[-1]["code"] == site.address.split("=")[1].split("&")[0]
    expect(page.locator(".asked img")).to_have_attribute("alt", "The query: my dog.png")
    page.reload()
    site.settle()
    expect(page.locator(".asked h2")).to_contain_text("Code ")


def test_words_with_the_code_of_an_image_stay_words(site: Site) -> None:
    page = site.open()
    page.set_input_files("#file", files=[IMAGE])
    page.wait_for_url(re.compile(r"\?code="))
    site.find("an image")  # the made-up service gives it the image's code
    expect(page.locator(".asked h2")).to_have_text("an image")
    expect(page.locator(".asked img")).to_have_count(0)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_an_image_can_be_dropped_or_pasted(site: Site, way: str) -> None:
    page = site.open("?q=before&for=text")
    if way == "drop":
        page.evaluate(GIVE, "dragenter")
        expect(page.locator("#drop")).to_be_visible()
    page.evaluate(GIVE, way)
    page.wait_for_url(re.compile(r"\?code="))
    expect(page.locator("#drop")).to_be_hidden()
    assert site.bodies[-1]["image"] == b"pixels"
    assert site.bodies[-1]["target"] == "text"


GIVE = """(way) => {
  const data = new DataTransfer();
  data.items.add(new File(["pixels"], "a.png", {type: "image/png"}));
  const event = way === "paste"
    ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
    : new DragEvent(way, {dataTransfer: data, bubbles: true, cancelable: true});
  document.body.dispatchEvent(event);
}"""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"mimeType": "text/plain", "name": "notes.txt"},
            "The file notes.txt is not an image; choose a JPEG, PNG or WebP file",
        ),
        ({"buffer": b"x" * 6000}, "The file my dog.png has 6 KB; the service accepts at most 5 KB"),
    ],
)
def test_what_cannot_be_searched_with_is_not_sent(
    site: Site, changes: dict[str, Any], says: str
) -> None:
    page = site.open()
    page.set_input_files("#file", files=[IMAGE | changes])
    expect(page.get_by_role("alert")).to_contain_text(says)
    assert site.bodies == []
