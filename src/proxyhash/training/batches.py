"""The steps of an epoch, and the features that each of them learns from.

Neither the loop nor a method knows where features come from. `Rows.features` are read by rows, see
`FeatureRows`: tensors in memory, files that do not fit into it (`MappedFeatures`), or what an
encoder that learns makes of pixels and tokens (`TunedFeatures`). The features that a step learns
from are asked for here, for all steps of an epoch at once, so that they can be prepared ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import nn

from proxyhash.training.devices import seeded
from proxyhash.training.mapped import FILE_BLOCK, MappedFeatures

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods import Passes, Rows

__all__ = [
    "LearningRows",
    "Portion",
    "Step",
    "learning_features",
    "make_steps",
    "needs_two",
]

_MIXED_BYTES = 1 << 28
_PORTIONS = 4
"""Names the use of a seed, besides those in `build`."""


@runtime_checkable
class LearningRows(Protocol):
    """Rows of features that differ while they are learned from, or are prepared ahead."""

    def learning(self, wanted: Sequence[Tensor], *, epoch: int) -> Iterator[Tensor]:
        """Yield the features of the items at each of the positions, (b, d) on their device."""
        ...


@dataclass(frozen=True)
class Step:
    """One optimizer step."""

    learning: tuple[Modality, ...]
    """The modalities whose networks learn."""
    index: Tensor
    """(b,) int64 positions of its items."""
    present: Mapping[Modality, Tensor]
    """Per modality, (b,) bool: which of the items have it, and can be learned from if it learns."""
    done: float
    """Share of the pass that is done at the middle of the step."""

    def items(self, modality: Modality) -> Tensor:
        """Return the positions of the items that go through a network."""
        return self.index[self.present[modality]]


@dataclass(frozen=True)
class Portion:
    """The part of the training items that an epoch walks over, where it is not all of them."""

    epoch: int
    """The epoch, from 1."""
    most: int
    """Items of an epoch, at most."""
    seed: int
    """Seed of the order in which portions follow each other."""


def make_steps(
    train: Rows,
    passes: Passes,
    *,
    batch_size: int,
    pairwise: Sequence[Modality] = (),
    portion: Portion | None = None,
) -> Iterator[Step]:
    """Yield the steps of an epoch, each pass in random order, in batches of nearly equal size.

    A pass walks over the items that have at least one of its modalities. Where they are more than a
    portion, epochs walk over one portion after the other of them, in random order, and start again
    in another order once all have been walked over.

    Where features lie in files, items that are neighbors there come near to each other: blocks of
    `FILE_BLOCK` neighbors are put in random order, and items mixed among as many blocks as
    `_MIXED_BYTES` hold, 256 thousand items of two modalities with 128 features.

    Args:
        train: The training items.
        passes: The modalities that learn together, pass by pass.
        batch_size: Size of a batch, at most.
        pairwise: Modalities whose networks cannot take one item alone, see `needs_two`.
        portion: What an epoch walks over; none: all items.
    """
    for number_of_pass, learning in enumerate(passes):
        has = torch.stack([train.present[modality] for modality in learning]).any(dim=0)
        items = has.cpu().nonzero().flatten()
        mixed = _mixed_items(train)
        if portion is None or len(items) <= portion.most:
            order = _shuffled(items, mixed=mixed)
        else:
            parts = math.ceil(len(items) / portion.most)
            round_, part = divmod(portion.epoch - 1, parts)
            with seeded(portion.seed, _PORTIONS, round_, number_of_pass):
                order = _shuffled(items, mixed=mixed).tensor_split(parts)[part]
        order = order.to(train.labels.device)
        batches = order.tensor_split(max(1, math.ceil(len(order) / batch_size)))
        for number, index in enumerate(batches):
            present = {modality: values[index] for modality, values in train.present.items()}
            for modality in learning:
                if modality in pairwise and not train.complete(modality):
                    lone = int(present[modality].sum()) < 2
                    present[modality] = present[modality] & (not lone)
            yield Step(learning, index, present, done=(number + 0.5) / len(batches))


def _shuffled(items: Tensor, *, mixed: int | None = None) -> Tensor:
    """Return items in random order, or blocks of neighbors in random order and mixed among some.

    Args:
        items: (n,) int64, ascending.
        mixed: How many items there are in the blocks that are mixed with each other; none: all.
    """
    order = items[torch.randperm(len(items))]
    if mixed is None or len(items) <= mixed:
        return order
    groups = math.ceil(len(items) / mixed)
    blocks = torch.randperm(int(items[-1]) // FILE_BLOCK + 1)
    return order[torch.argsort(blocks[order // FILE_BLOCK] * groups // len(blocks), stable=True)]


def _mixed_items(train: Rows) -> int | None:
    """Return how many items' features are held to be mixed; none where all are in memory."""
    in_files = [each for each in train.features.values() if isinstance(each, MappedFeatures)]
    if not in_files:
        return None
    return max(8 * FILE_BLOCK, _MIXED_BYTES // (4 * sum(each.shape[1] for each in in_files)))


def learning_features(
    train: Rows, modality: Modality, steps: Sequence[Step], *, epoch: int
) -> Generator[Tensor, None, None]:
    """Yield the features that a modality's network learns from, for those steps in which it does.

    They are (b, d), a row for each of `Step.items`, and have a gradient where an encoder learns.
    Close it (`contextlib.closing`) where it is not read to the end.

    Args:
        train: The training items.
        modality: One of theirs.
        steps: The steps of the epoch, in order.
        epoch: The epoch, from 1, which decides what is random in the features.
    """
    features = train.features[modality]
    wanted = [step.items(modality) for step in steps if modality in step.learning]
    if isinstance(features, LearningRows):
        yield from features.learning(wanted, epoch=epoch)
        return
    for items in wanted:
        yield features[items]


def needs_two(network: nn.Module) -> bool:
    """Return whether a network normalizes over the batch, which one row alone cannot feed."""
    return any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
