"""Searching: by text, item, code, image, and several at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from itertools import groupby, islice
from typing import Any, TypeVar

from starlette.requests import Request

from proxyhash.service.errors import ApiError, FastJson
from proxyhash.service.routes.shared import errors, log, make_router, service_of
from proxyhash.service.schemas import (
    BatchAnswer,
    BatchRequest,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
)
from proxyhash.service.searching import Question, answer, question_of
from proxyhash.service.service import Service
from proxyhash.service.snapshot import Snapshot
from proxyhash.service.uploads import read_upload, upload_body

__all__ = ["router"]

T = TypeVar("T")

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
    """Find the items nearest to an uploaded image."""
    service = service_of(request)
    upload = await read_upload(request)
    async with service.lease() as snapshot:
        start = time.perf_counter()
        encoded = await snapshot.encoding.image(upload.image)
        took = 1000 * (time.perf_counter() - start)
        question = Question("image", "image", encoded.code, encode_ms=took)
        return FastJson(await _found(service, snapshot, question, upload.options))


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
        # All texts are encoded together; then those that ask alike, one group after the other: a
        # batch must not take all threads from single searches, nor all room from others.
        questions = await _all([question_of(snapshot, query) for query in batch.queries])
        pairs = zip(questions, batch.queries, strict=True)
        results: list[dict[str, Any]] = []
        for _, group in groupby(pairs, key=lambda pair: _options_of(pair[1])):
            while alike := list(islice(group, service.settings.limits.search_batch)):
                work = [_found(service, snapshot, question, query) for question, query in alike]
                results += await _all(work)
        return FastJson({"results": results})


async def _answer(service: Service, snapshot: Snapshot, query: SearchRequest) -> dict[str, Any]:
    return await _found(service, snapshot, await question_of(snapshot, query), query)


def _options_of(query: SearchRequest) -> str:
    return query.model_dump_json(include=set(SearchOptions.model_fields))


async def _all(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results; the first error cancels the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _found(
    service: Service, snapshot: Snapshot, question: Question, options: SearchOptions
) -> dict[str, Any]:
    found = await answer(snapshot, question, options, settings=service.settings)
    for stage in ("encode", "search"):
        service.metrics.stages.labels(stage).observe(found["took_ms"][stage] / 1000)
    return found
