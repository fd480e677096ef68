"""From a request to its answer: which code asks, what it finds, and what that means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import numpy as np

from proxyhash.codes import check_codes
from proxyhash.errors import UsageError, check_option
from proxyhash.index import parse_filter
from proxyhash.index.checks import check_search
from proxyhash.index.filters import matches
from proxyhash.serving.http.encoding import known_code
from proxyhash.serving.http.errors import ApiError, refusing
from proxyhash.serving.http.explaining import explain
from proxyhash.serving.searcher import other_modality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.index import Hit, Index, IndexItem
    from proxyhash.serving.http.schemas import SearchOptions, SearchRequest
    from proxyhash.serving.http.settings import Settings
    from proxyhash.serving.http.snapshot import Snapshot

__all__ = ["Question", "answer", "code_from_hex", "get_item", "question_of", "visible"]


@dataclass(frozen=True, eq=False)
class Question:
    """A query whose code is known.

    Attributes:
        kind: "text", "image", "id" or "code".
        modality: which side of the model made the code; None for a code of unknown origin.
        code: packed code, uint8 (ceil(bits/8),).
        text: the text, where there is one.
        id: the item, where it is one.
        payload: what is stored beside the item.
        encode_ms: how long it took to know the code.
    """

    kind: str
    modality: Modality | None
    code: Codes
    text: str | None = None
    id: str | None = None
    payload: Mapping[str, object] = field(default_factory=dict)
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
    return Question("id", modality, item.codes[modality], id=request.id, payload=item.payload)


async def answer(
    snapshot: Snapshot, question: Question, options: SearchOptions, *, settings: Settings
) -> dict[str, Any]:
    """Return what is nearest to a query, ready for JSON.

    Raises:
        ApiError: 422, an option cannot be used.
    """
    start = time.perf_counter()
    with refusing():
        search = _Search.of(snapshot.index, question, options, most=settings.limits.k)
    found = await snapshot.run(search.run, snapshot)
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
            "id": question.id,
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
    """Return a payload without what answers leave out, such as where the picture's file lies."""
    return {name: value for name, value in payload.items() if name not in settings.hidden}


@dataclass(frozen=True, eq=False)
class _Found:
    hits: list[Hit]
    codes: list[str]
    pictured: set[str]
    searched: int | None


@dataclass(frozen=True, eq=False)
class _Search:
    """A search whose options have been checked."""

    question: Question
    target: Modality
    k: int | None
    radius: int | None
    filter: Any
    most: int

    @classmethod
    def of(cls, index: Index, question: Question, options: SearchOptions, *, most: int) -> _Search:
        target = _target(index, question, options.target)
        if options.k is not None and options.k > most:
            raise UsageError(f"k is {options.k}; {most} is the most that this service returns")
        check_search(
            question.code[None],
            k=options.k,
            modality=target,
            radius=options.radius,
            bits=index.bits,
            modalities=index.modalities,
        )
        condition = None if options.filter is None else parse_filter(options.filter)
        return cls(question, target, options.k, options.radius, condition, most)

    def run(self, snapshot: Snapshot) -> _Found:
        """Search; in a thread."""
        index, question = snapshot.index, self.question
        itself = question.id is not None and question.modality == self.target
        (hits,) = index.search(
            question.code[None],
            k=(self.most + 1 if self.k is None else self.k) + itself,
            modality=self.target,
            radius=self.radius,
            filter=self.filter,
        )
        if itself:
            hits = [hit for hit in hits if hit.id != question.id][: self.k]
        if len(hits) > self.most:
            raise ApiError(
                422,
                "too_many_hits",
                f"more than {self.most} items are within {self.radius} bits; give k or a smaller "
                "radius",
            )
        searched = index.count(self.target, filter=self.filter)
        if searched and itself and (not self.filter or matches(self.filter, question.payload)):
            searched -= 1
        ids = [hit.id for hit in hits]
        thumbnails = snapshot.thumbnails
        return _Found(
            hits,
            _codes_of(index, ids, self.target),
            thumbnails.present(ids) if thumbnails and ids else set(),
            searched,
        )


def _codes_of(index: Index, ids: Sequence[str], target: Modality) -> list[str]:
    """Return the codes of hits in hex; "" for one that was deleted a moment ago."""
    items = index.get_many(ids)
    return [
        items[id_].codes[target].tobytes().hex()
        if id_ in items and target in items[id_].codes
        else ""
        for id_ in ids
    ]


def _target(index: Index, question: Question, target: Modality | None) -> Modality:
    names = cast("tuple[Modality, ...]", index.modalities)
    if target is None:
        wanted = "image" if question.modality is None else other_modality(question.modality)
        target = wanted if wanted in names else names[0]
    check_option("target", target, names)
    return target
