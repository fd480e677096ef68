"""Large JSON bodies are decoded in a process of their own, so that the event loop goes on.

Decoding holds Python's interpreter from beginning to end. What the process answers is read many
times faster than the text, and a body that is refused costs the service nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from proxyhash.service import json_text
from proxyhash.service.errors import ApiError, busy
from proxyhash.service.json_text import RefusedTextError, decode

if TYPE_CHECKING:
    from proxyhash.service.settings import Limits

__all__ = ["JsonDecoder"]

_LARGE = 32_768  # bytes from which on decoding takes longer than asking the process
_WAITING = 16


class JsonDecoder:
    """Decodes the bodies of a service, large ones one after the other in another process.

    Args:
        limits: of the service.
    """

    def __init__(self, limits: Limits) -> None:
        self._bounds = {
            "values": limits.json_values,
            "depth": limits.json_depth,
            "members": limits.batch,
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="json")
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = 0

    async def decode(self, body: bytes) -> Any:
        """Return the value of a JSON text.

        Raises:
            ApiError: 400, 413 or 422, it is refused; 503, too many large ones wait.
        """
        try:
            if len(body) < _LARGE:
                return decode(body, **self._bounds)
            if self._waiting >= _WAITING:
                raise busy("overloaded: too many large bodies are waiting; try again in a second")
            self._waiting += 1
            try:
                work = asyncio.get_running_loop().run_in_executor(self._thread, self._ask, body)
                return await work
            finally:
                self._waiting -= 1
        except RefusedTextError as error:
            raise ApiError(error.status, error.code, error.message) from error

    async def close(self) -> None:
        """End the process."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._end()

    def _ask(self, body: bytes) -> Any:
        """Let the process decode; runs in the thread."""
        try:
            answer = self._exchange(body)
        except (OSError, EOFError):  # it has been killed, perhaps for the machine's memory
            self._end()
            try:
                answer = self._exchange(body)
            except (OSError, EOFError) as error:
                self._end()
                raise busy("large bodies cannot be read now; try again in a second") from error
        if isinstance(answer, RefusedTextError):
            raise answer
        return marshal.loads(answer)  # noqa: S302 -- from our own process

    def _exchange(self, body: bytes) -> bytes | RefusedTextError:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 -- this interpreter
                [sys.executable, "-I", "-S", json_text.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the service
            )
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        for part in (json.dumps(self._bounds).encode(), body):
            requests.write(len(part).to_bytes(8, "big") + part)
        requests.flush()
        head = answers.read(9)
        answer = answers.read(length := int.from_bytes(head[1:], "big"))
        if len(head) < 9 or len(answer) < length:
            raise EOFError
        return answer if head[:1] == b"v" else RefusedTextError(*json.loads(answer))

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was not sent
                    pipe.close()  # type: ignore[union-attr]
            process.wait()
