"""The split of a new run: from a file, a protocol, the manifest, or drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.data import Collection, Split, draw_split, split_sizes
from proxyhash.data.draw import MIN_LABELED, counted, follow_manifest, validation_size
from proxyhash.data.protocols import get_protocol
from proxyhash.errors import UsageError
from proxyhash.methods import METHODS, get_method

if TYPE_CHECKING:
    from proxyhash.training.config import TrainConfig

__all__ = ["choose_split", "learns_from_all"]


def learns_from_all(method: str, collection: Collection) -> bool:
    """Return whether a method's training items need no label in this collection.

    They need none where the method can do without and most items have none, or too few have one.
    Where most have one, it learns from the labeled items like every other method, so that methods
    can be compared.
    """
    labeled = int(collection.labels.any(axis=1).sum())
    few = labeled < MIN_LABELED or 2 * labeled < len(collection)
    return few and not get_method(method).needs_labels


def choose_split(config: TrainConfig, collection: Collection) -> Split:
    """Return the split of a new run.

    A `split_file` is used as it is, and a `protocol` is drawn with the sizes it names. Else a
    manifest with `split` keys of its own is followed, unless `query` or `train` are given. Else a
    split is drawn by the seed, by default in the proportions of `split_sizes`.

    Raises:
        UsageError: there are too few items for what was asked.
        DataError: the protocol or the split file belongs to another collection.
    """
    if config.split_file:
        return Split.load(config.split_file, collection)
    if config.protocol:
        protocol = get_protocol(config.protocol)
        held_out = config.validation
        held_out = validation_size(protocol.train) if held_out is None else held_out
        return protocol.draw(collection, validation=held_out, seed=config.seed)
    unlabeled = learns_from_all(config.method, collection)
    labeled = int(collection.labels.any(axis=1).sum())
    named = collection.names_splits and config.query is None and config.train is None
    reads_labels = get_method(config.method).reads_labels
    if labeled < (1 if named else MIN_LABELED) and reads_labels:
        others = [name for name, method in METHODS.items() if not method.reads_labels]
        raise UsageError(
            f"{collection.path} has {counted(labeled)} with labels; training needs at least "
            f"{MIN_LABELED} for method {config.method}. These methods read no labels: "
            f"{', '.join(others)}; without --method, a fitting one is chosen"
        )
    validated = get_method(config.method).validated_by != "mAP"
    if named:
        return follow_manifest(
            collection,
            validation=config.validation,
            seed=config.seed,
            unlabeled=unlabeled,
            validated=validated,
        )
    sizes = split_sizes(
        collection,
        query=config.query,
        train=config.train,
        validation=config.validation,
        unlabeled=unlabeled,
        validated=validated,
        modalities=config.modalities,
    )
    return draw_split(
        collection,
        query=sizes.query,
        train=sizes.train,
        validation=sizes.validation,
        seed=config.seed,
        unlabeled=unlabeled,
        modalities=config.modalities,
    )
