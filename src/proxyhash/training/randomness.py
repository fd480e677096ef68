"""Randomness from numbers that name its use, so that a resumed run needs no generator state."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["derive_seed", "seeded"]


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
