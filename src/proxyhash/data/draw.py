"""Make a split: drawn by a seed, or as the manifest assigns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.modalities import MODALITIES
from proxyhash.data.split import PARTS, Split
from proxyhash.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection
    from proxyhash.data.split import Positions

__all__ = ["draw_split", "manifest_split"]

_PART_BY_NAME = {
    "query": "query",
    "queries": "query",
    "test": "query",
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "gallery": "gallery",
    "database": "gallery",
    "retrieval": "gallery",
}


def draw_split(
    collection: Collection, *, query: int, train: int | None, validation: int, seed: int
) -> Split:
    """Return a split drawn by `seed`, the same on every machine.

    The draw is over positions: it depends on the number and order of the items, and on which are
    eligible, but not on their content. Queries have a label and every modality that the manifest
    has. Training items have a label; the validation items among them are complete like queries.
    With the same seed, a larger `train` keeps the queries.

    Args:
        collection: what to split.
        query: number of queries.
        train: number of training items, validation included; None takes all that are left.
        validation: how many of those are held out to choose the best epoch.
        seed: not negative.

    Raises:
        UsageError: "500 queries were requested, but only 120 items have ...", and similar.
    """
    _check_counts(query=query, train=train, validation=validation, seed=seed)
    order = _order(len(collection), seed)
    labeled: NDArray[np.bool_] = np.asarray(collection.labels.any(axis=1))
    complete = labeled & _complete(collection)

    queries = _first(order, complete, query, what="queries", who=_complete_name(collection))
    rest = order[~np.isin(order, queries)]
    available = int(labeled[rest].sum())
    training = _first(
        rest,
        labeled,
        available if train is None else train,
        what="training items",
        who=f"labeled items are left besides {query:,} queries",
    )
    held_out = _first(
        training[::-1],
        complete,
        validation,
        what="validation items",
        who=f"of the {len(training):,} training items are complete",
    )
    return Split.of(
        len(collection),
        query=queries,
        train=np.setdiff1d(training, held_out),
        validation=held_out,
        seed=seed,
        source="drawn",
    )


def manifest_split(collection: Collection, *, validation: int, seed: int) -> Split:
    """Return the split that the items' own `split` values assign.

    `query` and `test` are queries, `train` is train, `validation`, `val` and `dev` are validation;
    `gallery`, `database` and items without a value are only in the gallery. Train and validation
    items without a label cannot be learned from and are only in the gallery.

    Args:
        collection: what to split; it must assign queries and training items.
        validation: how many training items to hold out if the manifest assigns no validation items.
        seed: of the draw of validation items.

    Raises:
        ManifestError: an item's split is none of these names; says which row.
        UsageError: the manifest assigns no queries or no labeled training items, or too few.
    """
    _check_counts(query=0, train=None, validation=validation, seed=seed)
    members: dict[str, list[int]] = {part: [] for part in PARTS}
    for position, item in enumerate(collection.items):
        part = "gallery" if item.split is None else _PART_BY_NAME.get(item.split.strip().lower())
        if part is None:
            raise ManifestError(
                f"{collection.path}, row {item.row}: split is {item.split!r}; expected is query or "
                "test, train, validation or val, gallery or database, or none"
            )
        if part == "query" or item.labels:
            members[part].append(position)
    for part in ("query", "train"):
        if not members[part]:
            raise UsageError(
                f"{collection.path} assigns no {part} items by key 'split'; draw a split instead"
            )
    train = np.array(members["train"], dtype=np.int64)
    held_out = np.array(members["validation"], dtype=np.int64)
    if not held_out.size and validation:
        order = _order(len(collection), seed)
        held_out = _first(
            order[np.isin(order, train)],
            _complete(collection),
            validation,
            what="validation items",
            who=f"of the {len(train):,} training items are complete",
        )
        train = np.setdiff1d(train, held_out)
    return Split.of(
        len(collection),
        query=members["query"],
        train=train,
        validation=held_out,
        seed=seed,
        source="manifest",
    )


def _order(count: int, seed: int) -> Positions:
    """Return a random order of `count` positions: the ranks of uniform draws."""
    draws = np.random.Generator(np.random.PCG64(seed)).random(count)
    return np.argsort(draws, kind="stable").astype(np.int64)


def _first(
    order: Positions, eligible: NDArray[np.bool_], count: int, *, what: str, who: str
) -> Positions:
    found = order[eligible[order]]
    if len(found) < count:
        raise UsageError(f"{count:,} {what} were requested, but only {len(found):,} {who}")
    return found[:count]


def _complete(collection: Collection) -> NDArray[np.bool_]:
    """Return which items have every modality of the collection."""
    complete = np.ones(len(collection), dtype=np.bool_)
    for modality in collection.modalities:
        complete &= collection.has(modality)
    return complete


def _complete_name(collection: Collection) -> str:
    has = [MODALITIES[modality].one for modality in collection.modalities]
    return f"items have {' and '.join(['a label', *has])}"


def _check_counts(*, query: int, train: int | None, validation: int, seed: int) -> None:
    for name, value in (("query", query), ("validation", validation), ("seed", seed)):
        if value < 0:
            raise UsageError(f"{name} is {value}; 0 or more is expected")
    if train is not None and train < max(validation, 1):
        raise UsageError(
            f"train is {train}, which includes {validation} validation items; it must be at "
            "least as large"
        )
