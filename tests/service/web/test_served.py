"""The page over a real service: every feature clicked through, on generated and on real images."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from proxyhash.data import read_collection
from proxyhash.datasets.scenes import generate_scenes
from tests.service.web.browser import open_tab
from tests.service.web.screenshots import take_screenshots
from tests.service.web.served import build, serve
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from proxyhash.data import Collection

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collection]:
    """An index of generated scenes, and the scenes; many where screenshots are asked for."""
    folder = tmp_path_factory.mktemp("generated")
    many = "PROXYHASH_SCREENSHOTS" in os.environ
    collection = generate_scenes(folder / "images", items=3000 if many else 240, seed=0)
    return build(folder / "images", folder, epochs=30 if many else 12), collection


@pytest.fixture(scope="module")
def service(generated: tuple[Path, Collection]) -> Iterator[str]:
    with serve(generated[0]) as address:
        yield address


@pytest.fixture
def tab(chromium: Browser, service: str) -> Iterator[Page]:
    """A tab at the start page, which must not complain."""
    with open_tab(chromium, reduced_motion="reduce") as (page, complaints):
        page.goto(service)
        page.wait_for_selector(".welcome")
        yield page
        assert complaints == []


def settle(page: Page) -> None:
    page.wait_for_selector("#results:not([aria-busy=true]) #content > *")


def find(page: Page, words: str) -> None:
    page.fill("#words", words)
    page.press("#words", "Enter")
    settle(page)


def click_through(page: Page, address: str, words: str, label: str, image: Path) -> None:
    """Use everything that the page offers, and check it against what the service says itself."""
    find(page, words)
    hits = ask(page, {"text": words, "target": "image", "explain": True})
    cards = page.locator("#hits > li")
    expect(cards).to_have_count(12)
    texts = [hit["payload"]["text"] for hit in hits["hits"]]
    assert page.locator(".hit .open").all_inner_texts() == texts
    expect(page.locator(".hit.wordy")).to_have_count(0)
    expect(page.get_by_role("status")).to_contain_text("12 nearest of")
    page.get_by_role("radio", name="Meaning", exact=True).check(force=True)
    settle(page)
    hits = ask(page, {"text": words, "target": "image", "explain": True, "mode": "codes"})
    texts = [hit["payload"]["text"] for hit in hits["hits"]]
    assert page.locator(".hit .open").all_inner_texts() == texts
    within = hits["explain"]["within"] - 12
    expect(page.get_by_role("status")).to_contain_text(
        re.compile(f"; {within} more (is|are) as near|{within + 12} equally near")
        if within
        else "12"
    )
    page.locator(".how").click()
    expect(cards.first.locator("img")).not_to_have_js_property("naturalWidth", 0)
    expect(page.locator(".proxies li")).to_have_count(6)
    assert (
        page.locator(".proxies li span").first.get_attribute("title")
        == (hits["explain"]["proxies"][0]["label"])
    )
    page.locator(".how").click()
    page.get_by_role("button", name="Show more").click()
    expect(cards).to_have_count(24)

    page.get_by_role("radio", name="Texts").check(force=True)
    settle(page)
    expect(page.locator("#hits.texts > li")).to_have_count(24)

    more = page.get_by_role("button", name="more", exact=False).and_(page.locator(".more"))
    if more.count():
        more.click()
    page.locator(f'.chip[data-label="{label}"]').click()
    settle(page)
    page.wait_for_url("**labels=*")
    for labels in page.locator(".hit .labels").all():
        assert label in labels.locator("li").all_inner_texts()

    page.locator(".open").first.click()
    shown = page.locator(".stage img")
    expect(shown).not_to_have_js_property("naturalWidth", 0)
    first = page.locator("#detail-title").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".detail .kind")).to_contain_text("Result 2 of")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#detail-title")).to_have_text(first)
    page.get_by_role("button", name="Images like this").click()
    page.wait_for_url("**/?id=*")
    settle(page)
    expect(page.locator("#hits.images > li")).not_to_have_count(0)
    page.get_by_role("button", name="Clear").click()
    settle(page)
    expect(page.locator(".asked .kind")).to_have_text("Like the text")
    expect(page.locator(".asked h2")).to_have_text(first)
    page.locator(".hit").nth(1).hover()
    page.locator(".hit .alike").nth(1).click()
    page.wait_for_url("**from=image**")
    expect(page.locator(".asked img")).not_to_have_js_property("naturalWidth", 0)

    page.set_input_files("#file", str(image))
    page.wait_for_url("**/?code=*")
    settle(page)
    found = page.locator(".hit .open").all_inner_texts()
    page.reload()
    settle(page)
    assert page.locator(".hit .open").all_inner_texts() == found

    page.go_back()
    settle(page)
    expect(page.locator(".asked img")).to_be_visible()
    page.get_by_role("link", name="start page").click()
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator(".mosaic img").first).not_to_have_js_property("naturalWidth", 0)
    page.locator(".mosaic button").first.click()
    page.wait_for_url("**/?id=*")
    settle(page)
    expect(page.locator(".asked img")).not_to_have_js_property("naturalWidth", 0)
    assert page.url.startswith(address)


def ask(page: Page, body: dict[str, Any]) -> Any:
    answer = page.request.post(page.url.split("?")[0] + "v1/search", data=body)
    return answer.json()


def test_everything_works_on_generated_images(
    tab: Page, service: str, generated: tuple[Path, Collection]
) -> None:
    image = generated[1].sources("image")[0]
    assert image is not None
    click_through(tab, service, "a boat on the sea", "boat", image)


def test_what_the_service_refuses_is_told(tab: Page) -> None:
    find(tab, "qwertz")
    expect(tab.get_by_role("alert")).to_contain_text("knows no word")
    find(tab, "boat")
    expect(tab.locator("#hits > li")).to_have_count(12)
    tab.set_input_files(
        "#file", files=[{"name": "no.png", "mimeType": "image/png", "buffer": b"not an image"}]
    )
    expect(tab.get_by_role("alert")).to_be_visible()


def test_the_policy_of_the_service_lets_nothing_else_run(chromium: Browser, service: str) -> None:
    with open_tab(chromium) as (page, complaints):
        answer = page.goto(service)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        page.evaluate(
            "() => { const script = document.createElement('script');"
            " script.textContent = 'window.owned = 1'; document.body.append(script); }"
        )
        assert page.evaluate("window.owned") is None
        assert any("Content Security Policy" in complaint for complaint in complaints)


def test_a_service_that_needs_a_key_gets_it_from_the_page(
    chromium: Browser, generated: tuple[Path, Collection], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from proxyhash.cli.app import app

    made = CliRunner().invoke(app, ["keys", "add", str(tmp_path / "keys.json"), "reader", "--json"])
    key = json.loads(made.stdout)["key"]
    options = ("--keys", str(tmp_path / "keys.json"), "--host", "0.0.0.0")
    with (
        serve(generated[0], *options) as address,
        open_tab(chromium) as (page, _),
    ):
        page.goto(address.replace("0.0.0.0", "127.0.0.1") + "/?q=a+boat&for=image")
        page.get_by_label("Key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#hits > li")).to_have_count(12)
        expect(page.locator(".hit img").first).not_to_have_js_property("naturalWidth", 0)


def test_screenshots_show_every_size(
    chromium: Browser, service: str, generated: tuple[Path, Collection], tmp_path: Path
) -> None:
    """`PROXYHASH_SCREENSHOTS=docs/images pytest -k screenshots` renews those of the docs."""
    image = generated[1].sources("image")[7]
    assert image is not None
    folder = Path(os.environ.get("PROXYHASH_SCREENSHOTS", tmp_path))
    for path in take_screenshots(chromium, service, folder, image=image):
        assert 5_000 < path.stat().st_size < 400_000


@pytest.mark.shared
def test_everything_works_on_photos(chromium: Browser, tmp_path: Path) -> None:
    shared = shared_path("data/flickr8k")
    lines = (shared / "items.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    data = tmp_path / "photos"
    (data / "images").mkdir(parents=True)
    (data / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for line in lines:
        name = json.loads(line)["image"]
        shutil.copy(shared / name, data / name)
    index = build(data, tmp_path, image_encoder="descriptor")
    image = read_collection(data).sources("image")[3]
    assert image is not None
    with (
        serve(index, "--originals", str(data)) as address,
        open_tab(chromium) as (page, complaints),
    ):
        page.goto(address)
        click_through(page, address, "a dog runs through the grass", "dog", image)
        assert complaints == []
