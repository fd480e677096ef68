"""Open any image as upright 8-bit RGB, within stated time and memory.

Files are looked at before they are decoded (`image_scan`). What is known to be decoded quickly is
decoded here, in the caller's thread; everything else in a process that can be killed (`decoders`).
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image

from proxyhash.data.contained import read_contained
from proxyhash.data.decoders import can_isolate, shared_decoders
from proxyhash.data.decoding import (
    ImageLimits,
    check_opened,
    decode,
    readable,
    squashed,
    upright_rgb,
)
from proxyhash.data.image_kinds import HEAD_BYTES, ImageKind, kind_of, unknown_kind
from proxyhash.data.image_scan import is_ordinary
from proxyhash.data.places import looks_like_text
from proxyhash.errors import ImageError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

from proxyhash.data.decoders import Decoders

__all__ = [
    "MAX_PIXELS",
    "ImageLimits",
    "ImageSource",
    "current_limits",
    "image_limits",
    "open_image",
    "open_squashed",
    "open_untrusted",
]

ImageSource: TypeAlias = "str | Path | bytes | Image.Image"

MAX_PIXELS = 64_000_000
"""Pixels of a decoded image at most, by default; they take 256 MB in Pillow."""

_READ_AT_ONCE = 32_000_000  # bytes; longer files are decoded in another process

_current = [ImageLimits()]


def current_limits() -> ImageLimits:
    """Return the limits of images that are opened without any of their own."""
    return _current[-1]


@contextmanager
def image_limits(limits: ImageLimits | None) -> Iterator[None]:
    """Use these limits for all images opened within the block, in every thread; None changes none.

    Encoders open images by themselves, wherever they were written, so this reaches them all.
    """
    _current.append(limits or current_limits())
    try:
        yield
    finally:
        _current.pop()


def open_image(
    source: ImageSource, *, max_pixels: int | None = None, limits: ImageLimits | None = None
) -> Image.Image:
    """Return the image as mode RGB, fully decoded, upright and detached from its file.

    EXIF rotation is applied, transparency becomes white, CMYK and palettes are converted,
    16-bit gray keeps its upper eight bits, 32-bit and float gray are stretched from their own range
    to 0..255, and an animation gives its first frame. A JPEG whose pixels take more than
    `limits.max_bytes` is decoded at a half, a quarter or an eighth of its size.

    Args:
        source: a path, the bytes of an image file, or an opened image (which is left as it is).
        max_pixels: shorthand for `ImageLimits.of_pixels`.
        limits: the most that is decoded; default those of `image_limits`.

    Raises:
        ImageError: "PATH: no such file", "PATH: not an image that can be read (REASON)",
            "PATH: WIDTHxHEIGHT has more than MAX pixels, ...", or another sentence about a file
            that is not an image, needs a plug-in, or takes too long.
    """
    limits = _limits(max_pixels, limits)
    with _naming(source):
        if isinstance(source, Image.Image):
            with readable(None, None):
                check_opened(source, limits)
                return upright_rgb(source, copy=True)
        given = source if isinstance(source, bytes) else Path(source)
        content, whole = (given, True) if isinstance(given, bytes) else _read(given, limits)
        kind = _kind(content, source)
        if whole and is_ordinary(kind.name, content):
            return decode(content, kind, limits)
        if not can_isolate():
            return decode(given, kind, limits)
        return shared_decoders().decode(given, limits)


def open_squashed(
    source: Path,
    side: int,
    *,
    decoders: Decoders | None = None,
    limits: ImageLimits | None = None,
) -> Image.Image:
    """Return the image as `open_image` does, resized to a square, whatever its aspect.

    Its width and height before that are in `info["size"]`. A JPEG of more than twice the side is
    decoded at a smaller size, so this is quick, and its pixels differ a little from a full decode.

    Args:
        source: the path of an image file.
        side: of the square, in pixels.
        decoders: processes that do all of it; default this process, where the file is ordinary.
        limits: the most that is decoded; default those of `image_limits`.

    Raises:
        ImageError: as `open_image`.
    """
    limits = limits or current_limits()
    with _naming(source):
        content, whole = _read(source, limits)
        kind = _kind(content, source)
        given = content if whole else source
        quick = decoders is None and whole and is_ordinary(kind.name, content)
        if can_isolate() and not quick:
            return (decoders or shared_decoders()).decode(given, limits, side=side)
        return squashed(decode(given, kind, limits, enough=2 * side), side)


def open_untrusted(
    content: bytes,
    decoders: Decoders,
    *,
    limits: ImageLimits,
    wanted: Callable[[], bool] = lambda: True,
) -> Image.Image:
    """Return an image as `open_image` does, always decoded in a process of its own.

    Args:
        content: the bytes of an image file.
        decoders: the processes.
        limits: the most that is decoded.
        wanted: asked now and then; where it is false, decoding is ended.

    Raises:
        ImageError: as `open_image`.
    """
    with _naming(content):
        kind = _kind(content, content)
        if not can_isolate():
            return decode(content, kind, limits)
        return decoders.decode(content, limits, wanted=wanted)


def _limits(max_pixels: int | None, limits: ImageLimits | None) -> ImageLimits:
    if max_pixels is not None:
        return ImageLimits.of_pixels(max_pixels)
    return limits or current_limits()


def _name(source: ImageSource) -> str:
    return str(source) if isinstance(source, str | Path) else "the image"


@contextmanager
def _naming(source: ImageSource) -> Iterator[None]:
    try:
        yield
    except SourceError as error:  # of a file inside another, or an ImageError
        kind = type(error) if isinstance(error, ImageError) else ImageError
        raise kind(f"{_name(source)}: {error}") from error.__cause__
    except MemoryError as error:
        raise ImageError(f"{_name(source)}: there is not enough memory to decode it") from error


def _read(path: Path, limits: ImageLimits) -> tuple[bytes, bool]:
    """Return the content of a file, or the beginning of one that is long, and whether it is all."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags)
    except NotADirectoryError as error:
        content = read_contained(path, most=limits.max_file_bytes)
        if content is None:
            raise ImageError(f"no such file{looks_like_text(path.name)}") from error
        return content, True
    except FileNotFoundError as error:
        raise ImageError(f"no such file{looks_like_text(path.name)}") from error
    except (OSError, ValueError) as error:
        more = looks_like_text(path.name)
        raise ImageError(f"cannot be read ({_reason(error)}){more}") from error
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):  # a pipe would make its reader wait
        os.close(number)
        raise ImageError("not a file")
    with os.fdopen(number, "rb", buffering=0) as file:
        if status.st_size == 0:  # so do files of the system say, and the log of Linux never ends
            return b"", True
        if status.st_size > limits.max_file_bytes:
            raise ImageError(
                f"the file has {status.st_size / 1e6:,.0f} MB; at most "
                f"{limits.max_file_bytes / 1e6:,.0f} MB are read"
            )
        whole = status.st_size <= _READ_AT_ONCE
        try:
            return file.read(-1 if whole else HEAD_BYTES), whole
        except OSError as error:
            raise ImageError(f"cannot be read ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _kind(head: bytes, source: ImageSource) -> ImageKind:
    kind = kind_of(head[:HEAD_BYTES])
    if kind is None:
        name = _name(source) if isinstance(source, str | Path) else ""
        raise ImageError(unknown_kind(head[:HEAD_BYTES], name))
    return kind
