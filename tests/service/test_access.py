"""Keys, hosts and headers: who gets in, and what browsers are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.errors import UsageError
from proxyhash.service import Limits, Settings
from proxyhash.service.middleware import scope_of
from tests.service.conftest import bearer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient

    from tests.service.conftest import Keys

OPEN = {("GET", "/"), ("GET", "/web/{name}"), ("GET", "/healthz"), ("GET", "/readyz")}
WRITING = {
    ("POST", "/v1/items"),
    ("POST", "/v1/items/delete"),
    ("DELETE", "/v1/items/{id}"),
    ("POST", "/v1/admin/reload"),
}


def test_every_operation_needs_the_scope_it_should(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    operations = {(method.upper(), path) for path, each in paths.items() for method in each}
    assert operations >= WRITING
    for method, path in operations:
        needed = scope_of(method, path.replace("{id}", "x"))
        if (method, path) in OPEN:
            assert needed is None
        else:
            assert needed == ("write" if (method, path) in WRITING else "read")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "NEW"])
@pytest.mark.parametrize("path", ["/", "/v1/items", "/v1/unknown", "/web/app.js", "/healthz"])
def test_whatever_is_not_known_to_read_counts_as_writing(method: str, path: str) -> None:
    assert scope_of(method, path) == "write"


def test_nobody_writes_without_a_key_even_on_loopback(client: TestClient) -> None:
    item = {"items": [{"id": "x", "codes": {"text": "00ff"}}]}
    for answer in (
        client.post("/v1/items", json=item),
        client.post("/v1/items/delete", json={"ids": ["000001"]}),
        client.delete("/v1/items/000001"),
        client.post("/v1/admin/reload"),
        client.post("/v1/items", json=item, headers=bearer("guess")),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "unauthorized"
    assert client.get("/v1/items/000001").status_code == 200


def test_elsewhere_everything_but_probes_and_page_needs_a_key(
    serve: Callable[..., TestClient], keys: Keys
) -> None:
    client = serve(keys=keys.path, host="0.0.0.0")
    for path in ("/v1/info", "/metrics", "/v1/items/000001", "/v1/thumbnails/000001", "/v1/x"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer(keys.read[:-1])).status_code == 401
    for path in ("/v1/info", "/metrics", "/v1/items/000001", "/v1/thumbnails/000001"):
        assert client.get(path, headers=bearer(keys.read)).status_code == 200
        assert client.get(path, headers=bearer(keys.write)).status_code == 200
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200
    answer = client.post("/v1/search", json={"code": "00ff"})
    assert answer.status_code == 401
    for scheme in ("Basic", "", "bearer  "):
        header = {"Authorization": f"{scheme} {keys.read}".strip()}
        status = client.get("/v1/info", headers=header).status_code
        assert status == (200 if scheme.strip() == "bearer" else 401)


def test_a_key_to_read_does_not_write(serve: Callable[..., TestClient], keys: Keys) -> None:
    client = serve(keys=keys.path)
    answer = client.delete("/v1/items/000001", headers=bearer(keys.read))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    answer = client.delete("/v1/items/000001", headers=bearer(keys.write))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only")


def test_a_service_without_keys_stays_on_its_machine(built: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="searching needs a key"):
        Settings(index="x", host="0.0.0.0")
    with pytest.raises(UsageError, match="changing items needs a key"):
        Settings(index="x", write=True)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert Settings(index="x", host=host).reads_are_open
    for host in ("0.0.0.0", "::", "example.org", "10.0.0.1"):
        assert not Settings(index="x", host=host, keys=tmp_path).reads_are_open
    with pytest.raises(UsageError, match="limit k is 0"):
        Limits(k=0)


def test_keys_close_reading_too_as_a_proxy_on_this_machine_wants_it(
    serve: Callable[..., TestClient], keys: Keys
) -> None:
    behind_proxy = serve(keys=keys.path)
    by_name = {"Host": "search.example"}
    assert behind_proxy.get("/v1/info", headers=by_name).status_code == 401
    search = {"url": "/v1/search", "json": {"code": "00ff"}}
    assert behind_proxy.post(**search).status_code == 401
    assert behind_proxy.post(**search, headers=by_name | bearer(keys.read)).status_code == 200
    assert behind_proxy.get("/healthz", headers=by_name).status_code == 200


def test_reading_can_be_left_open_on_this_machine_alone(
    serve: Callable[..., TestClient], keys: Keys
) -> None:
    client = serve(keys=keys.path, open_reads=True)
    assert client.get("/v1/info").status_code == 200
    assert client.get("/v1/info", headers={"Host": "search.example"}).status_code == 421
    assert client.delete("/v1/items/000001").status_code == 401
    with pytest.raises(UsageError, match="reading cannot be open"):
        Settings(index="x", host="0.0.0.0", keys=keys.path, open_reads=True)


def test_a_page_from_elsewhere_cannot_reach_it_under_its_own_name(
    client: TestClient, serve: Callable[..., TestClient], keys: Keys
) -> None:
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
        answer = client.get("/v1/info", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")
    for host in ("localhost:1", "127.0.0.1:8080", "LOCALHOST", "[::1]:80", "[::1]"):
        assert client.get("/v1/info", headers={"Host": host}).status_code == 200
    behind_proxy = serve(allowed_hosts=("search.example",))
    assert behind_proxy.get("/", headers={"Host": "search.example"}).status_code in (200, 404)
    assert behind_proxy.get("/", headers={"Host": "other.example"}).status_code == 421
    with_keys = serve(keys=keys.path, host="0.0.0.0")
    assert with_keys.get("/healthz", headers={"Host": "any.example"}).status_code == 200


def test_browsers_are_told_to_trust_little(client: TestClient) -> None:
    page, data = client.get("/"), client.get("/v1/info")
    for answer in (page, data, client.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert data.headers["content-security-policy"].startswith("default-src 'none'")
    assert data.headers["cache-control"] == "no-store"
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/search", headers=origin)
    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers


ELSEWHERE = "https://evil.example"
TEXT = {"Content-Type": "text/plain"}
ASKED = [
    ("POST", "/v1/search", {"json": {"code": "00ff"}}),
    ("POST", "/v1/search", {"content": '{"code": "00ff"}', "headers": TEXT}),
    ("POST", "/v1/search/batch", {"json": {"queries": [{"code": "00ff"}]}}),
    ("POST", "/v1/search/image", {"files": {"image": b"x"}}),
    ("POST", "/v1/encode/image", {"files": {"image": b"x"}}),
    ("POST", "/v1/encode", {"data": {"texts": "a duck"}}),
    ("GET", "/v1/info", {}),
    ("GET", "/v1/items/000001", {}),
    ("GET", "/v1/thumbnails/000001", {}),
    ("GET", "/metrics", {}),
    ("HEAD", "/v1/info", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": ELSEWHERE},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://evil.example/localhost"},
        {"Origin": "http://[::1"},
    ],
)
def test_pages_from_elsewhere_cannot_let_a_browser_ask_where_no_key_is_needed(
    client: TestClient, said: dict[str, str]
) -> None:
    for method, path, request in ASKED:
        headers = {**request.get("headers", {}), **said}  # type: ignore[dict-item]
        answer = client.request(method, path, **(request | {"headers": headers}))  # type: ignore[arg-type]
        assert answer.status_code == 403
        if method != "HEAD":
            assert answer.json()["error"]["code"] == "cross_origin"
    for path in ("/", "/web/app.js", "/healthz", "/openapi.json"):  # a link to the page works
        assert client.get(path, headers=said).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://search.example"},  # behind a proxy
        {"Origin": "http://localhost"},
    ],
)
def test_its_own_page_and_programs_ask_as_before(client: TestClient, said: dict[str, str]) -> None:
    assert client.get("/v1/info", headers=said).status_code == 200
    answer = client.post("/v1/search", json={"code": "00ff"}, headers=said)
    assert answer.status_code == 200


def test_a_page_from_elsewhere_needs_a_key_like_everyone(
    serve: Callable[..., TestClient], keys: Keys
) -> None:
    said = {"Sec-Fetch-Site": "cross-site", "Origin": ELSEWHERE}
    client = serve(keys=keys.path, open_reads=True, write=True)
    item = {"items": [{"id": "x", "codes": {"text": "00ff"}}]}
    for request in ({"json": item}, {"content": str(item)}, {"data": {"items": "x"}}):
        assert client.post("/v1/items", **request, headers=said).status_code == 401  # type: ignore[arg-type]
    assert client.get("/v1/info", headers=said).status_code == 403
    assert client.get("/v1/info", headers=said | bearer(keys.read)).status_code == 200
    behind_proxy = serve(allowed_hosts=("search.example",))
    for origin, status in (("https://search.example", 200), ("https://other.example", 403)):
        assert behind_proxy.get("/v1/info", headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/web/app.js", "/v1/info", "/v1/items/none", "/none"]
)
def test_head_is_answered_as_get_without_the_body(client: TestClient, path: str) -> None:
    expected, answer = client.get(path), client.head(path)
    assert (answer.status_code, answer.content) == (expected.status_code, b"")
    for name in ("content-type", "content-length", "cache-control", "x-frame-options"):
        assert answer.headers.get(name) == expected.headers.get(name)
    assert client.head("/v1/search").status_code == 405
