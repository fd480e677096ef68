"""Files are told apart by their first bytes, and what is no image is named."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image, features

from proxyhash.data import open_image
from proxyhash.data.image_kinds import kind_of
from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path


def media(main: bytes, *others: bytes) -> bytes:
    """The first box of an ISO media file."""
    body = b"ftyp" + main + b"\0\0\0\0" + b"".join(others)
    return (len(body) + 4).to_bytes(4) + body


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (media(b"heic", b"mif1", b"heic"), "HEIC"),
        (media(b"heix"), "HEIC"),
        (media(b"mif1", b"heic"), "HEIC"),
        (media(b"mif1"), "HEIC"),
        (media(b"avif", b"mif1"), "AVIF"),
        (media(b"mif1", b"avif"), "AVIF"),
        (media(b"isom", b"mp41"), None),
        (b"\xff\x0a" + b"\0" * 20, "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"MM\0*", "TIFF"),
        (b"P8 ", None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
    ],
)
def test_the_kind_by_the_first_bytes(head: bytes, name: str | None) -> None:
    kind = kind_of(head)
    assert (kind.name if kind else None) == name


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_what_pillow_writes_is_known_and_read(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 9), (200, 30, 40)).save(file, name)
    kind = kind_of(file.getvalue())
    assert kind is not None
    assert kind.format == name
    assert open_image(file.getvalue()).size == (16, 9)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 9), (200, 30, 40)).save(file, "AVIF")
    assert open_image(file.getvalue()).size == (16, 9)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.heic", media(b"heic"), "a HEIC image needs a plug-in.*pip install pillow-heif"),
        ("a.jpg", media(b"heic"), "a HEIC image needs a plug-in"),
        ("a.jxl", b"\xff\x0a" + b"\0" * 20, "a JPEG XL image needs.*pillow-jxl-plugin"),
        ("empty.jpg", b"", r"the file is empty \(0 bytes\)"),
        ("page.jpg", b"<html>404</html>", r"a web page \(HTML\)"),
        ("page.png", b"\n<!DOCTYPE HTML>\n<title>", r"a web page \(HTML\)"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        ("a.jpg", b"%PDF-1.7", "a PDF document"),
        ("a.jpg", b"8BPS\0\1", "a Photoshop document"),
        ("a.jpg", media(b"isom", b"mp41"), "a video or a camera's raw file"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.jpg", b"\0" * 900, "begins with zeros only"),
        ("a.jpg", b"no image", "not recognized; its content is not that of a JPEG image"),
        (
            "a.tga",
            b"\0\0\2" + b"\0" * 9 + b"\1\0\1\0\x18\0abc",
            "save it as JPEG or PNG",
        ),
    ],
)
def test_the_sentence_about_what_cannot_be_read(
    name: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tmp_path / "none"
    without.mkdir()
    for plugin in ("pillow_heif", "pillow_jxl"):
        (without / f"{plugin}.py").write_text("raise ModuleNotFoundError")
    monkeypatch.setattr(sys, "path", [str(without), *sys.path])  # decoding processes start with it
    from proxyhash.data import decoders, images

    with decoders.Decoders(1) as own:
        monkeypatch.setattr(images, "shared_decoders", lambda: own)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=rf"{name}: .*{said}"):
            open_image(tmp_path / name)


@pytest.mark.parametrize(("plugin", "name"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
def test_a_plug_in_is_used_where_it_is_installed(plugin: str, name: str) -> None:
    module = pytest.importorskip(plugin)
    if plugin == "pillow_heif":
        module.register_heif_opener()
    file = io.BytesIO()
    image = Image.radial_gradient("L").convert("RGB").resize((64, 48))
    image.save(file, name, quality=95)
    opened = open_image(file.getvalue())
    assert opened.size == (64, 48)
    left, right = opened.getpixel((32, 24)), image.getpixel((32, 24))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert max(abs(a - b) for a, b in zip(left, right, strict=True)) < 20


def test_a_png_may_have_texts_and_profiles_of_any_size() -> None:
    """Pillow reads no PNG whose texts unpack to 64 MB, or whose profile unpacks to 1 MB."""
    import zlib

    from tests.data.hostile_images import encoded, png_chunk

    image = encoded(Image.new("RGB", (5, 3), (200, 30, 40)), "PNG")
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1_000_000))
    long = png_chunk(b"iTXt", b"a\0\0\0\0\0" + b"y" * 3_000_000)
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(b"z" * 3_000_000))
    with pytest.raises(ValueError, match="text"):
        Image.open(io.BytesIO(image[:33] + text * 80 + image[33:])).load()
    for extra in (text * 80, long, profile, text * 5000):
        for content in (image[:33] + extra + image[33:], image[:-12] + extra + image[-12:]):
            assert open_image(content).getpixel((4, 2)) == (200, 30, 40)


@pytest.mark.parametrize("where", ["eXIf", "raw profile", "xmp"])
def test_a_png_stays_upright_without_its_texts(where: str) -> None:
    from tests.data.hostile_images import encoded, png_chunk

    exif = Image.Exif()
    exif[0x0112] = 6
    image = encoded(Image.new("RGB", (5, 3)), "PNG")
    if where == "eXIf":
        image = encoded(Image.new("RGB", (5, 3)), "PNG", exif=exif)
        extra = b""
    elif where == "raw profile":
        data = exif.tobytes()
        extra = png_chunk(
            b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(data), data.hex().encode())
        )
    else:
        xmp = b'<rdf:Description tiff:Orientation="6"/>'
        extra = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    content = image[:33] + png_chunk(b"tEXt", b"a\0b") + extra + image[33:]
    assert open_image(content).size == (3, 5)
