"""JSON bodies and codes of anything: they are read, or refused with a sentence."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyhash.errors import DataError, UsageError
from proxyhash.search import Query
from proxyhash.service.json_text import json_depth
from tests.service.test_limits import JSON, depth_by_loop

if TYPE_CHECKING:
    from starlette.testclient import TestClient

often = settings(max_examples=200, deadline=None, derandomize=True)

strings = st.text('ab[]{}"\\\n∀≛ü', max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=12,
)
written = st.builds(
    json.dumps, values, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1])
)


@often
@given(written)
def test_depth_is_that_of_the_decoded_value(text: str) -> None:
    assert json_depth(text.encode()) == depth_by_loop(json.loads(text))


@often
@given(written, st.data())
def test_whatever_is_json_is_no_deeper_than_it_was_found(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    changed = text[:place] + data.draw(strings) + text[place + data.draw(st.integers(0, 2)) :]
    with suppress(ValueError):
        assert json_depth(changed.encode()) == depth_by_loop(json.loads(changed))


def refused(client: TestClient, body: bytes) -> str:
    """Send a body that nobody can use, and return the code of the error."""
    answer = client.post("/v1/search", content=body, headers=JSON)
    assert answer.status_code in (400, 422), (body, answer.text)
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id", "retry"}
    return error["code"]


names = st.sampled_from(["text", "id", "code", "k", "radius", "target", "filter", "explain", "x"])
queries = st.dictionaries(names, values, max_size=4)


@often
@given(queries, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]))
def test_any_query_is_answered(client: TestClient, query: dict[str, Any], encoding: str) -> None:
    text = json.dumps(query, ensure_ascii=False)
    answer = client.post("/v1/search", content=text.encode(encoding), headers=JSON)
    assert answer.status_code in (200, 400, 404, 422), answer.text


@often
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(client: TestClient, body: bytes) -> None:
    refused(client, body)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("depth", [33, 400, 950, 5000])
def test_no_encoding_hides_how_deep_a_body_is(
    client: TestClient, encoding: str, depth: int
) -> None:
    inner = "[" * depth + "]" * depth
    text = f'{{"code": "00ff", "filter": {{"field": "∀", "eq": {inner}}}}}'
    expected = "too_deep" if encoding == "utf-8" else "invalid_json"
    assert refused(client, text.encode(encoding)) == expected


@often
@given(st.text("0123456789abcdefABCDEF", max_size=8), st.integers(1, 24))
def test_hex_is_a_code_or_is_refused(text: str, bits: int) -> None:
    text = text[: len(text) // 2 * 2]
    fits = len(text) == 2 * -(-bits // 8) and int(text, 16) % 2 ** (-bits % 8) == 0
    if fits:
        assert Query(code=text).packed_code(bits=bits).tobytes().hex() == text.lower()
    else:
        with pytest.raises((UsageError, DataError)):
            Query(code=text).packed_code(bits=bits)


@often
@given(st.text("0aF \n\0x٣g", max_size=6))
def test_a_code_is_searched_or_refused(client: TestClient, code: str) -> None:
    answer = client.post("/v1/search", json={"code": code, "k": 1})
    is_code = re.fullmatch("[0-9a-fA-F]{4}", code) is not None
    assert answer.status_code == (200 if is_code else 422)
