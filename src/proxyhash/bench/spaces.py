"""Spaces of real-valued vectors in which items can be compared, for the yardsticks of a suite.

A search between modalities needs both in one space. The features of two unrelated encoders share
none; three things make one: a model with two towers, canonical directions of the training pairs
(no labels), and the outputs of trained hashing networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from proxyhash.errors import UsageError
from proxyhash.evaluation import directions_of
from proxyhash.methods.cca_itq import canonical_directions
from proxyhash.methods.itq import principal_directions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.encoders import Features
    from proxyhash.hashing import HashModel
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.prepare import Prepared

__all__ = [
    "Space",
    "Vectors",
    "canonical_space",
    "embedding_space",
    "output_space",
    "share_space",
    "unit_rows",
    "with_queries",
]

Vectors = npt.NDArray[np.float32]

REGULARIZATION = 1.0
"""Of the variances of canonical directions, as `cca-itq` has it."""


@dataclass(frozen=True, eq=False)
class Space:
    """Vectors of all items, whose inner product says how near two items are.

    Attributes:
        vectors: by modality, float32 (n, d) rows of length one; 0 where the modality is missing.
        present: by modality, bool (n,).
        train: positions of the training items, int64 (t,).
        shared: whether the modalities are in one space; else each is compared with itself alone.
        ordered: whether the first coordinates tell the most, so that others may be dropped.

    Where queries are encoded in another way, as after a prompt, theirs are further rows; see
    `with_queries`.
    """

    vectors: Mapping[Modality, Vectors]
    present: Mapping[Modality, npt.NDArray[np.bool_]]
    train: npt.NDArray[np.int64]
    shared: bool
    ordered: bool = False

    @property
    def directions(self) -> dict[str, tuple[Modality, Modality]]:
        """The directions that can be searched: across modalities only if they share the space."""
        found = directions_of(self.vectors)
        return {way: pair for way, pair in found.items() if self.shared or pair[0] == pair[1]}

    def training(self, modality: Modality) -> Vectors:
        """Return the vectors of the training items, float32 (t, d), those without it left out."""
        rows = self.train[self.present[modality][self.train]]
        return np.ascontiguousarray(self.vectors[modality][rows])

    def group(self, modality: Modality) -> tuple[Modality, ...]:
        """Return the modalities that are turned together with one."""
        return tuple(self.vectors) if self.shared else (modality,)

    @property
    def width(self) -> int:
        """The least number of coordinates of a modality."""
        return min(int(vectors.shape[1]) for vectors in self.vectors.values())

    def reduced(self, size: int) -> Space | None:
        """Return the space of `size` coordinates, the first ones or principal components.

        None where there are fewer. Rows have length one again.
        """
        if size > min(turned.shape[1] for turned in self._turned.values()):
            return None
        vectors = {
            modality: unit_rows(turned[:, :size], self.present[modality])
            for modality, turned in self._turned.items()
        }
        return Space(vectors, self.present, self.train, self.shared, ordered=True)

    @cached_property
    def _turned(self) -> dict[Modality, Vectors]:
        """The vectors, their first coordinates telling the most."""
        if self.ordered:
            return dict(self.vectors)
        turned = {}
        for group in dict.fromkeys(map(self.group, self.vectors)):
            stacked = np.concatenate([self.training(each) for each in group])
            mean = stacked.mean(axis=0)
            basis = principal_directions(
                torch.from_numpy((stacked - mean).astype(np.float64)), count=stacked.shape[1]
            ).numpy()
            for modality in group:
                values = (self.vectors[modality] - mean) @ basis.astype(np.float32)
                turned[modality] = values
        return {modality: turned[modality] for modality in self.vectors}


def unit_rows(values: npt.NDArray[np.floating], present: npt.NDArray[np.bool_]) -> Vectors:
    """Return rows of length one, float32 (n, d); 0 where they are absent or have no length."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    rows = values / np.where(lengths > 0, lengths, 1)
    return np.ascontiguousarray(np.where(present[:, None], rows, 0), np.float32)


def with_queries(prepared: Prepared, queries: Mapping[Modality, Features]) -> Prepared:
    """Return the same with the features of queries behind those of all n items.

    Row n + i of a modality is query i of the split as it asks.

    Args:
        prepared: features, and the split.
        queries: as `Prepared.query_features` returns them.
    """
    rows = prepared.split.query
    features = {
        modality: replace(
            given,
            values=np.concatenate([given.values, queries[modality].values[rows]]),
            present=np.concatenate([given.present, queries[modality].present[rows]]),
        )
        if modality in queries
        else given
        for modality, given in prepared.features.items()
    }
    return replace(prepared, features=features)


def share_space(config: TrainConfig, prepared: Prepared) -> bool:
    """Return whether the encoders are the towers of one model: its name is that of each.

    A folder or hub id loads for images and for texts only where it holds both towers.
    """
    widths = {given.values.shape[1] for given in prepared.features.values()}
    specs = {config.encoders[modality] for modality in prepared.features}
    kinds = {encoder.kind for encoder in prepared.encoders.values()}
    return (
        len(prepared.features) > 1
        and len(widths) == len(specs) == 1
        and all(kind.startswith("transformers") for kind in kinds)
    )


def embedding_space(prepared: Prepared, *, shared: bool) -> Space:
    """Return the encoders' own features less the mean of the training items, of length one.

    Without centering, features that are never negative would have equal signs, and the towers of
    one model stand apart by what their modalities have in common.

    Args:
        prepared: features, and the split.
        shared: whether all modalities are in one space.
    """
    vectors, present = {}, {}
    for modality, given in prepared.features.items():
        rows = prepared.split.train[given.present[prepared.split.train]]
        values = np.asarray(given.values, np.float32)
        present[modality] = given.present
        vectors[modality] = unit_rows(values - values[rows].mean(axis=0), given.present)
    return Space(vectors, present, prepared.split.train, shared)


def canonical_space(prepared: Prepared, *, size: int, power: float) -> Space:
    """Return the leading canonical directions of the training pairs; labels are not read.

    Each is scaled by a power of its correlation, the strongest first.

    Args:
        prepared: features, and the split.
        size: largest number of directions.
        power: of the correlations.

    Raises:
        UsageError: there are not two modalities, or fewer than two training items have both.
    """
    if len(prepared.features) != 2:
        raise UsageError(
            f"canonical directions need two modalities, and the data set has "
            f"{len(prepared.features)} ({', '.join(prepared.features)}); leave out [yardsticks]"
        )
    (one, first), (two, second) = prepared.features.items()
    train = prepared.split.train
    pairs = train[first.present[train] & second.present[train]]
    if len(pairs) < 2:
        raise UsageError(
            f"canonical directions are learned from items with both {one} and {two}, and "
            f"{len(pairs)} training items have both; leave out [yardsticks]"
        )
    centered = {}
    for modality, given in prepared.features.items():
        values = np.asarray(given.values, np.float64)
        centered[modality] = values - values[pairs].mean(axis=0)
    found = canonical_directions(
        torch.from_numpy(centered[one][pairs]),
        torch.from_numpy(centered[two][pairs]),
        count=size,
        regularization=REGULARIZATION,
    )
    strength = found.correlations**power
    vectors = {
        modality: unit_rows(
            centered[modality] @ (directions * strength).numpy(),
            prepared.features[modality].present,
        )
        for modality, directions in ((one, found.first), (two, found.second))
    }
    present = {modality: given.present for modality, given in prepared.features.items()}
    return Space(vectors, present, train, shared=True, ordered=True)


def output_space(prepared: Prepared, model: HashModel) -> Space:
    """Return the outputs tanh(logits) of a model's networks, of length one."""
    vectors, present = {}, {}
    for modality, given in prepared.features.items():
        outputs = np.tanh(model.logits(np.asarray(given.values), modality=modality))
        vectors[modality] = unit_rows(outputs, given.present)
        present[modality] = given.present
    return Space(vectors, present, prepared.split.train, shared=True)
