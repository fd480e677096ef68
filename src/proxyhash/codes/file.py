"""The code file: the codes of a whole collection in one `.npz`, readable by numpy alone."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from proxyhash.codes.bits import MAX_BITS, Codes, check_codes
from proxyhash.errors import DataError
from proxyhash.files import write_atomic

if TYPE_CHECKING:
    import os

__all__ = ["MAX_FILE_BYTES", "CodeFile"]

MAX_FILE_BYTES = 8 * 2**30
"""The most bytes the arrays of a code file may take in memory when it is loaded."""

# What each array of the file is: the kinds of its dtype, and its number of dimensions.
_FIELDS = {
    "ids": ("U", 1),
    "image_codes": ("u", 2),
    "text_codes": ("u", 2),
    "has_image": ("b", 1),
    "has_text": ("b", 1),
    "bits": ("iu", 0),
    "model": ("U", 0),
}

# What reading a file that is no archive, or was cut or altered, can raise: the archive, and what
# makes arrays of its members (an archive with a password raises RuntimeError).
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_DAMAGE = (*_UNREADABLE, RuntimeError, ValueError, OverflowError, MemoryError, SystemError)


@dataclass(frozen=True)
class CodeFile:
    """The codes of n items; row i of every array belongs to `ids[i]`.

    Attributes:
        ids: the items' ids, all different.
        image_codes: packed codes, uint8 (n, ceil(bits/8)); zero where `has_image` is False.
        text_codes: packed codes, uint8 (n, ceil(bits/8)); zero where `has_text` is False.
        has_image: bool (n,).
        has_text: bool (n,).
        bits: the code length.
        model: the fingerprint of the model that made the codes, "" when unknown.

    Raises:
        DataError: "field 'image_codes': ..." when the arrays do not fit together.
    """

    ids: tuple[str, ...]
    image_codes: Codes
    text_codes: Codes
    has_image: npt.NDArray[np.bool_]
    has_text: npt.NDArray[np.bool_]
    bits: int
    model: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise DataError(f"field 'bits' is {self.bits}; a code has 1 to {MAX_BITS} bits")
        self._check_ids()
        self._check_modality("image")
        self._check_modality("text")

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def of(self, modality: str) -> Codes:
        """Return the codes of one modality, uint8 (n, ceil(bits/8))."""
        return self.image_codes if modality == "image" else self.text_codes

    def has(self, modality: str) -> npt.NDArray[np.bool_]:
        """Return which items have a modality, bool (n,)."""
        return self.has_image if modality == "image" else self.has_text

    def having(self, modality: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of `positions` whose items have a modality, in the same order."""
        return positions[self.has(modality)[positions]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically; equal codes give equal bytes."""
        arrays = {
            "ids": np.array(self.ids, dtype=np.str_),
            "image_codes": self.image_codes,
            "text_codes": self.text_codes,
            "has_image": self.has_image,
            "has_text": self.has_text,
            "bits": np.array(self.bits, dtype=np.int64),
            "model": np.array(self.model, dtype=np.str_),
        }
        # Through an open file: given a name, numpy would add ".npz" to it.
        with write_atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

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
        try:
            with path.open("rb") as file:
                arrays = _read_arrays(file, max_bytes=max_bytes)
                return cls(
                    ids=tuple(arrays["ids"].tolist()),
                    image_codes=arrays["image_codes"],
                    text_codes=arrays["text_codes"],
                    has_image=arrays["has_image"],
                    has_text=arrays["has_text"],
                    bits=int(arrays["bits"]),
                    model=str(arrays["model"]),
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
            raise DataError(f"field 'ids' holds {twice!r} twice; ids must be different")
        try:
            "".join(self.ids).encode("utf-8")
        except UnicodeEncodeError:
            raise DataError("field 'ids' holds what is not valid Unicode") from None

    def _check_modality(self, modality: str) -> None:
        codes, present = self.of(modality), self.has(modality)
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


def _read_arrays(file: BinaryIO, *, max_bytes: int) -> dict[str, npt.NDArray[Any]]:
    """Read the known arrays after their headers were found to be what they must be."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        total = sum(member.file_size for member in members.values())
        if total > max_bytes:
            raise DataError(f"its arrays take {total:,} bytes; the limit is {max_bytes:,}")
        for name, (kinds, dimensions) in _FIELDS.items():
            member = members.get(f"{name}.npy")
            if member is None:
                raise DataError(f"field {name!r} is missing")
            with archive.open(member) as stream:
                _check_header(stream, name, kinds, dimensions, size=member.file_size)
            with archive.open(member) as stream:
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _check_header(stream: Any, name: str, kinds: str, dimensions: int, *, size: int) -> None:
    """Refuse an array of another kind, or one that claims more content than is there."""
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(stream)
    except _UNREADABLE:
        raise
    except Exception as error:  # numpy's reader of headers raises nearly any
        raise DataError(f"field {name!r} is not a numpy array that can be read") from error
    if dtype.kind not in kinds or len(shape) != dimensions:
        raise DataError(f"field {name!r} has type {dtype} and shape {shape}")
    fits = int(np.prod(shape, dtype=object)) * dtype.itemsize == size - stream.tell()
    if not fits or dtype.itemsize == 0 or any(not 0 <= side < 2**63 for side in shape):
        raise DataError(f"field {name!r} claims shape {shape}, which its content does not fill")
