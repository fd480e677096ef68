"""Files of an index folder: errors as sentences, flushed to the disk, one writer at a time."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxyhash.errors import MissingExtraError, ProxyhashError
from proxyhash.files import regular_handle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BusyError", "WriterLock", "disk_errors", "sync"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class BusyError(ProxyhashError):
    """Another process writes the folder."""


@contextmanager
def disk_errors(path: Path, *, verb: str = "written") -> Iterator[None]:
    """Turn errors of the system into errors that name the file and the next step.

    Args:
        path: named where the system names no file.
        verb: what cannot be done with it.

    Raises:
        ProxyhashError: names the file and the next step.
    """
    try:
        yield
    except OSError as error:
        step = "check the permissions and the disk"
        if error.errno in _NO_ROOM:
            step = "free disk space and run again; what was acknowledged before is kept"
        raise ProxyhashError(
            f"{error.filename or path} cannot be {verb} ({error.strerror}): {step}"
        ) from error


def sync(path: Path) -> None:
    """Flush a file to the disk, or a folder with the names of the files made or renamed in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class WriterLock:
    """Held by the one process that writes an index folder; the kernel drops it when that ends.

    The file `lock` says which process that is. It stays when the lock is dropped, since another
    process may have it open already.

    Args:
        folder: the index folder.

    Raises:
        BusyError: "FOLDER is being written by process 123; ...".
        OSError: the lock file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import fcntl
        except ModuleNotFoundError as error:  # pragma: no cover -- Windows
            raise MissingExtraError(
                "writing an index folder needs file locks of a POSIX system; "
                "use one, or an index on a Milvus server"
            ) from error
        path = folder / "lock"
        self._file = regular_handle(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise BusyError(
                f"{folder} is being written by process {owner}; an index has one writer at a "
                "time: wait until it is done, or open the index for reading"
            ) from error
        except BaseException:
            os.close(self._file)
            raise
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others write; releasing twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
