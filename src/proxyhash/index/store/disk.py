"""What every file of an index folder shares: errors as sentences, and being on the disk."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxyhash.errors import ProxyhashError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["disk_errors", "sync"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say in a sentence why a file or folder cannot be written.

    Raises:
        ProxyhashError: names the file and the next step.
    """
    try:
        yield
    except OSError as error:
        step = "check the permissions and the disk"
        if error.errno in _NO_ROOM:
            step = "make room and run again; what was acknowledged before is kept"
        raise ProxyhashError(
            f"{error.filename or path} cannot be written ({error.strerror}): {step}"
        ) from error


def sync(path: Path) -> None:
    """Flush a file to the disk, or a folder with the names of the files made or renamed in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
