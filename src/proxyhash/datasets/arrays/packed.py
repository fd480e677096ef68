"""Sets packed into `.mat` and `.h5` files: all in one, a file an array, or cut into parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.datasets.arrays.files import array_files, read_variables, sort_variables
from proxyhash.datasets.arrays.index_lists import part_items
from proxyhash.datasets.arrays.items import Items, read_items, same_items
from proxyhash.datasets.arrays.records import source_of
from proxyhash.datasets.arrays.tables import read_numbers
from proxyhash.datasets.arrays.variable import Variable, listed
from proxyhash.datasets.converter import Converter, ConvertOptions
from proxyhash.errors import DataError, ProxyhashError, check_option

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.data.source import Source
    from proxyhash.datasets.arrays.naming import Part

__all__ = ["ARRAYS"]

_ORDER: tuple[Part, ...] = ("all", "query", "train", "validation", "database")
_EXPECTED = (
    "labels (LAll, labels, category, LabQuery, L_te...), and images or texts "
    "(IAll, images, index, ImgQuery...; YAll, tags, caption, TagQuery...)"
)


def _recognizes(path: Path) -> bool:
    """Return whether a file has arrays at all, or a folder's have labels and images or texts.

    What cannot be read is recognized too, for then reading it says why.
    """
    try:
        files = array_files(path)
        parts = sort_variables([each for file in files for each in read_variables(file)])
    except ProxyhashError:
        return True
    if path.is_file():
        return bool(files)
    return any("labels" in slots and len(slots) > 1 for slots in parts.values())


def _read(path: Path, options: ConvertOptions) -> Source:
    """Return the items of all parts: queries, train, validation and database, or all in one.

    Images are in an array, or are files that strings name, looked for in `options.images`, in the
    data set's folder and in the folder `images` there. Train items that the database has too are
    taken once, and called train.

    Raises:
        DataError: a file is damaged, variables are missing, ambiguous or do not fit together.
    """
    captions = check_option("captions", options.captions or "all", ("all", "first"))
    variables = [each for file in array_files(path) for each in read_variables(file)]
    parts = sort_variables(variables)
    lists = {part: slots.pop("index") for part, slots in parts.items() if "index" in slots}
    parts = {part: slots for part, slots in parts.items() if slots}
    _check_parts(path, parts, variables)
    notes: list[str] = []
    blocks = [read_items(part, parts[part]) for part in _ORDER if part in parts]
    if "database" in parts:
        blocks = _fold(blocks, notes)
    if lists and "all" in parts:
        blocks = [_listed_parts(path, blocks[0], lists, notes)]
    folder = path if path.is_dir() else path.parent
    return source_of(
        folder, blocks, options.images, notes, form="arrays", first_only=captions == "first"
    )


def _check_parts(
    path: Path, parts: dict[Part, dict[str, Variable]], variables: list[Variable]
) -> None:
    """Refuse where variables are missing, or something is there as a whole and in parts."""
    found = f"found were {listed(variables)}"
    if not parts:
        raise DataError(f"{path} has no {_EXPECTED}; {found}")
    if "all" in parts and len(parts) > 1:
        raise DataError(
            f"{path} has {listed(list(parts['all'].values()))} of all items, and variables of "
            f"{', '.join(sorted(set(parts) - {'all'}))} items; keep one form; {found}"
        )
    for part, slots in parts.items():
        if "labels" not in slots or len(slots) < 2:
            raise DataError(f"{path}: of {part} items, expected are {_EXPECTED}; {found}")
    forms = {frozenset(slots) for slots in parts.values()}
    if len(forms) > 1:
        raise DataError(f"{path}: the parts do not have the same variables; {found}")


def _fold(blocks: list[Items], notes: list[str]) -> list[Items]:
    """Take items of the other parts once, where the database has all of a part's items too."""
    *others, database = blocks
    kept: list[Items] = []
    for block in reversed(others):  # the queries last: what is one is nothing else
        places = same_items(block, database)
        if places is None:
            kept.insert(0, block)
            continue
        part = block.splits[0]
        for place in places:
            database.splits[place] = part
        notes.append(f"the database's copies of {len(places):,} {part} items taken once")
    return [*kept, database]


def _listed_parts(path: Path, items: Items, lists: dict[Part, Variable], notes: list[str]) -> Items:
    numbers = {part: read_numbers(variable) for part, variable in lists.items()}
    parted = part_items(str(path), numbers, len(items))
    notes.append(parted.note)
    kept = items.keep(parted.kept)
    kept.splits[:] = parted.splits
    return kept


ARRAYS = Converter(
    name="arrays",
    recognizes=_recognizes,
    read=_read,
    expects=".mat or .h5 files with IAll, YAll, LAll; index, caption, category; or ImgQuery, "
    "TagQuery, LabQuery and the like",
    options=frozenset({"images", "captions"}),
)
