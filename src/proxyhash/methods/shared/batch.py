"""The tensors a method sees: training items, one step's batch, and the latest outputs of all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, Protocol

import torch

from proxyhash.losses import certain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from proxyhash.data import Modality

__all__ = ["BLOCK_ROWS", "Batch", "FeatureRows", "Memory", "Rows", "row_blocks", "sign"]

BLOCK_ROWS = 1 << 14
"""Items that go through a network together where nothing is learned."""


class FeatureRows(Protocol):
    """Features of n items, (n, d) float32, that are read by rows.

    A tensor is one. Others load or compute the rows that are asked for, which have no gradient; not
    all of them may fit into memory, so whoever needs all of them goes by `row_blocks`.
    """

    @property
    def shape(self) -> Sequence[int]: ...  # noqa: D102 - as of a tensor

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Tensor: ...


def row_blocks(features: FeatureRows, rows: Tensor | None = None) -> Iterator[tuple[Any, Tensor]]:
    """Yield features (b, d), each with the tensor or slice that says which rows they are.

    There are at most `BLOCK_ROWS` in a block, so that neither they nor what layers of thousands of
    units make of them fill the memory.

    Args:
        features: Of n items.
        rows: (n,) bool or int64, which of them; none: all.
    """
    if rows is None or (rows.dtype == torch.bool and bool(rows.all())):  # slices are not copied
        for start in range(0, max(1, len(features)), BLOCK_ROWS):
            which = slice(start, start + BLOCK_ROWS)
            yield which, features[which]
        return
    positions = rows.nonzero(as_tuple=True)[0] if rows.dtype == torch.bool else rows
    for block in torch.split(positions, BLOCK_ROWS):
        yield block, features[block]


@dataclass(frozen=True)
class Rows:
    """Features and labels of n items; row i of everything belongs to the same item."""

    features: Mapping[Modality, FeatureRows]
    """Per modality, (n, d) float32; rows of items without the modality are zero."""
    present: Mapping[Modality, Tensor]
    """Per modality, (n,) bool: which items have it."""
    labels: Tensor
    """(n, C) bool or float32 in {0, 1}, or probabilities in [0, 1]; see `losses.supervision`."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that the items are encoded in."""
        return tuple(self.features)

    def complete(self, modality: Modality) -> bool:
        """Whether every item has the modality."""
        return self._complete[modality]

    def labeled(self, modality: Modality) -> Tensor:
        """Return (n,) bool: items that have the modality and at least one label."""
        return self.present[modality] & certain(self.labels).any(dim=1)

    @cached_property
    def _complete(self) -> dict[Modality, bool]:
        return {modality: bool(values.all()) for modality, values in self.present.items()}


@dataclass
class Memory:
    """The latest outputs of each network for all training items, without gradient.

    The loop writes a batch's outputs back after its loss, so rows are at most one pass old.
    """

    outputs: Mapping[Modality, Tensor]
    """Per modality, (n, K) float32 in (-1, 1); rows of items without the modality stay zero. Empty
    for methods that read none (`Objective.reads_memory`)."""
    present: Mapping[Modality, Tensor]
    """Per modality, (n,) bool: which items have it."""

    def unified(self) -> Tensor:
        """Return B = sign(sum of H over modalities), (n, K) in {-1, +1}; sign(0) = -1."""
        return sign(_sum(self.outputs))


@dataclass
class Batch:
    """One step's data: labels, and the outputs of the networks that learn in this pass."""

    index: Tensor
    """(b,) int64 positions among the training items."""
    labels: Tensor
    """(b, C) float32 in {0, 1}, or probabilities."""
    outputs: Mapping[Modality, Tensor]
    """Per modality that learns in this pass, (b, K) with gradient; zero where it is missing."""
    present: Mapping[Modality, Tensor]
    """Per modality, whether it learns or not, (b,) bool: which items have it."""
    memory: Memory
    """Latest outputs of all training items."""

    @property
    def learning(self) -> tuple[Modality, ...]:
        """The modalities whose outputs carry gradient."""
        return tuple(self.outputs)

    def others(self, modality: Modality) -> tuple[Modality, ...]:
        """Return every other modality."""
        return tuple(other for other in self.present if other != modality)

    def pairs(self) -> tuple[tuple[Modality, Modality], ...]:
        """Return each learning modality with itself, then each with every later one."""
        within = tuple((modality, modality) for modality in self.learning)
        return within + tuple(combinations(self.learning, 2))

    def latest(self, modality: Modality) -> Tensor:
        """Return (b, K) outputs without gradient: this step's if there are any, else memory's."""
        if modality in self.outputs:
            return self.outputs[modality].detach()
        return self.memory.outputs[modality][self.index]

    def unified(self) -> Tensor:
        """Return B = sign(sum of the latest outputs over modalities), (b, K) in {-1, +1}."""
        return sign(_sum({modality: self.latest(modality) for modality in self.present}))

    def supervised(self, modality: Modality) -> Tensor:
        """Return (b,) bool: items that have the modality and at least one label.

        Items without labels carry no supervision, so every term of every method is taken over
        these only.
        """
        return self.present[modality] & certain(self.labels).any(dim=1)

    def labels_of(self, modality: Modality) -> Tensor:
        """Return (b, C) labels, zero for items without the modality.

        The losses leave out rows without labels, and so skip missing modalities.
        """
        return self.labels * self.present[modality][:, None]


def sign(values: Tensor) -> Tensor:
    """Return -1 or +1 of the same dtype; zero gives -1, as bit 1 means greater than zero."""
    return torch.where(values > 0, 1.0, -1.0).to(values.dtype)


def _sum(outputs: Mapping[Modality, Tensor]) -> Tensor:
    first, *rest = outputs.values()
    for values in rest:
        first = first + values
    return first
