"""How good an epoch is: validation items search the train items, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxyhash.codes import Codes, binarize
from proxyhash.evaluation.evaluator import mean_average_precision
from proxyhash.methods.shared.objective import other

if TYPE_CHECKING:
    import numpy as np

    from proxyhash.data.item import Modality
    from proxyhash.training.networks import Networks
    from proxyhash.training.rows import Rows

__all__ = ["validation_scores"]


def validation_scores(networks: Networks, validation: Rows, train: Rows) -> dict[str, float]:
    """Return the mAP@all of "image_to_text" and "text_to_image", and their "mean".

    The protocol is the default one (expected mAP over ties). Queries of the split are never looked
    at. Empty when there are no validation items, or none that anything is relevant to.
    """
    scores: dict[str, float] = {}
    modalities: tuple[Modality, ...] = ("image", "text")
    for modality in modalities:
        query, query_labels = _codes(networks, validation, modality)
        gallery, gallery_labels = _codes(networks, train, other(modality))
        if not len(query) or not len(gallery):
            continue
        result = mean_average_precision(
            query, gallery, query_labels, gallery_labels, bits=networks.of(modality).bits
        )
        if result.queries:
            scores[f"{modality}_to_{other(modality)}"] = result.value
    if scores:
        scores["mean"] = sum(scores.values()) / len(scores)
    return scores


@torch.no_grad()
def _codes(
    networks: Networks, rows: Rows, modality: Modality
) -> tuple[Codes, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """Return the codes and labels of the items that have the modality."""
    networks.eval()
    has = rows.has(modality)
    logits = networks.of(modality).logits(rows.features(modality)[has])
    return binarize(logits.cpu().numpy()), rows.labels[has].bool().cpu().numpy()
