"""Features and labels of some items as tensors, ready to be learned from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.data.item import Modality

__all__ = ["Rows"]


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
