"""What a converter reads out of the files of a published data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Records of a manifest, and the features that came with them.

    Attributes:
        name: which data set, and which version of it where there are several.
        records: one an item, with the keys of a manifest.
        features: float32 (n, d) by modality, rows aligned with the records.
        images: where they lie in arrays instead of files, yields them in the records' order:
            uint8 (height, width, 3), RGB, each alone in memory.
    """

    name: str
    records: tuple[Mapping[str, Any], ...]
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    images: Callable[[], Iterator[NDArray[np.uint8]]] | None = None

    def __post_init__(self) -> None:
        for modality, values in self.features.items():
            if values.ndim != 2 or len(values) != len(self.records):
                raise DataError(
                    f"{self.name}: {modality} features have shape {values.shape} for "
                    f"{len(self.records):,} items; one row an item is expected"
                )
            if not np.isfinite(values).all():
                raise DataError(f"{self.name}: {modality} features hold NaN or infinity")
