"""Images of the page in the sizes and colors that people have."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from tests.service.web.browser import open_tab

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

__all__ = ["take_screenshots"]


@dataclass(frozen=True)
class _View:
    name: str
    width: int
    height: int
    link: str = ""
    dark: bool = False
    opened: bool = False
    upload: bool = False


_VIEWS = (
    _View("results", 1280, 800, "?q=two+ducks+and+a+boat+by+the+sea&for=image"),
    _View("image", 1280, 800, "?for=image", dark=True, upload=True),
    _View("texts", 1280, 800, "?q=a+cat+under+a+lamp&for=text&labels=cat&labels=lamp&match=all"),
    _View("detail", 1280, 800, "?q=a+bicycle+by+the+house&for=image", opened=True),
    _View("start", 1280, 800),
    _View("phone", 390, 844, "?q=two+ducks+and+a+boat+by+the+sea&for=image&labels=duck"),
    _View("error", 390, 844, "?q=qwertz&for=image", dark=True),
)
_FLAT = 24
_MARKS = ((0xD2, 0x45, 0x1E), (0xEF, 0xA2, 0x87), (0xFF, 0x8A, 0x5C), (0x8A, 0x4B, 0x36))


def take_screenshots(browser: Browser, address: str, folder: Path, *, image: Path) -> list[Path]:
    """Write `page-*.png` and return their paths.

    Args:
        browser: what draws them.
        address: of the service.
        folder: where they go.
        image: what the view of an uploaded image searches with.
    """
    paths = []
    for view in _VIEWS:
        with open_tab(
            browser,
            width=view.width,
            height=view.height,
            dark=view.dark,
            reduced_motion="reduce",
            has_touch=view.width < 600,
        ) as (page, _):
            page.goto(f"{address}/{view.link}")
            page.wait_for_selector("#results:not([aria-busy=true]) #content > *")
            if view.upload:
                page.set_input_files("#file", str(image))
                page.wait_for_url("**/?code=*")
            if view.opened:
                page.locator(".open").nth(2).click()
                page.locator(".reason summary").click()
            page.wait_for_load_state("networkidle")
            path = folder / f"page-{view.name}.png"
            _save(page.screenshot(), path)
            paths.append(path)
    return paths


def _save(png: bytes, path: Path) -> None:
    """Write an image in 256 colors, which makes it a third as large.

    The page's own colors, which cover the most pixels, and those of bits that differ stay as
    they are; what is left of the palette goes to the images on it.
    """
    image = Image.open(BytesIO(png)).convert("RGB")
    counted = sorted(image.getcolors(image.width * image.height) or (), reverse=True)
    own = (*_MARKS, *(color for _, color in counted[:_FLAT]))
    flat = [channel for color in own for channel in color]
    drawn = image.quantize(256 - len(own), dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((flat + drawn)[:768])
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
