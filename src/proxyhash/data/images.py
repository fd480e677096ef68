"""Open any image as upright 8-bit RGB."""

from __future__ import annotations

import io
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_PIXELS", "ImageSource", "check_image", "open_image"]

ImageSource: TypeAlias = "str | Path | bytes | Image.Image"

MAX_PIXELS = 64_000_000
"""Images with more pixels are refused before they are decoded: 64 million take 192 MB as RGB."""

# Raster formats with a signature. Pillow's other formats are not opened, since files come from
# strangers: EPS would start Ghostscript, ICO decodes an image before its size can be checked.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")


def open_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the image as mode RGB, fully decoded, upright and detached from its file.

    EXIF rotation is applied, transparency becomes white, CMYK and palettes are converted,
    16-bit gray keeps its upper eight bits, 32-bit and float gray are stretched from their own range
    to 0..255, and an animation gives its first frame.

    Args:
        source: a path, the bytes of an image file, or an opened image (which is left as it is).
        max_pixels: width times height that is decoded at most; checked before decoding.

    Raises:
        ImageError: "PATH: no such file", "PATH: not an image that can be read (REASON)" or
            "PATH: WIDTHxHEIGHT has more than MAX pixels".
    """
    name = _name(source)
    with _image_errors(name, max_pixels):
        if isinstance(source, Image.Image):
            _check_size(source, name, max_pixels)
            return _upright_rgb(source)
        with Image.open(_file(source, name), formats=_known_formats()) as image:
            _check_size(image, name, max_pixels)
            return _upright_rgb(image)


def check_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> None:
    """Check the header of an image file: a known format and an allowed size.

    Raises:
        ImageError: as `open_image`, which also finds damage after the header.
    """
    name = _name(source)
    with (
        _image_errors(name, max_pixels),
        Image.open(_file(source, name), formats=_known_formats()) as image,
    ):
        _check_size(image, name, max_pixels)


def _name(source: ImageSource) -> str:
    return str(source) if isinstance(source, str | Path) else "the image"


@contextmanager
def _image_errors(name: str, max_pixels: int) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: has more than {max_pixels:,} pixels ({error})") from error
    except Exception as error:
        # Decoders raise nearly any exception for damaged bytes: OSError, SyntaxError, ValueError,
        # struct.error, KeyError... They all mean the same to the caller.
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "the format is not recognized"
        raise ImageError(f"{name}: not an image that can be read ({reason})") from error


def _file(source: str | Path | bytes, name: str) -> Path | io.BytesIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    path = Path(source)
    if not path.is_file():  # also avoids blocking on a pipe
        raise ImageError(f"{name}: {'not a file' if path.exists() else 'no such file'}")
    return path


@cache
def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{name}: {width}x{height} has more than {max_pixels:,} pixels")


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    upright = _upright(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        upright = _eight_bit_gray(upright, sixteen_bit=image.format in {"PNG", "PPM"})
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Return a copy, rotated as its EXIF says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF: rotation unknown, but the pixels are still good
        return image.copy()


def _eight_bit_gray(image: Image.Image, *, sixteen_bit: bool) -> Image.Image:
    values = np.asarray(image)
    if sixteen_bit or image.mode.startswith("I;16"):
        return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    stretched = (finite - low) * (255.0 / (high - low)) if high > low else np.zeros_like(finite)
    return Image.fromarray(stretched.round().astype(np.uint8))
