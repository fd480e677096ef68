"""Searching and encoding: by text, item, code, vector and image, one or several at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from proxyhash.codes import Codes
from proxyhash.search import Answer, Query, SearchOptions
from proxyhash.service.bodies import read_upload, upload_body
from proxyhash.service.errors import ApiError, FastJson, refusing
from proxyhash.service.routes import (
    errors,
    gather,
    log,
    make_router,
    service_of,
    thumbnail_address,
    visible,
)
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

_FEW_HITS = 50

router = make_router("search")


@router.post("/search", response_model=SearchAnswer, responses=errors(400, 404, 422))
async def search(request: Request, body: SearchRequest) -> Response:
    """Find the items nearest to a text, an item, a code or a vector."""
    service = service_of(request)
    if service.settings.log_queries:
        log(request, text=body.text, item=body.id, code=body.code)
    with refusing():
        query, options = body.query(), body.options()
    async with service.lease() as snapshot:
        answer, *times = await snapshot.queues.search(query, options)
        return _response(await _json(service, snapshot, answer, times, body))


@router.post(
    "/search/image",
    response_model=SearchAnswer,
    responses=errors(400, 415, 422),
    openapi_extra=upload_body(options=True),
)
async def search_image(request: Request) -> Response:
    """Find the items nearest to an uploaded image."""
    service = service_of(request)
    upload = await read_upload(request)
    with refusing():
        query, options = Query(image=upload.image), upload.parameters.options()
    async with service.lease() as snapshot:
        answer, *times = await snapshot.queues.search(query, options)
        return _response(await _json(service, snapshot, answer, times, upload.parameters))


@router.post("/search/batch", response_model=BatchAnswer, responses=errors(400, 404, 422))
async def search_batch(request: Request, batch: BatchRequest) -> Response:
    """Do several searches at once; if one cannot be done, all are refused."""
    service = service_of(request)
    async with service.lease() as snapshot:
        with refusing():
            asked = await snapshot.queues.run(_read, batch)
        # All texts are encoded together; then searches that ask alike, one group after the other: a
        # batch must not take all threads from single searches, nor all room from others.
        start = time.perf_counter()
        encoded = await gather([snapshot.queues.encode(query) for _, query, _ in asked])
        encode_ms = 1000 * (time.perf_counter() - start)
        results: list[bytes] = []
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
                _check_size(results, most=service.settings.limits.answer_bytes // 4)
        return _response(b'{"results":[' + b",".join(results) + b"]}")


@router.post("/encode", response_model=Encoded, responses=errors(400, 422))
async def encode(request: Request, texts: EncodeRequest) -> FastJson:
    """Return the codes of texts."""
    service = service_of(request)
    with refusing():
        queries = [Query(text=text) for text in texts.texts]
    async with service.lease() as snapshot:
        found = await gather([snapshot.queues.encode(query) for query in queries])
        with refusing():
            for each in found:
                each.check_known()
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


def _read(batch: BatchRequest) -> list[tuple[SearchRequest, Query, SearchOptions]]:
    return [(body, body.query(), body.options()) for body in batch.queries]


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
) -> bytes:
    """Return an answer as JSON, explained if the request wants it; count its times."""
    stages = dict(zip(("encode", "search"), times, strict=True))
    for stage, milliseconds in stages.items():
        service.metrics.stages.labels(stage).observe(milliseconds / 1000)
    start = time.perf_counter()
    explanation = None
    if body.explain:
        with refusing():
            options = body.options()
        run = snapshot.queues.run if options.filter is None else snapshot.queues.run_slowly
        explanation = await run(snapshot.explain, answer, options)
    stages["total"] = sum(times) + 1000 * (time.perf_counter() - start)
    text = getattr(body, "text", None)
    took = {stage: round(milliseconds, 3) for stage, milliseconds in stages.items()}
    rest = {"text": text, "took_ms": took, "explain": explanation}
    render = partial(_rendered, answer, rest, hidden=service.settings.hidden)
    # Writing many hits takes as long as finding them; meanwhile the event loop serves others.
    return render() if len(answer.hits) <= _FEW_HITS else await snapshot.queues.run_slowly(render)


def _rendered(answer: Answer, rest: Mapping[str, Any], *, hidden: Sequence[str]) -> bytes:
    query = answer.query
    return to_json(
        {
            "query": {
                "kind": "id" if query.query.kind == "item" else query.query.kind,
                "modality": query.modality,
                "text": rest["text"],
                "id": query.id,
                "payload": None if query.item is None else visible(query.item.payload, hidden),
                "code": query.code.tobytes().hex(),
            },
            "bits": answer.bits,
            "target": answer.target,
            "searched": answer.searched,
            "rerank": answer.rerank,
            "mode": answer.mode,
            "words": answer.words,
            "notes": [note.to_dict() for note in answer.notes],
            "hits": [
                {
                    "id": hit.id,
                    "distance": hit.distance,
                    "asymmetric": hit.asymmetric,
                    "vector_distance": hit.vector_distance,
                    "fused": hit.fused,
                    "matched": hit.matched,
                    "code": code.tobytes().hex(),
                    "payload": visible(hit.payload, hidden),
                    "thumbnail": thumbnail_address(hit.id)
                    if hit.id in answer.with_thumbnail
                    else None,
                }
                for hit, code in zip(answer.hits, answer.codes, strict=True)
            ],
            "took_ms": rest["took_ms"],
            "explain": rest["explain"],
        }
    )


def _response(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _check_size(results: list[bytes], *, most: int) -> None:
    """Refuse a batch whose answers become too large to be kept until they are sent.

    Raises:
        ApiError: 422, they are.
    """
    if sum(map(len, results)) > most:
        raise ApiError(
            422,
            "too_many_hits",
            f"the answers of this batch have more than {most:,} bytes; ask for fewer at once",
        )
