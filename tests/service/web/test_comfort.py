"""The page for everyone: keys, focus, screen readers, contrast, widths, colors, motion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.service.web.made_up import answer_to, failure, info, open_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

    from tests.service.web.made_up import Site

FOCUSED = "document.activeElement.closest('.hit')?.querySelector('.open').textContent"


def test_keys_lead_from_the_box_through_the_results_and_back(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "a dog"
    across = page.evaluate(
        "getComputedStyle(document.getElementById('hits')).gridTemplateColumns.split(' ').length"
    )
    assert across > 2
    page.keyboard.press("ArrowDown")
    assert page.evaluate(FOCUSED) == "Hit 0 for a dog"
    for key, place in [
        ("ArrowRight", 1),
        ("ArrowDown", 1 + across),
        ("ArrowLeft", across),
        ("ArrowUp", 0),
        ("ArrowLeft", 0),
        ("End", 11),
        ("ArrowRight", 11),
        ("Home", 0),
    ]:
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED) == f"Hit {place} for a dog", key
    page.keyboard.press("ArrowUp")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUSED) == "Hit 0 for a dog"
    page.keyboard.press("m")
    page.wait_for_url("**/?id=item%2F0&from=image&for=image")
    page.keyboard.press("Escape")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.type("x")
    page.keyboard.press("Escape")
    expect(page.locator("#words")).to_have_value("")


def test_the_tab_key_goes_from_top_to_bottom_and_is_always_seen(site: Site) -> None:
    page = site.open("?q=a+dog&for=image&k=6")
    assert page.evaluate("document.activeElement === document.body")  # only the start page has it
    order = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outlined = page.evaluate(SEEN)
        if name is None:
            break
        assert outlined, name
        order.append(name)
    wanted = ["skip", "home", "words", "file", "go", "for", "theme", "dog", "open", "why", "alike"]
    assert [name for name in order if name in wanted][: len(wanted)] == wanted


SEEN = """() => {
  const element = document.activeElement;
  if (element === document.body) return [null, true];
  const name = element.id || element.dataset.label || element.name || element.className;
  const around = [element, element.nextElementSibling, element.closest(".box, .choose, .hit")];
  const outlined = around.filter(Boolean).some(each => {
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(each);
    return (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
  });
  return [name, outlined];
}"""


def test_the_skip_link_leads_to_the_results_and_leaves_the_address(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_be_focused()
    assert site.address == "?q=a+dog&for=image"


def test_every_image_and_control_has_a_name(site: Site) -> None:
    page = site.open("?id=item%2F1&from=image&for=image")
    assert page.locator("img:not([alt]), #main img[alt='']").count() == 0
    for role in ("button", "radio", "textbox", "combobox", "searchbox", "link"):
        for control in page.get_by_role(role).all():  # type: ignore[arg-type]
            expect(control).to_have_accessible_name(re.compile(r"\S"))


NOTES = [
    {
        "kind": "unknown_word",
        "message": "not known: snwo - did you mean snow or show?",
        "subject": "snwo",
        "suggestions": ["snow", "show"],
    },
    {
        "kind": "unknown_label",
        "message": "no item has the label 'dgo' (did you mean 'dog'?)",
        "subject": "dgo",
        "suggestions": ["dog"],
    },
]


def puzzled(route: Route, body: dict[str, Any]) -> None:
    """Answer with notes on what was not understood."""
    route.fulfill(json=answer_to(body) | {"words": ["dogs"], "notes": NOTES})


def without_images(route: Route, body: dict[str, Any]) -> None:
    """Answer with items that have nothing to show."""
    answer = answer_to(body)
    for hit in answer["hits"]:
        hit["thumbnail"] = None
    route.fulfill(json=answer)


def shown(page: Page, site: Site, state: str) -> None:
    """Bring the page into a state."""
    match state:
        case "start":
            site.open()
        case "empty":
            site.info |= {"items": 0, "labels": [], "modalities": {"image": 0, "text": 0}}
            site.open()
        case "notes" | "how":
            site.search = puzzled
            site.open("?q=dogs+snwo+for=image&labels=dgo")
            if state == "how":
                page.locator(".how").click()
        case "wordy":
            site.search = without_images
            site.open("?q=a+dog&for=image")
        case "unknown":
            site.search = failure(422, "no word is known", code="unknown_words", notes=NOTES[:1])
            site.open("?q=snwo")
        case "images" | "texts":
            site.open(f"?q=a+dog&for={state.removesuffix('s')}&labels=dog")
        case "detail" | "why":
            site.open("?q=a+dog&for=image")
            page.locator(".open").first.click()
            if state == "why":
                page.locator(".reason summary").click()
        case "waiting":
            site.search = site.hold
            page.goto("http://127.0.0.1:9/?q=a+dog")
            page.wait_for_selector(".skeleton")
        case "nothing":
            site.search = lambda route, body: route.fulfill(json=answer_to(body) | {"hits": []})
            site.open("?q=a+dog&labels=dog")
        case "error":
            site.search = failure(500, "it broke")
            site.open("?q=a+dog")
        case "key":
            site.info_answer = failure(401, "a key is needed")
            site.open("?q=a+dog")


STATES = [
    *("start", "images", "texts", "detail", "why", "notes", "how", "wordy", "unknown"),
    *("waiting", "nothing", "error", "key", "empty"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)], ids=["light", "dark"])
def test_axe_finds_nothing(chromium: Browser, width: int, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    with open_site(chromium, width=width, dark=dark, reduced_motion="reduce") as site:
        for state in STATES:
            site.search = site.info_answer = None
            site.info = info()
            shown(site.page, site, state)
            site.page.wait_for_timeout(50)
            report = Axe().run(site.page, options={"runOnly": tags})
            found = [
                (each["id"], [node["target"] for node in each["nodes"]], each["help"])
                for each in report.response["violations"]
            ]
            assert found == [], state


LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 480, 768, 1080, 1600])
def test_nothing_is_wider_than_the_page(chromium: Browser, width: int) -> None:
    def long(route: Route, body: dict[str, Any]) -> None:
        answer = answer_to(body)
        answer["query"]["text"] = LONG
        answer["explain"]["proxies"] = [{"label": LONG, "distance": 1}]
        for hit in answer["hits"]:
            hit["id"] = LONG
            hit["payload"] = {"text": LONG, "labels": [LONG, "a"], "note": LONG}
        route.fulfill(json=answer)

    def long_sample(sample: dict[str, Any]) -> dict[str, Any]:
        for item in sample["items"]:
            item |= {"payload": {"text": LONG}, "thumbnail": None}
        return sample

    with open_site(chromium, width=width, height=700) as site:
        site.sample = long_sample
        for state in STATES:
            site.search = long if state not in ("error", "nothing", "waiting") else None
            site.info = info() | {"labels": [*info()["labels"], {"name": LONG, "count": 123456}]}
            site.info_answer = None
            shown(site.page, site, state)
            wide = site.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, state
            if state == "detail":
                inner = site.page.evaluate(
                    "(d => d.scrollWidth - d.clientWidth)(document.getElementById('detail'))"
                )
                assert inner <= 0


def test_colors_follow_the_system_until_somebody_chooses(chromium: Browser) -> None:
    with open_site(chromium, dark=True) as site:
        page = site.open()
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Switch to light colors").click()
        light = page.evaluate(ground)
        assert dark != light
        page.reload()
        site.settle()
        assert page.evaluate(ground) == light
        page.get_by_role("button", name="Switch to dark colors").click()
        page.emulate_media(color_scheme="light")
        assert page.evaluate(ground) == light
        assert page.evaluate("localStorage.length") == 0


def test_nothing_moves_for_those_who_ask_for_that(chromium: Browser) -> None:
    moving = "document.getAnimations({subtree: true}).length"
    for motion, moves in (("no-preference", True), ("reduce", False)):
        with open_site(chromium, reduced_motion=motion) as site:
            shown(site.page, site, "waiting")
            assert bool(site.page.evaluate(moving)) is moves


def test_a_service_below_a_path_works_too(chromium: Browser) -> None:
    """Behind a proxy the page may lie below a path; nothing in it begins at the root."""
    with open_site(chromium) as site:
        answer = site.answer

        def below(route: Route) -> None:
            assert "/search/" in route.request.url
            real = route.request.url.replace("/search/", "/", 1)
            answer(_Moved(route, real))

        site.page.unroute("**/*")
        site.page.route("**/*", below)
        site.page.goto("http://127.0.0.1:9/search/?q=a+dog")
        expect(site.page.locator("#hits > li")).to_have_count(12)
        expect(site.page.locator(".hit img").first).to_have_js_property("naturalWidth", 1)


class _Moved:
    """A route whose request has another address."""

    def __init__(self, route: Route, url: str) -> None:
        self._route = route
        self.request = _MovedRequest(route.request, url)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._route, name)


class _MovedRequest:
    def __init__(self, request: Any, url: str) -> None:
        self._request = request
        self.url = url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)
