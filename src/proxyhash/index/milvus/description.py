"""Header of an index in Milvus: the description of each of its collections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.errors import DataError, UsageError

if TYPE_CHECKING:
    from proxyhash.index.milvus.connection import Connection

__all__ = ["Description", "check_free", "find_description", "found_description"]

_FORMAT, _VERSION = "proxyhash-index", 1


@dataclass(frozen=True, slots=True)
class Description:
    """Code length, model and modalities of an index, kept as its collections' description."""

    bits: int
    model: str
    modalities: tuple[str, ...]

    def to_json(self) -> str:
        """Return the text that Milvus keeps."""
        values = {"bits": self.bits, "model": self.model, "modalities": self.modalities}
        return json.dumps({"format": _FORMAT, "version": _VERSION, **values})

    @classmethod
    def from_json(cls, text: str, *, place: str) -> Description | None:
        """Return what `to_json` wrote; None when something else did.

        Raises:
            DataError: "PLACE has format version 2, and this proxyhash reads up to 1; update it".
        """
        try:
            value = json.loads(text)
            if value["format"] != _FORMAT:
                return None
            version = int(value["version"])
            found = cls(int(value["bits"]), str(value["model"]), tuple(value["modalities"]))
        except (ValueError, KeyError, TypeError):
            return None
        if version > _VERSION:
            raise DataError(
                f"{place} has format version {version}, and this proxyhash reads up to {_VERSION}; "
                "update it"
            )
        return found


def find_description(connection: Connection, collection: str) -> Description | None:
    """Return the description of an index; None when there is no such index.

    Raises:
        DataError: a later version made it, or a collection of it is missing.
    """
    prefix = f"{collection}_"
    names = set(connection.call("list_collections"))
    for name in sorted(name for name in names if name.startswith(prefix)):
        place = f"{connection.shown}#{name}"
        text = connection.call("describe_collection", name)["description"]
        found = Description.from_json(text, place=place)
        if found is None or name.removeprefix(prefix) not in found.modalities:
            continue
        missing = {prefix + modality for modality in found.modalities} - names
        if missing:
            raise DataError(
                f"{place} belongs to an index whose collection {min(missing)!r} is missing; "
                "drop what is left of it, or choose another name with collection="
            )
        return found
    return None


def check_free(connection: Connection, collection: str) -> None:
    """Refuse to create an index where there is one.

    Raises:
        UsageError: "URI has an index 'proxyhash' already; open it, or choose another name ...".
    """
    if find_description(connection, collection) is not None:
        raise UsageError(
            f"{connection.shown} has an index {collection!r} already; open it, "
            "or choose another name with collection="
        )


def found_description(connection: Connection, collection: str) -> Description:
    """Return the description of an index.

    Raises:
        UsageError: there is no such index.
        DataError: a later version made it, or a collection of it is missing.
    """
    found = find_description(connection, collection)
    if found is None:
        raise UsageError(
            f"{connection.shown} has no index {collection!r}; create one first, "
            "or choose another name with collection="
        )
    return found
