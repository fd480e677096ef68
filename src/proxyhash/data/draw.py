"""Make a split: drawn by a seed, or as the manifest assigns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.modalities import MODALITIES, Modality
from proxyhash.data.split import PARTS, Split
from proxyhash.errors import ManifestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from proxyhash.data.collection import Collection
    from proxyhash.data.split import Positions

__all__ = [
    "MAX_QUERIES",
    "MAX_VALIDATION",
    "MIN_LABELED",
    "SplitSizes",
    "counted",
    "draw_split",
    "follow_manifest",
    "manifest_split",
    "split_sizes",
    "validation_size",
]

MIN_LABELED = 10
"""Labeled items below which nothing is drawn by labels."""
MAX_QUERIES = 1000
MAX_VALIDATION = 500

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


@dataclass(frozen=True)
class SplitSizes:
    """Numbers of queries, of training items, and of those of them that are for validation."""

    query: int
    train: int
    validation: int


def split_sizes(
    collection: Collection,
    *,
    query: int | None = None,
    train: int | None = None,
    validation: int | None = None,
    unlabeled: bool = False,
    validated: bool = False,
    modalities: Iterable[Modality] | None = None,
) -> SplitSizes:
    """Return the sizes of a split, by default in proportion to what there is to draw from.

    A tenth of the items are queries (at most 1,000), four fifths of the rest training items, so
    that some gallery remains which training has not seen, and a twentieth of those are for
    validation (at most 500). Items without a label do not count, unless `unlabeled`; then
    only the queries are in proportion to the labeled items, if there are 10 of those or more.
    Without any label nothing could be validated, so no items are set aside for it, unless
    `validated`. Queries and validation items are complete; where few items are, at most a quarter
    and a tenth of those, so that some are left to learn from.

    Args:
        collection: what to split.
        query: number of queries, if it is not to follow from the collection.
        train: number of training items, likewise.
        validation: number of validation items, likewise.
        unlabeled: whether items without a label are training items, too.
        validated: whether validation needs no labels either.
        modalities: the modalities that queries need; by default those of the collection.

    Raises:
        UsageError: "photos has 9 items with labels; training needs at least 10", or no item is
            complete.
    """
    labeled = int(collection.labels.any(axis=1).sum())
    if labeled < MIN_LABELED and not unlabeled:
        raise UsageError(
            f"{collection.path} has {counted(labeled)} with labels; training needs at least "
            f"{MIN_LABELED}"
        )
    if labeled < MIN_LABELED and len(collection) < MIN_LABELED:
        raise UsageError(
            f"{collection.path} has {counted(len(collection))}; training needs at least "
            f"{MIN_LABELED}"
        )
    complete = _count_complete(collection, modalities, unlabeled=unlabeled)
    queried = labeled if labeled >= MIN_LABELED else len(collection)
    if query is None:
        query = min(max(1, min(queried // 10, complete // 4)), MAX_QUERIES)
    left = (len(collection) if unlabeled else labeled) - query
    train = max(2, left * 4 // 5) if train is None else train
    if validation is None:
        can = validated or labeled >= MIN_LABELED
        validation = min(validation_size(train), complete // 10) if can else 0
    return SplitSizes(query, train, validation)


def _count_complete(
    collection: Collection, modalities: Iterable[Modality] | None, *, unlabeled: bool
) -> int:
    wanted = _wanted(collection, modalities)
    able = _complete(collection, wanted)
    if not unlabeled:
        able &= collection.labels.any(axis=1)
    if not able.any():
        told = [] if unlabeled else ["a label"]
        told += [MODALITIES[modality].one for modality in wanted]
        raise UsageError(
            f"{collection.path} has no item with {' and '.join(told)}, as queries are; learn from "
            f"one modality alone, such as with --encoder {wanted[-1]}=none"
        )
    return int(able.sum())


def counted(items: int) -> str:
    """Return "1 item" or "2,000 items"."""
    return f"{items:,} item{'' if items == 1 else 's'}"


def validation_size(train: int) -> int:
    """Return how many of `train` items are for validation by default."""
    return min(train // 20, MAX_VALIDATION)


def draw_split(
    collection: Collection,
    *,
    query: int,
    train: int | None,
    validation: int,
    seed: int,
    unlabeled: bool = False,
    modalities: Iterable[Modality] | None = None,
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
        unlabeled: for methods that read no labels: any item may be a training item, and queries
            have a label only where enough items have one.
        modalities: the modalities that queries need; by default those of the collection.

    Raises:
        UsageError: "500 queries were requested, but only 120 items have ...", and similar.
    """
    _check_counts(query=query, train=train, validation=validation, seed=seed)
    order = _order(len(collection), seed)
    labeled: NDArray[np.bool_] = np.asarray(collection.labels.any(axis=1))
    wanted = _wanted(collection, modalities)
    complete = _complete(collection, wanted)
    told = [MODALITIES[modality].one for modality in wanted]
    if not unlabeled or (labeled & complete).sum() >= max(query, 1):
        complete &= labeled
        told.insert(0, "a label")
    if unlabeled:
        labeled = np.ones(len(collection), dtype=np.bool_)

    who = f"items have {' and '.join(told) or 'an id'}"
    queries = _first(order, complete, query, what="queries", who=who)
    rest = order[~np.isin(order, queries)]
    available = int(labeled[rest].sum())
    training = _first(
        rest,
        labeled,
        available if train is None else train,
        what="training items",
        who=f"{'' if unlabeled else 'labeled '}items are left besides {query:,} queries",
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


def manifest_split(
    collection: Collection, *, validation: int, seed: int, unlabeled: bool = False
) -> Split:
    """Return the split that the items' own `split` values assign.

    `query` and `test` are queries, `train` is train, `validation`, `val` and `dev` are validation;
    `gallery`, `database` and items without a value are only in the gallery. Train and validation
    items without a label are only in the gallery, too, unless `unlabeled`.

    Args:
        collection: what to split; it must assign queries and training items.
        validation: how many training items to hold out if the manifest assigns no validation items.
        seed: of the draw of validation items.
        unlabeled: whether items without a label can be learned from.

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
        if part == "query" or item.labels or unlabeled:
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
            _complete(collection, collection.modalities),
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


def follow_manifest(
    collection: Collection,
    *,
    validation: int | None,
    seed: int,
    unlabeled: bool = False,
    validated: bool = False,
) -> Split:
    """Return `manifest_split` with a default number of validation items.

    It is that of `split_sizes`, and none where the manifest assigns some.
    """
    split = manifest_split(collection, validation=0, seed=seed, unlabeled=unlabeled)
    if validation is None:
        can = validated or bool(collection.classes)
        complete = int(_complete(collection, collection.modalities)[split.train].sum())
        validation = min(validation_size(len(split.train)), complete // 2) if can else 0
    if len(split.validation) or not validation:
        return split
    return manifest_split(collection, validation=validation, seed=seed, unlabeled=unlabeled)


def _order(count: int, seed: int) -> Positions:
    """Return a random order of `count` positions: the ranks of uniform draws."""
    draws = np.random.Generator(np.random.PCG64(seed)).random(count)
    return np.argsort(draws, kind="stable").astype(np.int64)


def _first(
    order: Positions, eligible: NDArray[np.bool_], count: int, *, what: str, who: str
) -> Positions:
    found = order[eligible[order]]
    if len(found) < count:
        raise UsageError(
            f"{count:,} {what} were requested, but only {len(found):,} {who}; request fewer"
        )
    return found[:count]


def _wanted(collection: Collection, modalities: Iterable[Modality] | None) -> list[Modality]:
    """Return the modalities of a collection, or those of them that are given."""
    given = collection.modalities if modalities is None else set(modalities)
    return [each for each in collection.modalities if each in given]


def _complete(collection: Collection, modalities: Iterable[Modality]) -> NDArray[np.bool_]:
    """Return which items have every one of the modalities."""
    complete = np.ones(len(collection), dtype=np.bool_)
    for modality in modalities:
        complete &= collection.has(modality)
    return complete


def _check_counts(*, query: int, train: int | None, validation: int, seed: int) -> None:
    for name, value in (("query", query), ("validation", validation), ("seed", seed)):
        if value < 0:
            raise UsageError(f"{name} is {value}; 0 or more is expected")
    if train is not None and train < max(validation, 1):
        raise UsageError(
            f"train is {train}, which includes {validation} validation items; it must be at "
            "least as large"
        )
