"""Shards: the codes of a collection in parts of a fixed number of items, each in a file.

The folder is named after the code file, `codes.npz.shards`, and has `plan.json` and one code file
per shard, written to a temporary name and renamed. Its name has the number and a digest of what the
codes were made from: ids, sources and the sizes of files. So a shard whose images were replaced
counts as missing, and so does one in which something could not be read, where nothing may be
skipped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import CodeFile
from proxyhash.data.collection import Collection, hash_strings
from proxyhash.data.modalities import MODALITIES
from proxyhash.errors import DataError, ProxyhashError, UsageError
from proxyhash.files import make_folders, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxyhash.data.modalities import Modality

__all__ = ["SHARD_ITEMS", "Shards"]

SHARD_ITEMS = 4096
"""Items per shard: what a killed run repeats at most, per process."""

_FORMAT = 1


@dataclass(frozen=True)
class Shards:
    """The shards of one code file.

    Args:
        folder: where the files are.
        collection: the items.
        model: fingerprint of the model.
        bits: its code length.
        modalities: those that it encodes.
        size: items per shard; the last one may have fewer.
        skips: whether a shard counts as done in which something could not be read.
    """

    folder: Path
    collection: Collection
    model: str
    bits: int
    modalities: tuple[Modality, ...]
    size: int = SHARD_ITEMS
    skips: bool = False

    def __len__(self) -> int:
        """Return the number of shards."""
        return (len(self.collection) + self.size - 1) // self.size

    def open(self) -> None:
        """Make the folder, or check that it belongs to the same work.

        Raises:
            UsageError: it holds shards of another size or model, or something else.
        """
        plan = {"format": _FORMAT, "model": self.model, "shard_items": self.size}
        path = self.folder / "plan.json"
        if not path.exists():
            if self.folder.is_dir() and any(
                not each.name.startswith(".") for each in self.folder.iterdir()
            ):
                raise UsageError(
                    f"{self.folder} is not a folder of shards, which would be written there; "
                    "move it away, or choose another --out"
                )
            make_folders(self.folder)
            write_json(path, plan)
            return
        found = read_json(path, ours=True)
        found = found if isinstance(found, dict) else {}
        again = f"or delete {self.folder} to start over"
        if found.get("model") != self.model:
            raise UsageError(
                f"{self.folder} holds shards of another model, from a run that did not end; "
                f"encode with that model to continue it, {again}"
            )
        if found.get("shard_items") != self.size or found.get("format") != _FORMAT:
            raise UsageError(
                f"{self.folder} holds shards of {found.get('shard_items')} items, from a run that "
                f"did not end, not of {self.size}; continue it with --shard-items "
                f"{found.get('shard_items')}, {again}"
            )

    def items_of(self, number: int) -> int:
        """Return the number of items of a shard."""
        return min(self.size, len(self.collection) - number * self.size)

    def sources_of(self, number: int) -> int:
        """Return the number of images, texts and the like of a shard, which progress counts."""
        rows = slice(number * self.size, (number + 1) * self.size)
        return int(sum(self.collection.has(name)[rows].sum() for name in self.modalities))

    def done(self) -> list[int]:
        """Return the numbers of the shards that are there."""
        return [] if self.is_empty else list(filter(self.is_done, range(len(self))))

    def is_done(self, number: int) -> bool:
        """Return whether a shard is there, made from what its items are now."""
        return self._found(number) is not None

    def batch(self, number: int, *, root: Path | None = None) -> dict[str, Any]:
        """Return the items of a shard as the columns that `Encode` takes.

        Args:
            number: of the shard.
            root: put before relative paths; default leaves them, for an `Encode` that has it.
        """
        part = self._part(number)
        start = number * self.size
        columns: dict[str, Any] = {
            "position": np.arange(start, start + len(part)),
            "row": np.array([item.row for item in part.items], dtype=np.int64),
            "id": list(part.ids),
        }
        for name in self.modalities:
            sources = [item.sources.get(name) for item in part.items]
            if root is not None and MODALITIES[name].is_file:
                sources = [None if each is None else str(root / each) for each in sources]
            columns[name] = sources
        return columns

    def put(self, number: int, encoded: Mapping[str, Any]) -> None:
        """Write the codes of a shard, as `Encode` returned them.

        Raises:
            ProxyhashError: they are not those of the shard's items.
        """
        start = number * self.size
        expected = np.arange(start, start + self.items_of(number))
        ids = self.collection.ids[start : start + self.size]
        if not np.array_equal(encoded["position"], expected) or tuple(encoded["id"]) != ids:
            raise ProxyhashError(
                f"shard {number} of {self.folder} came back with other items than were sent; "
                "report this, and run the same command again"
            )
        codes = CodeFile(
            ids=ids,
            codes={name: _array(encoded[f"{name}_codes"], np.uint8) for name in self.modalities},
            present={name: _array(encoded[f"has_{name}"], np.bool_) for name in self.modalities},
            bits=self.bits,
            model=self.model,
            unreadable={
                name: _array(encoded[f"unreadable_{name}"], np.bool_)
                for name in self.modalities
                if f"unreadable_{name}" in encoded
            },
        )
        missed = any(codes.missed(name).any() for name in self.modalities)
        codes.save(self._path(number, skipped=missed))

    def merged(self) -> CodeFile:
        """Return the codes of all items, each once and in the collection's order.

        Raises:
            DataError: a shard is missing, damaged or of other items; names it.
        """
        parts = list(self._parts())
        return CodeFile(
            ids=self.collection.ids,
            codes={
                name: np.concatenate([part.of(name) for part in parts]) for name in self.modalities
            },
            present={
                name: np.concatenate([part.has(name) for part in parts]) for name in self.modalities
            },
            bits=self.bits,
            model=self.model,
            unreadable={
                name: np.concatenate([part.missed(name) for part in parts])
                for name in self.modalities
            },
        )

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_empty(self) -> bool:
        """Whether no shard was written yet."""
        return not any(self.folder.glob("[0-9]*.npz"))

    def _parts(self) -> Iterator[CodeFile]:
        for number in range(len(self)):
            path = self._found(number)
            if path is None:
                raise DataError(
                    f"shard {number} of {len(self)} is not in {self.folder}: images changed "
                    "meanwhile, or a machine does not share that folder; run the same command "
                    "again, with --out in a folder that all machines share"
                )
            try:
                part = CodeFile.load(path)
            except DataError as error:
                raise DataError(f"{error}; delete it and run the same command again") from error
            start = number * self.size
            if (part.ids, part.model, part.bits) != (
                self.collection.ids[start : start + self.size],
                self.model,
                self.bits,
            ):
                raise DataError(
                    f"{path} holds codes of other items or another model; delete it and run the "
                    "same command again"
                )
            yield part

    def _part(self, number: int) -> Collection:
        start = number * self.size
        items = self.collection.items[start : start + self.size]
        return Collection(self.collection.path, items, ())

    def _found(self, number: int) -> Path | None:
        """Return the file of a shard that counts as done; one that lacks nothing comes first."""
        paths = [self._path(number, skipped=each) for each in (False, True)[: 1 + self.skips]]
        return next((path for path in paths if path.is_file()), None)

    def _path(self, number: int, *, skipped: bool) -> Path:
        if number not in self._names:
            part = self._part(number)
            files = (name for name in self.modalities if MODALITIES[name].is_file)
            digest = hash_strings([part.fingerprint, *map(part.file_sizes, files)])
            self._names[number] = f"{number:06d}-{digest[:16]}"
        return self.folder / f"{self._names[number]}{'-skipped' if skipped else ''}.npz"

    @cached_property
    def _names(self) -> dict[int, str]:
        return {}


def _array(values: Any, dtype: Any) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(values), dtype=dtype)
