"""Decode image files into upright 8-bit RGB; runs in threads and in `proxyhash.data.decoders`."""

from __future__ import annotations

import io
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from proxyhash.data.image_kinds import HEAD_BYTES
from proxyhash.data.image_scan import check_scans, is_cut_off, webp_size, without_texts
from proxyhash.errors import ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxyhash.data.image_kinds import ImageKind

__all__ = [
    "HEADER_SECONDS",
    "ImageLimits",
    "check_opened",
    "check_size",
    "decode",
    "readable",
    "squashed",
    "upright_rgb",
]

_BYTES_PER_PIXEL = 4  # of an RGB image in Pillow
_WORK_FACTOR = 6  # decoders of WebP and JPEG 2000 take up to this many times the image
_COEFFICIENTS = 8  # bytes per pixel that a progressive JPEG takes beside the image
_SECONDS_PER_PIXEL = 0.25e-6  # the slowest decoder, JPEG 2000, takes less than half of it
_JPEG_SECONDS_PER_PIXEL = 0.1e-6  # a progressive one takes less than half of it
HEADER_SECONDS = 2.0
"""Processor time for reading a header; decoding may take it again, and more by the pixel."""
_BAND = 1_000_000  # pixels that are converted together
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_CUT_OFF = ("truncated", "unexpected end", "not enough", "unrecognized data stream")


@dataclass(frozen=True)
class ImageLimits:
    """Limits of one image; the same for training, indexing and the service.

    Attributes:
        max_pixels: width times height of a file.
        max_bytes: of memory for the decoded image, four for each pixel. A JPEG that would take more
            (or more than the default) is decoded at a half, a quarter or an eighth of its size;
            other formats are refused.
        max_memory: bytes that decoding may take beside the content of the file, where an image is
            decoded in a process of its own; small images get less.
        max_seconds: of processor time, likewise.
        max_file_bytes: size of a file.
    """

    max_pixels: int = 250_000_000
    max_bytes: int = 256_000_000
    max_memory: int = 2_000_000_000
    max_seconds: float = 10.0
    max_file_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_bytes", "max_memory", "max_seconds", "max_file_bytes"):
            value = getattr(self, name)
            if not value > 0:
                raise UsageError(f"the limit {name} is {value}; it must be more than 0")

    @classmethod
    def of_pixels(cls, pixels: int) -> ImageLimits:
        """Return limits that allow images of so many pixels in any format, and no more."""
        size = _BYTES_PER_PIXEL * pixels
        return cls(
            max_pixels=pixels,
            max_bytes=size,
            max_memory=max(cls.max_memory, (_WORK_FACTOR + 2) * size),
            max_seconds=max(cls.max_seconds, cls.max_seconds * size / cls.max_bytes),
        )

    @classmethod
    def of_megapixels(cls, megapixels: float | None) -> ImageLimits:
        """Return the limits of the option --max-megapixels, the default ones for None."""
        return cls() if megapixels is None else cls.of_pixels(int(megapixels * 1_000_000))


def decode(
    content: bytes | Path,
    kind: ImageKind,
    limits: ImageLimits,
    *,
    enough: int | None = None,
    plan: Callable[[int, float], None] = lambda _memory, _seconds: None,
) -> Image.Image:
    """Return the decoded image, mode RGB, upright and detached from its file.

    Args:
        content: the file.
        kind: of the file; no other decoder is tried.
        limits: the most that is decoded.
        enough: width and height that suffice: a JPEG that stays as large is decoded at a half, a
            quarter or an eighth of its size, which takes as much less time.
        plan: told the bytes of memory and seconds that decoding may take, once the size is known.

    Raises:
        ImageError: it cannot be decoded, or is too large; says why, without a name.
    """
    kind.load()
    if kind.decodes_at_once:  # when it is opened, before its size can be asked for
        size = webp_size(content[:HEAD_BYTES]) if isinstance(content, bytes) else None
        if size:
            check_size(*size, _most(limits), kind.name)
        plan(*_cost(size[0] * size[1] if size else _most(limits), limits))
    source: io.BytesIO | Path
    if isinstance(content, bytes):
        if kind.name == "JPEG":
            check_scans(content)
        source = io.BytesIO(without_texts(content) if kind.name == "PNG" else content)
    else:
        source = content
    with readable(content, kind), Image.open(source, formats=[kind.format]) as image:
        _fit(image, kind, limits, enough, plan)
        return upright_rgb(image)


def _fit(
    image: Image.Image,
    kind: ImageKind,
    limits: ImageLimits,
    enough: int | None,
    plan: Callable[[int, float], None],
) -> None:
    """Refuse an image that is too large; make a large JPEG be decoded at a smaller size."""
    width, height = image.size
    pixels = width * height
    # Higher limits do not change how a JPEG is read, so that features depend on the file alone.
    most = min(limits.max_bytes, ImageLimits.max_bytes) // _BYTES_PER_PIXEL
    if kind.name == "JPEG" and limits.max_pixels >= pixels > most:
        scale = 2 ** min(3, math.ceil(math.log2(pixels / most) / 2))
        image.draft(None, (max(1, width // scale), max(1, height // scale)))
        check_size(*image.size, most, kind.name)
    else:
        check_size(width, height, _most(limits), kind.name)
        if enough and kind.name == "JPEG":
            image.draft(None, (enough, enough))
    width, height = image.size
    memory, seconds = _cost(width * height, limits)
    if kind.name == "JPEG":
        memory = min(limits.max_memory, memory + _COEFFICIENTS * pixels)
        seconds = min(limits.max_seconds, HEADER_SECONDS + _JPEG_SECONDS_PER_PIXEL * pixels)
    plan(memory, seconds)


def _most(limits: ImageLimits) -> int:
    """Return the pixels of an image that cannot be decoded at a smaller size."""
    return min(limits.max_pixels, limits.max_bytes // _BYTES_PER_PIXEL)


def _cost(pixels: int, limits: ImageLimits) -> tuple[int, float]:
    """Return the bytes of memory and the seconds that decoding so many pixels may take."""
    memory = _WORK_FACTOR * _BYTES_PER_PIXEL * pixels
    seconds = HEADER_SECONDS + _SECONDS_PER_PIXEL * pixels
    return min(limits.max_memory, memory), min(limits.max_seconds, seconds)


def check_size(width: int, height: int, most: int, kind: str) -> None:
    """Refuse an image of more than `most` pixels.

    Raises:
        ImageError: "9000x9000 has more than 64,000,000 pixels, the most of a PNG image; ...".
    """
    pixels = width * height
    if pixels > most:
        smaller = "" if kind == "JPEG" else ", or save it as JPEG, which is read at a smaller size"
        raise ImageError(
            f"{width}x{height} has more than {most:,} pixels, the limit of a {kind} image; raise "
            f"it with --max-megapixels {math.ceil(pixels / 1e6)}{smaller}"
        )


@contextmanager
def readable(content: bytes | Path | None, kind: ImageKind | None) -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError` without a name.

    Decoders raise nearly any exception for damaged bytes: OSError, SyntaxError, ValueError,
    struct.error, KeyError... They all mean the same to the caller.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        name = kind.name if kind else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"it begins like a {name} image, but its header cannot be read"
        cut_off = isinstance(content, bytes) and is_cut_off(name, content)
        if cut_off or any(mark in reason.lower() for mark in _CUT_OFF):
            reason = "the file ends before the image does; copy or download it again"
        raise ImageError(f"not an image that can be read ({reason})") from error


def squashed(image: Image.Image, side: int) -> Image.Image:
    """Return an RGB image resized to a square, whatever its aspect; `info["size"]` has its size."""
    # Images more than six times as large are first averaged over whole blocks, which is quick.
    small = image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    small.info["size"] = image.size
    return small


def check_opened(image: Image.Image, limits: ImageLimits) -> None:
    """Refuse an image that Pillow has opened but not decoded, if it is too large.

    Raises:
        ImageError: "WIDTHxHEIGHT has more than MAX pixels, ...".
    """
    if getattr(image, "_im", None) is None:
        check_size(*image.size, _most(limits), image.format or "opened")


def upright_rgb(image: Image.Image, *, copy: bool = False) -> Image.Image:
    """Return the image as RGB, turned as its EXIF says; `copy` leaves the given one as it is."""
    image.load()
    upright = _upright(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        upright = _eight_bit_gray(upright, sixteen_bit=image.format in {"PNG", "PPM"})
    if upright.has_transparency_data:
        return _on_white(upright)
    if upright.mode != "RGB":
        return upright.convert("RGB")
    return upright.copy() if copy and upright is image else upright


def _upright(image: Image.Image) -> Image.Image:
    """Return the image, rotated as its EXIF says."""
    try:
        method = _METHODS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF: rotation unknown, but the pixels are still good
        return image
    return image if method is None else image.transpose(method)


def _on_white(image: Image.Image) -> Image.Image:
    """Return the image on white, converted band by band, as RGBA takes as much as the image."""
    width, height = image.size
    rows = max(1, _BAND // max(1, width))
    result = Image.new("RGB", image.size)
    for top in range(0, height, rows):
        layer = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        result.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, top))
    return result


def _eight_bit_gray(image: Image.Image, *, sixteen_bit: bool) -> Image.Image:
    import numpy as np

    values = np.asarray(image)
    result = np.empty(values.shape, np.uint8)
    rows = max(1, _BAND // max(1, values.shape[1]))
    bands = [slice(top, top + rows) for top in range(0, len(values), rows)]
    if sixteen_bit or image.mode.startswith("I;16"):
        for band in bands:
            result[band] = np.clip(values[band], 0, 65535) >> 8
        return Image.fromarray(result)

    def finite(band: slice) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.nan_to_num(values[band].astype(np.float64), posinf=0.0, neginf=0.0)

    low = min(float(finite(band).min()) for band in bands)
    high = max(float(finite(band).max()) for band in bands)
    for band in bands:
        stretched = (finite(band) - low) * (255.0 / (high - low)) if high > low else 0.0
        result[band] = np.round(stretched)
    return Image.fromarray(result)
