"""Encoding without searching."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from proxyhash.service.errors import ApiError, FastJson
from proxyhash.service.routes.shared import errors, make_router, service_of
from proxyhash.service.schemas import Encoded, EncodeRequest
from proxyhash.service.uploads import read_upload, upload_body

__all__ = ["router"]

router = make_router("encode")


@router.post("/encode", response_model=Encoded, responses=errors(400, 422))
async def encode(request: Request, texts: EncodeRequest) -> FastJson:
    """Return the codes of texts."""
    service = service_of(request)
    most = service.settings.limits.batch
    if len(texts.texts) > most:
        raise ApiError(
            422, "invalid_request", f"{len(texts.texts)} texts are given; {most} are the most"
        )
    async with service.lease() as snapshot:
        tasks = [asyncio.ensure_future(snapshot.encoding.text(text)) for text in texts.texts]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return FastJson(
            {
                "bits": snapshot.index.bits,
                "model": snapshot.index.model,
                "codes": [encoded.code.tobytes().hex() for encoded in found],
            }
        )


@router.post(
    "/encode/image",
    response_model=Encoded,
    responses=errors(400, 415, 422),
    openapi_extra=upload_body(options=False),
)
async def encode_image(request: Request) -> FastJson:
    """Return the code of an uploaded image."""
    service = service_of(request)
    upload = await read_upload(request)
    async with service.lease() as snapshot:
        encoded = await snapshot.encoding.image(upload.image)
        return FastJson(
            {
                "bits": snapshot.index.bits,
                "model": snapshot.index.model,
                "codes": [encoded.code.tobytes().hex()],
            }
        )
