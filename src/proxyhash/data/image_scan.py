"""Look at the structure of an image file before anything decodes it.

Decoders can be kept busy for minutes by small files: scans upon scans in a JPEG, hundreds of
thousands of empty chunks. `is_ordinary` follows the file's own structure, in Python and within
fixed bounds, and says whether decoding it is known to be quick. What it does not know is not
ordinary.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["check_scans", "is_cut_off", "is_ordinary", "webp_size", "without_texts"]

_JPEG_PIXELS = 32_000_000
_JPEG_WORK = 400_000_000  # pixels times scans: two seconds of a core at most
_OTHER_PIXELS = 16_000_000
_WEBP_PIXELS = 8_000_000  # its decoder takes 16 bytes per pixel
_SEGMENTS, _PNG_CHUNKS, _FEW_CHUNKS = 256, 4096, 32
_DIRECTORY_ENTRIES = 128
_KEPT_TEXT = 65_536
_MOST_SCANS = 256

_HUFFMAN_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
_ORIENTING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def is_ordinary(kind: str, content: bytes) -> bool:
    """Whether a file of this kind is known to be decoded within two seconds and 260 MB.

    Takes some ten microseconds for a photo, and never more than some milliseconds.

    Args:
        kind: the name of an `ImageKind`.
        content: the whole file.
    """
    scan = _SCANS.get(kind)
    try:
        return scan is not None and scan(content)
    except (struct.error, IndexError):  # cut off: its decoder says so, where it can be stopped
        return False


def check_scans(content: bytes) -> None:
    """Refuse a JPEG that has more scans than any encoder writes; each costs as much as an image.

    Raises:
        ImageError: "a JPEG with 810 scans ...".
    """
    scans = content.count(b"\xff\xda")
    if scans > _MOST_SCANS:
        raise ImageError(
            f"a JPEG with {scans:,} scans, where ordinary ones have about ten; save it again as a "
            "plain JPEG"
        )


def is_cut_off(kind: str, content: bytes) -> bool:
    """Whether a file of this kind ends before its own structure does."""
    if kind == "JPEG":
        return b"\xff\xd9" not in content[-65_536:]
    if kind == "PNG":
        return b"IEND" not in content[-65_536:]
    if kind == "WebP":
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    return kind == "GIF" and not content.rstrip(b"\0").endswith(b";")


def _jpeg(content: bytes) -> bool:
    place, pixels, photoshop, exif = 2, 0, 0, 0
    for _ in range(_SEGMENTS):
        mark, marker, length = struct.unpack_from(">BBH", content, place)
        if marker == 0xDA:
            # Within a scan, 0xFF is followed by zero or a restart marker.
            work = pixels * content.count(b"\xff\xda", place)
            return 0 < pixels <= _JPEG_PIXELS and work <= _JPEG_WORK
        after = place + 2 + length
        known = mark == 0xFF and length >= 2 and marker not in _OTHER_FRAMES
        if marker in _HUFFMAN_FRAMES:
            depth, height, width = struct.unpack_from(">BHH", content, place + 4)
            known &= depth == 8 and not pixels
            pixels = height * width
        elif marker == 0xE1 and content.startswith(b"Exif\0\0", place + 4):
            exif += 1
            known &= exif == 1 and _short_directory(content[place + 10 : after])
        elif marker == 0xE2 and content.startswith(b"MPF\0", place + 4):
            known &= _short_directory(content[place + 8 : after])
        elif marker == 0xED:
            photoshop += length
            known &= photoshop <= 2 * _KEPT_TEXT
        if not known:
            return False
        place = after
    return False


def _png(content: bytes) -> bool:
    width, height = struct.unpack_from(">II", content, 16)
    place = 8
    for _ in range(_PNG_CHUNKS):
        length, name = struct.unpack_from(">I4s", content, place)
        if name == b"IEND":
            return bool(width * height <= _OTHER_PIXELS)
        if name in {b"acTL", b"fcTL", b"fdAT"}:
            return False
        if name == b"eXIf" and not _short_directory(content[place + 8 : place + 8 + length]):
            return False
        place += 12 + length
    return False


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP file by its first bytes, None for any other file."""
    if not head.startswith(b"RIFF") or len(head) < 30:
        return None
    name = head[12:16]
    if name == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _webp(content: bytes) -> bool:
    size = webp_size(content[:30])
    animated = content[12:16] == b"VP8X" and content[20] & 2
    if size is None or animated or size[0] * size[1] > _WEBP_PIXELS:
        return False
    place = 12
    for _ in range(_FEW_CHUNKS):
        if place >= len(content) - 8:
            return True
        name, length = struct.unpack_from("<4sI", content, place)
        if name == b"EXIF":
            exif = content[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
            if not _short_directory(exif):
                return False
        place += 8 + length + length % 2
    return False


def _gif(content: bytes) -> bool:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    place = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(_SEGMENTS):
        if content[place] == 0x2C:
            left, top, wide, high = struct.unpack_from("<HHHH", content, place + 1)
            pixels: int = max(width, left + wide) * max(height, top + high)
            return pixels <= _OTHER_PIXELS
        if content[place] == 0x21:
            place += 2
        place += 1 + content[place] if content[place] else 1
    return False


def _short_directory(content: bytes) -> bool:
    """Whether a TIFF directory has few entries, and none that is longer than all of it."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return not content
    try:
        (place,) = struct.unpack_from(order + "I", content, 4)
        (count,) = struct.unpack_from(order + "H", content, place)
        if count > _DIRECTORY_ENTRIES:
            return False
        total = 0
        for entry in range(count):
            kind, number = struct.unpack_from(order + "HI", content, place + 4 + 12 * entry)
            total += _TYPE_BYTES.get(kind, 1) * number
    except struct.error:
        return len(content) <= _KEPT_TEXT
    return total <= max(len(content), _KEPT_TEXT)


_SCANS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "GIF": _gif,
}


def without_texts(content: bytes) -> bytes:
    """Return a PNG file without its texts and color profile, but for what says how it is turned.

    Pillow refuses a file whose texts or profile unpack to much. Nothing here needs them.
    """
    place, start, kept = 8, 0, []
    while place + 8 <= len(content):
        length, name = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        after = place + 12 + length
        if name in _TEXTS and not (
            length <= _KEPT_TEXT and content.startswith(_ORIENTING, place + 8)
        ):
            kept.append(content[start:place])
            start = after
        if name == b"IEND":
            break
        place = after
    return b"".join((*kept, content[start:])) if kept else content
