"""One index folder takes over the data of another, codes of another model included, in one step."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from proxyhash.errors import ProxyhashError
from proxyhash.files import check_folder
from proxyhash.index.store import database
from proxyhash.index.store.disk import disk_errors, sync
from proxyhash.index.store.generation import database_path
from proxyhash.index.store.header import Header
from proxyhash.index.store.word_index import connect_words, words_path

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["adopt_generation"]


def adopt_generation(folder: Path, old: Header, other: Path) -> Header:
    """Make the data of another index folder, which no process has open, the current generation.

    Nothing is copied where the files can have a second name. Once they are current, `other` is not
    an index any more.

    Args:
        folder: the index folder, locked for writing.
        old: its header.
        other: on the same disk, such as in the folder itself.

    Raises:
        DataError: the other folder is not an index, or is damaged.
        ProxyhashError: it is open elsewhere, or there is no room; the old data stay current.
    """
    source = Header.load(other)
    header = source.with_(generation=old.generation + 1, created=old.created)
    data = source.generation_folder(other)
    target = header.generation_folder(folder)
    with disk_errors(folder):
        check_folder(data)
        try:
            shutil.rmtree(target, ignore_errors=True)  # of an adoption that did not end
            _put_header(database_path(data), header)
            if (words := words_path(data)) is not None:
                _settle_words(words)
            _link_files(data, target)
            header.save(folder)
        except BaseException:
            if Header.load(folder).generation != header.generation:
                shutil.rmtree(target, ignore_errors=True)
            raise
        (other / "header.json").unlink()  # whoever wrote there would cut what is appended here
        sync(folder)
    return header


def _put_header(path: Path, header: Header) -> None:
    """Put another header into a database, and all of its content into the one file."""
    connection = database.connect(path, write=True)
    try:
        with database.transaction(connection, path, write=True):
            connection.execute("UPDATE header SET json = ?", (json.dumps(header.as_json()),))
        _settle(connection, path)
    finally:
        connection.close()


def _settle_words(path: Path) -> None:
    """Put all content of a word index into the one file."""
    connection = connect_words(path, write=True)
    try:
        _settle(connection, path)
    finally:
        connection.close()


def _settle(connection: database.Connection, path: Path) -> None:
    with database.database_errors(path):
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise ProxyhashError(f"{path} is open in another process; end that, and try again")


def _link_files(source: Path, target: Path) -> None:
    """Give the files of a folder second names, or copy them where the disk has none."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            _link_files(path, target / path.name)
        elif not path.name.endswith(("-wal", "-shm")):
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)
                sync(target / path.name)
    sync(target)
