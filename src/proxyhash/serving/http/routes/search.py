"""Searching: by text, item, code, picture, and several at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request

from proxyhash.serving.http.errors import ApiError, FastJson
from proxyhash.serving.http.routes.shared import errors, log, make_router, service_of
from proxyhash.serving.http.schemas import BatchAnswer, BatchRequest, SearchAnswer, SearchRequest
from proxyhash.serving.http.searching import Question, answer, question_of
from proxyhash.serving.http.service import Service
from proxyhash.serving.http.snapshot import Snapshot
from proxyhash.serving.http.uploads import read_upload, upload_body

__all__ = ["router"]

router = make_router("search")


@router.post("/search", response_model=SearchAnswer, responses=errors(400, 404, 422))
async def search(request: Request, query: SearchRequest) -> FastJson:
    """Find the items nearest to a text, to an item or to a code."""
    service = service_of(request)
    if service.settings.log_queries:
        log(request, text=query.text, item=query.id, code=query.code)
    async with service.lease() as snapshot:
        return FastJson(await _answer(service, snapshot, query))


@router.post(
    "/search/image",
    response_model=SearchAnswer,
    responses=errors(400, 415, 422),
    openapi_extra=upload_body(options=True),
)
async def search_image(request: Request) -> FastJson:
    """Find the items nearest to an uploaded picture."""
    service = service_of(request)
    upload = await read_upload(request)
    async with service.lease() as snapshot:
        start = time.perf_counter()
        encoded = await snapshot.encoding.image(upload.image)
        took = 1000 * (time.perf_counter() - start)
        question = Question("image", "image", encoded.code, encode_ms=took)
        found = await answer(snapshot, question, upload.options, settings=service.settings)
        _observe(service, found)
        return FastJson(found)


@router.post("/search/batch", response_model=BatchAnswer, responses=errors(400, 404, 422))
async def search_batch(request: Request, batch: BatchRequest) -> FastJson:
    """Do several searches at once; one that cannot be done refuses them all."""
    service = service_of(request)
    most = service.settings.limits.batch
    if len(batch.queries) > most:
        raise ApiError(
            422, "invalid_request", f"{len(batch.queries)} queries are given; {most} are the most"
        )
    async with service.lease() as snapshot:
        # All texts are encoded together, then the index is asked for one after the other: a batch
        # must not take all threads from single searches.
        work = [question_of(snapshot, query) for query in batch.queries]
        questions = await _all(work)
        results = []
        for question, query in zip(questions, batch.queries, strict=True):
            found = await answer(snapshot, question, query, settings=service.settings)
            _observe(service, found)
            results.append(found)
        return FastJson({"results": results})


async def _answer(service: Service, snapshot: Snapshot, query: SearchRequest) -> dict[str, Any]:
    question = await question_of(snapshot, query)
    found = await answer(snapshot, question, query, settings=service.settings)
    _observe(service, found)
    return found


async def _all(work: list[Any]) -> list[Question]:
    """Return all results; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _observe(service: Service, found: dict[str, Any]) -> None:
    for stage in ("encode", "search"):
        service.metrics.stages.labels(stage).observe(found["took_ms"][stage] / 1000)
