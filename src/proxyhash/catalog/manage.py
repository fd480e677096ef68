"""Maintaining an index: model and thumbnails follow what happens to the items."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.images import copy_images_taken
from proxyhash.catalog.manifests import copy_manifests
from proxyhash.catalog.migration import MigrationFolder
from proxyhash.errors import (
    DataError,
    InterruptedRunError,
    MigratedError,
    ProxyhashError,
    UsageError,
)
from proxyhash.files import replace_folder
from proxyhash.index.copy import CopyReport, copy_between
from proxyhash.index.filters import matches
from proxyhash.index.open import open_index
from proxyhash.index.store import Store
from proxyhash.index.store.folder import read_header
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxyhash.index import Index
    from proxyhash.index.filters import Filter
    from proxyhash.index.store.header import Header
    from proxyhash.index.store.word_index import WordState

__all__ = [
    "SnapshotReport",
    "carry_words",
    "compact_index",
    "copy_index",
    "count_items",
    "delete_from",
    "delete_items",
    "delete_where",
    "describe_index",
    "index_words",
    "missed_words",
    "snapshot_index",
    "verify_index",
]

logger = logging.getLogger(__name__)

_AT_ONCE = 10_000


def delete_items(uri: str, ids: Sequence[str], *, track: Track) -> int:
    """Delete items and their thumbnails; return how many were found.

    Raises:
        ProxyhashError: another process is writing the index.
    """
    with closing(open_index(uri, write=True)) as index:
        return delete_from(index, Catalog.at(uri), ids, track=track)


def delete_from(
    index: Index, folder: Catalog | None, ids: Sequence[str], *, track: Track = silent
) -> int:
    """Delete items of an index that is open for writing, with what its folder holds of them."""
    deleted = 0
    starts = range(0, len(ids), _AT_ONCE)
    stored = folder.thumbnails if folder else None
    for start in track(starts, "deleting items", len(starts)):
        some = ids[start : start + _AT_ONCE]
        deleted += index.delete(some)
        if stored is not None:
            stored.delete(some)
        if folder is not None and folder.keys.path.exists():
            folder.keys.delete(some)
    return deleted


def count_items(uri: str, ids: Sequence[str]) -> int:
    """Return how many of these ids an index holds."""
    with closing(open_index(uri)) as index:
        starts = range(0, len(ids), _AT_ONCE)
        return sum(len(index.get_many(ids[start : start + _AT_ONCE])) for start in starts)


def delete_where(
    uri: str, condition: Filter, *, dry_run: bool = False, track: Track = silent
) -> int:
    """Delete the items whose payload meets a condition, and return their number.

    Args:
        uri: index folder or address.
        condition: as a search takes it.
        dry_run: count them only.
        track: progress callback.
    """
    with closing(open_index(uri, write=not dry_run)) as index:
        items = (item for some in index.items() for item in some)
        found = [
            item.id
            for item in track(items, "reading items", len(index))
            if matches(condition, item.payload)
        ]
        return len(found) if dry_run else delete_from(index, Catalog.at(uri), found, track=track)


def describe_index(uri: str) -> dict[str, object]:
    """Return what an index is and contains: JSON values."""
    with closing(open_index(uri)) as index:
        info = index.info()
        if isinstance(index, Store):
            info |= _describe_words(index)
    folder = Catalog.at(uri)
    if folder is not None:
        stored = folder.thumbnails
        info |= {
            "model_copy": folder.model is not None,
            "thumbnails": 0 if stored is None else len(stored),
            "bytes": folder.nbytes,
        }
        if begun := MigrationFolder(folder.path).target:
            info["migrating_to"] = begun
        if problem := folder.thumbnails_problem:
            info["thumbnails_problem"] = problem
    return info


def _describe_words(index: Store) -> dict[str, object]:
    try:
        state = index.words_state()
    except DataError as error:
        return {"words_problem": str(error)}
    if state is None:
        return {"words": False}
    if state.fields is None:
        return {"words": True}
    return {"words": True, "word_fields": ", ".join(state.fields)}


def index_words(uri: str, *, fields: Sequence[str] = (), track: Track = silent) -> int:
    """Make the word index of an index folder, also in place of one, and count its items.

    Others may search and change the index meanwhile.

    Args:
        uri: the index folder.
        fields: keys of the payloads whose words are indexed; default all but `image`.
        track: progress callback.

    Raises:
        UsageError: not an index folder, or no item has one of the fields.
        InterruptedRunError: Ctrl-C; what was there before stays.
    """
    folder = _folder(uri, "words")
    with Store.open(folder.path) as store:
        known = store.fields() if fields else None
        for name in fields if known is not None and known.complete else ():
            if known is not None and name not in known:
                raise UsageError(
                    f"no item of {uri} has a field {name!r:.60}; give one that some has"
                )
        try:
            store.fill_words(fields=list(fields) or None, track=track)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"stopped by Ctrl-C; {uri} is as it was: run the same command again"
            ) from None
        return len(store)


def carry_words(source: Store, target: Store, *, track: Track = silent) -> None:
    """Give an index a word index where another one, whose items it has or will have, has one."""
    state = missed_words(source, target)
    if state is not None and not target.has_words:
        target.fill_words(fields=state.fields, track=track)


def missed_words(source: Store, target: Store) -> WordState | None:
    """Return what word index one index has and another lacks, or has of other fields.

    None where nothing is missed. One that is damaged counts as none.
    """
    state, own = _words_of(source), _words_of(target)
    return None if state is None or (own and own.fields == state.fields) else state


def _words_of(store: Store) -> WordState | None:
    try:
        return store.words_state()
    except DataError as error:
        logger.warning("the word index is left out: %s", error)
        return None


def verify_index(uri: str, *, report: Callable[[str], None] | None = None) -> list[str]:
    """Read everything in an index folder and return the problems, one sentence each.

    Args:
        uri: the folder.
        report: is told in sentences what was compared beside checksums.
    """
    folder = _folder(uri, "verify")
    with Store.open(folder.path) as store:
        return [*store.verify(report=report), *folder.check(store)]


def compact_index(uri: str) -> tuple[int, int]:
    """Reclaim the disk space of deleted items; return the bytes on disk before and after."""
    folder = _folder(uri, "compact")
    before = folder.nbytes
    with Store.open(folder.path, write=True) as store:
        store.compact()
        if folder.thumbnails is not None:
            try:
                folder.thumbnails.compact(keep=store.__contains__)
            except ProxyhashError as error:
                logger.warning("the thumbnails are left as they are: %s", error)
    return before, folder.nbytes


@dataclass(frozen=True)
class SnapshotReport:
    """Result of a snapshot.

    Attributes:
        items: how many items were copied.
        lost: how many could not be read.
        problem: what kept the model or the thumbnails from being copied whole, a sentence; "" when
            nothing did. Thumbnails, which can be made again, never keep a snapshot from being made.
    """

    items: int
    lost: int
    problem: str


def snapshot_index(uri: str, target: Path, *, salvage: bool = False) -> SnapshotReport:
    """Write an index as it is now to another folder, while others read and write it.

    Args:
        uri: the index folder.
        target: new, or empty.
        salvage: copy what is readable of a damaged index, and leave out the rest.

    The folder appears when the copy is complete; a snapshot that fails or is killed leaves nothing
    under its name.

    Raises:
        UsageError: the target is inside the index, or is not empty.
        DataError: the index or its model is damaged, and `salvage` is off.
    """
    folder = Catalog(Path(uri)) if salvage else _folder(uri, "snapshot")
    _check_outside(folder, target)
    _check_free(target)
    problems: list[str] = []
    with replace_folder(target) as new:  # whole, or not at all
        with Store.open(folder.path, salvage=salvage) as store:
            there = store.snapshot(new)
        copied = read_header(new, salvage=False)
        if (model := folder.model_of(copied.model)) is not None:
            try:
                Catalog(new).put_model(model, follow_links=False)
            except DataError as error:
                if not salvage:
                    raise
                problems.append(str(error))
        copy_images_taken(folder.path, new)
        copy_manifests(folder.path, new)
        if problem := folder.copy_thumbnails(new):
            problems.append(problem)
        with Store.open(new) as copy:
            found = len(copy)
        if not salvage:
            _check_same(folder, copied)
        _check_free(target)  # still, since it is replaced now
    return SnapshotReport(found, there - found, "; ".join(problems))


def copy_index(source: str, target: str, *, track: Track) -> CopyReport:
    """Copy an index to another place of any kind; between folders, with model and thumbnails.

    Raises:
        UsageError: the target holds something else, or is inside the source.
        DataError: source and target differ after the copy.
        InterruptedRunError: Ctrl-C; the same call continues.
    """
    if (folder := Catalog.at(source)) is not None:
        _check_outside(folder, Path(target))
    try:
        report = copy_between(source, target, track=track)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "stopped by Ctrl-C; run the same command again to continue"
        ) from None
    here, there = Catalog.at(source), Catalog.at(target)
    if here is not None and there is None and read_header(here.path, salvage=False).vectors:
        logger.warning("%s keeps no vectors; those of %s are left out", target, source)
    if here is not None and there is not None:
        copied = read_header(there.path, salvage=False)
        if (model := here.model_of(copied.model)) is not None:
            there.put_model(model, follow_links=False)
        _check_same(here, copied)
        copy_images_taken(here.path, there.path)
        copy_manifests(here.path, there.path)
        if problem := here.copy_thumbnails(there.path):
            logger.warning("the thumbnails are not copied: %s", problem)
        with Store.open(here.path) as source_store, Store.open(there.path) as target_store:
            carry_words(source_store, target_store, track=track)
    return report


def _check_same(folder: Catalog, copied: Header) -> None:
    """Refuse a copy whose model is another than that of its codes."""
    if not read_header(folder.path, salvage=False).is_alike(copied):
        raise MigratedError(
            f"{folder.path} was migrated to another model while it was copied; remove what was "
            "copied, if anything is there, and copy again"
        )


def _check_free(target: Path) -> None:
    if Store.exists(target):
        raise UsageError(f"{target} exists and is not empty; give a folder that is new or empty")


def _check_outside(folder: Catalog, target: Path) -> None:
    if target.resolve().is_relative_to(folder.path.resolve()) and target != folder.path:
        raise UsageError(f"{target} is inside the index {folder.path}; give a folder beside it")


def _folder(uri: str, verb: str) -> Catalog:
    folder = Catalog.at(uri)
    if folder is None:
        if "://" not in uri and not Path(uri.partition("#")[0]).exists():
            raise UsageError(f"{uri} does not exist; give an index folder")
        raise UsageError(
            f"{uri} is not an index folder; `index {verb}` works on folders only, and Milvus has "
            "its own tools"
        )
    return folder
