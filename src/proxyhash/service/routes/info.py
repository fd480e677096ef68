"""The service itself: what it holds, whether it is well, its metrics, and reloading."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from proxyhash import __version__
from proxyhash.service.errors import FastJson, busy
from proxyhash.service.routes import errors, make_router, service_of
from proxyhash.service.schemas import Info, Readiness, Status

__all__ = ["admin", "probes", "router"]

router = make_router("info")
probes = APIRouter(tags=["probes"])
admin = make_router("admin")


@router.get("/info", response_model=Info, responses=errors())
async def info(request: Request) -> FastJson:
    """Return what the index holds, its model, and the limits of a request."""
    service = service_of(request)
    limits = service.settings.limits
    async with service.lease() as snapshot:
        index = await snapshot.queues.run(snapshot.index.info)
        return FastJson(
            {
                "version": __version__,
                "bits": snapshot.index.bits,
                "items": index["items"],
                "modalities": index["modalities"],
                "model": {
                    "fingerprint": snapshot.index.model,
                    "image_encoder": snapshot.encoders.get("image"),
                    "text_encoder": snapshot.encoders.get("text"),
                },
                "labels": await snapshot.labels.latest(),
                "limits": {
                    "k": limits.k,
                    "text": limits.text,
                    "upload_bytes": limits.upload_bytes,
                    "batch": limits.batch,
                },
                "originals": service.originals is not None,
                "writable": service.settings.write,
                "proxies": snapshot.proxies is not None,
                "words": await snapshot.queues.run(getattr, snapshot.index, "has_words"),
                "engine": _engine(index),
                "vectors": snapshot.index.vectors,
            }
        )


@probes.get("/healthz", response_model=Status)
async def healthz() -> FastJson:
    """Return that the process is alive."""
    return FastJson({"status": "ok"})


@probes.get("/readyz", response_model=Readiness, responses=errors())
async def readyz(request: Request) -> FastJson:
    """Return whether searches are answered, and what is wrong although they are."""
    service = service_of(request)
    if not service.ready:
        raise busy("the service is shutting down", seconds=5)
    async with service.lease() as snapshot:
        return FastJson({"status": "ready", "warnings": await service.health.warnings(snapshot)})


@probes.get("/metrics", response_class=PlainTextResponse, responses=errors(json=False))
async def metrics(request: Request) -> Response:
    """Return the metrics in the text format of Prometheus."""
    service = service_of(request)
    async with service.lease() as snapshot:
        text = await snapshot.queues.run(service.metrics.text)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@admin.post("/admin/reload", response_model=Status, responses=errors(409))
async def reload(request: Request) -> FastJson:
    """Reopen index, model and keys and serve them; requests under way are not dropped."""
    await service_of(request).reload()
    return FastJson({"status": "reloaded"})


def _engine(index: Mapping[str, object]) -> str:
    """Return the names of what searches, as an index tells them in `info`."""
    engines = index.get("engines", index.get("engine"))
    each = list(engines.values()) if isinstance(engines, dict) else [engines]
    names = {str(one.get("engine")) if isinstance(one, dict) else str(one) for one in each if one}
    return ", ".join(sorted(names)) or str(index.get("kind", ""))
