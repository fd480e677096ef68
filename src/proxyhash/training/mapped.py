"""Features that stay in their file, as they do not fit into memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxyhash.training.pixels import prefetched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor

__all__ = ["MappedFeatures"]

_BLOCK_BYTES = 256 << 20


class MappedFeatures:
    """Rows of a memory-mapped matrix, read when they are asked for: see `FeatureRows`.

    In memory are the rows asked for, of which whoever needs all asks for `block_rows` at once. Up
    to one block, results are those of features in memory to the bit; beyond it, those of matrix
    products differ by rounding, as their blocks do.

    Args:
        values: (n, d) float32, the matrix of all items.
        positions: (m,) which of its rows these are.
        present: (m,) which of the items have the modality; the rows of others read as zeros.
        device: where tensors are put.
    """

    def __init__(
        self,
        values: npt.NDArray[np.float32],
        positions: npt.NDArray[np.int64],
        present: npt.NDArray[np.bool_],
        *,
        device: torch.device | str,
    ) -> None:
        self._values, self._positions, self._present = values, positions, present
        self.device = torch.device(device)
        self.shape = torch.Size((len(positions), values.shape[1]))
        self.block_rows = max(1, _BLOCK_BYTES // (4 * values.shape[1]))

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: Any) -> Tensor:
        """Return the features of rows, given by positions, a mask or a slice."""
        which = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows
        found = np.array(self._values[self._positions[which]], dtype=np.float32)
        found[~self._present[which]] = 0
        return torch.from_numpy(found).to(self.device)

    def learning(self, wanted: Sequence[Tensor], *, epoch: int) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield the features of the items at each of the positions; the next are read meanwhile."""
        with closing(prefetched(self[items] for items in wanted)) as ready:
            yield from ready
