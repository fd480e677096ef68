"""Make an index hold what a manifest or folder of images holds: add, change and remove."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxyhash.catalog.build import adding
from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.ingest import IndexReport, item_payload
from proxyhash.catalog.item_keys import key_of_source, key_of_stored
from proxyhash.catalog.manage import delete_from
from proxyhash.catalog.manifests import remember_manifest
from proxyhash.data import Collection, read_collection
from proxyhash.errors import DataError, InterruptedRunError, UsageError
from proxyhash.index.open import open_index
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.index import Index

__all__ = ["SyncReport", "sync_index"]

_AT_ONCE = 5_000
_NAMED = 3


@dataclass(frozen=True)
class SyncReport:
    """Counts of a sync, or of what it would do.

    Attributes:
        items: what was done with the items of the manifest. Where nothing was done yet, `replaced`
            counts those whose files, texts or other keys are not as recorded.
        removed: items of the index that the manifest does not have any more.
        away: items that it does not have, but that stay: their folder of images looks unmounted,
            or rows of the manifest cannot be read. `yes` removes them.
        places: some of the folders that are away.
    """

    items: IndexReport
    removed: int
    away: int
    places: tuple[str, ...] = ()


@dataclass
class _Plan:
    todo: list[int] = field(default_factory=list)  # rows that are encoded
    counts: IndexReport = field(default_factory=IndexReport)
    gone: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    places: dict[str, None] = field(default_factory=dict)


def sync_index(
    uri: str,
    manifest: Path,
    *,
    model: Path | None = None,
    thumbnails: bool | None = None,
    device: str = "cpu",
    on_bad_item: str = "fail",
    label_separator: str | None = None,
    dry_run: bool = False,
    yes: bool = False,
    track: Track = silent,
) -> SyncReport:
    """Add, change and remove items of an index until it holds those of a manifest.

    Items whose text, keys, image path, size and time of modification are as they were when they
    were stored are not encoded again. Every batch is kept, so a sync that was stopped goes on from
    there. Removing comes last.

    Args:
        uri: index folder or address.
        manifest: the items: a manifest, or a folder of images.
        model: as for `add_to_index`.
        thumbnails: as for `add_to_index`.
        device: where the model runs.
        on_bad_item: "fail" or "skip", as for `add_to_index`.
        label_separator: as of `read_collection`.
        dry_run: change nothing, and return what would be done.
        yes: also remove more than half of the items, and those that look away.
        track: progress callback.

    Raises:
        UsageError: more than half of the items would be removed.
        InterruptedRunError: Ctrl-C; says how to continue.
    """
    collection = read_collection(manifest, on_bad_item=on_bad_item, label_separator=label_separator)
    with closing(open_index(uri, write=not dry_run)) as index:
        folder = Catalog.at(uri)
        plan = _Plan()
        _find_changes(plan, index, folder, collection, track)
        _find_gone(plan, index, collection, track)
        if yes:
            plan.gone += plan.away
            plan.away = []
        count = len(index)
        if 2 * len(plan.gone) > count and not yes and not dry_run:
            raise UsageError(
                f"{manifest} lacks {len(plan.gone):,} of the {count:,} items of {uri}; is it the "
                "right one, and all of it there? --dry-run says what would be done, and --yes "
                "removes them"
            )
        report = plan.counts
        if plan.todo and not dry_run:
            items = [collection.items[row] for row in plan.todo]
            try:
                with adding(
                    index,
                    uri,
                    collection,
                    model=model,
                    thumbnails=thumbnails,
                    device=device,
                    on_bad_item=on_bad_item,
                    track=track,
                ) as add:
                    report = add(Collection.of(collection.path, items, skipped=collection.skipped))
            except InterruptedRunError:
                raise InterruptedRunError(
                    "stopped by Ctrl-C; what was stored stays, and nothing was removed yet: run "
                    "the same command again to continue"
                ) from None
        if not dry_run and folder is not None:
            remember_manifest(folder.path, collection)
        if not dry_run:
            delete_from(index, folder, plan.gone, track=track)
    return SyncReport(report, len(plan.gone), len(plan.away), tuple(plan.places)[:_NAMED])


def _find_changes(
    plan: _Plan, index: Index, folder: Catalog | None, collection: Collection, track: Track
) -> None:
    """Put the rows that are to be encoded into the plan, and count all of them."""
    stored = folder.thumbnails if folder else None
    images = collection.sources("image")
    new = changed = same = kept = 0
    starts = range(0, len(collection), _AT_ONCE)
    for start in track(starts, "comparing items", len(starts)):
        ids = collection.ids[start : start + _AT_ONCE]
        before = index.get_many(ids)
        known = folder.keys.get_many(ids) if folder else {}
        shown = set(ids) if stored is None else stored.present(ids)
        for row, id_ in enumerate(ids, start=start):
            item = before.get(id_)
            key = _key(collection, row)
            recorded = known.get(id_)
            if item is None:
                new += 1
            elif key is None:
                kept += 1
            elif recorded == (key, key_of_stored(item)) and (id_ in shown or images[row] is None):
                same += 1
                continue
            else:
                changed += 1
            plan.todo.append(row)
    plan.counts = IndexReport(
        added=new, replaced=changed, unchanged=same, kept=kept, skipped=collection.skipped
    )


def _key(collection: Collection, row: int) -> bytes | None:
    try:
        payload = item_payload(collection.items[row], collection)
    except DataError:
        return None
    return key_of_source(payload, collection, row)


def _find_gone(plan: _Plan, index: Index, collection: Collection, track: Track) -> None:
    """Put the items that the collection does not have into the plan."""
    listed = collection.path.is_dir()  # the files themselves say which items there are
    whole: dict[Path, bool] = {}
    batches = index.items(batch=_AT_ONCE)
    for item in track((one for some in batches for one in some), "looking for items", len(index)):
        row = collection.positions.get(item.id)
        if row is not None:
            if not collection.items[row].sources:  # nothing to find it by any more
                plan.gone.append(item.id)
            continue
        image = item.payload.get("image")
        place = (collection.root / image).parent if isinstance(image, str) else None
        if place is not None and place not in whole:
            whole[place] = _is_there(place)
        if collection.skipped:
            plan.away.append(item.id)
            plan.places.setdefault(f"{collection.path}, whose rows cannot all be read")
        elif listed and place is not None and not whole[place]:
            plan.away.append(item.id)
            plan.places.setdefault(str(place))
        else:
            plan.gone.append(item.id)


def _is_there(folder: Path) -> bool:
    """Whether a folder can be read and holds something; an empty one looks unmounted."""
    try:
        return any(folder.iterdir())
    except OSError:
        return False
