"""Features that stay in their file, as they do not fit into memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxyhash.encoders.feature_file import release
from proxyhash.training.pixels import prefetched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor

__all__ = ["FILE_BLOCK", "MappedFeatures"]

FILE_BLOCK = 1024
"""Neighboring items that are read from a file together."""
_HELD_BYTES = 1 << 29
"""Blocks of steps to come are held in memory up to this size; beyond it, single rows are read."""
_RELEASE_BYTES = 1 << 26
_PAGES_BYTES = 1 << 16  # what Linux maps around a row that is read alone


class MappedFeatures:
    """Rows of a memory-mapped matrix, read when they are asked for: see `FeatureRows`.

    What is learned from is read in blocks of `FILE_BLOCK` neighbors, each once in an epoch whose
    order goes by blocks (see `make_steps`), a part of which is held in memory.

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
        self._mapped_bytes = 0
        self.device = torch.device(device)
        self.shape = torch.Size((len(positions), values.shape[1]))

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, rows: Any) -> Tensor:
        """Return the features of rows, given by positions, a mask or a slice."""
        which = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows
        return torch.from_numpy(self._read(which)).to(self.device)

    def learning(self, wanted: Sequence[Tensor], *, epoch: int) -> Iterator[Tensor]:  # noqa: ARG002
        """Yield the features of the items at each of the positions; the next are read meanwhile."""
        with closing(prefetched(self._by_blocks([each.cpu().numpy() for each in wanted]))) as ready:
            for values in ready:
                yield torch.from_numpy(values).to(self.device)

    def _by_blocks(
        self, wanted: Sequence[npt.NDArray[np.int64]]
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the rows at each of the positions, read block by block."""
        last = {b: step for step, rows in enumerate(wanted) for b in _blocks(rows)}
        most = _most_at_once(last, wanted)
        if most * FILE_BLOCK * self.shape[1] * 4 > _HELD_BYTES:
            yield from map(self._read, wanted)
            return
        held = np.empty((most * FILE_BLOCK, self.shape[1]), np.float32)
        free = list(range(most))
        place = np.full(1 + len(self) // FILE_BLOCK, -1, np.int64)
        for step, rows in enumerate(wanted):
            blocks = _blocks(rows)
            for block in blocks:
                if place[block] < 0:
                    place[block] = free.pop()
                    start = int(block) * FILE_BLOCK
                    read = self._read(slice(start, start + FILE_BLOCK))
                    at = place[block] * FILE_BLOCK
                    held[at : at + len(read)] = read
            yield held[place[rows // FILE_BLOCK] * FILE_BLOCK + rows % FILE_BLOCK]
            for block in blocks:
                if last[block] == step:
                    free.append(int(place[block]))
                    place[block] = -1

    def _read(self, which: Any) -> npt.NDArray[np.float32]:
        rows = self._positions[which]
        found = np.empty((len(rows), self.shape[1]), np.float32)
        for start in range(0, len(rows), FILE_BLOCK):
            some = rows[start : start + FILE_BLOCK]
            found[start : start + len(some)] = self._values[some]
            span = (int(some.max()) - int(some.min()) + 1) * found.itemsize * self.shape[1]
            self._mapped_bytes += min(span, len(some) * _PAGES_BYTES)
            if self._mapped_bytes > _RELEASE_BYTES:
                self._mapped_bytes = 0
                release(self._values)
        found[~self._present[which]] = 0
        return found


def _blocks(rows: npt.NDArray[np.int64]) -> list[int]:
    found: list[int] = np.unique(rows // FILE_BLOCK).tolist()
    return found


def _most_at_once(last: dict[int, int], wanted: Sequence[npt.NDArray[np.int64]]) -> int:
    """Return how many blocks are needed again or for the first time at any one step, at most."""
    held: set[int] = set()
    most = 0
    for step, rows in enumerate(wanted):
        blocks = _blocks(rows)
        held.update(blocks)
        most = max(most, len(held))
        held.difference_update(block for block in blocks if last[block] == step)
    return most
