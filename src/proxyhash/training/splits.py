"""Which items are queries, teach, and choose the epoch: from the config or the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.data import Collection, Split, draw_split, manifest_split
from proxyhash.data.protocols import get_protocol
from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from proxyhash.training.config import TrainConfig

__all__ = ["FEWEST", "MOST_QUERIES", "MOST_TRAIN", "MOST_VALIDATION", "choose_split"]

FEWEST = 10
"""Labeled items below which nothing is drawn."""
MOST_QUERIES = 1000
MOST_TRAIN = 50_000
MOST_VALIDATION = 500


def choose_split(config: TrainConfig, collection: Collection) -> Split:
    """Return the split of a new run.

    A `split_file` is taken as it is, and a `protocol` is drawn with the sizes it names. Else a
    manifest with `split` keys of its own is followed, unless `query` or `train` are given. Else a
    split is drawn by the seed: by default a tenth of the items are queries (at most 1,000), four
    fifths of the rest teach (at most 50,000), so that some gallery remains which training has not
    seen, and a twentieth of those choose the epoch (at most 500).

    Raises:
        UsageError: there are too few items for what was asked.
        DataError: the collection is not the one that the protocol or the split file is of.
    """
    if config.split_file:
        return Split.load(config.split_file, collection)
    if config.protocol:
        protocol = get_protocol(config.protocol)
        validation = _validation(config, protocol.train)
        return protocol.draw(collection, validation=validation, seed=config.seed)
    named = any(item.split is not None for item in collection.items)
    if named and config.query is None and config.train is None:
        return _follow_manifest(config, collection)
    labeled = int(collection.labels.any(axis=1).sum())
    if labeled < FEWEST:
        raise UsageError(
            f"{collection.path} has {labeled} items with labels; training needs at least {FEWEST}"
        )
    query = config.query or min(max(1, labeled // 10), MOST_QUERIES)
    train = config.train or min(max(2, (labeled - query) * 4 // 5), MOST_TRAIN)
    return draw_split(
        collection,
        query=query,
        train=train,
        validation=_validation(config, train),
        seed=config.seed,
    )


def _follow_manifest(config: TrainConfig, collection: Collection) -> Split:
    split = manifest_split(collection, validation=0, seed=config.seed)
    wanted = _validation(config, len(split.train))
    if len(split.validation) or not wanted:
        return split
    return manifest_split(collection, validation=wanted, seed=config.seed)


def _validation(config: TrainConfig, train: int) -> int:
    """Return how many of `train` items choose the epoch."""
    if config.validation is not None:
        return config.validation
    return min(train // 20, MOST_VALIDATION)
