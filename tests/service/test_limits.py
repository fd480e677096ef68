"""Bodies that are too large, too deep, too slow or no JSON; images that are traps."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from proxyhash.errors import UsageError
from proxyhash.service.json_text import json_depth
from proxyhash.service.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.testclient import TestClient

    from proxyhash.service.service import Service
    from proxyhash.service.snapshot import Snapshot
    from tests.service.conftest import Built

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data"}
ROOT = Path(__file__).parents[2]
FORM_A = {"Content-Type": "multipart/form-data; boundary=a"}


def depth_by_loop(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_by_loop, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_by_loop, value), default=0)
    return 0


@pytest.mark.parametrize(
    "value", [1, [], {"a": {}}, [[["]]]"]], [1]], {'"[{': ['\\"[[', {"b": [[{}]]}]}, "[[[["]
)
def test_depth_is_that_of_the_decoded_value(value: Any) -> None:
    assert json_depth(json.dumps(value).encode()) == depth_by_loop(value)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b'{"text": "a"', 400),
        (b"\xff\xfe", 400),
        (b'{"text": "\xff"}', 400),
        (b'{"text": "\\ud800"}', 400),
        (b'{"code": "00ff", "k": NaN}', 400),
        (b'{"code": "00ff", "k": 1e400}', 422),
        (b'{"code": "00ff", "k": ' + b"9" * 5000 + b"}", 400),
        (b'{"code": "00ff", "filter": ' + b"[" * 100_000 + b"}", 422),
        (b'{"code": "00ff", "filter": ' + b'{"not":' * 200 + b"1" + b"}" * 201, 422),
        (b'{"code": "00ff", "filter": ' + b'{"not":' * 20 + b"1" + b"}" * 21, 422),
        (b'{"code": "00ff", "code": "00ff0"}', 422),
        (b'"text"', 422),
        (b"null", 422),
    ],
)
def test_what_is_no_usable_json_is_refused(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/search", content=body, headers=JSON)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"code", "message", "request_id", "retry"}


def test_json_must_say_that_it_is_json(client: TestClient) -> None:
    body = json.dumps({"code": "00ff"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "text/html"):
        answer = client.post("/v1/search", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 422


def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    serve: Callable[..., TestClient],
) -> None:
    client = serve(limits={"json_bytes": 1000, "upload_bytes": 5000})
    body = json.dumps({"text": "a" * 2000})
    answer = client.post("/v1/search", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    answer = client.post("/v1/search/image", files={"image": b"\0" * 200_000})
    assert answer.status_code == 413
    answer = client.post("/v1/search/image", files={"image": b"\0" * 6000})
    assert (answer.status_code, "5,000 bytes" in answer.text) == (413, True)
    taken: list[bytes] = []

    def endless() -> Iterator[bytes]:
        while len(taken) < 10_000:
            taken.append(b" " * 100)
            yield taken[-1]

    answer = client.post("/v1/search", content=endless(), headers=JSON)
    assert answer.status_code == 413


def png(width: int, height: int, *, rows: int = 1) -> bytes:
    """A PNG that says it has this size, with few rows of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = zlib.compress(b"\0" * (width + 1) * rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def jpeg(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def animation() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "green", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
TRAPS = {
    "bomb": png(60_000, 60_000),
    "just too large": png(8001, 8000),
    "no size": png(0, 0),
    "cut off": jpeg()[:400],
    "SVG": SVG,
    "SVG in XML": b'<?xml version="1.0"?>' + SVG,
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "PDF": b"%PDF-1.7\n",
    "text": b"not an image",
    "nothing": b"",
    "zeros": b"\0" * 1000,
    "HTML": b"<html><script>alert(1)</script>",
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00.",
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_refused_as_an_image(client: TestClient, name: str) -> None:
    start = time.perf_counter()
    answer = client.post("/v1/search/image", files={"image": (name, TRAPS[name], "image/png")})
    assert time.perf_counter() - start < 5
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] in ("bad_image", "invalid_request")
    assert "/" not in error["message"].replace("image/", "")


def test_what_only_looks_odd_is_taken(client: TestClient) -> None:
    image = jpeg()
    polyglot = image + b"PK\x03\x04<script>alert(1)</script>"
    plain = client.post("/v1/encode/image", files={"image": image}).json()["codes"]
    assert client.post("/v1/encode/image", files={"image": polyglot}).json()["codes"] == plain
    named = {"image": ("../../etc/passwd\x00.svg", image, "image/svg+xml")}
    assert client.post("/v1/encode/image", files=named).json()["codes"] == plain
    assert client.post("/v1/encode/image", files={"image": animation()}).status_code == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"image": "x"}}, 415),
        ({"data": {"image": "x"}}, 415),
        ({"files": {"image": b"x"}}, 422),
        ({"files": {"image": b"x", "other": b"y"}}, 400),
        ({"files": {"image": jpeg()}, "data": {"options": "{"}}, 400),
        ({"files": {"image": jpeg()}, "data": {"options": "[]"}}, 422),
        ({"files": {"image": jpeg()}, "data": {"options": '{"k": 0}'}}, 422),
        ({"files": {"image": jpeg()}, "data": {"options": '{"text": "a"}'}}, 422),
        ({"files": {"image": jpeg()}, "data": {"options": "[" * 5000}}, 422),
        ({"files": {"image": jpeg()}, "data": {"options": " " * 70_000}}, 400),
        ({"files": {"image": jpeg()}, "data": {"other": "{}"}}, 422),
        ({"files": {"image": jpeg()}, "data": {"options": ["{}", "{}"]}}, 400),
        ({"content": b"x", "headers": FORM}, 400),
        ({"content": b"x", "headers": FORM_A}, 400),
        ({"content": b"--a\r\n", "headers": FORM_A}, 422),
    ],
)  # fmt: skip
def test_a_form_of_another_shape_is_refused(
    client: TestClient, request_: dict[str, Any], status: int
) -> None:
    assert client.post("/v1/search/image", **request_).status_code in (status, 400)


MANY_KEYS = {f"k{n}": 1 for n in range(99_999)}


@pytest.mark.parametrize(
    ("path", "value", "status"),
    [
        ("/v1/search/batch", {"queries": [{}] * 90_000}, 422),
        ("/v1/search/batch", {"queries": [1] * 250}, 422),
        ("/v1/search", {"vector": ["a"] * 65_000}, 422),
        ("/v1/search", MANY_KEYS, 422),
        ("/v1/search", {"text": "a", "filter": MANY_KEYS}, 422),
        ("/v1/search", [[]] * 400_000, 413),
        ("/v1/encode", {"texts": [1] * 190_000}, 422),
    ],
)
def test_a_body_with_very_many_faults_is_refused_by_the_first(
    client: TestClient, path: str, value: Any, status: int
) -> None:
    body = json.dumps(value)
    start = time.perf_counter()
    answer = client.post(path, content=body, headers=JSON)
    assert answer.status_code == status
    assert len(answer.content) < 3000
    assert time.perf_counter() - start < 4  # each fault said would take a minute of the event loop


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    body = zlib.compress(b'{"code": "00ff"}')
    for coding in ("deflate", "gzip", "br", "identity, gzip", "x" * 100):
        headers = JSON | {"Content-Encoding": coding}
        answer = client.post("/v1/search", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media")
    plain = JSON | {"Content-Encoding": "Identity"}
    answer = client.post("/v1/search", content='{"code": "00ff"}', headers=plain)
    assert answer.status_code == 200


def test_all_bodies_together_have_a_limit(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(limits={"body_bytes": 5000})
    go, begun = threading.Event(), threading.Event()
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    search = service.snapshot.index.search

    def slow(*args: Any, **kwargs: Any) -> Any:
        begun.set()
        go.wait(10)
        return search(*args, **kwargs)

    monkeypatch.setattr(service.snapshot.index, "search", slow)
    body = json.dumps({"code": "00ff"}) + " " * 3000
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(
            client.post("/v1/search", content=body, headers=JSON).status_code
        )
    )
    thread.start()
    assert begun.wait(10)
    answer = client.post("/v1/search", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["retry"]) == (503, True)
    go.set()
    thread.join()
    assert client.post("/v1/search", content=body, headers=JSON).status_code == 200
    assert (statuses, service.bodies.bytes) == ([200], 0)


def test_limits_are_read_as_they_are_written() -> None:
    limits = Limits.read(["k=7", "seconds=2.5", "head_bytes=5000"], seconds=9.0, upload_bytes=5)
    assert (limits.k, limits.seconds, limits.head_bytes, limits.upload_bytes) == (7, 2.5, 5000, 5)
    for given, message in (
        ("k", "write NAME=VALUE"),
        ("hits=7", "limit is 'hits'; it must be one of"),
        ("k=2.5", "it is a whole number"),
        ("k=-1", "more than 0"),
        ("seconds=inf", "more than 0"),
        ("seconds=nan", "more than 0"),
    ):
        with pytest.raises(UsageError, match=message):
            Limits.read([given])
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    table = text.partition("| `--limit` |")[2].partition("\n\n")[0].partition("\n")[2]
    for each in fields(Limits):
        rows = [line for line in table.splitlines() if f"`{each.name}`" in line]
        (default,) = (row.split("|")[2] for row in rows)
        shown = f"{each.default:g}" if isinstance(each.default, float) else str(each.default)
        assert shown in default.replace(",", "").split()


def test_texts_and_batches_have_limits(serve: Callable[..., TestClient], built: Built) -> None:
    client = serve(limits={"batch": 3, "text": 20})
    from proxyhash.hashing import HashModel

    expected = HashModel.load(built.run / "model").encode_texts(["a duck", "a boat"])
    answer = client.post("/v1/encode", json={"texts": ["a duck", "a boat"]}).json()
    assert answer["codes"] == [row.tobytes().hex() for row in expected]
    assert answer["bits"] == 16
    assert client.post("/v1/encode", json={"texts": ["duck"] * 4}).status_code == 422
    assert client.post("/v1/encode", json={"texts": ["duck " * 5]}).status_code == 422
    assert client.post("/v1/encode", json={"texts": []}).status_code == 422
    unknown = client.post("/v1/encode", json={"texts": ["a duck", "ducc"]})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (422, "unknown_words")
    assert unknown.json()["error"]["notes"][0]["suggestions"][0] == "duck"


def test_work_that_takes_too_long_is_answered_504(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(limits={"seconds": 0.3})
    index = client.app.state.service.snapshot.index  # type: ignore[attr-defined]
    go = threading.Event()

    def slow(*_: object, **__: object) -> None:
        go.wait(10)

    with monkeypatch.context() as patch:
        patch.setattr(index, "search", slow)
        answer = client.post("/v1/search", json={"code": "00ff"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    go.set()
    assert client.post("/v1/search", json={"code": "00ff"}).status_code == 200


def test_more_than_may_wait_is_answered_503(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(limits={"waiting": 2})
    go, begun = threading.Event(), threading.Semaphore(0)

    def slow(*_: object, **__: object) -> dict[str, object]:
        begun.release()
        go.wait(10)
        return {"items": 0, "modalities": {}}

    snapshot: Snapshot = client.app.state.service.snapshot  # type: ignore[attr-defined]
    monkeypatch.setattr(snapshot.index, "info", slow)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(client.get("/v1/info").status_code))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        assert begun.acquire(timeout=10)
    answer = client.get("/v1/info")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "busy"
    go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]


def test_an_error_of_ours_is_a_500_that_says_nothing_of_the_inside(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()

    def broken(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    index = client.app.state.service.snapshot.index  # type: ignore[attr-defined]
    monkeypatch.setattr(index, "search", broken)
    answer = client.post("/v1/search", json={"code": "00ff"}, headers={"X-Request-ID": "abc.1"})
    assert answer.status_code == 500
    assert answer.json()["error"]["request_id"] == "abc.1"
    assert "secret" not in answer.text
