"""Multipart bodies of anything: an image is searched with, or the form is refused."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.test_limits import jpeg

if TYPE_CHECKING:
    from starlette.testclient import TestClient

often = settings(max_examples=200, deadline=None, derandomize=True)

JPEG = jpeg()
PATHS = ("/v1/search/image", "/v1/encode/image")

options = st.dictionaries(
    st.sampled_from(["target", "k", "radius", "filter", "explain", "\ud800", "text"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["text", "image", "\ud800", {"field": "a", "eq": "\ud800"}, [[]], {"a": []}]),
    max_size=3,
).map(lambda value: json.dumps(value).encode())
images = st.sampled_from([JPEG, JPEG[:400], b"", b"GIF89a"]) | st.binary(max_size=30)
charsets = st.sampled_from(
    ["utf-8", "UTF8", "latin-1", "utf-16", "utf-7", "unicode_escape", "punycode", "idna"]
) | st.text("ab-_.0\0\"' ;", max_size=6)


def part(head: str, content: bytes) -> bytes:
    return b"--x\r\n" + head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + content + b"\r\n"


@st.composite
def heads(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["image", "options", "options", "x", ""]))
    file = draw(
        st.sampled_from(["", '; filename="a"', '; filename="../\0é"', "; filename*=a''%FF"])
    )
    more = draw(st.sampled_from(["", "\r\nContent-Type: a/b; charset=utf-7", "\r\nX:", "\r\n: "]))
    kind = draw(st.sampled_from(["form-data", "form-data", "attachment", ""]))
    return f'Content-Disposition: {kind}; name="{name}"{file}{more}'


forms = st.lists(
    st.just(part('Content-Disposition: form-data; name="image"; filename="a"', JPEG))
    | st.builds(part, heads(), options | images),
    max_size=3,
).map(lambda parts: b"".join(parts) + b"--x--\r\n")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    place = draw(st.integers(0, len(whole)))
    put = draw(st.binary(max_size=3) | st.sampled_from([b"--x", b"\r\n", b'"', b"\0"]))
    return whole[:place] + put + whole[place + draw(st.integers(0, 3)) :]


def send(client: TestClient, path: str, body: bytes, kind: str) -> int:
    answer = client.post(path, content=body, headers={"Content-Type": kind.encode("latin-1")})
    assert answer.status_code in (200, 400, 413, 415, 422), answer.text
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"code", "message", "request_id", "retry"}
    return answer.status_code


@often
@given(st.sampled_from(PATHS), forms, st.data())
def test_any_form(client: TestClient, path: str, body: bytes, data: st.DataObject) -> None:
    send(client, path, body, "multipart/form-data; boundary=x")
    send(client, path, data.draw(damaged(body)), "multipart/form-data; boundary=x")


@often
@given(
    st.binary(max_size=40) | forms,
    st.text("x-\"; =\t\0éaA0*'", max_size=8),
    st.sampled_from(["multipart/form-data; boundary=", "Multipart/Form-Data;boundary=", "", "a;"]),
)
def test_any_body_under_any_boundary(
    client: TestClient, body: bytes, boundary: str, kind: str
) -> None:
    send(client, PATHS[1], body, kind + boundary)


@often
@given(charsets, st.binary(max_size=12) | st.sampled_from([b"+2AA-", b"\\ud800", b"{}"]))
def test_no_charset_is_an_error_of_the_service(
    client: TestClient, charset: str, content: bytes
) -> None:
    body = part('Content-Disposition: form-data; name="image"; filename="a"', JPEG)
    body += part('Content-Disposition: form-data; name="options"', content) + b"--x--\r\n"
    send(client, PATHS[0], body, f"multipart/form-data; charset={charset}; boundary=x")


def test_a_form_that_is_cut_off_leaves_no_open_file(client: TestClient) -> None:
    body = part('Content-Disposition: form-data; name="image"; filename="a"', JPEG) + b"--x--\r\n"
    for left in [*range(80), len(body) - 40, *range(len(body) - 12, len(body) - 4)]:
        assert send(client, PATHS[1], body[:left], "multipart/form-data; boundary=x") == 422
    gc.collect()


@pytest.mark.parametrize(
    ("charset", "status"),
    [
        ("", 200),
        ("; charset=utf-8", 200),
        ('; charset="UTF-8"', 200),
        ("; charset=utf-16", 415),
        ("; charset=utf-7", 415),
        ("; charset=unicode_escape", 415),
        ("; charset=punycode", 415),
    ],
)
def test_texts_of_a_form_are_utf_8(client: TestClient, charset: str, status: int) -> None:
    body = part('Content-Disposition: form-data; name="image"; filename="a"', JPEG)
    body += part('Content-Disposition: form-data; name="options"', b'{"k": 1}') + b"--x--\r\n"
    assert send(client, PATHS[0], body, f"multipart/form-data{charset}; boundary=x") == status
