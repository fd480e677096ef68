"""Chromium driven by Playwright, which clicks, types, drops and answers requests as tests say."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.browser import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

__all__ = ["open_chromium", "open_tab"]

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_MILLISECONDS = 15_000


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Run a headless browser, or skip the test where there is none.

    Playwright's event loop runs as long as the browser does, and nothing else in this process can
    run one meanwhile; so this is opened for the tests of this folder, not for the session.
    """
    executable = chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_tab(
    browser: Browser, *, width: int = 1280, height: int = 900, dark: bool = False, **options: Any
) -> Iterator[tuple[Page, list[str]]]:
    """Open an empty tab of a fresh profile; yields it and the list of what it complains about."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        **options,
    )
    context.set_default_timeout(_MILLISECONDS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text)
            if message.type in ("error", "warning")
            and "Failed to load resource" not in message.text
            else None
        ),
    )
    try:
        yield page, complaints
    finally:
        context.close()
