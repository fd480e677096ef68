"""Features and labels of some items as tensors, ready for the loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from proxyhash.data.item import Modality
    from proxyhash.encoders.base import Features

__all__ = ["Rows", "take_rows"]


@dataclass(frozen=True)
class Rows:
    """n items; row i of every tensor belongs to the same item, missing modalities are zero."""

    image: Tensor
    """(n, d) float32 image features."""
    text: Tensor
    """(n, d') float32 text features."""
    has_image: Tensor
    """(n,) bool."""
    has_text: Tensor
    """(n,) bool."""
    labels: Tensor
    """(n, C) float32 in {0, 1}."""

    def __len__(self) -> int:
        return len(self.labels)

    def features(self, modality: Modality) -> Tensor:
        """Return the (n, d) features of one modality."""
        return self.image if modality == "image" else self.text

    def has(self, modality: Modality) -> Tensor:
        """Return (n,) bool: which items have the modality."""
        return self.has_image if modality == "image" else self.has_text

    def complete(self, modality: Modality) -> bool:
        """Whether every item has the modality."""
        return self._complete[modality]

    @cached_property
    def _complete(self) -> dict[Modality, bool]:
        return {"image": bool(self.has_image.all()), "text": bool(self.has_text.all())}


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
