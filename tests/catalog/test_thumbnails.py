"""Thumbnails: small, and never a reason to fail."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from proxyhash.catalog.thumbnails import Thumbnails

if TYPE_CHECKING:
    from pathlib import Path


def opened(address: str | None) -> Image.Image:
    assert address is not None
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("mode", "size", "wanted"),
    [
        ("RGB", (800, 400), (100, 50)),
        ("RGBA", (40, 30), (40, 30)),
        ("P", (1, 1), (1, 1)),
        ("I;16", (200, 200), (100, 100)),
    ],
)
def test_size_and_colors(tmp_path: Path, mode, size, wanted) -> None:
    Image.new(mode, size).save(tmp_path / "x.png")
    image = opened(Thumbnails(edge=100).of(tmp_path / "x.png"))
    assert (image.mode, image.size) == ("RGB", wanted)


def test_nothing_but_pixels_is_taken_over(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 20), "red")
    exif = image.getexif()
    exif[0x010E] = "a secret description"
    image.save(tmp_path / "x.jpg", exif=exif, comment=b"a secret comment")
    address = Thumbnails().of(tmp_path / "x.jpg")
    assert address is not None
    assert b"secret" not in base64.b64decode(address.partition(",")[2])


def test_what_cannot_be_shown_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("<svg onload=alert(1)>")
    thumbnails = Thumbnails()
    assert thumbnails.of(tmp_path / "text.png") is None
    assert thumbnails.of(tmp_path / "missing.png") is None
    assert thumbnails.of(tmp_path) is None


def test_the_budget_ends(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "x.png")
    thumbnails = Thumbnails(budget=1000)
    made = [thumbnails.of(tmp_path / "x.png") for _ in range(5)]
    assert made[0] is not None
    assert made[-1] is None
