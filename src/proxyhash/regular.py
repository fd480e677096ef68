"""Open the files of our own folders, which may come from a stranger: regular files and no links."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from proxyhash.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "check_folder",
    "check_regular",
    "hold_lock",
    "kind_of",
    "names_another_file",
    "open_regular",
    "regular_handle",
    "shown",
]

_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_NOT_FOLLOWED = {errno.ELOOP, errno.ENXIO, errno.EISDIR}


def regular_handle(
    path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, permissions: int = 0o666
) -> int:
    """Return a descriptor of a regular file: no link is followed, no pipe or device opened.

    Args:
        path: a file of one of our folders; the folder itself may be reached by a link.
        flags: as for `os.open`.
        permissions: of a file that is created, less the umask.

    Raises:
        DataError: "PATH is a symbolic link, not a regular file; ...".
        OSError: as `os.open` (a file that is missing, or not permitted).
    """
    guarded = flags | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        # Truncated below, when it is known to be a regular file.
        handle = os.open(path, guarded & ~os.O_TRUNC, permissions)
    except OSError as error:
        if error.errno in _NOT_FOLLOWED:
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _not_regular(path)
    if flags & os.O_TRUNC:
        os.ftruncate(handle, 0)
    return handle


def open_regular(
    path: str | os.PathLike[str], mode: str = "rb", *, encoding: str | None = None
) -> IO[Any]:
    """Open a regular file as `open` does: no link is followed, no pipe or device opened.

    Raises:
        DataError: "PATH is a symbolic link, not a regular file; ...".
        OSError: as `open`.
    """
    text = None if "b" in mode else encoding or "utf-8"
    return open(path, mode, encoding=text, opener=regular_handle)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder of ours in which something is neither a folder nor a regular file.

    For what is opened by others than `regular_handle`, such as SQLite. The folder itself may not be
    a link either.

    Raises:
        DataError: "PATH is a symbolic link, not a regular file; ...".
        OSError: a folder cannot be read.
    """
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise DataError(f"{shown(folder)} is {kind_of(folder) or 'a file'}, not a folder")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                check_folder(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                raise _not_regular(entry.path)


def check_regular(*paths: str | os.PathLike[str]) -> None:
    """Refuse files of ours that are there, but links, pipes or devices.

    Raises:
        DataError: "PATH is a symbolic link, not a regular file; ...".
    """
    for path in paths:
        if os.path.lexists(path) and kind_of(path):
            raise _not_regular(path)


def _not_regular(path: str | os.PathLike[str]) -> DataError:
    return DataError(
        f"{shown(path)} is {kind_of(path)}, not a regular file; "
        "proxyhash neither reads nor writes it: put a copy of the file in its place"
    )


def names_another_file(journal: str | os.PathLike[str]) -> bool:
    """Whether a journal of SQLite ends with the name of a file that belongs to several databases.

    Playing such a journal back deletes that file, wherever it is; one of a single database, as ours
    are, has no such end.

    Raises:
        DataError: it is not a regular file.
    """
    try:
        with open_regular(journal) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_JOURNAL)))
            return size >= 16 and file.read() == _JOURNAL
    except FileNotFoundError:
        return False


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return what is at a path, such as "a pipe"; "" for a regular file."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "something else"
    kinds = {
        stat.S_IFREG: "",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as it can be printed, also where it is not UTF-8."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


@contextmanager
def hold_lock(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Hold a lock file while a block runs; the kernel drops it when the process ends.

    The file says which process holds it. It stays afterwards, since another process may have it
    open already.

    Args:
        path: the lock file, made where it is missing.
        what: what is written meanwhile, for the sentence, such as the run folder.

    Raises:
        DataError: "another process (pid 123) is writing to WHAT; ...", or the file is a link.
        OSError: the file cannot be made.
    """
    try:
        import fcntl
    except ModuleNotFoundError as error:  # pragma: no cover -- Windows
        raise MissingExtraError(
            f"writing to {what} needs file locks of a POSIX system; use one"
        ) from error
    handle = regular_handle(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise DataError(
                f"another process (pid {owner}) is writing to {what}; "
                "wait until it is done, or choose another folder"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
