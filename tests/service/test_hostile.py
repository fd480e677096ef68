"""A thousand requests made to hurt: no 500, no hang, and no write without a key."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from proxyhash.index.store import Store
from tests.service.conftest import Keys, Server, bearer, running
from tests.service.test_limits import TRAPS, jpeg

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.allow_hosts(["127.0.0.1"]), pytest.mark.slow]

COUNT = 1000
TEXTS = [
    "",
    "\0",
    "a" * 3000,
    "🦆" * 700,
    "\u202e\ufeff\u200b",
    "Ω≈ç√∫µ≤≥÷",
    "' OR 1=1 --",
    '"; DROP TABLE items; --',
    "../../../../etc/passwd",
    "..\\..\\windows\\system32",
    "file:///etc/passwd",
    "${jndi:ldap://127.0.0.1/a}",
    "{{7*7}}",
    "%00%0a%0d",
    "<script>alert(1)</script>",
    "\r\nX-Injected: yes",
    "-1",
    "NaN",
    "000001",
    "id in (SELECT id FROM items)",
]
NUMBERS = [0, -1, 1, 12, 2**31, 2**63, 2**64, -(2**63), 10**400, 1.5, -0.0, 1e308]
CONSTANTS = [None, True, False, [], {}, [[]], {"": {}}]


class Maker:
    """Draws requests; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        kind = self.random.random()
        if kind < 0.4:
            return self.random.choice(TEXTS)
        if kind < 0.6:
            return self.random.choice(NUMBERS)
        if kind < 0.8 or depth > 4:
            return self.random.choice(CONSTANTS)
        if kind < 0.9:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(TEXTS): self.value(depth + 1) for _ in range(3)}

    def filter(self, depth: int = 0) -> Any:
        kind = self.random.random()
        if depth < 20 and kind < 0.3:
            return {self.random.choice(["and", "or"]): [self.filter(depth + 1) for _ in range(2)]}
        if depth < 40 and kind < 0.5:
            return {"not": self.filter(depth + 1)}
        operation = self.random.choice(["eq", "contains", "gt", "ge", "lt", "le", "like"])
        return {"field": self.random.choice([*TEXTS, "labels", "text"]), operation: self.value()}

    def search(self) -> dict[str, Any]:
        draw = self.random
        body: dict[str, Any] = {
            draw.choice(["text", "id", "code"]): draw.choice(
                [*TEXTS, "00ff", "a duck", self.value()]
            )
        }
        for name in ("k", "radius", "target", "modality", "explain", "__proto__"):
            if draw.random() < 0.15:
                body[name] = self.value()
        if draw.random() < 0.5:
            body["filter"] = self.filter()
        return body

    def body(self) -> bytes:
        text = json.dumps(self.search()).encode()
        kind = self.random.random()
        if kind < 0.6:
            return text
        cut = self.random.randrange(len(text))
        if kind < 0.75:
            return text[:cut]
        if kind < 0.9:
            return text[:cut] + bytes([self.random.randrange(256)]) + text[cut + 1 :]
        return self.random.choice([b"[" * 50_000, b'{"a":' * 9000, b"\xef\xbb\xbf{}", b"\0" * 99])

    def request(self) -> dict[str, Any]:
        draw = self.random
        kind = draw.randrange(6)
        json_header = {"Content-Type": "application/json"}
        if kind == 0:
            return {
                "method": "POST",
                "url": "/v1/search",
                "content": self.body(),
                "headers": json_header,
            }
        if kind == 1:
            path = draw.choice(["/v1/items/", "/v1/thumbnails/", "/web/", "/", "/v1/../", "//"])
            name = draw.choice(TEXTS)
            return {
                "method": draw.choice(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"]),
                "url": path + (quote(name, safe="") if draw.random() < 0.7 else quote(name)),
            }
        if kind == 2:
            image = draw.choice([*TRAPS.values(), jpeg(), self.damaged()])
            return {
                "method": "POST",
                "url": draw.choice(["/v1/search/image", "/v1/encode/image"]),
                "files": {
                    draw.choice(["image", "image", "x"]): (draw.choice(TEXTS), image, "image/png")
                },
                "data": {"options": json.dumps(self.value())} if draw.random() < 0.3 else {},
            }
        if kind == 3:
            item = {"id": draw.choice([*TEXTS, self.value()]), "codes": {"text": "00ff"}}
            body = draw.choice([{"items": [item]}, {"items": self.value()}, {"ids": [item["id"]]}])
            return {
                "method": "POST",
                "url": draw.choice(["/v1/items", "/v1/items/delete", "/v1/admin/reload"]),
                "content": json.dumps(body).encode(),
                "headers": json_header
                | draw.choice(
                    [
                        {},
                        bearer("x"),
                        bearer("é-".encode("unicode_escape").decode()),
                        bearer("phk_" * 9),
                    ]
                ),
            }
        if kind == 4:
            queries = {"queries": [self.search() for _ in range(draw.randrange(5))]}
            return {
                "method": "POST",
                "url": "/v1/search/batch",
                "content": json.dumps(draw.choice([queries, self.value()])).encode(),
                "headers": json_header,
            }
        texts = {"texts": draw.choice([self.value(), [draw.choice(TEXTS), self.value()]])}
        return {
            "method": "POST",
            "url": "/v1/encode" + draw.choice(["", "", "?" + quote(draw.choice(TEXTS))]),
            "content": json.dumps(texts).encode(),
            "headers": json_header,
        }

    def damaged(self) -> bytes:
        image = bytearray(jpeg())
        for _ in range(self.random.randrange(1, 30)):
            image[self.random.randrange(len(image))] = self.random.randrange(256)
        return bytes(image)


def test_a_thousand_hostile_requests(index_copy: Path, keys: Keys) -> None:
    with running(
        index_copy, "--keys", keys.path, "--write", "--open-reads", "--seconds", 10
    ) as server:
        statuses = _fire(server)
        assert all(status < 500 for status in statuses), statuses
        assert statuses[200] > COUNT // 50
        assert statuses[401] > COUNT // 20
        answer = httpx.post(server.url + "/v1/search", json={"text": "a duck"}, timeout=20)
        assert answer.status_code == 200
        assert not [line for line in server.lines if "traceback" in line]
    with Store.open(index_copy) as store:
        assert len(store) == 200
        assert store.verify() == []


def _fire(server: Server) -> Counter[int]:
    maker = Maker(seed=5)
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=server.url, timeout=20) as client:
        for _ in range(COUNT):
            request = maker.request()
            start = time.monotonic()
            answer = client.request(**request)
            assert time.monotonic() - start < 15, request
            statuses[answer.status_code] += 1
            if answer.status_code >= 400 and request["method"] != "HEAD" and answer.content:
                said = set(answer.json()["error"]) - {"notes"}
                assert said == {"code", "message", "request_id", "retry"}
                assert "/tmp" not in answer.text
            assert "x-injected" not in answer.headers
    return statuses
