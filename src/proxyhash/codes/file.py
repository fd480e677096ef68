"""Code file: the codes of a whole collection in one `.npz`, readable with numpy alone."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from proxyhash.codes.arrays import read_array_header, read_array_stream
from proxyhash.codes.bits import MAX_BITS, Codes, check_codes, code_bytes
from proxyhash.errors import DataError
from proxyhash.files import writing_output

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from proxyhash.codes.asymmetric import Weights

__all__ = ["MAX_FILE_BYTES", "CodeFile"]

MAX_FILE_BYTES = 8 * 2**30
"""Limit for the arrays of a code file in memory, in bytes."""

# Kinds of dtype, and the number of dimensions, of the arrays of a file.
_CODES, _PRESENT = ("u", 2), ("b", 1)
_FIELDS = {"ids": ("U", 1), "bits": ("iu", 0), "model": ("U", 0)}

_MISSED = "unreadable_"
"""What the optional fields about unreadable items begin with."""

_QUERY = "query_"
"""What the optional fields with codes of queries begin with."""

_MODALITY = re.compile(r"[a-z][a-z0-9_]*")

# What reading a damaged or foreign file can raise: first the archive, then also the arrays in it
# (an encrypted archive raises RuntimeError).
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_DAMAGE = (*_UNREADABLE, RuntimeError, ValueError, OverflowError, MemoryError, SystemError)


@dataclass(frozen=True)
class CodeFile:
    """The codes of n items by modality; row i of every array belongs to `ids[i]`.

    The arrays of the file are `ids`, `bits`, `model`, and for each modality `{modality}_codes` and
    `has_{modality}`; where items could not be read, also `unreadable_{modality}`, and where queries
    are encoded in another way, `query_{modality}`.

    Attributes:
        ids: the items' ids, unique.
        codes: packed codes by modality, uint8 (n, ceil(bits/8)); zero where `present` is False.
        present: bool (n,) by modality: which items have it; the same keys as `codes`.
        unreadable: bool (n,) by modality: which items name something that could not be read, which
            is not the same as having none; modalities may be missing.
        queries: codes that items have as queries, by modality, where those differ, as after another
            prompt: uint8 (n, ceil(bits/8)); modalities may be missing.
        bits: the code length.
        model: the fingerprint of the model that made the codes, "" when unknown.
        weights: how sure of each bit the codes are, uint16 (n, bits), by modality; empty where that
            is not known. The file does not have them.

    Raises:
        DataError: "field 'image_codes': ..." when the arrays do not fit together.
    """

    ids: tuple[str, ...]
    codes: Mapping[str, Codes]
    present: Mapping[str, npt.NDArray[np.bool_]]
    bits: int
    model: str = ""
    unreadable: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    queries: Mapping[str, Codes] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise DataError(f"field 'bits' is {self.bits}; a code has 1 to {MAX_BITS} bits")
        self._check_ids()
        for modality in dict.fromkeys((*self.codes, *self.present)):
            self._check_modality(modality)
        for modality in self.unreadable:
            self._check_unreadable(modality)
        for modality in self.queries:
            self._check_queries(modality)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities with codes, in the file's order."""
        return tuple(self.codes)

    def of(self, modality: str) -> Codes:
        """Return the codes of one modality, uint8 (n, ceil(bits/8)); zero where there are none."""
        if modality in self.codes:
            return self.codes[modality]
        return np.zeros((len(self), code_bytes(self.bits)), np.uint8)

    def as_queries(self, modality: str) -> Codes:
        """Return the codes of one modality as queries, which mostly are the same."""
        return self.queries[modality] if modality in self.queries else self.of(modality)

    def has(self, modality: str) -> npt.NDArray[np.bool_]:
        """Return which items have a modality, bool (n,)."""
        if modality in self.present:
            return self.present[modality]
        return np.zeros(len(self), np.bool_)

    def missed(self, modality: str) -> npt.NDArray[np.bool_]:
        """Return which items name something of a modality that could not be read, bool (n,)."""
        if modality in self.unreadable:
            return self.unreadable[modality]
        return np.zeros(len(self), np.bool_)

    def having(self, modality: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of `positions` whose items have a modality, in the same order."""
        return positions[self.has(modality)[positions]]

    def filled_from(self, earlier: CodeFile) -> CodeFile:
        """Return the codes with those of an earlier file where items could not be read.

        Raises:
            DataError: the earlier file has codes of another length or model.
        """
        if (earlier.bits, earlier.model) != (self.bits, self.model):
            raise DataError("the files hold codes of different models, which cannot be mixed")
        places = {id_: row for row, id_ in enumerate(earlier.ids)}
        codes = {name: array.copy() for name, array in self.codes.items()}
        present = {name: array.copy() for name, array in self.present.items()}
        unreadable = {name: array.copy() for name, array in self.unreadable.items()}
        for name, missed in unreadable.items():
            has, values = earlier.has(name), earlier.of(name)
            for row in np.flatnonzero(missed).tolist():
                place = places.get(self.ids[row])
                if place is not None and has[place]:
                    codes[name][row], present[name][row] = values[place], True
                    missed[row] = False
        return replace(self, codes=codes, present=present, unreadable=unreadable)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, atomically or into a pipe; equal codes give equal bytes."""
        arrays = {
            "ids": np.array(self.ids, dtype=np.str_),
            **{f"{modality}_codes": codes for modality, codes in self.codes.items()},
            **{f"has_{modality}": present for modality, present in self.present.items()},
            **{f"{_MISSED}{name}": rows for name, rows in self.unreadable.items() if rows.any()},
            **{f"{_QUERY}{name}": codes for name, codes in self.queries.items()},
            "bits": np.array(self.bits, dtype=np.int64),
            "model": np.array(self.model, dtype=np.str_),
        }
        # Through an open file: given a name, numpy would add ".npz" to it.
        with writing_output(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @staticmethod
    def begins(head: bytes) -> bool:
        """Whether a file that begins so is a code file."""
        return head[:4] == b"PK\x03\x04" and b"ids.npy" in head[:200]

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> CodeFile:
        """Read a code file and check all of it; nothing in it is ever unpickled.

        Args:
            path: the `.npz` file.
            max_bytes: refuse a file whose arrays would take more memory than this.

        Raises:
            DataError: the file is missing, damaged, too large, or one of its fields is wrong;
                names the file and the field.
        """
        path = Path(path)
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is not a code file but a folder, a pipe or a device")
        try:
            with path.open("rb") as file:
                arrays = _read_arrays(file, max_bytes=max_bytes)
                return cls(
                    ids=tuple(arrays["ids"].tolist()),
                    codes=_by_modality(arrays, "{}_codes"),
                    present=_by_modality(arrays, "has_{}"),
                    bits=int(arrays["bits"]),
                    model=str(arrays["model"]),
                    unreadable={
                        name.removeprefix(_MISSED): rows
                        for name, rows in arrays.items()
                        if name.startswith(_MISSED)
                    },
                    queries={
                        name.removeprefix(_QUERY): codes
                        for name, codes in arrays.items()
                        if name.startswith(_QUERY)
                    },
                )
        except DataError as error:
            raise DataError(f"{path} is not a usable code file: {error}") from error
        except FileNotFoundError as error:
            raise DataError(
                f"{path} does not exist; `proxyhash train` and `proxyhash encode` write code files"
            ) from error
        except _DAMAGE as error:
            raise DataError(f"{path} is not a code file, or is damaged: {error}") from error

    def _check_ids(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            twice = Counter(self.ids).most_common(1)[0][0]
            raise DataError(f"field 'ids' holds {twice!r} twice; ids must be unique")
        try:
            "".join(self.ids).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError("field 'ids' holds text that is not valid Unicode") from None

    def _check_modality(self, modality: str) -> None:
        if not _MODALITY.fullmatch(modality):
            raise DataError(f"{modality!r} cannot be the name of a modality")
        for name, arrays in ((f"{modality}_codes", self.codes), (f"has_{modality}", self.present)):
            if modality not in arrays:
                raise DataError(f"field {name!r} is missing")
        codes, present = self.codes[modality], self.present[modality]
        check_codes(codes, bits=self.bits, name=f"field '{modality}_codes'")
        if present.dtype != np.bool_ or present.ndim != 1:
            raise DataError(f"field 'has_{modality}' must be bool of shape (n,)")
        for name, array in ((f"{modality}_codes", codes), (f"has_{modality}", present)):
            if len(array) != len(self.ids):
                raise DataError(f"field {name!r} has {len(array)} rows for {len(self.ids)} ids")
        stray = np.flatnonzero(codes.any(axis=1) & ~present)
        if len(stray):
            raise DataError(
                f"field '{modality}_codes', row {stray[0]}: a code for {self.ids[stray[0]]!r}, "
                f"which has no {modality}"
            )

    def _check_unreadable(self, modality: str) -> None:
        rows, name = self.unreadable[modality], f"{_MISSED}{modality}"
        if modality not in self.codes:
            raise DataError(f"field {name!r} is there, but not '{modality}_codes'")
        if rows.dtype != np.bool_ or rows.shape != (len(self.ids),):
            raise DataError(f"field {name!r} must be bool of shape (n,)")
        both = np.flatnonzero(rows & self.present[modality])
        if len(both):
            raise DataError(f"field {name!r}, row {both[0]}: the item has a code as well")

    def _check_queries(self, modality: str) -> None:
        codes, name = self.queries[modality], f"{_QUERY}{modality}"
        if modality not in self.codes:
            raise DataError(f"field {name!r} is there, but not '{modality}_codes'")
        check_codes(codes, bits=self.bits, name=f"field {name!r}")
        if len(codes) != len(self.ids):
            raise DataError(f"field {name!r} has {len(codes)} rows for {len(self.ids)} ids")


def _read_arrays(file: BinaryIO, *, max_bytes: int) -> dict[str, npt.NDArray[Any]]:
    """Read the known arrays after checking their headers."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if len(members) != len(archive.infolist()):
            twice = Counter(archive.namelist()).most_common(1)[0][0]
            raise DataError(f"it holds {twice!r} twice")
        total = sum(member.file_size for member in members.values())
        if total > max_bytes:
            raise DataError(f"its arrays take {total:,} bytes; the limit is {max_bytes:,}")
        modalities = _modalities(members)
        if not modalities:
            raise DataError("there is no field with codes, such as 'image_codes'")
        fields = {
            **_FIELDS,
            **{f"{modality}_codes": _CODES for modality in modalities},
            **{f"has_{modality}": _PRESENT for modality in modalities},
            **{
                f"{_MISSED}{modality}": _PRESENT
                for modality in modalities
                if f"{_MISSED}{modality}.npy" in members
            },
            **{
                f"{_QUERY}{modality}": _CODES
                for modality in modalities
                if f"{_QUERY}{modality}.npy" in members
            },
        }
        for name, (kinds, dimensions) in fields.items():
            member = members.get(f"{name}.npy")
            if member is None:
                raise DataError(f"field {name!r} is missing")
            with archive.open(member) as stream:
                size = member.file_size
                arrays[name] = _read_array(stream, name, kinds, dimensions, size=size)
    return arrays


def _modalities(names: Iterable[str]) -> list[str]:
    """Return the modalities named by the fields of a file, in its order."""
    found = []
    for name in names:
        field = name.removesuffix(".npy")
        if field.endswith("_codes"):
            found.append(field.removesuffix("_codes"))
        elif field.startswith("has_"):
            found.append(field.removeprefix("has_"))
    return list(dict.fromkeys(filter(_MODALITY.fullmatch, found)))


def _by_modality(arrays: Mapping[str, npt.NDArray[Any]], field: str) -> dict[str, Any]:
    return {
        modality: arrays[field.format(modality)]
        for modality in _modalities(arrays)
        if field.format(modality) in arrays
    }


def _read_array(stream: Any, name: str, kinds: str, dimensions: int, *, size: int) -> Any:
    """Return the array of one member of `size` bytes, after its header was checked.

    Refuses one of the wrong type, or whose header claims more or less than its content.
    """
    try:
        header = read_array_header(stream)
    except DataError as error:
        raise DataError(f"field {name!r}: {error}") from error
    dtype, shape = header.dtype, header.shape
    if dtype.kind not in kinds or len(shape) != dimensions:
        raise DataError(f"field {name!r} has type {dtype} and shape {shape}")
    if header.nbytes != size - stream.tell() or dtype.itemsize == 0:
        raise DataError(f"field {name!r} claims shape {shape}, which its content does not fill")
    array = read_array_stream(stream, header)
    if dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise DataError(f"field {name!r} holds values other than true and false")
    return array.astype(dtype.newbyteorder("="), copy=False)
