"""Searching and encoding: by text, item, code, vector and image, one or several at once."""

from __future__ import annotations

import time
from itertools import groupby, islice
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from proxyhash.codes import Codes
from proxyhash.search import Answer, Query
from proxyhash.service.bodies import read_upload, upload_body
from proxyhash.service.errors import ApiError, FastJson, refusing
from proxyhash.service.routes import errors, gather, log, make_router, service_of
from proxyhash.service.schemas import (
    BatchAnswer,
    BatchRequest,
    Encoded,
    EncodeRequest,
    SearchAnswer,
    SearchParameters,
    SearchRequest,
)
from proxyhash.service.service import Service
from proxyhash.service.snapshot import Snapshot

__all__ = ["router"]

router = make_router("search")


@router.post("/search", response_model=SearchAnswer, responses=errors(400, 404, 422))
async def search(request: Request, body: SearchRequest) -> FastJson:
    """Find the items nearest to a text, an item, a code or a vector."""
    service = service_of(request)
    if service.settings.log_queries:
        log(request, text=body.text, item=body.id, code=body.code)
    with refusing():
        query, options = body.query(), body.options()
    async with service.lease() as snapshot:
        answer, *times = await snapshot.queues.search(query, options)
        return FastJson(await _json(service, snapshot, answer, times, body))


@router.post(
    "/search/image",
    response_model=SearchAnswer,
    responses=errors(400, 415, 422),
    openapi_extra=upload_body(options=True),
)
async def search_image(request: Request) -> FastJson:
    """Find the items nearest to an uploaded image."""
    service = service_of(request)
    upload = await read_upload(request)
    with refusing():
        query, options = Query(image=upload.image), upload.parameters.options()
    async with service.lease() as snapshot:
        answer, *times = await snapshot.queues.search(query, options)
        return FastJson(await _json(service, snapshot, answer, times, upload.parameters))


@router.post("/search/batch", response_model=BatchAnswer, responses=errors(400, 404, 422))
async def search_batch(request: Request, batch: BatchRequest) -> FastJson:
    """Do several searches at once; if one cannot be done, all are refused."""
    service = service_of(request)
    _check_number(len(batch.queries), service.settings.limits.batch, "queries")
    with refusing():
        asked = [(body, body.query(), body.options()) for body in batch.queries]
    async with service.lease() as snapshot:
        # All texts are encoded together; then searches that ask alike, one group after the other: a
        # batch must not take all threads from single searches, nor all room from others.
        start = time.perf_counter()
        encoded = await gather([snapshot.queues.encode(query) for _, query, _ in asked])
        encode_ms = 1000 * (time.perf_counter() - start)
        results: list[dict[str, Any]] = []
        pairs = zip(encoded, asked, strict=True)
        for _, group in groupby(pairs, key=lambda pair: _options_of(pair[1][0])):
            while alike := list(islice(group, service.settings.limits.search_batch)):
                start = time.perf_counter()
                answers = await gather(
                    [snapshot.queues.find(query, options) for query, (_, _, options) in alike]
                )
                times = [encode_ms, 1000 * (time.perf_counter() - start)]
                results += await gather(
                    [
                        _json(service, snapshot, answer, times, body)
                        for answer, (_, (body, _, _)) in zip(answers, alike, strict=True)
                    ]
                )
        return FastJson({"results": results})


@router.post("/encode", response_model=Encoded, responses=errors(400, 422))
async def encode(request: Request, texts: EncodeRequest) -> FastJson:
    """Return the codes of texts."""
    service = service_of(request)
    _check_number(len(texts.texts), service.settings.limits.batch, "texts")
    with refusing():
        queries = [Query(text=text) for text in texts.texts]
    async with service.lease() as snapshot:
        found = await gather([snapshot.queues.encode(query) for query in queries])
        return _codes(snapshot, [each.code for each in found])


@router.post(
    "/encode/image",
    response_model=Encoded,
    responses=errors(400, 415, 422),
    openapi_extra=upload_body(options=False),
)
async def encode_image(request: Request) -> FastJson:
    """Return the code of an uploaded image."""
    upload = await read_upload(request)
    async with service_of(request).lease() as snapshot:
        encoded = await snapshot.queues.encode(Query(image=upload.image))
        return _codes(snapshot, [encoded.code])


def _check_number(count: int, most: int, noun: str) -> None:
    if count > most:
        raise ApiError(422, "invalid_request", f"{count} {noun} are given; {most} are the most")


def _options_of(body: SearchRequest) -> str:
    return body.model_dump_json(include=set(SearchParameters.model_fields))


def _codes(snapshot: Snapshot, codes: list[Codes]) -> FastJson:
    return FastJson(
        {
            "bits": snapshot.index.bits,
            "model": snapshot.index.model,
            "codes": [code.tobytes().hex() for code in codes],
        }
    )


async def _json(
    service: Service,
    snapshot: Snapshot,
    answer: Answer,
    times: list[float],
    body: SearchParameters,
) -> dict[str, Any]:
    """Return an answer as JSON values, explained if the request wants it; count its times."""
    query, stages = answer.query, dict(zip(("encode", "search"), times, strict=True))
    for stage, milliseconds in stages.items():
        service.metrics.stages.labels(stage).observe(milliseconds / 1000)
    start = time.perf_counter()
    explanation = None
    if body.explain:
        with refusing():
            options = body.options()
        explanation = await snapshot.queues.run(snapshot.explain, answer, options)
    stages["total"] = sum(times) + 1000 * (time.perf_counter() - start)
    hidden = service.settings.hidden
    return {
        "query": {
            "kind": "id" if query.query.kind == "item" else query.query.kind,
            "modality": query.modality,
            "text": getattr(body, "text", None),
            "id": query.id,
            "code": query.code.tobytes().hex(),
        },
        "bits": answer.bits,
        "target": answer.target,
        "searched": answer.searched,
        "words": answer.words,
        "notes": [note.to_dict() for note in answer.notes],
        "hits": [
            {
                "id": hit.id,
                "distance": hit.distance,
                "code": code.tobytes().hex(),
                "payload": {key: hit.payload[key] for key in hit.payload if key not in hidden},
                "thumbnail": f"/v1/thumbnails/{quote(hit.id, safe='')}"
                if hit.id in answer.with_thumbnail
                else None,
            }
            for hit, code in zip(answer.hits, answer.codes, strict=True)
        ],
        "took_ms": {stage: round(milliseconds, 3) for stage, milliseconds in stages.items()},
        "explain": explanation,
    }
