"""Edits of found classes: a text file of renames, merges and drops that a user writes."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.data.text_file import read_text_lines
from proxyhash.errors import DataError
from proxyhash.labeling.found import FoundClass, FoundClasses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Edits", "apply_edits", "read_edits", "template"]

MAX_EDITS = 10_000

_FORMS = "rename OLD = NEW, merge A, B, C = NEW, or drop A"


@dataclass(frozen=True)
class Edits:
    """One line of the file.

    Attributes:
        verb: "rename", "merge" or "drop".
        names: of the classes.
        new: the new name; "" for "drop".
        where: the file and line, for messages.
    """

    verb: str
    names: tuple[str, ...]
    new: str
    where: str


def read_edits(path: Path) -> list[Edits]:
    """Return the edits in a file, in order; blank lines and those that begin with # are ignored.

        rename OLD = NEW
        merge A, B, C = NEW        without "= NEW", the first name stays
        drop A, B

    Raises:
        DataError: the file cannot be read, or a line is not one of these; names the line.
    """
    found: list[Edits] = []
    for row, read in enumerate(read_text_lines(path), start=1):
        line = read.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {row}"
        verb, _, rest = line.partition(" ")
        old, equals, new = (each.strip() for each in rest.partition("="))
        names = tuple(dict.fromkeys(each.strip() for each in old.split(",") if each.strip()))
        right = {
            "rename": len(names) == 1 and bool(new),
            "merge": len(names) > 1 and (bool(new) or not equals),
            "drop": bool(names) and not equals,
        }
        if not right.get(verb, False) or len(new) > 200 or "," in new:
            raise DataError(f"{where}: {line[:80]!r} is not an edit; expected {_FORMS}")
        new = names[0] if verb == "merge" and not new else new
        found.append(Edits(verb, names, new, where))
        if len(found) > MAX_EDITS:
            raise DataError(f"{where}: more than {MAX_EDITS:,} edits")
    return found


def apply_edits(found: FoundClasses, edits: Sequence[Edits]) -> FoundClasses:
    """Return the classes after the edits, one after the other.

    A merged class is as likely as the likeliest of its parts.

    Raises:
        DataError: an edit names a class that there is not, or a name that is taken.
    """
    for edit in edits:
        places = [_place(found, name, edit) for name in edit.names]
        rest = [each for each in range(len(found.classes)) if each not in places]
        if edit.verb == "drop":
            if not rest:
                raise DataError(f"{edit.where}: no class would be left")
            found = found.take(rest)
            continue
        if edit.new in {found.names[each] for each in rest}:
            raise DataError(
                f"{edit.where}: there is a class {edit.new!r} already; merge them: "
                f"merge {', '.join((edit.new, *edit.names))}"
            )
        parts = [found.classes[each] for each in places]
        merged = FoundClass(
            edit.new,
            tuple(sorted({w for part in parts for w in part.words}, key=lambda w: (-w[1], w[0]))),
            tuple(name for part in parts for name in (*part.merged, part.name) if name != edit.new),
        )
        values = found.probabilities.copy()
        values[:, places[0]] = values[:, places].max(axis=1)
        classes = list(found.classes)
        classes[places[0]] = merged
        kept = [each for each in range(len(classes)) if each not in places[1:]]
        found = FoundClasses(
            found.way, tuple(classes), np.ascontiguousarray(values), found.notes
        ).take(kept)
    return found


def _place(found: FoundClasses, name: str, edit: Edits) -> int:
    if name in found.names:
        return found.names.index(name)
    close = get_close_matches(name, found.names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise DataError(f"{edit.where}: there is no class {name!r}{hint}")


def template(found: FoundClasses) -> str:
    """Return the content of a new file: what can be written, and every class as a comment."""
    lines = [
        "# Edits of the classes that `proxyhash data label` found. Write lines such as these,",
        "# then run the same command again:",
        "#   rename OLD = NEW",
        "#   merge A, B, C = NEW",
        "#   drop A, B",
        "#",
        "# Classes, with their number of items:",
        *(
            f"#   {name}: {count:,}"
            for name, count in zip(found.names, found.counts.tolist(), strict=True)
        ),
        "",
    ]
    return "\n".join(lines)
