"""Whatever image comes in, upright 8-bit RGB comes out, or an error that names it."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from proxyhash.data import open_image
from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

RED, BLUE = (200, 30, 40), (20, 40, 210)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def two_halves(mode: str = "RGB") -> Image.Image:
    """Four pixels wide, two high: red on the left, blue on the right."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(BLUE, (2, 0, 4, 2))
    return image.convert(mode)


def assert_near(image: Image.Image, place: tuple[int, int], color: tuple[int, ...]) -> None:
    assert image.mode == "RGB"
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    assert np.abs(np.subtract(found, color)).max() <= 12, (found, color)


def test_path_bytes_and_image_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(two_halves()))
    images = [
        open_image(source)
        for source in (path, str(path), path.read_bytes(), two_halves(), two_halves("RGBA"))
    ]
    assert {image.tobytes() for image in images} == {two_halves().tobytes()}


def test_the_given_image_is_left_as_it_is() -> None:
    given_image = two_halves()
    opened = open_image(given_image)
    opened.paste((0, 0, 0), (0, 0, 4, 2))
    assert_near(given_image, (0, 0), RED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encoded(two_halves(), exif=exif))
    assert opened.size == ((4, 2) if orientation < 5 else (2, 4))
    # Where red ends up, by the definition of the tag: the side that holds the first columns.
    corner = {
        1: (0, 0),
        2: (3, 0),
        3: (3, 0),
        4: (0, 0),
        5: (0, 0),
        6: (0, 0),
        7: (0, 3),
        8: (0, 3),
    }
    assert_near(opened, corner[orientation], RED)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_color_modes_keep_their_colors(mode: str) -> None:
    if mode == "LAB":
        image = Image.new("LAB", (2, 2), (128, 128, 128))
        assert open_image(image).getpixel((0, 0)) == image.convert("RGB").getpixel((0, 0))
        return
    image = two_halves(mode)
    if mode == "P":
        image = two_halves().convert("P", palette=Image.Palette.ADAPTIVE)
    assert_near(open_image(image), (0, 0), RED)
    assert_near(open_image(image), (3, 0), BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray_modes(mode: str) -> None:
    assert open_image(Image.new("L", (2, 2), 255).convert(mode)).getpixel((0, 0)) == (255,) * 3


def test_cmyk_jpeg() -> None:
    opened = open_image(encoded(Image.new("CMYK", (8, 8), (0, 220, 200, 30)), "JPEG", quality=95))
    assert_near(opened, (4, 4), (225, 31, 49))


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (*RED, 0))
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert open_image(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(encoded(half)).getpixel((0, 0)) == (127, 127, 127)


def test_transparency_of_palettes_and_gray() -> None:
    palette = two_halves("P")
    index = palette.getpixel((0, 0))
    assert open_image(encoded(palette, transparency=index)).getpixel((0, 0)) == (255, 255, 255)
    gray = Image.new("L", (2, 2), 7)
    assert open_image(encoded(gray, transparency=7)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("value", "gray"), [(0, 0), (255, 0), (32768, 128), (65535, 255)])
def test_sixteen_bits_keep_the_upper_eight(value: int, gray: int) -> None:
    values = np.full((2, 3), value, dtype=np.uint16)
    opened = open_image(encoded(Image.fromarray(values)))
    assert opened.size == (3, 2)
    assert opened.getpixel((0, 0)) == (gray,) * 3
    assert open_image(Image.fromarray(values)).getpixel((0, 0)) == (gray,) * 3


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_wide_gray_is_stretched(dtype: type) -> None:
    values = np.array([[-1000, 0, 1000]], dtype=dtype)
    opened = open_image(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(opened)[0, :, 0].tolist() == [0, 128, 255]
    flat = Image.fromarray(np.full((1, 2), 9, dtype=dtype))
    assert open_image(flat).getpixel((0, 0)) == (0, 0, 0)


def test_float_gray_with_holes() -> None:
    values = np.array([[np.nan, np.inf, 0.5, 1.0]], dtype=np.float32)
    assert np.asarray(open_image(Image.fromarray(values)))[0, :, 0].tolist() == [0, 0, 128, 255]


def test_one_pixel() -> None:
    assert open_image(encoded(Image.new("RGB", (1, 1), RED))).getpixel((0, 0)) == RED


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, BLUE)]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert_near(open_image(gif), (0, 0), RED)


class TestRefused:
    def test_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"nope\.png: no such file"):
            open_image(tmp_path / "nope.png")
        with pytest.raises(ImageError, match="not a file"):
            open_image(tmp_path)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="not a file"):
            open_image(tmp_path / "pipe.png")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
    def test_truncated(self, kind: str, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = encoded(Image.fromarray(noise), kind)
        path = tmp_path / "cut"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ImageError, match=r"cut: not an image that can be read \(.+\)"):
            open_image(path)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", r"the file is empty \(0 bytes\)"),
            (b"hello", "the format is not recognized"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%EOF", "a PostScript file, which is a program"),
        ],
    )
    def test_no_image(self, content: bytes, said: str) -> None:
        with pytest.raises(ImageError, match=said):
            open_image(content)

    def test_too_many_pixels_before_decoding(self) -> None:
        with pytest.raises(ImageError, match=r"4x2 has more than 7 pixels.*--max-megapixels 1"):
            open_image(encoded(two_halves()), max_pixels=7)
        assert open_image(encoded(two_halves()), max_pixels=8).size == (4, 2)

    @pytest.mark.parametrize("side", [10_000, 60_000])
    def test_bombs(self, side: int) -> None:
        """A PNG of few bytes that says it is huge."""

        def chunk(kind: bytes, body: bytes) -> bytes:
            checksum = zlib.crc32(kind + body)
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        with pytest.raises(ImageError, match="more than 64,000,000 pixels"):
            open_image(b"\x89PNG\r\n\x1a\n" + data)

    @given(
        st.integers(0, 400), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF"])
    )
    def test_damage_never_escapes_as_another_error(self, place: int, value: int, kind: str) -> None:
        content = bytearray(encoded(two_halves().resize((16, 16)), kind))
        content[place % len(content)] = value
        with contextlib.suppress(ImageError):
            assert open_image(bytes(content)).mode == "RGB"


def test_damaged_exif_leaves_the_image_as_it_lies() -> None:
    content = encoded(two_halves(), exif=b"no exif at all")
    with pytest.raises(SyntaxError):
        Image.open(io.BytesIO(content)).getexif()
    assert open_image(content).tobytes() == two_halves().tobytes()
