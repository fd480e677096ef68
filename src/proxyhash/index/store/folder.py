"""The files of an index folder: which generation counts, and how one takes another's place.

header.json              what the index is, and which generation counts
lock                     held by the process that writes
generation-000001/
    items.sqlite         what is committed; ids and payloads
    image.codes          a code a row, and so on for every modality
    order.rows           a label a row; labels compare as ids do
    engines/             search structures, made again where they are missing
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.index.store import database
from proxyhash.index.store.disk import disk_errors, sync
from proxyhash.index.store.generation import Generation, database_path
from proxyhash.index.store.header import Header
from proxyhash.index.store.locking import WriterLock
from proxyhash.index.store.salvage import hide_damage
from proxyhash.index.store.transfer import copy_generation

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "header_stamp",
    "make_folder",
    "open_generation",
    "read_header",
    "sweep",
    "switch_generation",
]

_ATTEMPTS = 10


def make_folder(folder: Path, header: Header, *, source: Generation | None = None) -> WriterLock:
    """Make an index folder, empty or with the items of another index, and lock it for writing.

    Raises:
        UsageError: there is something in the folder already.
        ProxyhashError: the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already and is not empty; name a folder that is new")
    there = folder.exists()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(folder)
        try:
            _fill(header.generation_folder(folder), header, source)
            header.save(folder)
            sync(folder)
        except BaseException:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
            if there:
                folder.mkdir(exist_ok=True)
            raise
    return lock


def read_header(folder: Path, *, salvage: bool) -> Header:
    """Read the header of an index; to salvage one, from its database where need be.

    Raises:
        DataError: the folder is no index, or damaged.
    """
    try:
        return Header.load(folder)
    except DataError:
        if not salvage:
            raise
        generations = sorted(folder.glob("generation-*"), reverse=True)
        for path in generations:
            if database_path(path).is_file():
                return Header.from_json(database.read_header(database_path(path)), path=path)
        raise


def open_generation(folder: Path, *, write: bool, salvage: bool, engine: str) -> Generation:
    """Open the generation that counts.

    Raises:
        DataError: the folder is no index, or damaged.
    """
    attempts = 0
    while True:
        attempts += 1
        header = read_header(folder, salvage=salvage)
        generation = None
        try:
            path = header.generation_folder(folder)
            generation = Generation(path, header, write=write, engine=engine)
            with generation.transaction():
                _take_in(generation, write=write, salvage=salvage)
        except BaseException as error:
            if generation is not None:
                generation.close()
            # A writer may have compacted the index since its header was read.
            moved = isinstance(error, ProxyhashError) and attempts < _ATTEMPTS
            if not moved or read_header(folder, salvage=salvage) == header:
                raise
        else:
            return generation


def _take_in(generation: Generation, *, write: bool, salvage: bool) -> None:
    if salvage:
        hide_damage(generation)
        return
    generation.check()
    if write:
        generation.roll_back()


def switch_generation(folder: Path, old: Generation) -> Header:
    """Write a compacted copy of the open generation and let it take its place."""
    header = old.header.with_(generation=old.header.generation + 1)
    with disk_errors(folder):
        target = header.generation_folder(folder)
        try:
            _fill(target, header, old)
            header.save(folder)
        except BaseException:
            if Header.load(folder).generation != header.generation:
                shutil.rmtree(target, ignore_errors=True)
            raise
        sync(folder)
    return header


def sweep(folder: Path) -> None:
    """Remove generations that do not count; only the writer may."""
    current = Header.load(folder).generation_folder(folder)
    for path in folder.glob("generation-*"):
        if path != current:
            shutil.rmtree(path, ignore_errors=True)


def header_stamp(folder: Path) -> tuple[int, int] | None:
    """Return what changes whenever `header.json` does, None where it cannot be read."""
    try:
        stat = (folder / "header.json").stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _fill(target: Path, header: Header, source: Generation | None) -> None:
    if source is None:
        Generation.create(target, header)
    else:
        copy_generation(source, target, header)
