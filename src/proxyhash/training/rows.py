"""Rows of some items: their features and labels as tensors, or as files that are read by rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from proxyhash.methods import FeatureRows, Rows
from proxyhash.training.mapped import MappedFeatures

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.encoders import Features

__all__ = ["take_rows", "usable"]


def take_rows(
    features: Mapping[Modality, Features],
    labels: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int64],
    *,
    device: torch.device | str = "cpu",
    unlabeled: bool = False,
    targets: npt.NDArray[np.bool_] | npt.NDArray[np.float32] | None = None,
) -> Rows:
    """Return the items at `positions` that have at least one modality, and a label if needed.

    Args:
        features: per modality, of all items.
        labels: of all items, bool (n, C).
        positions: which of them.
        device: where the tensors are.
        unlabeled: whether items without a label are returned, too.
        targets: what is learned from, (n, C), where labels are probabilities; default the labels.
    """
    kept = usable(features, labels, positions, unlabeled=unlabeled)

    def tensor(values: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[kept])).to(device)

    def rows(given: Features) -> FeatureRows:
        if isinstance(given.values, np.memmap):
            return MappedFeatures(given.values, kept, given.present[kept], device=device)
        return tensor(given.values)

    return Rows(
        features={modality: rows(given) for modality, given in features.items()},
        present={modality: tensor(given.present) for modality, given in features.items()},
        labels=tensor(labels if targets is None else targets),
    )


def usable(
    features: Mapping[Modality, Features],
    labels: npt.NDArray[np.bool_],
    positions: npt.NDArray[np.int64],
    *,
    unlabeled: bool,
) -> npt.NDArray[np.int64]:
    """Return those of `positions` whose items `take_rows` takes."""
    useful = np.any([values.present for values in features.values()], axis=0)
    if not unlabeled:
        useful &= labels.any(axis=1)
    kept: npt.NDArray[np.int64] = positions[useful[positions]]
    return kept
