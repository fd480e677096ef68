"""Reader of webdataset shards: tar files whose members of one name are a sample."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from proxyhash.data.contained import TAR_SUFFIX, Member, tar_members
from proxyhash.data.folders import is_image_name
from proxyhash.data.readers.base import (
    MAX_LINE_BYTES,
    Layout,
    Problem,
    Record,
    Records,
    Table,
    register_reader,
    shard_files,
)
from proxyhash.data.readers.columns import name_columns
from proxyhash.errors import ManifestError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_webdataset"]

_TEXTS = frozenset({"txt", "text", "caption"})
_LABELS = frozenset({"cls", "labels"})
_SHOWN = 3


@register_reader(
    "webdataset",
    suffixes=(TAR_SUFFIX,),
    shards=True,
    example="000123.jpg with 000123.txt or 000123.json beside it, which may have an id",
)
def read_webdataset(path: Path) -> Table:
    """Return one record per sample of a tar file, or of all in a folder, in order of their names.

    Members next to each other whose names are the same up to the first point are a sample: an
    image, a text (`.txt`, `.text`, `.caption`), class numbers or names (`.cls`, `.labels`), and
    `.json` with keys of an item or other names of these, as in tables. The id is that of the JSON,
    else the name; where shards repeat names, with that of the shard before it. Of several images
    of a sample, that with the shortest ending counts: `.jpg` before `.depth.png`. Everything else,
    such as arrays, pickled objects, links and hidden names, is counted and never opened. A text or
    JSON of more than 1 MiB is a problem of its row, and so is an image whose name is in the shard
    twice. Folders `train` and `test`, or files that begin so, name the split.

    Raises:
        ManifestError: a file is not an uncompressed tar file; there is none.
    """
    files = shard_files(path, (TAR_SUFFIX,))
    notes: list[str] = []
    return Table(_records(path, files, notes), Layout(notes=notes))


@dataclass(slots=True)
class _Sample:
    """Members of one name."""

    key: str
    image: str | None = None
    parts: dict[str, Member] = field(default_factory=dict)
    twice: bool = False


@dataclass(frozen=True)
class _Shard:
    """One tar file, open.

    Attributes:
        inner: its path from the folder of the manifest.
        split: of its samples that name none.
        content: the file.
        taken: names that samples have as ids, in all shards so far.
    """

    inner: str
    split: str | None
    content: BinaryIO
    taken: set[str]

    def record(self, sample: _Sample, row: int) -> Record | Problem:
        """Return the record of a sample."""
        values: dict[str, object] = {}
        if sample.twice:
            reason = "is there twice, and images are found by their names; rename one of them"
            return Problem(row, f"{self.inner}/{sample.image} {reason}")
        for kind, member in sample.parts.items():
            place = f"{self.inner}/{member.name}"
            if member.size > MAX_LINE_BYTES:
                return Problem(row, f"{place} has more than {MAX_LINE_BYTES:,} bytes")
            self.content.seek(member.start)
            try:
                text = self.content.read(member.size).decode("utf-8-sig")
                if kind == "json":
                    found = json.loads(text)
                    if not isinstance(found, dict):
                        return Problem(row, f"{place} is not a JSON object")
                    values = (
                        dict(zip(name_columns(list(found)), found.values(), strict=True)) | values
                    )
                elif kind in _TEXTS:
                    values["text"] = text.strip()
                else:
                    values["labels"] = _labels(text.strip())
            except (ValueError, RecursionError) as error:
                return Problem(row, f"{place} cannot be read ({error})")
        if sample.image is not None:
            values["image"] = f"{self.inner}/{sample.image}"
        if values.get("id") is None:
            values["id"] = self._id(sample.key)
        if self.split is not None:
            values.setdefault("split", self.split)
        return Record(row, values)

    def _id(self, name: str) -> str:
        if name in self.taken:
            name = f"{self.inner.removesuffix(TAR_SUFFIX)}/{name}"
        self.taken.add(name)
        return name


def _records(path: Path, files: list[tuple[Path, str | None]], notes: list[str]) -> Records:
    row, taken, others = 0, set[str](), Counter[str]()
    for file, split in files:
        inner = file.name if path.is_file() else file.relative_to(path).as_posix()
        try:
            with file.open("rb") as content:
                shard = _Shard(inner, split, content, taken)
                for sample in _samples(file, others):
                    row += 1
                    yield shard.record(sample, row)
        except SourceError as error:
            if not row:
                raise ManifestError(str(error)) from error
            row += 1
            yield Problem(row, str(error))
        except OSError as error:
            raise ManifestError(f"{file} cannot be read: {error.strerror or error}") from error
    if others:
        named = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(_SHOWN))
        notes.append(f"{others.total():,} members not read ({named})")


def _samples(file: Path, others: Counter[str]) -> Iterator[_Sample]:
    sample, images = None, set[str]()
    for member in tar_members(file, others=others):
        place = PurePosixPath(member.name)
        if any(part.startswith(".") for part in place.parts):  # hidden, or outside
            others["hidden or outside names"] += 1
            continue
        stem, _, suffix = place.name.partition(".")
        key = str(place.with_name(stem))
        if sample is not None and (sample.key != key or _is_next(sample, suffix, member.name)):
            yield sample
            sample = None
        sample = sample or _Sample(key)
        kind = suffix.lower().rpartition(".")[2]
        if is_image_name(place.name):
            if sample.image is not None:
                others["more images of a sample"] += 1
            if sample.image is None or _points(place.name) < _points(sample.image):
                sample.image = member.name
                sample.twice = member.name in images
            images.add(member.name)
        elif kind in _TEXTS | _LABELS | {"json"}:
            sample.parts[kind] = member
        else:
            others[f".{kind}" if kind else "without suffix"] += 1
    if sample is not None:
        yield sample


def _is_next(sample: _Sample, suffix: str, name: str) -> bool:
    """Return whether a member belongs to a second sample of the same name."""
    return suffix in sample.parts or sample.image == name


def _points(name: str) -> int:
    return PurePosixPath(name).name.count(".")


def _labels(text: str) -> object:
    return int(text) if text.isdecimal() and len(text) < 10 else text
