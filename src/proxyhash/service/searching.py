"""From a request to its answer: which code asks, what it finds, and what that means."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from proxyhash.codes import check_codes
from proxyhash.errors import UsageError
from proxyhash.service.encoding import known_code
from proxyhash.service.errors import ApiError, refusing
from proxyhash.service.explaining import explain
from proxyhash.service.finding import Search

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Index, IndexItem
    from proxyhash.service.schemas import SearchOptions, SearchRequest
    from proxyhash.service.settings import Settings
    from proxyhash.service.snapshot import Snapshot

__all__ = ["Question", "answer", "code_from_hex", "get_item", "question_of", "visible"]


@dataclass(frozen=True, eq=False)
class Question:
    """A query whose code is known.

    Attributes:
        kind: "text", "image", "id" or "code".
        modality: which side of the model made the code; None for a code of unknown origin.
        code: packed code, uint8 (ceil(bits/8),).
        text: the text, where there is one.
        item: the item, where it is one.
        encode_ms: how long it took to know the code.
    """

    kind: str
    modality: Modality | None
    code: Codes
    text: str | None = None
    item: IndexItem | None = None
    encode_ms: float = 0.0


async def question_of(snapshot: Snapshot, request: SearchRequest) -> Question:
    """Return the query of a request, encoded where it is a text.

    Raises:
        ApiError: 404, no such item; 422, the code or text cannot be used.
    """
    start = time.perf_counter()
    if request.text is not None:
        encoded = await snapshot.encoding.text(request.text)
        took = 1000 * (time.perf_counter() - start)
        code = known_code(encoded, request.text)
        return Question("text", "text", code, text=request.text, encode_ms=took)
    if request.code is not None:
        code = code_from_hex(request.code, bits=snapshot.index.bits)
        return Question("code", None, code)
    assert request.id is not None
    item = await snapshot.run(get_item, snapshot.index, request.id)
    modality = request.modality
    if modality is None:
        modality = "image" if "image" in item.codes else "text"
    if modality not in item.codes:
        raise ApiError(
            422, "invalid_request", f"item {request.id!r} has no {modality}; ask without modality"
        )
    return Question("id", modality, item.codes[modality], item=item)


async def answer(
    snapshot: Snapshot, question: Question, options: SearchOptions, *, settings: Settings
) -> dict[str, Any]:
    """Return what is nearest to a query, ready for JSON.

    Raises:
        ApiError: 422, an option cannot be used.
    """
    start = time.perf_counter()
    with refusing():
        search = Search.of(
            snapshot.index,
            question.code,
            options,
            modality=question.modality,
            item=question.item,
            most=settings.limits.k,
        )
    found = await snapshot.find(search)
    search_ms = 1000 * (time.perf_counter() - start)
    explanation = None
    if options.explain:
        explanation = await snapshot.run(
            explain, snapshot, question.code, target=search.target, filter=search.filter
        )
        explanation["cut"] = found.hits[-1].distance if found.hits else None
    return {
        "query": {
            "kind": question.kind,
            "modality": question.modality,
            "text": question.text,
            "id": question.item.id if question.item else None,
            "code": question.code.tobytes().hex(),
        },
        "bits": snapshot.index.bits,
        "target": search.target,
        "searched": found.searched,
        "hits": [
            {
                "id": hit.id,
                "distance": hit.distance,
                "code": code,
                "payload": visible(hit.payload, settings),
                "thumbnail": f"/v1/thumbnails/{quote(hit.id, safe='')}"
                if hit.id in found.pictured
                else None,
            }
            for hit, code in zip(found.hits, found.codes, strict=True)
        ],
        "took_ms": {
            "encode": round(question.encode_ms, 3),
            "search": round(search_ms, 3),
            "total": round(question.encode_ms + 1000 * (time.perf_counter() - start), 3),
        },
        "explain": explanation,
    }


def code_from_hex(text: str, *, bits: int) -> Codes:
    """Return the packed code that hex digits stand for.

    Raises:
        ApiError: 422, it has another width, or bits behind the last one.
    """
    with refusing():
        code = np.frombuffer(bytes.fromhex(text), np.uint8)
        if len(code) != -(-bits // 8):
            raise UsageError(f"the code has {4 * len(text)} bits; codes of this index have {bits}")
        check_codes(code[None], bits=bits, name="the code")
    return code


def get_item(index: Index, id_: str) -> IndexItem:
    """Return what is stored under an id.

    Raises:
        ApiError: 404, nothing is.
    """
    try:
        return index.get(id_)
    except UsageError as error:
        raise ApiError(404, "not_found", f"there is no item {id_!r:.80} in the index") from error


def visible(payload: Mapping[str, object], settings: Settings) -> dict[str, object]:
    """Return a payload without what answers leave out, such as where the image's file lies."""
    return {name: value for name, value in payload.items() if name not in settings.hidden}
