"""Reads the columns that a filter needs, while other threads search the same index."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxyhash.errors import DataError
from proxyhash.index.filters import conditions_of
from proxyhash.index.store import columns, database
from proxyhash.index.store.content import content_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxyhash.index.filters import Filter
    from proxyhash.index.store.access import Access
    from proxyhash.index.store.column_cache import Work
    from proxyhash.index.store.generation import Generation

    Behind = Callable[[Generation], Work | None]

__all__ = ["reading_filtered", "reading_when"]


@contextmanager
def reading_filtered(access: Access, filter: Filter | None) -> Iterator[Generation]:  # noqa: A002
    """Let a block see the index at one moment, at which the filter's columns are complete.

    Raises:
        StoppedError: the caller asked for that while columns were read.
    """
    if filter is None:
        with access.reading() as generation:
            yield generation
        return
    conditions = conditions_of(filter)
    fields = {condition.field for condition in conditions}

    def behind(generation: Generation) -> Work | None:
        rows = generation.rows.count
        work = generation.columns.behind(conditions, rows=rows)
        return work or generation.columns.unasked(filter, rows=rows)

    with reading_when(access, behind, fields=fields) as generation:
        yield generation


@contextmanager
def reading_when(
    access: Access, behind: Behind, *, fields: set[str] | None = None
) -> Iterator[Generation]:
    """Let a block see the index at one moment, at which nothing is behind.

    What takes long is read outside the lock, by a connection of its own. A state that is read
    there is never newer than the one that the block sees, and a row's payload never changes.

    Args:
        access: to the index.
        behind: returns the next piece of work, None when there is none.
        fields: whose columns are needed.
    """
    wanted: list[Generation] = []
    try:
        while True:
            with access.reading() as generation:
                if generation not in wanted:
                    generation.columns.want(fields or ())
                    wanted.append(generation)
                while (work := behind(generation)) and work.left <= columns.STEP:
                    with content_errors(generation.path):
                        work.keep(work.fetch(generation.database))
                if work is None:
                    yield generation
                    return
            _read(access, generation, behind)
    finally:
        with access.turn():
            for generation in wanted:
                generation.columns.release(fields or ())


def _read(access: Access, generation: Generation, behind: Behind) -> None:
    """Do work until little is left, or the generation is not the current one any more."""
    try:
        connection = database.connect(generation.path, write=False)
    except DataError:
        with access.reading() as now:
            if now is generation:
                raise
        return
    try:
        while True:
            with access.turn():
                work = behind(generation)
            if work is None or work.left <= columns.STEP:
                return
            with (
                database.transaction(connection, generation.path, write=False),
                content_errors(generation.path),
            ):
                found = work.fetch(connection)
            with access.turn(), content_errors(generation.path):
                work.keep(found)
    finally:
        connection.close()
