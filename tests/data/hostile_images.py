"""Small files that keep a decoder busy, or make it take much memory: one function for each kind."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HOSTILE", "encoded", "png_chunk", "segment"]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _plain(kind: str) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (90, 120, 60)), kind)


def jpeg_of_scans(side: int = 4000, scans: int = 800) -> bytes:
    """A progressive JPEG whose last scan comes again and again; each takes as long as the image."""
    image = encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True, quality=10)
    last = image[image.rindex(b"\xff\xda") : -2]
    return image[:-2] + last * scans + b"\xff\xd9"


@cache
def jpeg_of_few_scans() -> bytes:
    """As many scans as pass for a JPEG."""
    return jpeg_of_scans(4000, 240)


def jpeg_fill() -> bytes:
    return b"\xff\xd8" + b"\xff" * 9_000_000


def jpeg_segments(marker: int = 0xE1) -> bytes:
    return b"\xff\xd8" + (b"\xff" + bytes([marker]) + b"\0\2") * 2_300_000 + _plain("JPEG")[2:]


def jpeg_directory() -> bytes:
    """EXIF whose entries are all of the segment, again and again: 324 MB."""
    entries = b"".join(struct.pack("<HHII", number, 7, 60_000, 8) for number in range(1, 5400))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 5399) + entries
    return b"\xff\xd8" + segment(0xE1, exif) + _plain("JPEG")[2:]


def pgm_of_comments() -> bytes:
    return b"P2\n3000 3000 255\n" + b"#\n" * 4_000_000


def ppm_of_blanks() -> bytes:
    return b"P6\n" + b" " * 9_000_000 + b"4 4 255\n" + b"\0" * 48


def tiff_of_strips(strips: int = 600_000) -> bytes:
    """One strip for each row, and all of them the same bytes."""
    entries = [(256, 100), (257, strips), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1)]
    base = 8 + 2 + 12 * 9 + 4
    rows = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries]
    rows += [struct.pack("<HHII", 273, 4, strips, base)]
    rows += [struct.pack("<HHII", 279, 4, strips, base + 4 * strips)]
    head = b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(sorted(rows)) + b"\0" * 4
    return head + struct.pack("<I", 8) * strips + struct.pack("<I", 100) * strips


def big_tiff_of_strips(strips: int = 500_000) -> bytes:
    entries = [(256, 100), (257, strips), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1)]
    base = 16 + 8 + 20 * 9 + 8
    rows = [struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in entries]
    rows += [struct.pack("<HHQQ", 273, 16, strips, base)]
    rows += [struct.pack("<HHQQ", 279, 16, strips, base + 8 * strips)]
    head = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 9) + b"".join(sorted(rows)) + b"\0" * 8
    return head + struct.pack("<Q", 8) * strips + struct.pack("<Q", 100) * strips


def gif_of_extensions() -> bytes:
    image = encoded(Image.new("P", (8, 8)), "GIF")
    start = 13 + (3 << (image[10] & 7) + 1 if image[10] & 0x80 else 0)
    return image[:start] + b"\x21\xfe\1a\0" * 1_800_000 + image[start:]


def png_of_chunks(name: bytes = b"teST") -> bytes:
    image = _plain("PNG")
    return image[:33] + png_chunk(name, b"") * 750_000 + image[33:]


def flat_webp() -> bytes:
    """1.6 kB of 40 megapixels."""
    return encoded(Image.new("RGB", (6300, 6300)), "WEBP", lossless=True)


def flat_avif() -> bytes:
    return encoded(Image.new("RGB", (3000, 3000)), "AVIF", speed=10)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "scans.jpg": jpeg_of_scans,
    "few scans.jpg": jpeg_of_few_scans,
    "fill.jpg": jpeg_fill,
    "segments.jpg": jpeg_segments,
    "comments.jpg": lambda: jpeg_segments(0xFE),
    "directory.jpg": jpeg_directory,
    "comments.pgm": pgm_of_comments,
    "blanks.ppm": ppm_of_blanks,
    "strips.tif": tiff_of_strips,
    "strips of 64 bits.tif": big_tiff_of_strips,
    "extensions.gif": gif_of_extensions,
    "chunks.png": png_of_chunks,
    "data.png": lambda: png_of_chunks(b"IDAT"),
    "flat.webp": flat_webp,
    "flat.avif": flat_avif,
}
