"""Searching and encoding: by text, item, code, vector and image, one or several at once."""

from __future__ import annotations

from itertools import groupby, islice
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from proxyhash.codes import Codes
from proxyhash.search import Query
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
from proxyhash.service.snapshot import Served, Snapshot

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
        served = await snapshot.search(query, options, explain=body.explain)
    return FastJson(_json(service, served, text=body.text))


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
        options = upload.parameters.options()
    async with service.lease() as snapshot:
        query = Query(image=upload.image)
        served = await snapshot.search(query, options, explain=upload.parameters.explain)
    return FastJson(_json(service, served))


@router.post("/search/batch", response_model=BatchAnswer, responses=errors(400, 404, 422))
async def search_batch(request: Request, batch: BatchRequest) -> FastJson:
    """Do several searches at once; if one cannot be done, all are refused."""
    service = service_of(request)
    _check_number(len(batch.queries), service.settings.limits.batch, "queries")
    with refusing():
        queries = [body.query() for body in batch.queries]
        options = [body.options() for body in batch.queries]
    async with service.lease() as snapshot:
        # All texts are encoded together; then searches that ask alike, one group after the other: a
        # batch must not take all threads from single searches, nor all room from others.
        encoded = await gather([snapshot.encode(query) for query in queries])
        work = zip(batch.queries, encoded, options, strict=True)
        served: list[Served] = []
        for _, group in groupby(work, key=lambda each: _options_of(each[0])):
            while alike := list(islice(group, service.settings.limits.search_batch)):
                served += await gather(
                    [snapshot.find(query, own, explain=body.explain) for body, query, own in alike]
                )
    pairs = zip(batch.queries, served, strict=True)
    return FastJson({"results": [_json(service, each, text=body.text) for body, each in pairs]})


@router.post("/encode", response_model=Encoded, responses=errors(400, 422))
async def encode(request: Request, texts: EncodeRequest) -> FastJson:
    """Return the codes of texts."""
    service = service_of(request)
    _check_number(len(texts.texts), service.settings.limits.batch, "texts")
    with refusing():
        queries = [Query(text=text) for text in texts.texts]
    async with service.lease() as snapshot:
        found = await gather([snapshot.encode(query) for query in queries])
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
        encoded = await snapshot.encode(Query(image=upload.image))
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


def _json(service: Service, served: Served, *, text: str | None = None) -> dict[str, Any]:
    """Return an answer as JSON values, `text` as the request has it; count its times."""
    answer, query = served.answer, served.answer.query
    times = {"encode": served.encode_ms, "search": served.search_ms}
    for stage, milliseconds in times.items():
        service.metrics.stages.labels(stage).observe(milliseconds / 1000)
    explanation = None
    if served.proxies is not None:
        explanation = {
            "histogram": served.histogram,
            "cut": answer.hits[-1].distance if answer.hits else None,
            "proxies": served.proxies,
        }
    hidden = service.settings.hidden
    return {
        "query": {
            "kind": "id" if query.query.kind == "item" else query.query.kind,
            "modality": query.modality,
            "text": text,
            "id": query.id,
            "code": query.code.tobytes().hex(),
        },
        "bits": answer.bits,
        "target": answer.target,
        "searched": answer.searched,
        "hits": [
            {
                "id": hit.id,
                "distance": hit.distance,
                "code": code.tobytes().hex(),
                "payload": {key: hit.payload[key] for key in hit.payload if key not in hidden},
                "thumbnail": f"/v1/thumbnails/{quote(hit.id, safe='')}"
                if hit.id in answer.pictured
                else None,
            }
            for hit, code in zip(answer.hits, answer.codes, strict=True)
        ],
        "took_ms": {
            **{stage: round(milliseconds, 3) for stage, milliseconds in times.items()},
            "total": round(served.total_ms, 3),
        },
        "explain": explanation,
    }
