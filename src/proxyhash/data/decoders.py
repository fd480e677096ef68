"""Processes that decode images which may keep a decoder busy, and that can be killed.

A file that is not known to be harmless is decoded in a process of its own, within bounds of memory
and processor time. That costs a millisecond or two for an ordinary image, and a hostile one costs
these bounds at most; where it crashes its decoder, only that process ends.

The processes are started with `exec`, never by forking the caller, and import no torch. They end
when the caller does, however that happens, since their standard input ends then.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from proxyhash.data.decoder_process import HEADER_BYTES
from proxyhash.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.data.decoding import ImageLimits

__all__ = ["Decoders", "DecodingStoppedError", "can_isolate", "processor_cores", "shared_decoders"]

_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from proxyhash.data.decoder_process import main; main()"
)
_PATIENCE, _START = 3, 5.0  # a busy machine takes so many times the processor time, and to start
_LOOK = 0.1  # seconds between two looks whether the answer is still wanted
_SLOW = 1.0  # seconds after which a process gives way to others, by default
_BAND = 4_000_000  # bytes of pixels that are received together
_PIPE = 1 << 20


def can_isolate() -> bool:
    """Whether this system has what a decoding process limits itself with."""
    return os.name == "posix" and bool(sys.executable)


class Decoders:
    """Decoding processes, as many as there are images at a time; safe to use from any thread.

    Args:
        count: processes at most; default the processor cores.
        niceness: by how much they let others of the machine go first, from the start.
        slow: seconds after which a process gives way to others, and is replaced after its image.
    """

    def __init__(self, count: int | None = None, *, niceness: int = 0, slow: float = _SLOW) -> None:
        self.count = count or processor_cores()
        self._slow = slow
        self._niceness = niceness
        self._room = threading.Semaphore(self.count)
        self._idle: deque[_Process] = deque()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start all processes now, so that the first image need not wait for one."""
        while len(self._idle) < self.count:
            self._idle.append(_Process(self._niceness, self._slow))
        return self

    def decode(
        self,
        source: bytes | Path,
        limits: ImageLimits,
        *,
        side: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Image.Image:
        """Return the image as `proxyhash.data.decoding.decode` does.

        Args:
            source: the content of a file, or its path.
            limits: of the image.
            side: return it as `proxyhash.data.decoding.squashed` to this side does.
            wanted: asked every 0.1 seconds; where it is false, the process is killed.

        Raises:
            ImageError: the image cannot be decoded, or not within its limits; without a name.
        """
        with self._room:
            process = self._take()
            try:
                return process.decode(
                    source, limits, side, wanted=lambda: not self._closed.is_set() and wanted()
                )
            finally:
                self._give_back(process)

    def close(self) -> None:
        """End all processes, also those at work; decoding raises an error from now on."""
        self._closed.set()
        while self._idle:
            self._idle.pop().end()

    def _take(self) -> _Process:
        if self._closed.is_set():
            raise DecodingStoppedError("it was not decoded, as the work is being stopped")
        while True:
            try:
                process = self._idle.pop()
            except IndexError:
                return _Process(self._niceness, self._slow)
            if process.alive:
                return process
            process.end()

    def _give_back(self, process: _Process) -> None:
        if process.fresh and not self._closed.is_set():
            self._idle.append(process)
        else:
            process.end()
            if not self._closed.is_set():  # its successor starts while the answer is on its way
                with contextlib.suppress(ImageError):
                    self._idle.appendleft(_Process(self._niceness, self._slow))
        if self._closed.is_set():
            self.close()


class DecodingStoppedError(ImageError):
    """An image that was not decoded because nobody waits for it any more."""


class _UnwantedError(Exception):
    """The answer has taken too long, or nobody waits for it."""


class _Process:
    """One decoding process.

    Attributes:
        fresh: whether it can decode another image: it is alive, in step, and as fast as at first.
    """

    def __init__(self, niceness: int, slow: float = _SLOW) -> None:
        self.fresh = True
        self._slow = slow
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- this interpreter
                [sys.executable, "-P", "-c", _CODE, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **threads},
                start_new_session=True,  # Ctrl-C is for the caller
                bufsize=0,
            )
        except OSError as error:
            raise ImageError(f"no process to decode it can be started ({error})") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        if niceness:
            self.give_way(niceness)
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        if sys.platform == "linux":
            import fcntl

            for pipe in (self._requests, self._answers):
                with contextlib.suppress(OSError):  # not more than the system allows
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(
        self,
        source: bytes | Path,
        limits: ImageLimits,
        side: int | None,
        *,
        wanted: Callable[[], bool],
    ) -> Image.Image:
        request: dict[str, Any] = {"limits": asdict(limits), "side": side}
        content = b""
        if isinstance(source, bytes):
            content, request["bytes"] = source, len(source)
        else:
            request["path"] = str(source.absolute())
        text = json.dumps(request).encode()
        start, seconds = time.monotonic(), _START + _PATIENCE * limits.max_seconds
        wait = _Wait(self, start + seconds, start + self._slow, wanted)
        done = False
        try:
            _write_all(self._requests.fileno(), len(text).to_bytes(HEADER_BYTES) + text + content)
            length = int.from_bytes(self._read(HEADER_BYTES, wait))
            answer = json.loads(self._read(length, wait))
            if "error" in answer:
                done = not answer.get("last")
                raise ImageError(answer["error"])
            width, height = answer["size"]
            image = self._read_pixels(width, height, wait)
            if side:
                image.info["size"] = tuple(answer["original"])
            done = True
        except _UnwantedError:
            self._process.kill()
            if time.monotonic() < wait.until:
                raise DecodingStoppedError(
                    "it was not decoded, as the work is being stopped"
                ) from None
            raise ImageError(f"decoding it takes more than {seconds:g} seconds") from None
        except (OSError, EOFError) as error:  # the process has ended
            raise ImageError(self._cause()) from error
        finally:
            self.fresh = done and not wait.slow
        return image

    def end(self) -> None:
        """Kill the process and forget it."""
        self._process.kill()
        self._requests.close()
        self._answers.close()
        self._process.wait()

    def give_way(self, niceness: int = 10) -> None:
        """Let other processes of the machine go first."""
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)

    def _read(self, count: int, wait: _Wait) -> bytearray:
        buffer = bytearray(count)
        rest = memoryview(buffer)
        while rest:
            if not self._poll.poll(1000 * _LOOK):
                wait.look()
                continue
            number = os.readv(self._answers.fileno(), [rest])
            if not number:
                raise EOFError
            rest = rest[number:]
        return buffer

    def _read_pixels(self, width: int, height: int, wait: _Wait) -> Image.Image:
        row = 3 * width
        rows = max(1, _BAND // row)
        if rows >= height:
            return Image.frombytes("RGB", (width, height), self._read(row * height, wait))
        image = Image.new("RGB", (width, height))
        for top in range(0, height, rows):
            count = min(rows, height - top)
            band = Image.frombytes("RGB", (width, count), self._read(row * count, wait))
            image.paste(band, (0, top))
        return image

    def _cause(self) -> str:
        """Return the end of a sentence about an image whose process has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        number = -(self._process.returncode or 0)
        if number == getattr(signal, "SIGPROF", None):
            return (
                "decoding it takes more processor time than an image of its size needs; save it "
                "again as a plain JPEG or PNG"
            )
        name = signal.Signals(number).name if number > 0 else f"exit code {-number}"
        return f"its decoder ended ({name}); save it again as a plain JPEG or PNG"


class _Wait:
    """The wait for one answer.

    Attributes:
        until: when it ends.
        slow: whether the process has been told to give way.
    """

    def __init__(
        self, process: _Process, until: float, slow_after: float, wanted: Callable[[], bool]
    ) -> None:
        self.until = until
        self.slow = False
        self._process = process
        self._wanted = wanted
        self._slow_after = slow_after

    def look(self) -> None:
        """Raise an error where the answer is late or not wanted."""
        now = time.monotonic()
        if now >= self.until or not self._wanted():
            raise _UnwantedError
        if now >= self._slow_after and not self.slow:
            self.slow = True
            self._process.give_way()


def _write_all(number: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(number, rest) :]


def processor_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_shared: dict[int, Decoders] = {}


def shared_decoders() -> Decoders:
    """Return the decoders of this process; a fork of it gets others, as pipes are one process's."""
    return _shared.setdefault(os.getpid(), Decoders())


@atexit.register
def _close_shared() -> None:
    if decoders := _shared.pop(os.getpid(), None):
        decoders.close()
