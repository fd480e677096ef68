"""Decoding of JSON texts within bounds, also in a process of its own, for which this is a program.

That process reads a text behind two lengths (of the bounds, and of the text), and answers with a
kind, a length and the value in the form of `marshal`, or what is wrong.
"""

from __future__ import annotations

import json
import marshal
import os
import sys
from typing import Any, BinaryIO

__all__ = ["LISTS", "RefusedTextError", "check_lists", "decode", "json_depth", "main"]

LISTS = ("queries", "texts", "items", "ids")
_ROUND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class RefusedTextError(Exception):
    """The text is not taken.

    Args:
        status: HTTP status of the answer.
        code: a word that programs can compare.
        message: a sentence that says what to do.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


def json_depth(body: bytes, *, most: int | None = None) -> int:
    """Return how deep lists and objects nest in a JSON text in UTF-8, without decoding it.

    Where not all that opens closes, it may be less. All steps are of C, for in Python a large body
    would stop the event loop.

    Args:
        body: the text.
        most: where it is deeper than this, something more is returned.

    Example:
        >>> json_depth(b'{"a": [1, "[[["]}')
        2
    """
    return _depth(_outside_strings(body), most=most)


def decode(body: bytes, *, values: int, depth: int, members: int) -> Any:
    """Return the value of a JSON text.

    Args:
        body: the text, in UTF-8.
        values: the most that it may have.
        depth: how deep they may nest.
        members: the most in a list of what one request asks for.

    Raises:
        RefusedTextError: 400, it cannot be read; 413, it has too many values; 422, it nests too
            deep, or a list is too long.
    """
    plain = _outside_strings(body)
    # Each value but the first comes after one of these.
    if plain.count(b",") + plain.count(b"[") + plain.count(b"{") > values:
        raise RefusedTextError(
            413, "too_large", f"the body has more than {values:,} values; send fewer at once"
        )
    if _depth(plain, most=depth) > depth:
        raise RefusedTextError(
            422, "too_deep", f"the body nests lists and objects more than {depth} deep"
        )
    try:
        # Always as UTF-8: `json.loads` of bytes also takes UTF-16, in which the brackets above
        # can be hidden.
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
        # A lone surrogate, written as "\ud800", is not text; nothing after this could store it.
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RefusedTextError(
            400, "invalid_json", f"the body is not JSON that can be read: {error!s:.100}"
        ) from error
    check_lists(value, most=members)
    return value


def check_lists(value: Any, *, most: int) -> None:
    """Refuse a list with more than one request may hold, before each of its members is checked.

    Raises:
        RefusedTextError: 422, "300 queries are given; 256 are the most".
    """
    for name in LISTS:
        members = value.get(name) if isinstance(value, dict) else None
        if isinstance(members, list) and len(members) > most:
            raise RefusedTextError(
                422, "invalid_request", f"{len(members)} {name} are given; {most} are the most"
            )


def main() -> None:
    """Decode texts from standard input until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    if hasattr(os, "nice"):
        os.nice(5)  # the service itself goes first
    while bounds := _read(requests):
        body = _read(requests)
        try:
            kind, answer = b"v", marshal.dumps(decode(body, **json.loads(bounds)))
        except RefusedTextError as error:
            kind, answer = b"e", json.dumps(error.args).encode()
        answers.write(kind + len(answer).to_bytes(8, "big") + answer)
        answers.flush()


def _read(file: BinaryIO) -> bytes:
    length = int.from_bytes(file.read(8), "big")
    return file.read(length)


def _depth(plain: bytes, *, most: int | None) -> int:
    left = plain.translate(_ROUND, _NO_BRACKETS)
    depth = 0
    while left and (most is None or depth <= most):
        inner = left.replace(b"[]", b"")  # what has nothing in it, once a round
        if inner == left:
            return depth + left.count(b"[")
        left = inner
        depth += 1
    return depth


def _outside_strings(body: bytes) -> bytes:
    """Return a JSON text without what is between quotes."""
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


if __name__ == "__main__":
    main()
