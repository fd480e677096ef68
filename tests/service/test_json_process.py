"""Large JSON bodies: decoded beside the event loop, as small ones are."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.service.errors import ApiError
from proxyhash.service.framing import Framing, MalformedError
from proxyhash.service.json_process import JsonDecoder
from proxyhash.service.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LARGE = " " * 40_000


def with_decoder(work: Callable[[JsonDecoder], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        decoder = JsonDecoder(Limits())
        try:
            return await work(decoder)
        finally:
            await decoder.close()

    return asyncio.run(main())


def test_a_large_body_means_what_a_small_one_does() -> None:
    value = {"a": [1, 2.5, None, True, "\u00e9\U0001f468", 10**40, {}], "vector": [0.1] * 5}
    text = json.dumps(value)
    both = with_decoder(
        lambda decoder: asyncio.gather(
            decoder.decode(text.encode()), decoder.decode((text + LARGE).encode())
        )
    )
    assert both == [value, value]


@pytest.mark.parametrize(
    "text", ["nothing", '{"a": NaN}', "[" * 99 + "]" * 99, '{"a": "\\ud800"}', "[" + "0," * 200_001]
)
def test_a_large_body_is_refused_as_a_small_one_is(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        with_decoder(lambda decoder: decoder.decode((text + LARGE).encode()))
    assert refused.value.status_code in (400, 413, 422)


def test_more_than_a_request_may_ask_for_is_refused_before_it_is_passed_on() -> None:
    body = json.dumps({"queries": [{}] * 60_000}).encode()
    with pytest.raises(ApiError, match="60000 queries are given; 256 are the most"):
        with_decoder(lambda decoder: decoder.decode(body))


def test_the_loop_goes_on_while_a_large_body_is_decoded() -> None:
    body = json.dumps({"queries": [{}] * 100_000}).encode()

    async def work(decoder: JsonDecoder) -> float:
        task = asyncio.create_task(_refused(decoder, body))
        used = time.thread_time()
        await task
        return time.thread_time() - used

    assert with_decoder(work) < 0.01  # of processor time; decoding takes several times that


async def _refused(decoder: JsonDecoder, body: bytes) -> None:
    with pytest.raises(ApiError):
        await decoder.decode(body)


def test_a_process_that_was_killed_is_replaced() -> None:
    async def work(decoder: JsonDecoder) -> Any:
        await decoder.decode(b"{}" + LARGE.encode())
        assert decoder._process is not None
        decoder._process.kill()
        return await decoder.decode(b'{"a": 1}' + LARGE.encode())

    assert with_decoder(work) == {"a": 1}


def test_too_many_that_wait_are_turned_away() -> None:
    async def work(decoder: JsonDecoder) -> list[Any]:
        asked = [decoder.decode(b"[1]" + LARGE.encode()) for _ in range(30)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = with_decoder(work)
    assert answers.count([1]) == 16
    busy = [one for one in answers if isinstance(one, ApiError)]
    assert {one.status_code for one in busy} == {503}
    assert all((one.headers or {}).get("Retry-After") for one in busy)


def test_thousands_of_small_chunks_are_refused_and_large_ones_are_not() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    framing = Framing(head_bytes=9999, fields=9)
    framing.take(bytearray(head + (b"100\r\n" + b"a" * 256 + b"\r\n") * 5000 + b"0\r\n\r\n"))
    assert framing.complete
    framing = Framing(head_bytes=9999, fields=9)
    with pytest.raises(MalformedError) as refused:
        framing.take(bytearray(head + b"1\r\na\r\n" * 2500))
    assert refused.value.status == 413
