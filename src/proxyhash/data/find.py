"""Find the manifest that a path stands for: a file, one in a folder, or a folder of images."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.folders import FOLDER, has_images
from proxyhash.data.places import exists
from proxyhash.data.readers.base import READERS, Reader, Record
from proxyhash.data.readers.csv_table import read_csv, read_keys
from proxyhash.errors import ManifestError, UsageError, check_option

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["find_manifest"]

_SHOWN = 5
_COMPRESSED = frozenset({".gz", ".tgz", ".bz2", ".xz", ".zst"})  # of which tar files are read plain
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SAMPLE = 20  # rows of a table beside a folder that are looked at
_TEXT_TABLES = frozenset({".csv", ".tsv", ".txt"})  # whose header tells what they are


def find_manifest(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002
) -> tuple[Path, Reader]:
    """Return the manifest file that `path` stands for, and its reader.

    A file is read by the reader that claims its name, else by the one that claims its suffix. In a
    folder, `items.jsonl` comes first, then `metadata.jsonl`, `metadata.csv` and the other names
    that readers claim; then the one file with a claimed suffix that has columns of items, or a
    `.txt` file with columns of images and texts. A folder of images without any of these stands
    for itself, or for the one table beside it that names its images. Several Parquet or tar files,
    also in folders inside it, are one manifest, and the folder stands for itself.

    Raises:
        ManifestError: there is no file, no reader claims it, or several files are candidates.
        UsageError: `format` names no reader.
    """
    path = Path(path)
    candidates = (
        [READERS[check_option("format", format, READERS)]] if format else list(_by_precedence())
    )
    if not path.exists():
        raise ManifestError(
            f"{path} does not exist; give a manifest file or its folder{_hub_hint(path)}"
        )
    manifest = _manifest_in(path, candidates, any_kind=not format) if path.is_dir() else path
    if manifest.is_dir() and not format:
        return manifest, _reader_of_shards(manifest, candidates) or FOLDER
    if format:
        return manifest, candidates[0]
    for reader in candidates:
        if manifest.name in reader.names:
            return manifest, reader
    for reader in candidates:
        if manifest.suffix.lower() in reader.suffixes:
            return manifest, reader
    if path.is_dir():
        return manifest, READERS["csv"]  # a table in a .txt file
    if manifest.suffix.lower() == ".json":
        raise ManifestError(
            f"{manifest}: JSON is read as lines, one item in each: write items.jsonl, such as with "
            f"jq -c '.[]' {manifest.name} > items.jsonl"
        )
    raise UsageError(
        f"{manifest}: the format cannot be detected from the file name; it may be one of "
        f"{', '.join(READERS)}"
    )


def _by_precedence() -> Iterable[Reader]:
    """Return all readers, the native format first."""
    return [READERS["jsonl"], *(reader for name, reader in READERS.items() if name != "jsonl")]


def _manifest_in(folder: Path, candidates: list[Reader], *, any_kind: bool) -> Path:
    names = [name for reader in candidates for name in reader.names]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    suffixes = {suffix for reader in candidates for suffix in reader.suffixes}
    found = _tables(folder, suffixes)
    usable = [file for file in found if any_kind and _holds_items(file)] or found
    if len(usable) > 1 and any_kind:
        usable = [file for file in usable if _holds_items(file, "image")] or usable
    if any_kind and not any(map(_holds_items, usable)):
        texts = [file for file in _tables(folder, {".txt"}) if _holds_items(file, "image", "text")]
        usable = texts or usable
        if not texts and has_images(folder):
            return _table_beside(folder, suffixes) or folder
    if len(usable) == 1:
        return usable[0]
    if _reader_of_shards(folder, candidates):
        return folder
    if usable:
        listed = ", ".join(file.name for file in usable[:_SHOWN])
        raise ManifestError(
            f"{folder} holds {len(usable)} files that could be the manifest ({listed}); choose one"
        )
    raise ManifestError(
        f"{folder} has no manifest; expected: {', '.join(names) or 'a file'}"
        f" or one file ending in {', '.join(sorted(suffixes))}"
        + (", or images" if any_kind else "")
        + _json_hint(folder)
        + _compressed_hint(folder)
    )


def _reader_of_shards(folder: Path, candidates: Iterable[Reader]) -> Reader | None:
    """Return the reader of a folder in which all files with a claimed suffix are its shards."""
    if has_images(folder):
        return None
    suffixes = {suffix for reader in candidates for suffix in reader.suffixes}
    found = {
        file.suffix.lower()
        for file in folder.rglob("*")
        if file.suffix.lower() in suffixes and not file.name.startswith(".")
    }
    for reader in candidates:
        if reader.shards and found and found <= set(reader.suffixes):
            return reader
    return None


def _hub_hint(path: Path) -> str:
    """Return the end of a sentence about a path that may be the name of a data set on the hub."""
    if not _HUB_NAME.fullmatch(path.as_posix()) or path.suffix or path.parent.exists():
        return ""
    return (
        "; a data set of the Hugging Face hub is fetched first, with `hf download --repo-type "
        f"dataset {path.as_posix()} --local-dir {path.name}`, and then read from that folder"
    )


def _json_hint(folder: Path) -> str:
    """Return the end of a sentence about a folder without a manifest, where it holds JSON."""
    found = [file.name for file in _tables(folder, {".json"})]
    if len(found) != 1:
        return ""
    return f"; {found[0]} is not read: write its items as lines, one in each, into items.jsonl"


def _compressed_hint(folder: Path) -> str:
    """Return the end of a sentence about a folder without a manifest, where it holds archives."""
    names = [file.name for file in _tables(folder, _COMPRESSED)]
    found = [name for name in names if ".tar." in name.lower() or name.lower().endswith(".tgz")]
    return f"; {found[0]} is compressed: unpack it to a plain .tar first" if found else ""


def _tables(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in suffixes and file.is_file() and not file.name.startswith(".")
    )


def _holds_items(file: Path, *columns: str) -> bool:
    """Return whether the columns of a table can be those of items; other files always can."""
    if file.suffix.lower() not in _TEXT_TABLES:
        return not columns
    try:
        keys = read_keys(file)
    except ManifestError:
        return False
    return all(key in keys for key in columns) if columns else "id" in keys or "image" in keys


def _table_beside(folder: Path, suffixes: Iterable[str]) -> Path | None:
    """Return the only table beside a folder whose images are in it, one of its name first."""
    try:
        near = _tables(folder.resolve().parent, {*_TEXT_TABLES, *suffixes} & _TEXT_TABLES)
    except OSError:
        return None
    found = [file for file in near if _names_images_in(file, folder)]
    same = [file for file in found if file.stem == folder.resolve().name]
    return (same or found)[0] if len(same or found) == 1 else None


def _names_images_in(file: Path, folder: Path) -> bool:
    if not _holds_items(file, "image"):
        return False
    keys = read_keys(file)
    if "text" not in keys and "labels" not in keys:
        return False
    try:
        sample = list(islice(read_csv(file), _SAMPLE))
    except ManifestError:
        return False
    images = [str(row.values.get("image", "")) for row in sample if isinstance(row, Record)]
    inside = folder.resolve()
    hits = sum(
        bool(image) and (exists(inside / image) or _is_below(file.parent / image, inside))
        for image in images
    )
    return hits * 2 > len(images)


def _is_below(path: Path, folder: Path) -> bool:
    return exists(path) and path.resolve().is_relative_to(folder)
