"""What the page shows while it waits, when nothing is found, and when the service says no."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.service.web.made_up import ADDRESS, answer_to, failure

if TYPE_CHECKING:
    from playwright.sync_api import Route

    from tests.service.web.made_up import Site


def test_empty_cards_stand_in_until_the_answer_comes(site: Site) -> None:
    site.search = site.hold
    page = site.open()
    page.fill("#words", "slow")
    page.press("#words", "Enter")
    expect(page.locator(".skeleton")).to_have_count(12)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("status")).to_contain_text("Searching")
    route, body = site.take_held()
    route.fulfill(json=answer_to(body))
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".skeleton")).to_have_count(0)


def test_what_is_asked_before_the_service_has_said_what_it_offers_is_done_then(site: Site) -> None:
    site.info_answer = site.hold
    page = site.page
    page.goto(ADDRESS)
    page.fill("#words", "early")
    page.press("#words", "Enter")
    page.get_by_role("radio", name="Texts").check(force=True)
    route, _ = site.take_held()
    assert site.bodies == []
    route.fulfill(json=site.info)
    expect(page.locator("#hits.texts > li").first).to_contain_text("Hit 0 for early")
    assert site.address == "?q=early&for=text"


def test_an_image_given_before_the_service_has_said_what_it_offers_is_searched_with(
    site: Site,
) -> None:
    site.info_answer = site.hold
    page = site.page
    page.goto(ADDRESS)
    page.set_input_files(
        "#file", files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"early"}]
    )
    route, _ = site.take_held()
    route.fulfill(json=site.info)
    expect(page.locator("#hits > li")).to_have_count(12)
    assert site.bodies[0]["image"] == b"early"


def test_words_typed_before_the_service_has_said_what_it_offers_stay(site: Site) -> None:
    site.info_answer = site.hold
    page = site.page
    page.goto(ADDRESS)
    page.fill("#words", "half a sen")
    route, _ = site.take_held()
    route.fulfill(json=site.info)
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator("#words")).to_have_value("half a sen")


def test_words_typed_while_results_are_awaited_stay(site: Site) -> None:
    page = site.open()
    site.search = site.hold
    page.fill("#words", "slow")
    page.press("#words", "Enter")
    expect(page.locator(".skeleton").first).to_be_visible()
    page.fill("#words", "slow and fur")
    route, body = site.take_held()
    route.fulfill(json=answer_to(body))
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator("#words")).to_have_value("slow and fur")


def test_the_focus_is_on_the_results_while_they_are_awaited(site: Site) -> None:
    page = site.open("?q=a+dog&for=image")
    site.search = site.hold
    page.locator(".alike").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".skeleton").first).to_be_visible()
    expect(page.locator("#results")).to_be_focused()


def test_a_later_search_wins_over_one_that_is_still_under_way(site: Site) -> None:
    held: list[Any] = []

    def hold_the_first(route: Any, body: dict[str, Any]) -> None:
        if body["text"] == "slow":
            held.append((route, body))
        else:
            route.fulfill(json=answer_to(body))

    site.search = hold_the_first
    page = site.open()
    page.fill("#words", "slow")
    page.press("#words", "Enter")
    expect(page.locator(".skeleton").first).to_be_visible()
    page.fill("#words", "quick")
    page.press("#words", "Enter")
    expect(page.locator(".hit").first).to_contain_text("Hit 0 for quick")
    route, body = held[0]
    route.fulfill(json=answer_to(body))
    page.wait_for_timeout(100)
    expect(page.locator(".hit").first).to_contain_text("Hit 0 for quick")


def test_nothing_found_offers_to_drop_the_labels(site: Site) -> None:
    def found(route: Route, body: dict[str, Any]) -> None:
        empty = {"hits": [], "searched": 0} if "filter" in body else {}
        route.fulfill(json=answer_to(body) | empty)

    site.search = found
    page = site.open("?q=a+dog&for=image&labels=kite&labels=tent&match=all")
    expect(page.get_by_role("heading", name="Nothing found", exact=True)).to_be_visible()
    expect(page.locator(".notice")).to_contain_text("kite, tent")
    page.get_by_role("button", name="Search without labels").click()
    site.settle()
    expect(page.locator("#hits > li")).to_have_count(12)
    assert site.address == "?q=a+dog&for=image&match=all"


@pytest.mark.parametrize("hits", [None, 0])
def test_an_index_that_does_not_count_is_shown_without_numbers(
    site: Site, hits: int | None
) -> None:
    def found(route: Route, body: dict[str, Any]) -> None:
        answer = answer_to(body)
        answer |= {"searched": None, "hits": answer["hits"][:hits]}
        answer["explain"] |= {
            "histogram": [],
            "cut": None if hits == 0 else answer["explain"]["cut"],
        }
        route.fulfill(json=answer)

    site.search = found
    page = site.open("?q=a+dog&for=image&labels=kite")
    expect(page.locator("#hits > li")).to_have_count(12 if hits is None else hits)
    expect(page.locator(".histogram")).to_have_count(0)
    expect(page.locator("body")).not_to_contain_text(re.compile(r"\b(null|NaN|undefined)\b"))
    if hits is None:
        expect(page.get_by_role("status")).to_contain_text("12 nearest of the images")


@pytest.mark.parametrize(
    ("status", "title"),
    [(422, "Cannot search for that"), (500, "Something went wrong")],
)
def test_an_error_shows_the_services_sentence_and_the_next_step(
    site: Site, status: int, title: str
) -> None:
    site.search = failure(status, "the code of 'qwertz' cannot be made; try others")
    page = site.open("?q=qwertz")
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("heading")).to_have_text(title)
    expect(alert).to_contain_text("The code of 'qwertz' cannot be made; try others.")
    expect(page.locator("#words")).to_have_value("qwertz")
    site.search = None
    if status < 500:  # the same request would fail again
        expect(alert.get_by_role("button", name="Try again")).to_have_count(0)
        alert.get_by_role("button", name="Change the search").click()
        expect(page.locator("#words")).to_be_focused()
        return
    expect(alert).to_contain_text("request-7")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_image_that_fails_is_sent_again(site: Site) -> None:
    site.search = failure(500, "it broke")
    page = site.open()
    page.set_input_files(
        "#file", files=[{"name": "a.png", "mimeType": "image/png", "buffer": b"x"}]
    )
    expect(page.get_by_role("alert")).to_be_visible()
    site.search = None
    page.get_by_role("button", name="Try again").click()
    page.wait_for_url(re.compile(r"\?code="))
    assert [body["image"] for body in site.bodies] == [b"x", b"x"]


@pytest.mark.parametrize("part", ["info", "search"])
def test_a_service_that_is_gone_is_said_to_be(site: Site, part: str) -> None:
    def gone(route: Route, _body: Any) -> None:
        route.abort()

    if part == "info":
        site.info_answer = gone
    else:
        site.search = gone
    page = site.open("?q=a+dog")
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    site.info_answer = site.search = None
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(12)


@pytest.mark.parametrize("body", ["<html>proxy</html>", "", "null"])
def test_an_answer_that_is_no_json_is_an_error_too(site: Site, body: str) -> None:
    site.search = lambda route, _body: route.fulfill(status=502, body=body)
    page = site.open("?q=a+dog")
    expect(page.get_by_role("alert")).to_contain_text("The service answered 502")


def test_a_busy_service_says_when_to_try_again(site: Site) -> None:
    site.search = failure(503, "too many searches are waiting", **{"Retry-After": "3"})
    page = site.open("?q=a+dog")
    expect(page.get_by_role("alert")).to_contain_text("Too busy right now")
    expect(page.locator(".wait")).to_have_text("Wait 3 seconds, as the service asks.")
    expect(page.locator(".wait")).to_have_text("Wait 1 second, as the service asks.")
    expect(page.locator(".wait")).to_have_text("You can try again now.")
    site.search = None
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits > li")).to_have_count(12)


def test_a_key_is_asked_for_and_kept_in_the_tab_only(site: Site) -> None:
    def guarded(route: Route, _body: Any) -> None:
        if route.request.headers.get("authorization") == "Bearer s3cret":
            route.fulfill(json=site.info)
        else:
            failure(401, "this service needs a key")(route, None)

    site.info_answer = guarded
    page = site.open("?q=a+dog&for=image")
    expect(page.get_by_role("alert")).to_contain_text("Whoever runs this service can give you one.")
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("alert")).to_contain_text("This key is not valid")
    expect(page.get_by_label("Key")).to_have_value("")
    page.get_by_label("Key").fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator("#hits > li")).to_have_count(12)
    expect(page.locator(".hit img").first).to_have_js_property("naturalWidth", 1)
    assert page.evaluate("localStorage.length") == 0
    assert "s3cret" in page.evaluate("Object.values({...sessionStorage})")
    sent = [each for each in site.asked if "/v1/thumbnails/" in each.url]
    assert sent
    assert all(each.headers["authorization"] == "Bearer s3cret" for each in sent)


def test_an_item_whose_image_is_missing_is_shown_by_its_text(site: Site) -> None:
    site.thumbnails = False
    page = site.open("?q=a+dog&for=image&k=6")
    expect(page.locator(".hit.wordy .open")).to_have_count(6)
    expect(page.locator(".hit .image, .hit img")).to_have_count(0)
    page.locator(".open").first.click()
    expect(page.locator(".detail .quote")).to_have_text("Hit 0 for a dog")


def test_items_without_text_labels_or_image_have_cards(site: Site) -> None:
    def bare(route: Route, body: dict[str, Any]) -> None:
        answer = answer_to(body, hits=3)
        for hit, payload in zip(
            answer["hits"], ({}, {"text": 7, "labels": "x"}, {"text": None}), strict=True
        ):
            hit |= {"payload": payload, "thumbnail": None}
        route.fulfill(json=answer)

    site.search = bare
    page = site.open("?q=a+dog&for=image")
    expect(page.locator(".hit h3")).to_have_text(["Item item/0", "Item item/1", "Item item/2"])
    page.goto(page.url.replace("for=image", "for=text"))
    expect(page.locator(".hit .image")).to_have_count(0)


MARKUP = [
    "<img src=x onerror=window.owned=1>",
    "</h3><script>window.owned=1</script>",
    '" onmouseover="window.owned=1',
    "<svg/onload=window.owned=1>",
    "javascript:window.owned=1",
    "{{constructor.constructor('window.owned=1')()}}",
]


@pytest.mark.parametrize("markup", MARKUP)
def test_markup_from_the_service_is_shown_as_text(site: Site, markup: str) -> None:
    def hostile(route: Route, body: dict[str, Any]) -> None:
        answer = answer_to(body, hits=2)
        answer["query"]["text"] = markup
        answer["explain"]["proxies"] = [{"label": markup, "distance": 3}]
        note = {"kind": "unreadable", "message": markup, "subject": markup, "suggestions": [markup]}
        answer["notes"] = [note]
        for hit in answer["hits"]:
            hit["id"] = markup
            hit["payload"] = {"text": markup, "labels": [markup], markup: markup, "url": [markup]}
        answer["hits"][0]["thumbnail"] = markup
        answer["hits"][1]["thumbnail"] = "https://elsewhere.example/x.png"
        route.fulfill(json=answer)

    site.info["labels"] = [{"name": markup, "count": 1}]
    site.info |= {"version": markup, "engine": markup}
    site.info["model"] |= {"fingerprint": markup, "text_encoder": markup}
    site.search = hostile
    page = site.open()
    readable = markup.replace("t:w", "t: w")
    expect(page.locator(".examples button")).to_have_text(readable)
    site.find(markup)
    expect(page.locator(".asked h2")).to_have_text(markup)
    expect(page.locator(".hit .open").first).to_have_text(markup)
    expect(page.locator(".hit .labels li").first).to_have_text(readable)
    expect(page.locator(".notes > li > span").first).to_contain_text(markup[1:])
    page.locator(".how").click()
    expect(page.locator(".proxies li span")).to_have_text(readable)
    expect(page.locator(".hit.wordy")).to_have_count(2)
    page.locator(".open").first.click()
    expect(page.locator(".detail .fields dd").first).to_have_text(markup)
    page.keyboard.press("Escape")
    site.search = failure(422, markup)
    site.find("again")
    expect(page.get_by_role("alert")).to_contain_text(markup[1:])
    assert page.evaluate("window.owned") is None
    assert page.locator("img[src=x], script:not([src]), [onmouseover]").count() == 0
