"""Read and write files so that a crash leaves the old content readable, and nothing else is hurt.

Files of our own folders are opened by `open_regular` or `regular_handle`, which follow no link and
open neither pipes nor devices: a folder may come from a stranger. Files that the user names are
written by `write_output`, which streams to pipes and devices.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import DataError, UsageError
from proxyhash.regular import (
    check_folder,
    check_regular,
    hold_lock,
    kind_of,
    open_regular,
    regular_handle,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = [
    "check_folder",
    "check_output",
    "check_regular",
    "default_cache_folder",
    "hold_lock",
    "holds",
    "make_folders",
    "naming_full_disk",
    "open_regular",
    "read_json",
    "regular_handle",
    "replace_folder",
    "sha256_file",
    "streams",
    "write_atomic",
    "write_bytes",
    "write_json",
    "write_output",
    "write_text",
    "writing_output",
]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MOST_JSON = 64 << 20
_HEAD = 256 << 10
_PATIENCE = 10.0
"""Seconds that a pipe without a reader is waited for."""


def default_cache_folder() -> Path:
    """Return `$PROXYHASH_CACHE`, or `~/.cache/proxyhash`.

    Raises:
        UsageError: there is no home folder either.
    """
    if given := os.environ.get("PROXYHASH_CACHE"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "proxyhash"
    except RuntimeError as error:
        raise UsageError(
            "there is no home folder, so features are not cached; set PROXYHASH_CACHE to a folder"
        ) from error


@contextmanager
def naming_full_disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Re-raise an error for a full disk with the name of the file and the next step."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        advice = f"{error.strerror}; free some space and rerun; the previous file is unchanged"
        raise OSError(error.errno, advice, str(path)) from error


@contextmanager
def write_atomic(path: str | os.PathLike[str], *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed and renamed over `path`.

    The temporary file keeps the suffix of `path`, for libraries that look at it. When the block
    raises, the temporary file is removed and the old file stays as it was. A link is replaced by a
    file; what it points to stays.

    Args:
        path: what is written.
        private: whether only its owner may read it, from its creation on.

    Raises:
        UsageError: "PATH is a folder; give the name of a file": also for pipes and devices.
        OSError: the file cannot be written; for a full disk, names `path` and the next step.
    """
    path = Path(path)
    kind = kind_of(path) if os.path.lexists(path) else ""
    if kind not in ("", "a symbolic link"):
        raise UsageError(f"{shown(path)} is {kind}; give the name of a file")
    make_folders(path.parent)
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:  # it names the temporary file, which nobody knows
        raise type(error)(error.errno, error.strerror, str(path)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        with naming_full_disk(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if not private:  # mkstemp creates private files
                umask = os.umask(0)
                os.umask(umask)
                temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `folder`; on success it replaces that folder.

    When the block raises, the temporary folder is removed and the old folder stays as it was. An
    old folder is moved aside first, because a folder with content cannot be renamed over: a kill in
    that instant leaves it whole under a hidden name beside `folder`.

    Raises:
        UsageError: "PATH is a device, not a folder": also for files, pipes and the like.
    """
    if os.path.lexists(folder) and not folder.is_dir():  # a device would be replaced as well
        raise UsageError(f"{shown(folder)} is {kind_of(folder) or 'a file'}, not a folder")
    make_folders(folder.parent)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = scratch / "new", scratch / "old"
    new.mkdir()  # with the permissions the user's umask gives; those of `scratch` are narrower
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def make_folders(folder: Path) -> None:
    """Make a folder and those around it, where they are missing.

    Raises:
        UsageError: "photos.csv is a file, not a folder; choose another name".
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
        what = kind_of(there) or "a file"
        raise UsageError(f"{shown(there)} is {what}, not a folder; choose another name") from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes atomically."""
    with write_atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    with write_atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since they are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def writing_output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path for a file that the user named; on success that file is written.

    A regular file is written atomically. Into a pipe or a device, such as /dev/stdout, the content
    is streamed.

    Raises:
        UsageError: "PATH is a folder; give the name of a file", or nobody reads a pipe.
        OSError: the file cannot be written.
    """
    if not streams(path):
        with write_atomic(path) as temporary:
            yield temporary
        return
    with tempfile.TemporaryDirectory() as scratch:
        temporary = Path(scratch) / ("output" + Path(path).suffix)
        yield temporary
        _stream(temporary, path)


def write_output(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file that the user named; see `writing_output`."""
    with writing_output(path) as temporary:
        temporary.write_bytes(content)


def check_output(
    path: str | os.PathLike[str],
    what: str,
    *,
    ours: Callable[[bytes], bool],
    overwrite: bool = False,
) -> None:
    """Refuse to write over a file that is something else, such as a manifest; before long work.

    Args:
        path: what will be written by `writing_output`.
        what: what that is, for the sentence, such as "a page of proxyhash".
        ours: whether a file begins like that, from its first 256 KB.
        overwrite: replace it whatever it is.

    Raises:
        UsageError: "PATH exists and is not WHAT; ...", or it is a folder or a socket.
    """
    if streams(path) or not os.path.lexists(path):
        return
    if (kind := kind_of(path)) not in ("", "a symbolic link"):
        raise UsageError(f"{shown(path)} is {kind}; give the name of a file")
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:  # a link that leads nowhere
        return
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be replaced ({error.strerror})") from error
    if head and not overwrite and not ours(head):
        raise UsageError(
            f"{shown(path)} exists and is not {what}; choose another name, or replace it with "
            "--overwrite"
        )


def _stream(source: Path, path: str | os.PathLike[str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise UsageError(
                    f"nobody reads from the pipe {shown(path)}; start its reader first"
                ) from error
            time.sleep(0.05)
    with os.fdopen(handle, "wb") as target, source.open("rb") as content:
        os.set_blocking(handle, True)
        shutil.copyfileobj(content, target)


def streams(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a pipe or a device, or a name that the system has for an open file."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):  # /dev/stdout, where the shell has redirected it
        return os.fspath(path).startswith(("/dev/", "/proc/"))
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def read_json(path: str | os.PathLike[str], *, ours: bool = False) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        ours: whether it is in a folder of ours: then neither a link nor a pipe, nor huge.

    Raises:
        DataError: the file is missing, unreadable or not JSON; names the file and line.
    """
    path = Path(path)
    try:
        if not ours:
            return json.loads(path.read_text(encoding="utf-8-sig"))  # as Windows writes it
        with open_regular(path) as file:
            content = file.read(_MOST_JSON + 1)
        if len(content) > _MOST_JSON:
            raise DataError(f"{path} cannot be read: it has more than {_MOST_JSON >> 20} MB")
        return json.loads(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number too long, or nested too deep
        raise DataError(f"{path}: JSON that cannot be read ({error})") from error


def holds(folder: str | os.PathLike[str], name: str, *, keys: Collection[str]) -> bool:
    """Whether a folder has a JSON file of ours: only then may the folder be replaced.

    Other programs write files of such names as `config.json`, too.

    Args:
        folder: of which kind it is the question.
        name: the file that folders of this kind have.
        keys: some that the object in it has.
    """
    try:
        content = read_json(Path(folder) / name, ours=True)
    except DataError:
        return False
    return isinstance(content, dict) and set(keys) <= set(content)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the hex SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
