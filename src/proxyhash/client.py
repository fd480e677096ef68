"""Client of an HTTP service, used as an index or a searcher of this process is."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import numpy as np

from proxyhash.codes import code_bytes
from proxyhash.errors import ImageError, ProxyhashError, UsageError, require_extra
from proxyhash.index.checks import as_ids, can_be_id, check_items, check_search
from proxyhash.index.filters import filter_to_json
from proxyhash.index.hit import Hit, IndexItem
from proxyhash.index.words import WEIGHT
from proxyhash.search import Answer, EncodedQuery, Note, Query, SearchOptions
from proxyhash.search.query import (
    NoEncoderError,
    NotFoundError,
    TooManyHitsError,
    UnknownWordsError,
    options_of_each,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from PIL.Image import Image

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter

__all__ = ["Client"]

_LONGEST_WAIT = 30.0
_PLAIN_ID = re.compile(r"(?!\.{1,2}$)[^\x00-\x1f\x7f/\\%]+")
_DEFAULT = SearchOptions()
_ABOUT_THE_REQUEST: dict[str, type[ProxyhashError]] = {
    "not_found": NotFoundError,
    "no_encoder": NoEncoderError,
    "too_many_hits": TooManyHitsError,
    "unknown_words": UnknownWordsError,
    "bad_image": ImageError,
    "invalid_request": UsageError,
}


class Client:
    """Client of one service.

    `search`, `get`, `upsert` and `delete` take and return what those of an `Index` do;
    `search_many` answers queries as `proxyhash.search.search_many` does. Payloads come without what
    the service hides, such as the paths of images. Threads may share a client.

    Args:
        url: of the service, such as "http://127.0.0.1:8080".
        key: what `proxyhash keys add` printed, where the service asks for one.
        timeout: seconds that an answer may take.
        retries: how often a request is sent again when the service is overloaded (503), each time
            after as long as the service says.

    Example:
        >>> client = Client("http://127.0.0.1:8080")  # doctest: +SKIP
        >>> client.search_text("two dogs in the snow", k=3)  # doctest: +SKIP
        [Hit(id='3385593926', distance=5, payload={...}), ...]
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60.0, retries: int = 5
    ) -> None:
        self._connection = _Connection(url, key=key, timeout=timeout, retries=retries)

    @property
    def bits(self) -> int:
        """The code length."""
        return int(self._facts["bits"])

    @property
    def model(self) -> str:
        """Fingerprint of the model that made the codes, asked for at each call: it may change."""
        return str(self.info()["model"]["fingerprint"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that an item may have a code of."""
        return tuple(self._facts["modalities"])

    def search(
        self,
        codes: Codes,
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002 -- the index's word
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id); see `Index.search`.

        Raises:
            UsageError: as `Index.search`; or more hits are asked for than the service returns.
        """
        modality = check_search(
            codes, k=k, modality=modality, radius=radius, bits=self.bits, modalities=self.modalities
        )
        options = _body(SearchOptions(target=modality, k=k, radius=radius, filter=filter))
        bodies = [options | {"code": code.tobytes().hex()} for code in codes]
        return [_hits(answer) for answer in self._batch(bodies)]

    def search_many(
        self,
        queries: Iterable[Query],
        options: SearchOptions | Sequence[SearchOptions] = _DEFAULT,
    ) -> list[Answer]:
        """Return the answers to several queries, in their order; see `proxyhash.search`.

        Images go in a request of their own each, other queries in as few as the service takes.

        Raises:
            UsageError: a query or an option cannot be used, with the sentence that a search here
                says; or more hits are asked for than the service returns.
            DataError: an image cannot be read.
        """
        queries = list(queries)
        each = options_of_each(options, len(queries))
        found: dict[int, Any] = {}
        for row, query in enumerate(queries):
            if query.image is not None:
                form = {"options": json.dumps(_body(each[row]))}
                files = {"image": ("image", _content(query.image))}
                found[row] = self._send("POST", "/v1/search/image", files=files, data=form)
        others = [row for row in range(len(queries)) if row not in found]
        bodies = [_body(each[row]) | _question(queries[row]) for row in others]
        if len(bodies) == 1:
            found[others[0]] = self._send("POST", "/v1/search", json=bodies[0])
        else:
            found |= dict(zip(others, self._batch(bodies), strict=True))
        return [self._answer(query, found[row]) for row, query in enumerate(queries)]

    def search_text(self, text: str, **options: Any) -> list[Hit]:
        """Return the items nearest to a text; options as in `Searcher.search`."""
        return self._hits(Query(text=text), options)

    def search_id(self, id: str, **options: Any) -> list[Hit]:  # noqa: A002
        """Return the items nearest to a stored one; options as in `Searcher.search`."""
        return self._hits(Query(item=id), options)

    def search_image(self, image: str | Path | bytes, **options: Any) -> list[Hit]:
        """Return the items nearest to an image file, which is sent; see `Searcher.search`.

        Raises:
            DataError: the file cannot be read.
        """
        return self._hits(Query(image=image), options)

    def encode_texts(self, texts: Sequence[str]) -> Codes:
        """Return packed codes of texts, uint8 (n, ceil(bits/8))."""
        answers = self._in_parts("/v1/encode", "texts", list(texts))
        return self._codes(code for answer in answers for code in answer["codes"])

    def encode_image(self, image: str | Path | bytes) -> Codes:
        """Return the packed code of an image file, uint8 (1, ceil(bits/8))."""
        files = {"image": ("image", _content(image))}
        return self._codes(self._send("POST", "/v1/encode/image", files=files)["codes"])

    def get(self, id: str, /) -> IndexItem:  # noqa: A002 -- the index's word
        """Return a stored item; see `Index.get`."""
        if not can_be_id(id):
            raise NotFoundError(f"no item {id!r:.80} in the index")
        answer = self._send("GET", _item(id))
        codes = {name: self._codes([code])[0] for name, code in answer["codes"].items()}
        return IndexItem(answer["id"], codes, answer["payload"])

    def upsert(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store items, replacing those with the same ids; see `Index.upsert`.

        More items than the service takes at once go in several requests, each all or nothing.
        """
        ids, codes, payloads = check_items(
            ids, codes, payloads, bits=self.bits, modalities=self.modalities
        )
        items = [
            {
                "id": id_,
                "codes": {name: rows[row].tobytes().hex() for name, rows in codes.items()},
                "payload": payloads[row],
            }
            for row, id_ in enumerate(ids)
        ]
        for _ in self._in_parts("/v1/items", "items", items):
            pass

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items and return how many of them there were; see `Index.delete`."""
        wanted = as_ids(ids)
        return sum(each["deleted"] for each in self._in_parts("/v1/items/delete", "ids", wanted))

    def info(self) -> dict[str, Any]:
        """Return what GET /v1/info answers: version, index, model and limits."""
        found = dict(self._send("GET", "/v1/info"))
        vars(self)["_facts"] = found
        return found

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        if not can_be_id(id):
            return False
        return bool(self._connection.request("GET", _item(id)).status_code == 200)

    def __len__(self) -> int:
        """Return the number of items."""
        return int(self.info()["items"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return self.info()

    def _send(self, method: str, path: str, **body: Any) -> Any:
        return self._connection.send(method, path, **body)

    def _in_parts(self, path: str, name: str, values: list[Any]) -> Iterator[Any]:
        """Post values under a name, as many at once as the service takes, and yield the answers."""
        most = self._facts["limits"]["batch"]
        for start in range(0, len(values), most):
            yield self._send("POST", path, json={name: values[start : start + most]})

    def _batch(self, bodies: list[dict[str, Any]]) -> list[Any]:
        answers = self._in_parts("/v1/search/batch", "queries", bodies)
        return [result for answer in answers for result in answer["results"]]

    def _hits(self, query: Query, options: Mapping[str, Any]) -> list[Hit]:
        return list(self.search_many([query], SearchOptions(**options))[0].hits)

    def _answer(self, query: Query, found: Mapping[str, Any]) -> Answer:
        asked = found["query"]
        return Answer(
            query=EncodedQuery(
                replace(query, modality=asked["modality"]), self._codes([asked["code"]])[0]
            ),
            target=found["target"],
            hits=tuple(_hits(found)),
            codes=self._codes((hit["code"] for hit in found["hits"]), bits=found["bits"]),
            searched=found["searched"],
            bits=found["bits"],
            with_thumbnail=frozenset(hit["id"] for hit in found["hits"] if hit["thumbnail"]),
            words=None if found.get("words") is None else tuple(found["words"]),
            notes=tuple(map(Note.from_dict, found.get("notes", ()))),
            rerank=found.get("rerank"),
            mode=found.get("mode", "codes"),
        )

    def _codes(self, texts: Iterable[str], *, bits: int | None = None) -> Codes:
        rows = [np.frombuffer(bytes.fromhex(text), np.uint8) for text in texts]
        width = len(rows[0]) if rows else code_bytes(self.bits if bits is None else bits)
        if width != code_bytes(self.bits):  # the index was migrated to a model of other bits
            self.info()
        return np.array(rows, np.uint8).reshape(len(rows), width)


def _body(options: SearchOptions) -> dict[str, Any]:
    return {
        "k": options.k,
        "target": options.target,
        "radius": options.radius,
        "filter": None if options.filter is None else filter_to_json(options.filter),
        **({"rerank": options.rerank, "shortlist": options.shortlist} if options.rerank else {}),
        **({} if options.mode is None else {"mode": options.mode}),
        **({} if options.words_weight == WEIGHT else {"words_weight": options.words_weight}),
    }


def _question(query: Query) -> dict[str, Any]:
    """Return a query as the service takes it."""
    if query.text is not None:
        return {"text": query.text}
    modality = {} if query.modality is None else {"modality": query.modality}
    if query.item is not None:
        if not can_be_id(query.item):
            raise NotFoundError(f"no item {query.item!r:.80} in the index")
        return {"id": query.item} | modality
    if query.code is not None:
        code = query.code if isinstance(query.code, str) else query.code.tobytes().hex()
        return {"code": code} | modality
    if query.vector is None:
        raise UsageError(f"the service takes no {query.modality}; encode it here, send its code")
    return {"vector": query.vector.tolist()} | modality


def _hits(answer: Mapping[str, Any]) -> list[Hit]:
    return [
        Hit(
            hit["id"],
            hit["distance"],
            hit["payload"],
            hit.get("asymmetric"),
            hit.get("vector_distance"),
            hit.get("fused"),
            tuple(hit.get("matched", ())),
        )
        for hit in answer["hits"]
    ]


def _item(id_: str) -> str:
    quoted = quote(id_, safe="")
    # Dots, slashes and the like are changed on the way where they are in a path.
    return f"/v1/items/{quoted}" if _PLAIN_ID.fullmatch(id_) else f"/v1/items/?id={quoted}"


def _content(image: str | Path | bytes | Image) -> bytes:
    if isinstance(image, bytes):
        return image
    if not isinstance(image, str | Path):
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()
    path = Path(image)
    if not path.is_file():  # the sentence of a search here
        raise ImageError(f"{image}: {'not a file' if path.exists() else 'no such file'}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{image}: cannot be read ({error.strerror})") from error


class _Connection:
    """HTTP connections to the service; turns answers into values or errors of this package.

    Args:
        url: of the service.
        key: sent with every request, or None.
        timeout: seconds that an answer may take.
        retries: how often a request is sent again after a 503.
    """

    def __init__(self, url: str, *, key: str | None, timeout: float, retries: int) -> None:
        httpx = require_extra("httpx", extra="serve", purpose="the client of a service")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = url.rstrip("/")
        self._retries = retries
        self._failures = (httpx.HTTPError, httpx.InvalidURL)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def send(self, method: str, path: str, **body: Any) -> Any:
        """Return the decoded answer to a request.

        Raises:
            UsageError: the service refuses it, with the service's sentence.
            ProxyhashError: the service cannot be reached, is overloaded or failed.
        """
        answer = self.request(method, path, **body)
        if answer.status_code < 300:
            return answer.json()
        try:
            error = answer.json()["error"]
            code, message, request = error["code"], error["message"], error["request_id"]
        except (ValueError, KeyError, TypeError):
            code = request = ""
            message = f"the answer is {answer.status_code}; is this a proxyhash service?"
        note = f"answered by {self.url}" + (f", request {request}" if request else "")
        if code in _ABOUT_THE_REQUEST:  # the sentence that a search of this process says
            refused = _ABOUT_THE_REQUEST[code](message)
            if isinstance(refused, UnknownWordsError):
                refused.notes = tuple(map(Note.from_dict, error.get("notes", ())))
            refused.add_note(note)
            raise refused
        kind = UsageError if 400 <= answer.status_code < 500 else ProxyhashError
        raise kind(f"{message} ({note})")

    def request(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer to a request, whatever it is; waits while the service is overloaded.

        Raises:
            ProxyhashError: the service cannot be reached.
        """
        for attempt in range(self._retries + 1):
            try:
                answer = self._http.request(method, path, **body)
            except self._failures as error:
                raise ProxyhashError(
                    f"{self.url} does not answer ({error or type(error).__name__}); is the "
                    "service running, and is this its address?"
                ) from error
            if answer.status_code != 503 or attempt == self._retries:
                break
            time.sleep(_seconds(answer.headers.get("retry-after")))
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _seconds(retry_after: str | None) -> float:
    try:
        return min(max(float(retry_after or 1), 0.05), _LONGEST_WAIT)
    except ValueError:
        return 1.0
