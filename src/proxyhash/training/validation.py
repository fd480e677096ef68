"""The score of an epoch on validation items."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from proxyhash.codes import Codes, binarize
from proxyhash.evaluation.evaluator import mean_average_precision
from proxyhash.evaluation.pairs import pair_ranks
from proxyhash.losses import certain
from proxyhash.methods import row_blocks

if TYPE_CHECKING:
    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods import Rows
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.state import Networks

__all__ = ["last_validated", "validation_scores"]

_EVERY_TUNED = 5
_MOST_SEARCHED = 50_000
"""Training items that validation items are searched in, at most, evenly spaced: scores of epochs
are compared, and millions of items would take longer than the epoch."""


def last_validated(config: TrainConfig, epoch: int) -> int:
    """Return the last epoch up to `epoch` that is validated; 0 for none.

    Every epoch is, or every `validate_every`, and the last one of the run.
    """
    every = config.validate_every or (_EVERY_TUNED if config.tune else 1)
    return epoch if epoch == config.epochs else epoch - epoch % every


def validation_scores(
    networks: Networks,
    validation: Rows,
    train: Rows,
    *,
    by: Literal["mAP", "MRR"] = "mAP",
) -> dict[str, float]:
    """Return the score of validation items: per direction, and the "mean".

    It is mAP@all against the training items, 50,000 of them at most, from each modality to every
    other, such as "image_to_text", and from a single one to itself; or the MRR, the mean of
    1 / rank, of an item's other half among all validation items, which reads no labels, as `by`
    says: of a few hundred items it tells epochs apart better than recall@10. Ties count as in the
    default protocol, expected over their orders. Queries of the split are never looked at.

    Validation items ask with the features they would be learned from, with the prompt of documents
    where an encoder has prompts, unlike queries of the split (`Prepared.query_features`): scores
    only compare epochs, an encoder that learns would encode each item twice, and a run that is
    resumed would compare its best epoch so far with scores that were computed otherwise.

    Empty when there are no validation items, or none with anything relevant.
    """
    if by == "MRR":
        scores = _reciprocal_ranks(networks, validation)
    else:
        scores = _precisions(networks, validation, train)
    if scores:
        scores["mean"] = sum(scores.values()) / len(scores)
    return scores


def _precisions(networks: Networks, validation: Rows, train: Rows) -> dict[str, float]:
    scores: dict[str, float] = {}
    queries = {m: _codes(networks, validation, m) for m in train.modalities}
    galleries = {m: _codes(networks, train, m, _some(train.present[m])) for m in train.modalities}
    pairs = list(permutations(train.modalities, 2)) or [(each, each) for each in train.modalities]
    for modality, other in pairs:
        (query, query_labels), (gallery, gallery_labels) = queries[modality], galleries[other]
        if not len(query) or not len(gallery):
            continue
        result = mean_average_precision(
            query, gallery, query_labels, gallery_labels, bits=networks[modality].bits
        )
        if result.queries:
            scores[f"{modality}_to_{other}"] = result.value
    return scores


def _reciprocal_ranks(networks: Networks, validation: Rows) -> dict[str, float]:
    scores: dict[str, float] = {}
    for one, two in permutations(validation.modalities, 2):
        has = validation.present[one] & validation.present[two]
        if int(has.sum()) < 2:
            continue
        asked, searched = (_codes(networks, validation, m, has)[0] for m in (one, two))
        scores[f"{one}_to_{two}"] = pair_ranks(asked, searched).mrr
    return scores


@torch.no_grad()
def _codes(
    networks: Networks, rows: Rows, modality: Modality, has: Tensor | None = None
) -> tuple[Codes, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """Return the codes and labels of the items that have the modality, or those in `has`."""
    networks.eval()
    has = rows.present[modality] if has is None else has
    blocks = row_blocks(rows.features[modality], has)
    codes = [binarize(networks[modality].logits(block).cpu().numpy()) for _, block in blocks]
    return np.concatenate(codes), certain(rows.labels[has]).cpu().numpy()


def _some(present: Tensor) -> Tensor:
    """Return which items validation items are searched in, bool (n,)."""
    if int(present.sum()) <= _MOST_SEARCHED:
        return present
    (there,) = present.nonzero(as_tuple=True)
    spaced = torch.arange(_MOST_SEARCHED, device=there.device) * len(there) // _MOST_SEARCHED
    some = torch.zeros_like(present)
    some[there[spaced]] = True
    return some
