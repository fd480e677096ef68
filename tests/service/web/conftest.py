"""One browser, and the page over a made-up service for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.service.web.browser import open_chromium
from tests.service.web.made_up import Site, open_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def site(chromium: Browser) -> Iterator[Site]:
    """The page at 1280 pixels, quietly: whatever it complains about fails the test."""
    with open_site(chromium, reduced_motion="reduce") as site:
        yield site
        assert site.complaints == []
        assert all(
            request.url.startswith(("http://127.0.0.1:9/", "blob:", "data:"))
            for request in site.asked
        )
