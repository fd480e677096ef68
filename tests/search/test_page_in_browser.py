"""The results page in a real browser: images show, nothing is fetched, nothing overflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.search.page import write_page
from tests.browser import Browser, chromium, open_browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxyhash.search import RunSearcher


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(chromium(), tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page_file(searcher: RunSearcher, run: Path, tmp_path: Path) -> Path:
    answers = [
        searcher.search_text("red", k=6),
        searcher.search_image(run.parent / "data" / "c.png", k=6),
    ]
    write_page(tmp_path / "page.html", answers, title="Search", figures={"mAP": ".83"})
    return tmp_path / "page.html"


def test_images_show_and_nothing_is_fetched(browser: Browser, page_file: Path) -> None:
    page = browser.open(page_file.as_uri())
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) >= 6
    assert all(width > 0 for width in widths)
    assert page.evaluate("[...document.images].every(image => image.alt !== '')")
    outside = [address for address in page.requests if not address.startswith("data:")]
    assert outside == [page_file.as_uri()]
    assert page.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_fits_every_width_and_is_readable(browser, page_file, width, dark) -> None:
    page = browser.open(page_file.as_uri())
    page.resize(width, 800, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shades = page.evaluate(
        "['body', '.kind', '.why code', '.labels li'].map(name => {"
        "  const element = document.querySelector(name);"
        "  let behind = element;"
        "  const painted = node => getComputedStyle(node).backgroundColor;"
        "  while (painted(behind) === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;"
        "  return [getComputedStyle(element).color, painted(behind)];"
        "})"
    )
    for ink, paper in shades:
        assert contrast(ink, paper) >= 4.5, (ink, paper)
    assert (luminance(shades[0][1]) < 0.2) is dark


def test_without_the_budget_of_the_network_policy(browser: Browser, tmp_path: Path) -> None:
    """The policy in the page is what stops requests, should one ever slip in."""
    page_file = tmp_path / "page.html"
    write_page(page_file, [], title="Search")
    html = page_file.read_text(encoding="utf-8")
    page_file.write_text(html.replace("<main>", '<main><img src="https://example.com/x.png">'))
    page = browser.open(page_file.as_uri())
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


def luminance(color: str) -> float:
    """Relative luminance of "rgb(r, g, b)", as in WCAG 2."""
    channels = [float(part) / 255 for part in color[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
