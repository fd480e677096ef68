"""Fields of the payloads in an index: which names there are, and which kinds of value they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_FIELDS", "FieldKind", "Fields", "Shape", "gather_fields", "shape_of"]

MAX_FIELDS = 1_000
"""Names that an index tells at most."""

Shape = tuple[tuple[str, str], ...]
"""The names in a payload, each with the type of its value."""

_TYPES = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "list",
    tuple: "list",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class FieldKind:
    """The values that a payload field has.

    Attributes:
        types: out of "string", "number", "boolean", "list", "object" and "null".
        count: how many items have the field.
    """

    types: frozenset[str]
    count: int


class Fields(Mapping[str, FieldKind]):
    """The fields of all payloads, by name; the most frequent first.

    Args:
        kinds: by name.
        complete: whether these are all; otherwise there are more than an index tells, counts are
            of a part of the items, and a name that is not here may exist.
    """

    def __init__(self, kinds: Mapping[str, FieldKind], *, complete: bool) -> None:
        ordered = sorted(kinds.items(), key=lambda pair: (-pair[1].count, pair[0]))
        self._kinds = dict(ordered[:MAX_FIELDS])
        self.complete = complete and len(ordered) <= MAX_FIELDS

    def __getitem__(self, name: str) -> FieldKind:
        """Return the kind of a field."""
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._kinds)

    def __repr__(self) -> str:
        """Return the fields as they are made."""
        return f"Fields({self._kinds!r}, complete={self.complete})"


def shape_of(payload: Mapping[str, object]) -> Shape:
    """Return the names in a payload, each with the type of its value.

    Example:
        >>> shape_of({"price": 3, "labels": ["dog"]})
        (('price', 'number'), ('labels', 'list'))
    """
    return tuple((name, _TYPES.get(type(value), "object")) for name, value in payload.items())


def gather_fields(shapes: Iterable[tuple[Shape, int]], *, complete: bool) -> Fields:
    """Return the fields of payloads.

    Args:
        shapes: different shapes, each with how many items have it.
        complete: whether they are all.
    """
    types: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for shape, count in shapes:
        for name, kind in shape if count else ():
            types.setdefault(name, set()).add(kind)
            counts[name] = counts.get(name, 0) + count
    kinds = {name: FieldKind(frozenset(types[name]), counts[name]) for name in types}
    return Fields(kinds, complete=complete)
