"""A service that exists only in the browser: the page's files, and answers that tests make up."""

from __future__ import annotations

import base64
import json
import random
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.service.web.browser import open_tab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page, Request, Route

__all__ = ["ADDRESS", "BITS", "PIXEL", "Site", "distance", "failure", "open_site"]

ADDRESS = "http://127.0.0.1:9"  # nothing listens there: what is not answered here fails
BITS = 64
LABELS = (
    "dog",
    "boat",
    "snow",
    "child",
    "ball",
    "beach",
    "street",
    "horse",
    "bike",
    "sky",
    "crowd",
    "guitar",
    "kite",
    "tent",
)

POLICY = "default-src 'self'; img-src 'self' blob: data:"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M/wHwAEBgIApD5fRAAAAABJRU5ErkJggg=="
)


def info() -> dict[str, Any]:
    return {
        "version": "1.2.3",
        "bits": BITS,
        "items": 1000,
        "modalities": {"image": 1000, "text": 900},
        "model": {"fingerprint": "0f" * 32, "image_encoder": "patches", "text_encoder": "bow"},
        "labels": [{"name": name, "count": 100 - rank} for rank, name in enumerate(LABELS)],
        "limits": {"k": 50, "text": 200, "upload_bytes": 5000, "batch": 8},
        "originals": False,
        "writable": False,
        "proxies": True,
        "words": False,
        "engine": "scan",
        "vectors": None,
    }


def random_code(seed: object, bits: int = BITS) -> str:
    return random.Random(str(seed)).randbytes(-(-bits // 8)).hex()


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def sample_of(count: int, seed: int = 0) -> dict[str, Any]:
    """A sample of the made-up items, in the service's form."""
    items = [
        {
            "id": f"item/{seed}-{rank}",
            "payload": {"text": f"Item {rank} of {seed}", "labels": ["dog"]},
            "thumbnail": f"/v1/thumbnails/item/{seed}-{rank}",
        }
        for rank in range(count)
    ]
    return {"target": "image", "items": items}


def answer_to(body: dict[str, Any], *, kind: str | None = None, hits: int | None = None) -> Any:
    """An answer in the service's form; the code of a query follows from what it asks."""
    asked = body.get("text") or body.get("id") or "an image"
    code = body.get("code") or random_code(asked)
    kind = kind or next(name for name in ("text", "id", "code") if name in body)
    codes = sorted(
        (random_code(f"{asked}{n}") for n in range(hits or body.get("k", 12))),
        key=lambda each: distance(each, code),
    )
    order = body.get("rerank")
    found = [
        {
            "id": f"item/{rank}",
            "distance": distance(each, code),
            "asymmetric": distance(each, code) / 2 if order == "asymmetric" else None,
            "vector_distance": distance(each, code) / 3 if order == "vectors" else None,
            "fused": 0.01 if body.get("mode") else None,
            "matched": ["hit", "10*"] if body.get("mode") else [],
            "code": each,
            "payload": {"text": f"Hit {rank} for {asked}", "labels": ["dog", "snow"], "year": 1999},
            "thumbnail": f"/v1/thumbnails/item/{rank}",
        }
        for rank, each in enumerate(codes)
    ]
    histogram = [0] * (BITS + 1)
    for each in range(20, 50):
        histogram[each] = 10 + each  # 1,000 in all
    return {
        "query": {
            "kind": kind,
            "modality": "text" if kind == "text" else "image" if kind != "code" else None,
            "text": body.get("text"),
            "id": body.get("id"),
            "payload": {"text": f"Caption of {body['id']}"} if body.get("id") else None,
            "code": code,
        },
        "bits": BITS,
        "target": body.get("target", "image"),
        "searched": 1000,
        "rerank": body.get("rerank"),
        "mode": body.get("mode") or "codes",
        "hits": found,
        "words": None,
        "notes": [],
        "took_ms": {"encode": 1.25, "search": 0.5, "total": 2.0},
        "explain": {
            "histogram": histogram,
            "cut": found[-1]["distance"] if found and not body.get("rerank") else None,
            "within": None if body.get("rerank") else len(found),
            "proxies": [{"label": label, "distance": 8 + n} for n, label in enumerate(LABELS[:9])],
        }
        if body.get("explain")
        else None,
    }


def failure(
    status: int, message: str, *, code: str = "made_up", notes: Any = (), **headers: str
) -> Callable[[Route, Any], None]:
    """An answer that is an error."""
    error = {"code": code, "message": message, "request_id": "request-7", "notes": list(notes)}

    def respond(route: Route, _body: Any) -> None:
        route.fulfill(status=status, json={"error": error}, headers=headers)

    return respond


@dataclass
class Site:
    """The page in a tab, and what it asked for.

    Attributes:
        page: the tab.
        complaints: errors and warnings of the console, a violated policy among them.
        bodies: the searches asked for; those with an image have its bytes as "image".
        asked: every request.
        search: answers a search; default `answer_to`.
        sample: changes a sample of items before it is sent.
        thumbnails: whether items have images.
        originals: answers a request for an original; default none is there.
        held: searches that are not answered yet.
    """

    page: Page
    complaints: list[str]
    info: dict[str, Any] = field(default_factory=info)
    info_answer: Callable[[Route, Any], None] | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    search: Callable[[Route, dict[str, Any]], None] | None = None
    sample: Callable[[dict[str, Any]], dict[str, Any]] = dict
    thumbnails: bool = True
    originals: Callable[[Route], None] | None = None
    held: list[tuple[Route, dict[str, Any]]] = field(default_factory=list)

    def hold(self, route: Route, body: dict[str, Any]) -> None:
        """Answer a search later, or never."""
        self.held.append((route, body))

    def take_held(self) -> tuple[Route, dict[str, Any]]:
        """Return the latest request that `hold` has got, or will get within seconds."""
        for _ in range(500):
            if self.held:
                break
            self.page.wait_for_timeout(10)
        return self.held.pop()

    def open(self, address: str = "") -> Page:
        """Open a link and wait until the page has asked and shown what it says."""
        self.page.goto(f"{ADDRESS}/{address}")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until nothing is under way."""
        self.page.wait_for_selector("#results:not([aria-busy=true]) #content > *")

    def find(self, text: str) -> None:
        """Type words and press Enter."""
        self.page.fill("#words", text)
        self.page.press("#words", "Enter")
        self.settle()

    @property
    def address(self) -> str:
        """The link that the address bar shows, without the host."""
        return self.page.url.removeprefix(ADDRESS + "/")

    def answer(self, route: Route) -> None:
        """Answer a request of the page."""
        self.asked.append(route.request)
        path = unquote(urlsplit(route.request.url).path)
        if not route.request.url.startswith(ADDRESS + "/"):
            route.abort()
        elif path == "/v1/info":
            (self.info_answer or (lambda route, _: route.fulfill(json=self.info)))(route, None)
        elif path.startswith("/v1/search"):
            self._answer_search(route, image=path.endswith("/image"))
        elif path == "/v1/sample":
            asked = dict(parse_qsl(urlsplit(route.request.url).query))
            route.fulfill(json=self.sample(sample_of(int(asked["count"]), int(asked["seed"]))))
        elif path.startswith("/v1/thumbnails/") and self.thumbnails:
            route.fulfill(body=PIXEL, content_type="image/png")
        elif path.startswith("/v1/originals/") and self.originals:
            self.originals(route)
        elif path.startswith("/v1/"):
            failure(404, "there is no such thing")(route, None)
        else:
            self._answer_file(route, path)

    def _answer_search(self, route: Route, *, image: bool) -> None:
        sent = route.request.post_data_buffer or b""
        body = _read_form(sent) if image else json.loads(sent)
        self.bodies.append(body)
        if self.search is not None:
            self.search(route, body)
        else:
            route.fulfill(json=answer_to(body, kind="image" if image else None))

    def _answer_file(self, route: Route, path: str) -> None:
        folder = files("proxyhash.service") / "web"
        name = "index.html" if path == "/" else path.removeprefix("/web/")
        kind = _TYPES.get(name[name.rfind(".") :], "text/html")
        route.fulfill(
            body=folder.joinpath(name).read_bytes(),
            content_type=kind,
            headers={"Content-Security-Policy": POLICY},
        )


@contextmanager
def open_site(browser: Browser, **options: Any) -> Iterator[Site]:
    """Open a tab whose every request is answered by a `Site`."""
    with open_tab(browser, **options) as (page, complaints):
        site = Site(page, complaints)
        page.route("**/*", site.answer)
        yield site
        page.unroute_all(behavior="ignoreErrors")


def _read_form(sent: bytes) -> dict[str, Any]:
    boundary = sent[: sent.index(b"\r\n")]
    parts = [part.partition(b"\r\n\r\n") for part in sent.split(boundary)[1:-1]]
    values = {
        head.split(b'name="')[1].split(b'"')[0].decode(): value.removesuffix(b"\r\n")
        for head, _, value in parts
    }
    return {"image": values["image"], **json.loads(values["options"])}
