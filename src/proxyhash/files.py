"""Read and write files so that a crash leaves the old content readable."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "naming_full_disk",
    "read_json",
    "replace_folder",
    "sha256_file",
    "write_atomic",
    "write_bytes",
    "write_json",
    "write_text",
]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    raises, the temporary file is removed and the old file stays as it was.

    Args:
        path: what is written.
        private: whether only its owner may read it, from its creation on.

    Raises:
        OSError: the file cannot be written; for a full disk, names `path` and the next step.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
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
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
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


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON; names the file and line.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number too long, or nested too deep
        raise DataError(f"{path}: JSON that cannot be read ({error})") from error


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the hex SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
