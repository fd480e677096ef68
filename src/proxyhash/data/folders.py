"""Folders of images without a manifest: what is in them, and the records they stand for."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from proxyhash.data.readers.base import SPLITS, Layout, Problem, Reader, Record, Records, Table
from proxyhash.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["FOLDER", "has_images", "id_of_image", "is_image_name"]

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jpeg", "jpg", "jxl"),
        *("pbm", "pgm", "png", "ppm", "tif", "tiff", "webp"),
    )
)
_SYSTEM = frozenset(
    {
        *("thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "@eadir", "lost+found"),
        *("$recycle.bin", "#recycle", "@recycle", "system volume information"),  # deleted files
        *("#snapshot", "@recently-snapshot"),  # copies of the whole folder
    }
)
_SHOWN = 5


@dataclass(frozen=True)
class _Found:
    images: list[str]  # paths relative to the folder, sorted
    hidden: int  # hidden files and folders, and those of operating systems
    others: Counter[str]  # other files by suffix
    closed: list[tuple[str, str]]  # folders that cannot be read, with the reason


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    return _suffix(name) in IMAGE_SUFFIXES and not _is_hidden(name)


def id_of_image(path: str) -> str:
    """Return the id that an image's path stands for: the path without the suffix, with slashes."""
    plain = PurePosixPath(path.replace("\\", "/"))
    return str(plain.with_suffix("") if _suffix(plain.name) in IMAGE_SUFFIXES else plain)


def has_images(folder: Path) -> bool:
    """Return whether there is an image in a folder or in the folders inside it."""
    return any(is_image_name(name) for _, _, files in _walk(folder) for name in files)


def read_folder(folder: Path) -> Table:
    """Return one record per image, in the order of their paths, and its row is the place in it.

    The id comes from the path. When all images are in folders, two of them at least, these are the
    labels; folders named like the parts of a split ("train", "test") say the split instead, and
    the folders inside them the labels. Links are followed. Hidden files and those of operating
    systems are ignored and counted, as all other files are.

    Raises:
        ManifestError: the folder cannot be read.
    """
    found = _find(folder)
    parts = [PurePosixPath(path).parts for path in found.images]
    depth = _containers(parts)
    splits = bool(parts) and all(
        len(each) > depth + 1 and each[depth].lower() in SPLITS for each in parts
    )  # several folders, for a single one would count as a container
    level = depth + splits
    classes = Counter(each[level] for each in parts if len(each) > level + 1)
    labeled = sum(classes.values()) == len(parts) and len(classes) > 1
    notes = [f"labels from {len(classes)} folders ({_some(classes)})" if labeled else "no labels"]
    if splits:
        notes.append(f"split from folders ({_some(sorted({each[depth] for each in parts}))})")
    if found.hidden:
        notes.append(f"{found.hidden:,} hidden or system files ignored")
    if found.others:
        kinds = ", ".join(f"{count:,} {name}" for name, count in found.others.most_common(_SHOWN))
        notes.append(f"other files ignored: {kinds}")

    def records() -> Records:
        for row, (path, each) in enumerate(zip(found.images, parts, strict=True), start=1):
            if not path.isprintable() and not _is_text(path):
                yield Problem(row, f"the file name {path!a} is not UTF-8; rename the file")
                continue
            values: dict[str, object] = {"image": path}
            if labeled:
                values["labels"] = [each[level]]
            if splits:
                values["split"] = each[depth].lower()
            yield Record(row, values)
        for row, (path, reason) in enumerate(found.closed, start=len(parts) + 1):
            yield Problem(row, f"the folder {path} cannot be read: {reason}")

    return Table(records(), Layout(notes=tuple(notes), ids_from_images=True))


FOLDER = Reader(
    "folder", read_folder, (), (), "a folder with images in it, or one folder per class"
)


def _containers(parts: list[tuple[str, ...]]) -> int:
    """Return how many folders inside each other hold all images, such as a single `images/`."""
    depth = 0
    while parts and all(len(each) > depth + 1 for each in parts):
        if len({each[depth] for each in parts}) > 1:
            break
        depth += 1
    return depth


def _find(folder: Path) -> _Found:
    found = _Found([], 0, Counter(), [])
    hidden = 0
    for inside, folders, files in _walk(folder, closed=found.closed):
        hidden += sum(map(_is_hidden, [*folders, *files]))
        for name in files:
            if is_image_name(name):
                found.images.append(f"{inside}/{name}" if inside else name)
            elif not _is_hidden(name):
                found.others[_suffix(name) or "without suffix"] += 1
    return _Found(sorted(found.images), hidden, found.others, found.closed)


def _walk(
    folder: Path, *, closed: list[tuple[str, str]] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder's path below `folder`, and the names of the folders and files in it.

    Links to folders are followed, but none into a folder that is being read already.
    """
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        inside, above = waiting.pop()
        place = folder / inside
        folders: list[str] = []
        files: list[str] = []
        try:
            status = place.stat()
            key = (status.st_dev, status.st_ino)
            if key in above:
                continue
            with os.scandir(place) as entries:
                for entry in entries:
                    (folders if entry.is_dir() else files).append(entry.name)
        except OSError as error:
            if not inside:
                reason = error.strerror or str(error)
                raise ManifestError(f"{folder} cannot be read: {reason}") from error
            if closed is not None:
                closed.append((inside, error.strerror or str(error)))
            continue
        yield inside, folders, files
        waiting += [
            (f"{inside}/{name}" if inside else name, above | {key})
            for name in sorted(folders, reverse=True)
            if not _is_hidden(name)
        ]


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
