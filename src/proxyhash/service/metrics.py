"""What Prometheus can ask for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from proxyhash.service.service import Service

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: Any = {"registry": self.registry, "namespace": "proxyhash"}
        self.requests = Counter(
            "requests", "Requests answered.", ["method", "route", "status"], **make
        )
        self.seconds = Histogram(
            "request_seconds",
            "Time from the first byte to the answer.",
            ["route"],
            buckets=_SECONDS,
            **make,
        )
        self.under_way = Gauge("requests_under_way", "Requests not answered yet.", **make)
        self.stages = Histogram(
            "stage_seconds",
            "Time of one stage of a search, waiting included.",
            ["stage"],
            buckets=_SECONDS,
            **make,
        )
        self.encode_batch = Histogram(
            "encode_batch", "Inputs encoded together.", ["modality"], buckets=_SIZES, **make
        )
        self.search_batch = Histogram(
            "search_batch", "Searches done together.", buckets=_SIZES, **make
        )
        self.encode_waiting = Gauge(
            "encode_waiting", "Inputs that wait to be encoded.", ["modality"], **make
        )
        self.items = Gauge("index_items", "Items in the index.", **make)
        self.reloads = Counter("reloads", "Reloads by outcome.", ["outcome"], **make)
        ProcessCollector(registry=self.registry)

    def watch(self, service: Service) -> None:
        """Read gauges from a service whenever they are asked for."""
        for modality in ("image", "text"):
            gauge = self.encode_waiting.labels(modality)
            gauge.set_function(partial(_waiting, service, modality))
        self.items.set_function(lambda: len(service.snapshot.index))

    def text(self) -> bytes:
        """Return all values in the format of Prometheus."""
        return generate_latest(self.registry)


def _waiting(service: Service, modality: str) -> int:
    return service.snapshot.encoding.waiting[modality]
