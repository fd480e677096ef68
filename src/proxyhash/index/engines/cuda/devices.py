"""GPUs that can search, and the sentence about what is missing."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.errors import UsageError, require_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["choose_devices", "has_gpu", "interpreted"]

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Device files of NVIDIA's driver, of GPUs under WSL and of AMD's driver."""


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on the processor."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "on", "yes", "y"}


def has_gpu() -> bool:
    """Whether there is a GPU to search with; loads torch only where there is a driver."""
    driver = any(Path(file).exists() for file in _DRIVERS)
    if interpreted() or not driver or find_spec("triton") is None:
        return False
    import torch

    return torch.cuda.is_available()


def choose_devices(named: str | Sequence[str] | None = None) -> list[torch.device]:
    """Return the devices that share the rows.

    Args:
        named: such as ("cuda:0", "cuda:1"), or joined by commas; a device may be named twice, and
            has two shares then. Default: every GPU that torch sees, which `CUDA_VISIBLE_DEVICES`
            limits, or the processor where Triton is interpreted.

    Raises:
        MissingExtraError: Triton is not installed.
        UsageError: there is no GPU, or not the one that is named.
    """
    require_extra("triton", extra="cuda", purpose="search on a GPU")
    import torch

    there = torch.cuda.is_available() and not interpreted()
    count = torch.cuda.device_count() if there else 0
    if isinstance(named, str):
        named = [one for one in named.split(",") if one]
    if named is None:
        named = [f"cuda:{number}" for number in range(count)] or ["cpu"]
    if not named:
        raise UsageError("devices names no device; leave it out, or name some: devices='cuda:0'")
    devices = [_device(name, count) for name in named]
    if any(device.type == "cpu" for device in devices) and not interpreted():
        raise UsageError(
            f"engine cuda needs a GPU, and torch {torch.__version__} sees none; choose engine "
            "auto, or install a CUDA build of torch (https://pytorch.org/get-started) where there "
            "is a GPU"
        )
    return devices


def _device(name: str, count: int) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        if device.index >= count:
            raise UsageError(f"devices names {name}, and torch sees {count} GPUs")
    elif device.type != "cpu":
        raise UsageError(f"devices names {name!r}; a device is called cuda:0, cuda:1 and so on")
    return device
