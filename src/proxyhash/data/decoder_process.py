"""One decoding process: reads requests from standard input, answers with pixels.

A request is a JSON object behind its length in four bytes: the limits, the side of the square that
the image is resized to or null, and a path or the number of bytes of a file that follow. The answer
is such an object, with `size`, and with `original`, the size before resizing, and the pixels after
it; or with `error`, and `last` where the process ends. The process limits itself: memory by its
resource limits, processor time by a timer whose signal ends it; it can neither write files nor dump
core.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from proxyhash.data.decoding import HEADER_SECONDS, ImageLimits, decode, squashed
from proxyhash.data.image_kinds import HEAD_BYTES, kind_of, preload
from proxyhash.errors import ImageError

__all__ = ["HEADER_BYTES", "main"]

HEADER_BYTES = 4
_IN_MEMORY = 256_000_000  # bytes of a file that is read at once
_BASE = 192_000_000  # bytes for the interpreter and for reading a header
_ROOM = 96_000_000  # of these, at least so many beyond what images before have left behind
_BAND = 4_000_000  # bytes of pixels that are sent together


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # the size is checked by `decode`
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(silence, number)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    preload()
    while header := requests.read(HEADER_BYTES):
        request = json.loads(requests.read(int.from_bytes(header)))
        content = requests.read(request["bytes"]) if "bytes" in request else None
        bounds = _Bounds()
        try:
            image = _open(request, content, bounds)
            bounds.lift()
            original = image.size
            if request.get("side"):
                image = squashed(image, request["side"])
            _send_image(answers, image, original)
        except ImageError as error:
            bounds.lift()
            _send(answers, {"error": str(error)})
        except MemoryError:
            most = bounds.lift() // 1_000_000
            what = f"decoding it takes more than {most:,} MB of memory, too much for its size"
            _send(answers, {"error": what, "last": True})
            return  # a fresh process has its memory back


def _open(request: dict[str, Any], content: bytes | None, bounds: _Bounds) -> Image.Image:
    """Return the decoded image of a request.

    Raises:
        ImageError: without a name.
        MemoryError: the bounds are too narrow.
    """
    limits = ImageLimits(**request["limits"])
    path = Path(request.get("path", os.devnull))
    size = 0 if content is None else len(content)
    with contextlib.suppress(OSError):  # where it has gone, reading it says so
        size = size or path.stat().st_size
    bounds.base += 2 * min(size, _IN_MEMORY)  # a PNG file is copied without its texts
    bounds.set(0, min(HEADER_SECONDS, limits.max_seconds))
    try:
        given = content or (path.read_bytes() if size <= _IN_MEMORY else path)
        if isinstance(given, bytes):
            head = given[:HEAD_BYTES]
        else:
            with given.open("rb") as file:
                head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror or error})") from error
    kind = kind_of(head)
    if kind is None:  # another process has changed it
        raise ImageError("not an image that can be read (the file has changed)")
    enough = 2 * request["side"] if request.get("side") else None
    return decode(given, kind, limits, enough=enough, plan=bounds.set)


def _send_image(answers: BinaryIO, image: Image.Image, original: tuple[int, int]) -> None:
    width, height = image.size
    _send(answers, {"size": [width, height], "original": list(original)})
    rows = max(1, _BAND // (3 * width))
    for top in range(0, height, rows):
        band = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        answers.write(band.tobytes())
    answers.flush()


def _send(answers: BinaryIO, answer: dict[str, Any]) -> None:
    text = json.dumps(answer).encode()
    answers.write(len(text).to_bytes(HEADER_BYTES) + text)
    answers.flush()


class _Bounds:
    """Limits of this process while it decodes one image.

    Attributes:
        base: bytes that the process may take beside what decoding does.
    """

    def __init__(self) -> None:
        self.base = self._memory = max(_BASE, _data_bytes() + _ROOM)

    def set(self, memory: int, seconds: float) -> None:
        """Limit the memory of decoding, and its processor time from now on."""
        self._memory = self.base + memory
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = self._memory if hard == resource.RLIM_INFINITY else min(self._memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends the process

    def lift(self) -> int:
        """Set no limits, to wait for the next image; return the bytes that were the limit."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        return self._memory


def _data_bytes() -> int:
    """Return the bytes that count for this process's limit of memory, 0 where that is unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main()
