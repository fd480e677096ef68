"""Devices that torch can compute on, and the sentence about what is missing."""

from __future__ import annotations

import torch

from proxyhash.errors import UsageError

__all__ = ["check_device"]


def check_device(name: str) -> None:
    """Check that torch can compute on the device.

    Raises:
        UsageError: "device 'cuda' cannot be used: ..."; names what is there.
    """
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        present = ["cpu"]
        present += ["cuda"] if torch.cuda.is_available() else []
        present += ["mps"] if torch.backends.mps.is_available() else []
        reason = str(error).splitlines()[0].partition(". ")[0].rstrip(".")
        raise UsageError(
            f"device {name!r} cannot be used: {reason}. This machine has {', '.join(present)}"
        ) from error
