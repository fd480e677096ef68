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

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods import Passes, Rows

__all__ = ["LearningRows", "Step", "learning_features", "make_steps", "needs_two"]


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


def make_steps(
    train: Rows, passes: Passes, *, batch_size: int, pairwise: Sequence[Modality] = ()
) -> Iterator[Step]:
    """Yield the steps of an epoch, each pass in random order, in batches of nearly equal size.

    A pass walks over the items that have at least one of its modalities.

    Args:
        train: The training items.
        passes: The modalities that learn together, pass by pass.
        batch_size: Size of a batch, at most.
        pairwise: Modalities whose networks cannot take one item alone, see `needs_two`.
    """
    for learning in passes:
        has = torch.stack([train.present[modality] for modality in learning]).any(dim=0)
        items = has.cpu().nonzero().flatten()
        order = items[torch.randperm(len(items))].to(train.labels.device)
        batches = order.tensor_split(max(1, math.ceil(len(order) / batch_size)))
        for number, index in enumerate(batches):
            present = {modality: values[index] for modality, values in train.present.items()}
            for modality in learning:
                if modality in pairwise and not train.complete(modality):
                    lone = int(present[modality].sum()) < 2
                    present[modality] = present[modality] & (not lone)
            yield Step(learning, index, present, done=(number + 0.5) / len(batches))


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
