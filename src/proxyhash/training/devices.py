"""Torch's surroundings in a run: device, processor threads, precision and random generators.

Random numbers come from seeds that name their use, such as (seed, epoch), so that a resumed run
needs no state of a generator.
"""

from __future__ import annotations

import platform
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxyhash.codes.kernels import limit_threads
from proxyhash.networks.linear import rounding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.training.config import Precision

__all__ = [
    "derive_seed",
    "fast_precision",
    "hardware_name",
    "processor_bfloat16",
    "processor_name",
    "seeded",
    "use_precision",
    "use_threads",
]


def hardware_name(device: str) -> str:
    """Return the name of what computes on a device: "NVIDIA H100", or the processor's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()


def processor_name() -> str:
    """Return the processor's name, as Linux or else Python says it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def processor_bfloat16() -> str | None:
    """Return which instructions for bfloat16 the processor has: "AMX", "AVX-512", "NEON" or "".

    None where the system does not say.
    """
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return None
    names = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "bf16": "NEON"}
    return next((name for flag, name in names.items() if flag in flags), "")


def fast_precision(precision: Precision, device: str) -> Precision:
    """Return `precision`, or float32 where bfloat16 is slower: on processors without it.

    There such products took five times as long (AMD EPYC with AVX2; docs/tuning.md).
    """
    slow = torch.device(device).type == "cpu" and processor_bfloat16() == ""
    return "float32" if precision == "bfloat16" and slow else precision


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Give torch and the kernels `count` threads inside the block; none leaves them as they are."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with limit_threads(count):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def use_precision(precision: Precision) -> Iterator[None]:
    """Run hidden layers inside the block with factors of `precision`, see `networks.linear`.

    Weights, outputs, losses and everything else stay float32. Encoders that learn have an autocast
    of their own.
    """
    with rounding(precision == "bfloat16"):
        yield


def derive_seed(*parts: int) -> int:
    """Return a seed in [0, 2**63) for the use that `parts` name, for example (seed, epoch).

    Neighboring parts give unrelated seeds (numpy's `SeedSequence` hashes them).
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(*parts: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Run the block with torch's generators seeded from `parts`; restore them afterwards."""
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(*parts))
        yield
