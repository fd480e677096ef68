"""Folder in an index where a migration to another model collects what is done.

In the index folder:

migration.lock           held by the process that migrates; it stays
migration/
    target.json          which model, of how many bits
    index/               an index of its own: the items that are encoded already
    done.sqlite3         see `ItemKeys`: of the old and the new item, by id
    handover             there while the index is wanted for writing, see `wants_handover`
model-0123456789abcdef/  the new model, complete; it counts once `header.json` names it
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.item_keys import ItemKeys
from proxyhash.errors import DataError
from proxyhash.files import hold_lock, read_json, regular_handle, write_json
from proxyhash.index.store import Store
from proxyhash.index.store.disk import disk_errors
from proxyhash.index.store.folder import read_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxyhash.codes.vectors import VectorKind
    from proxyhash.hashing import HashModel

__all__ = ["MigrationFolder", "is_settled", "wants_handover"]

_FORMAT = 1


class MigrationFolder:
    """Work of a migration on the disk: what is encoded, and of which stored item.

    Args:
        index: the index folder.
    """

    def __init__(self, index: Path) -> None:
        self.index = index
        self.path = index / "migration"
        self.done = ItemKeys(self.path / "done.sqlite3")

    @property
    def target(self) -> dict[str, object]:
        """Fingerprint and bits that were begun to migrate to; empty for none."""
        with suppress(DataError):
            found = read_json(self.path / "target.json", ours=True)
            if isinstance(found, dict) and found.get("format") == _FORMAT:
                return {name: found.get(name) for name in ("model", "bits")}
        return {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process migrate at a time.

        Raises:
            DataError: "another process (pid 123) is writing to the migration of INDEX; ...".
        """
        with (
            disk_errors(self.index),
            hold_lock(self.index / "migration.lock", f"the migration of {self.index}"),
        ):
            (self.path / "handover").unlink(missing_ok=True)
            yield

    def begin(self, model: HashModel, *, vectors: VectorKind | None = None) -> bool:
        """Make the place ready, and return whether it goes on with what an earlier call began.

        Args:
            model: the new one.
            vectors: how they are kept.
        """
        if self.is_for(model):
            with suppress(DataError), self.open() as store:
                if (store.modalities, store.vectors) == (tuple(model.modalities), vectors):
                    return True
        shutil.rmtree(self.path, ignore_errors=True)
        with disk_errors(self.path):
            self.path.mkdir()
            Store.create(
                self.path / "index",
                bits=model.bits,
                model=model.fingerprint,
                modalities=model.modalities,
                keep_vectors=vectors,
            ).close()
            write_json(self.path / "target.json", {"format": _FORMAT, **_of(model)})
        return False

    def is_for(self, model: HashModel) -> bool:
        """Whether a migration to this model was begun."""
        return self.target == _of(model)

    def open(self, *, write: bool = False) -> Store:
        """Open the index of what is encoded."""
        return Store.open(self.path / "index", write=write)

    def ask_for_writing(self) -> None:
        """Ask the process that writes the index to let it go for a moment."""
        with disk_errors(self.path):
            (self.path / "handover").touch()

    def remove(self) -> None:
        """Remove what was collected."""
        shutil.rmtree(self.path, ignore_errors=True)


def _of(model: HashModel) -> dict[str, object]:
    return {"model": model.fingerprint, "bits": model.bits}


def is_settled(uri: str) -> bool:
    """Whether the model of an index stands under its usual name: the migration is over."""
    folder = Catalog.at(uri)
    own = None
    if folder is not None:
        with suppress(DataError):
            own = folder.place_of_model(read_header(folder.path, salvage=False).model)
    return own is None or not own.exists()


def wants_handover(index: Path) -> bool:
    """Whether a migration waits until the process that writes an index lets it go."""
    if not (index / "migration" / "handover").exists():
        return False
    try:
        import fcntl

        handle = regular_handle(index / "migration.lock", os.O_RDWR)
    except (ModuleNotFoundError, OSError, DataError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False  # the process that asked has ended
