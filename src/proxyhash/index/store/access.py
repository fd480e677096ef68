"""Access to an index folder, for reading or writing, while its writer changes it."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from proxyhash.errors import DataError, MigratedError, ProxyhashError, UsageError
from proxyhash.index.engines import ENGINES
from proxyhash.index.store.adoption import adopt_generation
from proxyhash.index.store.database import MovedError
from proxyhash.index.store.disk import WriterLock, disk_errors
from proxyhash.index.store.folder import (
    header_stamp,
    open_generation,
    read_header,
    sweep,
    switch_generation,
)
from proxyhash.index.store.turns import Turns
from proxyhash.stopping import check_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxyhash.index.store.generation import Generation
    from proxyhash.index.store.header import Header

__all__ = ["Access", "Mode", "whole"]

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 20


def whole(ask: Callable[P, T]) -> Callable[P, T]:
    """Let a function ask again when the index changed while it was read without locks.

    Raises:
        MovedError: it changes all the time.
    """

    @wraps(ask)
    def asked(*args: P.args, **options: P.kwargs) -> T:
        for _ in range(_ATTEMPTS - 1):
            with suppress(MovedError):
                return ask(*args, **options)
        return ask(*args, **options)

    return asked


@dataclass(frozen=True, slots=True)
class Mode:
    """Options with which a folder is opened.

    Attributes:
        engine: name of the engine that searches.
        salvage: whether damaged rows are skipped instead of refused.
        pinned: whether reading goes on with what is open when the index is migrated to another
            model; else that is an error.

    Raises:
        UsageError: there is no such engine.
    """

    engine: str = "auto"
    salvage: bool = False
    pinned: bool = False

    def __post_init__(self) -> None:
        ENGINES[self.engine]


class Access:
    """The current generation of an index, opened; threads take turns.

    Args:
        folder: the index folder.
        mode: how it is opened.
        writer: the lock that is held for writing, None for reading; it is released at the end.
    """

    def __init__(self, folder: Path, mode: Mode, *, writer: WriterLock | None) -> None:
        self.folder = folder
        self.mode = mode
        self._writer = writer
        self._lock = Turns()
        self._generation: Generation | None = None
        self._superseded = False
        try:
            if writer is not None:
                sweep(folder)
            self._load()
        except BaseException:
            self.close()
            raise

    @property
    def writable(self) -> bool:
        """Whether the index can be changed."""
        return self._writer is not None

    @property
    def header(self) -> Header:
        """The header of the generation that is open."""
        return self._opened().header

    @property
    def superseded(self) -> bool:
        """Whether the folder holds codes of another model by now; waits for no one."""
        opened = self._generation
        if not self._superseded and opened is not None and self._writer is None:
            stamp = header_stamp(self.folder)
            if stamp is not None and stamp != self._stamp:
                with suppress(ProxyhashError):
                    header = read_header(self.folder, salvage=self.mode.salvage)
                    self._superseded = not header.is_alike(opened.header)
        return self._superseded

    @contextmanager
    def reading(self) -> Iterator[Generation]:
        """Let a block see the index at one moment, the present one."""
        with self._lock:
            check_stop()  # after waiting for a turn
            self._opened()
            if self._writer is None and header_stamp(self.folder) != self._stamp:
                self._catch_up()
            if self._opened().database.moved:
                self._reload()
            generation = self._opened()
            with generation.transaction():
                if not self.mode.salvage:
                    generation.refresh()
                yield generation

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let a block change what threads share, without looking at the index."""
        with self._lock:
            yield

    @contextmanager
    def writing(self) -> Iterator[Generation]:
        """Let a block change the index, in transactions of its own."""
        with self._lock:
            self._check_writer()
            generation = self._opened()
            if not generation.path.exists():  # changes would go to files without a name
                raise DataError(f"{generation.path} is gone; nothing can be stored in it any more")
            yield generation

    def compact(self, **vectors: Any) -> None:
        """Rewrite the generation without dead rows and open that.

        Args:
            vectors: how vectors are kept in it, as of `switch_generation`; default as before.
        """
        with self._lock:
            self._check_writer()
            try:
                with self.reading() as generation:
                    switch_generation(self.folder, generation, **vectors)
            finally:
                self._catch_up()  # also after a failure: what is written must go where it counts
            sweep(self.folder)

    def adopt(self, other: Path) -> None:
        """Replace everything by what another index folder holds, and open that."""
        with self._lock:
            self._check_writer()
            opened = self._opened()
            adopt_generation(self.folder, opened.header, other)
            self._load()
            opened.close()
            sweep(self.folder)

    def yield_writing(self) -> None:
        """Let another process write; reading goes on."""
        with self._lock:
            self._check_writer()
            writer, self._writer = self._writer, None
            try:
                self._reload()
            except BaseException:
                self._writer = writer
                raise
            assert writer is not None
            writer.release()

    def claim_writing(self) -> None:
        """Write again after `yield_writing`.

        Raises:
            ProxyhashError: another process is writing.
            MigratedError: the codes are of another model by now.
        """
        with self._lock:
            self._opened()
            with disk_errors(self.folder):
                self._writer = WriterLock(self.folder)
            try:
                self._check_current()
                sweep(self.folder)
                self._reload()
            except BaseException:
                self._writer.release()
                self._writer = None
                raise

    def close(self) -> None:
        """Close the files and let others write."""
        with self._lock:
            if self._generation is not None:
                if self._writer is not None:
                    self._note_counts(self._generation)
                self._generation.close()
                self._generation = None
            if self._writer is not None:
                self._writer.release()

    def _load(self) -> None:
        self._stamp = header_stamp(self.folder)
        self._generation = self._open()

    def _open(self) -> Generation:
        return open_generation(
            self.folder,
            write=self._writer is not None,
            salvage=self.mode.salvage,
            engine=self.mode.engine,
        )

    def _catch_up(self) -> None:
        """Open the current generation where another one is open."""
        stamp = header_stamp(self.folder)
        header = read_header(self.folder, salvage=self.mode.salvage)
        opened = self._opened()
        if header.generation != opened.header.generation:
            self._reload()
        else:
            self._stamp = stamp

    def _reload(self) -> None:
        opened, stamp = self._opened(), header_stamp(self.folder)
        generation = self._open()
        if generation.header.is_alike(opened.header):
            self._stamp, self._generation = stamp, generation
            opened.close()
            return
        generation.close()
        self._superseded = True
        if not self.mode.pinned or opened.database.moved:
            raise self._migrated()
        self._stamp = stamp  # what is open stays whole, though its files may have no names any more

    def _check_current(self) -> None:
        header = read_header(self.folder, salvage=self.mode.salvage)
        if self._superseded or not header.is_alike(self._opened().header):
            self._superseded = True
            raise self._migrated()

    def _migrated(self) -> MigratedError:
        return MigratedError(
            f"{self.folder} holds codes of another model since it was opened, by `proxyhash index "
            "migrate`; open it again, and encode queries with the model in it"
        )

    def _note_counts(self, generation: Generation) -> None:
        """Put the counts into the header, for people who look at it."""
        with suppress(OSError, ProxyhashError):
            with generation.transaction():
                generation.refresh()
            counts = {"items": generation.rows.items, "rows": generation.rows.count}
            if generation.header.counts != counts:
                generation.header.with_(counts=counts).save(self.folder)

    def _check_writer(self) -> None:
        if self._writer is None:
            raise UsageError(
                f"{self.folder} is open for reading; open it with write=True to change it"
            )

    def _opened(self) -> Generation:
        if self._generation is None:
            raise UsageError(f"{self.folder} is closed; open it again")
        return self._generation
