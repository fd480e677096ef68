"""Header of an index folder: a small JSON file that is read before anything else."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proxyhash.codes import check_bits
from proxyhash.codes.vectors import VectorKind, check_kind
from proxyhash.errors import DataError, UsageError
from proxyhash.files import read_json, write_json
from proxyhash.index.checks import check_codes_of, check_modalities

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT_VERSION", "Header"]

FORMAT = "proxyhash index"
FORMAT_VERSION = 1
VECTORS_VERSION = 2
"""Format of an index that keeps vectors, of which earlier versions know nothing."""

_FIELDS = {
    "format": str,
    "version": int,
    "bits": int,
    "bit_order": str,
    "metric": str,
    "modalities": list,
    "model": str,
    "created": str,
    "generation": int,
    "counts": dict,
}


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an index folder.

    Attributes:
        bits: the code length.
        modalities: what an item may have a code of; bit i of a row's flags is modality i.
        model: fingerprint of the model that made the codes, "" when unknown.
        created: when the index was made, ISO 8601 in UTC.
        generation: which `generation-*` folder is current.
        counts: how many items and rows there were when a writer last closed; for people to read.
        vectors: how the vectors beside the codes are stored; None where none are kept.
    """

    bits: int
    modalities: tuple[str, ...]
    model: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    generation: int = 1
    counts: dict[str, int] = field(default_factory=dict)
    vectors: VectorKind | None = None

    def with_(self, **changes: Any) -> Header:
        """Return the header with other values."""
        return replace(self, **changes)

    def generation_folder(self, folder: Path) -> Path:
        """Return the folder of the data."""
        return folder / f"generation-{self.generation:06d}"

    def save(self, folder: Path) -> None:
        """Write `header.json` atomically."""
        write_json(folder / "header.json", self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Return the content of `header.json`, its checksum included."""
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION if self.vectors is None else VECTORS_VERSION,
            "bit_order": "big",
            "metric": "hamming",
            **asdict(self),
            "modalities": list(self.modalities),
        }
        if self.vectors is None:  # as ever, so that earlier versions read it
            del content["vectors"]
        return {**content, "crc32": _checksum(content)}

    @classmethod
    def load(cls, folder: Path) -> Header:
        """Read and check the header of an index folder.

        Raises:
            DataError: the folder is not an index, its header is damaged or of a newer format.
        """
        path = folder / "header.json"
        try:
            known = path.is_file()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}): check the permissions and the disk"
            ) from error
        if not known:
            what = "is not an index folder: it has no header.json"
            if not folder.exists():
                what = "does not exist"
            raise DataError(f"{folder} {what}; `proxyhash index build` creates an index folder")
        try:
            content = read_json(path, ours=True)
        except DataError as error:
            raise _damaged(path, str(error)) from error
        return cls.from_json(content, path=path)

    @classmethod
    def from_json(cls, content: Any, *, path: Path) -> Header:
        """Return the header that decoded JSON holds; `path` is named in errors."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise _damaged(path, "it is not a header of an index")
        version = content.get("version")
        if version not in (FORMAT_VERSION, VECTORS_VERSION):
            raise DataError(
                f"{path} has format version {version!r}; this proxyhash reads "
                f"versions {FORMAT_VERSION} and {VECTORS_VERSION}: upgrade it"
            )
        stated = content.pop("crc32", None)
        if stated != _checksum(content):
            raise _damaged(path, f"its checksum is {_checksum(content)}, not {stated}")
        for name, kind in _FIELDS.items():
            if not isinstance(content.get(name), kind):
                raise _damaged(path, f"{name!r} is {content.get(name)!r}")
        try:
            return cls(
                bits=check_bits(content["bits"]),
                modalities=check_modalities(content["modalities"]),
                model=content["model"],
                created=content["created"],
                generation=content["generation"],
                counts=content["counts"],
                vectors=check_kind(content.get("vectors")) if version == VECTORS_VERSION else None,
            )
        except UsageError as error:
            raise _damaged(path, str(error)) from error

    def is_alike(self, other: Header) -> bool:
        """Whether both are of codes of the same length, modalities and model."""
        return (self.bits, self.modalities, self.model) == (
            other.bits,
            other.modalities,
            other.model,
        )

    def check(self, folder: Path, *, bits: int | None, model: str | None) -> None:
        """Refuse codes of another width or another model.

        Raises:
            DataError: "FOLDER holds codes of 64 bits, not 128; ...".
        """
        check_codes_of(
            folder, bits=self.bits, model=self.model, wanted_bits=bits, wanted_model=model
        )


def _checksum(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return f"{zlib.crc32(canonical.encode()):08x}"


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is damaged: {why}; restore a snapshot, or save what is readable with "
        "`proxyhash index snapshot INDEX ANOTHER --salvage`"
    )
