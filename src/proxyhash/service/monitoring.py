"""For operators: metrics that Prometheus can read, and logs as JSON, one object per line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
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

from proxyhash.data import MODALITIES

if TYPE_CHECKING:
    from proxyhash.data import Modality
    from proxyhash.service.service import Service

__all__ = ["JsonFormatter", "Metrics", "PlainFormatter", "log_as_json", "log_for"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


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
        self.refused = Counter(
            "connections_refused", "Connections ended or turned away.", ["reason"], **make
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
        for modality in MODALITIES:
            gauge = self.encode_waiting.labels(modality)
            gauge.set_function(partial(_waiting, service, modality))
        self.items.set_function(lambda: len(service.snapshot.index))

    def text(self) -> bytes:
        """Return all values in the format of Prometheus."""
        return generate_latest(self.registry)


def _waiting(service: Service, modality: Modality) -> int:
    return service.snapshot.queues.waiting(
        modality
    )  # of the snapshot that is served when it is asked


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger, message and whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD and value is not None
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class PlainFormatter(logging.Formatter):
    """Writes warnings for a person: the message, and what was given as `extra` in brackets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        more = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)
        line = f"{record.levelname.lower()}: {record.getMessage()}" + (f" ({more})" if more else "")
        return "".join(each if each.isprintable() else " " for each in line)


def log_for(terminal: bool) -> None:
    """Log warnings in words on a terminal, and everything as JSON for programs elsewhere."""
    if terminal:
        log_as_json(level=logging.WARNING, formatter=PlainFormatter())
    else:
        log_as_json()


def log_as_json(*, level: int = logging.INFO, formatter: logging.Formatter | None = None) -> None:
    """Send what the service and uvicorn log to stderr as JSON, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter or JsonFormatter())
    for name in ("proxyhash", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # uvicorn's own start and stop lines repeat what we say.
    logging.getLogger("uvicorn").setLevel(max(level, logging.WARNING))
