"""The bounds of the requests on one connection, told from its bytes before they are parsed.

Parsers of HTTP are lenient, each in its own way, and the fastest bounds nothing. So what reaches it
has passed here: heads of bounded size in one strict form, and bodies whose length is beyond doubt.
What a proxy could read differently (two lengths, a length beside chunks, folded lines, bare line
feeds) is refused, and with it what smuggles one request inside another. RFC 9110 and 9112 say what
is allowed.
"""

from __future__ import annotations

import re

__all__ = ["Framing", "MalformedError"]

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIELD = _TOKEN + rb"{1,256}+:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n"
_REQUEST_LINE = re.compile(_TOKEN + rb"{1,32}+ ([\x21-\x7e]++) HTTP/1\.([01])\r\n")
_FIELDS = re.compile(rb"(?:" + _FIELD + rb")*+\r\n")
_DECISIVE = re.compile(
    rb"\r\n(host|content-length|transfer-encoding):[ \t]*([^\r]*?)[ \t]*(?=\r\n)", re.IGNORECASE
)
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,12})(?:[ \t]*;[\t\x20-\x7e]*)?")

_LINE_BYTES = 16_384
_CHUNK_LINE_BYTES = 256
_SMALL_CHUNK, _SMALL_CHUNKS = 256, 2_000  # bytes, and how many of fewer; each is looked at
_TRAILER_BYTES = 4096


class MalformedError(Exception):
    """The bytes cannot be taken as a request, nor the connection be used any further.

    Args:
        status: HTTP status of the answer.
        code: a word that programs can compare.
        message: a sentence that says what to do.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Framing:
    """The request that a connection is in.

    Args:
        head_bytes: of the request line and the header fields.
        fields: number of header fields.

    Attributes:
        in_head: whether the head is still to come.
        complete: whether all of the request has been taken.
    """

    def __init__(self, *, head_bytes: int, fields: int) -> None:
        self._head_bytes = head_bytes
        self._fields = fields
        self.next()

    def next(self) -> None:
        """Expect another request."""
        self.in_head, self.complete = True, False
        self._left = 0  # bytes of the body, or of the chunk, that are to come
        self._chunked = self._in_trailer = self._at_chunk_end = False
        self._chunks = self._trailer = self._skipped = 0

    def take(self, buffer: bytearray) -> bytes:
        """Remove from `buffer` what belongs to the request, and return it as a parser may see it.

        Args:
            buffer: bytes that arrived; what is left in it is incomplete, or of the next request.

        Raises:
            MalformedError: the request is not taken.
        """
        head = b""
        if self.in_head:
            head = self._take_head(buffer)
            if self.in_head:
                return b""
        if self.complete:
            return head
        end = self._end_of_chunks(buffer) if self._chunked else self._end_of_body(buffer)
        body = bytes(memoryview(buffer)[:end])
        del buffer[:end]
        return head + body if head else body

    def _take_head(self, buffer: bytearray) -> bytes:
        while buffer.startswith(b"\r\n"):  # some clients send one after a body
            del buffer[:2]
            self._skipped += 2
            if self._skipped > 16:
                raise _bad("a request begins with empty lines")
        end = buffer.find(b"\r\n\r\n", 0, self._head_bytes)
        if end < 0:
            self._check_start(buffer)
            return b""
        head = bytes(memoryview(buffer)[: end + 4])
        del buffer[: end + 4]
        if head.count(b"\r\n") - 2 > self._fields:
            raise MalformedError(
                431, "head_too_large", f"more than {self._fields} header fields; send fewer"
            )
        line = _REQUEST_LINE.match(head)
        if line is None:
            raise _bad("the first line is not METHOD TARGET HTTP/1.1")
        if line.end() > _LINE_BYTES:
            raise MalformedError(414, "too_long", f"the address has over {_LINE_BYTES:,} bytes")
        if not _FIELDS.fullmatch(head, line.end()):
            raise _bad(
                "a header field is not NAME: VALUE on one line that ends with CR LF, without "
                "control characters"
            )
        self._read_fields(head, old=line[2] == b"0")
        self.in_head = False
        return _UPGRADE.sub(b"", head)  # no other protocol is spoken here

    def _check_start(self, buffer: bytearray) -> None:
        """Refuse a head that has not ended yet as soon as it cannot become one."""
        if len(buffer) >= self._head_bytes:
            raise MalformedError(
                431,
                "head_too_large",
                f"the header fields have more than {self._head_bytes:,} bytes; send fewer",
            )
        if buffer.count(b"\n") != buffer.count(b"\r\n"):
            raise _bad("a line ends without CR before LF")
        if buffer and buffer != b"\r" and not buffer[:1].isalpha():
            raise _bad("this is not HTTP/1.1 in plain text")

    def _read_fields(self, head: bytes, *, old: bool) -> None:
        """Learn from the header fields how the body is sent."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in _DECISIVE.findall(head):
            found.setdefault(name.lower(), []).append(value)
        hosts, lengths = found.get(b"host", []), found.get(b"content-length", [])
        codings = found.get(b"transfer-encoding", [])
        if len(hosts) > 1 or (not hosts and not old):
            raise _bad(f"there are {len(hosts)} Host fields; send one")
        if codings:
            if lengths or old or [coding.lower() for coding in codings] != [b"chunked"]:
                raise _bad("send either Content-Length or Transfer-Encoding: chunked, once")
            self._chunked = True
        elif lengths:
            if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
                raise _bad("Content-Length is one number of bytes, sent once")
            self._left = int(lengths[0])
        self.complete = not self._chunked and not self._left

    def _end_of_body(self, buffer: bytearray) -> int:
        end = min(self._left, len(buffer))
        self._left -= end
        self.complete = not self._left
        return end

    def _end_of_chunks(self, buffer: bytearray) -> int:
        """Return how many bytes of the buffer are well-formed chunks, in whole or in part."""
        place, size = 0, len(buffer)
        while place < size and not self.complete:
            if self._left:
                step = min(self._left, size - place)
                self._left -= step
                place += step
                continue
            limit = 2 if self._at_chunk_end else _CHUNK_LINE_BYTES
            end = buffer.find(b"\r\n", place, place + limit)
            if end < 0:
                if size - place >= limit:
                    raise _bad("a chunk does not have the length that was said before it")
                break
            line = bytes(memoryview(buffer)[place:end])
            place = end + 2
            if self._at_chunk_end:
                self._at_chunk_end = False
            elif self._in_trailer:
                self._take_trailer(line)
            else:
                self._take_size(line)
        return place

    def _take_size(self, line: bytes) -> None:
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise _bad("a chunk begins with its length in hex digits")
        self._left = int(match[1], 16)
        self._chunks += self._left < _SMALL_CHUNK
        if self._chunks > _SMALL_CHUNKS:
            raise MalformedError(
                413,
                "too_large",
                f"more than {_SMALL_CHUNKS:,} chunks under {_SMALL_CHUNK} bytes; send larger ones",
            )
        self._in_trailer = not self._left
        self._at_chunk_end = not self._in_trailer

    def _take_trailer(self, line: bytes) -> None:
        self._trailer += len(line) + 2
        if self._trailer > _TRAILER_BYTES:
            raise MalformedError(431, "head_too_large", "the fields after the body are too long")
        if not _FIELDS.fullmatch(line + b"\r\n\r\n" if line else b"\r\n"):
            raise _bad("a field after the body is not NAME: VALUE")
        self.complete = not line


def _bad(what: str) -> MalformedError:
    return MalformedError(400, "bad_request", f"the request is not well-formed: {what}")
