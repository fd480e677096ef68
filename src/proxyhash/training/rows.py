"""Items of a collection as rows of tensors, ready for the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from proxyhash.methods.shared.rows import Rows

if TYPE_CHECKING:
    from proxyhash.encoders.base import Features

__all__ = ["Rows", "take_rows"]


def take_rows(
    image: Features,
    text: Features,
    labels: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int64],
    *,
    device: torch.device | str = "cpu",
) -> Rows:
    """Return the items at `positions` that can teach or test: a label, and a modality at least."""
    useful = labels.any(axis=1) & (image.present | text.present)
    kept = positions[useful[positions]]

    def tensor(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[kept])).to(device)

    return Rows(
        image=tensor(image.values),
        text=tensor(text.values),
        has_image=tensor(image.present),
        has_text=tensor(text.present),
        labels=tensor(labels.astype(np.float32)),
    )
