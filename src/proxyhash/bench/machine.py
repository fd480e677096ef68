"""Cores and memory of the machine, and how many processes share them."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxyhash.errors import UsageError

__all__ = [
    "GIB",
    "Share",
    "available_memory",
    "cores",
    "describe_machine",
    "peak_memory",
    "share_machine",
]

GIB = 2**30

_BASE = 0.75 * GIB
"""A worker with torch, numba and the readers imported, before any data; measured 0.6 GiB."""

_COPIES = 4
"""Features of all items, of the training items, of one block, and what the allocator keeps."""

_TUNED = 1.5 * GIB
"""Images of a batch in all layers of an encoder that learns; measured 0.7 to 1.3 GiB for
MobileNetV2 at 128 pixels."""


@dataclass(frozen=True)
class Share:
    """Number of processes, with their threads and memory.

    Attributes:
        processes: worker processes.
        threads: processor threads of each.
        memory: bytes that all may take together.
        each: bytes that one is expected to take, at most.
        reason: the choice in words.
    """

    processes: int
    threads: int
    memory: float
    each: float
    reason: str


def share_machine(
    *,
    processes: int | None,
    memory: float | None,
    features: int,
    parameters: int,
    tuned: bool = False,
    taken: int = 0,
) -> Share:
    """Return how many workers run side by side.

    One worker is expected to take 0.75 GiB, four times the features of its data set, and eight
    times the weights of its networks (weights, gradients, two moments, the best epoch, and copies
    while they are saved); 1.5 GiB more where its encoders learn.

    Args:
        processes: how many were asked for; None: one per core.
        memory: GiB that all may take; None: three quarters of what is available now.
        features: bytes of the largest data set's features.
        parameters: bytes of the largest networks.
        tuned: whether encoders learn.
        taken: bytes that this process has of a stated memory.

    Raises:
        UsageError: the memory does not suffice for one worker.
    """
    available = available_memory()
    budget = available * 0.75 if memory is None else memory * GIB - taken
    each = _BASE + _COPIES * features + 8 * parameters + tuned * _TUNED
    fitting = int(budget // each)
    source = f"3/4 of {available / GIB:.1f} GiB available"
    if memory is not None:
        source = f"{memory:g} GiB less what this process has"
    if fitting < 1:
        raise UsageError(
            f"one process needs about {each / GIB:.1f} GiB, and {max(budget, 0) / GIB:.1f} GiB "
            f"({source}) may be used; give more with --memory"
        )
    wanted = processes or cores()
    count = max(1, min(wanted, fitting))
    threads = max(1, cores() // count)
    asked = f"{wanted} asked for" if processes else f"{cores()} cores"
    limit = f", of which {count} fit" if count < wanted else ""
    return Share(
        processes=count,
        threads=threads,
        memory=budget,
        each=each,
        reason=(
            f"{_counted(count, 'process', 'processes')} of {_counted(threads, 'thread', 'threads')}"
            f" each: {asked}{limit}; one takes about {each / GIB:.1f} GiB, together they may take "
            f"{budget / GIB:.1f} GiB ({source})"
        ),
    )


def cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> float:
    """Return the bytes of memory that are free now, within the limit of a container."""
    free = [8.0 * GIB]  # where the system does not say
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        table = dict(line.split(":", 1) for line in lines)
        free = [float(table["MemAvailable"].split()[0]) * 1024]
    except (OSError, KeyError, ValueError):
        pass
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = (group / "memory.current").read_text(encoding="utf-8").strip()
        if limit != "max":
            free.append(float(limit) - float(used))
    except (OSError, ValueError):
        pass
    return max(0.0, min(free))


def peak_memory() -> int:
    """Return the most bytes of memory this process has had; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # pragma: no cover -- Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, system and versions, for the report."""
    import numpy as np
    import torch

    from proxyhash import __version__
    from proxyhash.training.devices import processor_name

    return {
        "processor": processor_name(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "proxyhash": __version__,
    }


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
