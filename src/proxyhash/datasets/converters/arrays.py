"""Sets packed into `.mat` and `.h5` files, as the literature passes them on.

These are the files of DCMH (`FLICKR-25K.mat`, or `IAll`, `YAll`, `LAll` and `FAll` in files of
their own), those of CLIP-based methods since DCHMT (`index.mat`, `caption.mat`, `label.mat`), and
the ones that are cut into query, train and database (`ImgQuery`, `TagTrain`, `L_te`, `train_L`,
`databaseL`...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.datasets.arrays.hdf5 import is_hdf5, read_hdf5
from proxyhash.datasets.arrays.items import Items, part_items, read_items, same_items
from proxyhash.datasets.arrays.matlab5 import read_matlab5
from proxyhash.datasets.arrays.records import source_of
from proxyhash.datasets.arrays.tables import read_numbers
from proxyhash.datasets.arrays.variable import Part, Variable, listed, meaning
from proxyhash.datasets.converter import Converter, ConvertOptions, Source, register_converter
from proxyhash.datasets.files import text_lines
from proxyhash.errors import DataError, ProxyhashError, check_option

if TYPE_CHECKING:
    from pathlib import Path

    from proxyhash.datasets.arrays.variable import Part

__all__ = ["ARRAYS", "array_files", "read_variables", "sort_variables"]

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
    data set's folder and in the folder `images` there. Training items that the database has too are
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


_SUFFIXES = (".mat", ".h5", ".hdf5")
_CAPTIONS = ("caption.txt", "captions.txt")  # one line per item, in place of `caption.mat`
_MAX_FILES = 50


def array_files(path: Path) -> list[Path]:
    """Return the file itself, or those in a folder and in the folders in it, by name.

    The split-up form of DCMH's sets has `IAll/mirflickr25k-iall.mat` and the like.

    Raises:
        DataError: the folder has more such files than a data set has.
    """
    if path.is_file():
        return [path] if path.suffix.lower() in _SUFFIXES else []
    found = sorted(
        file
        for pattern in ("*", "*/*")
        for file in path.glob(pattern)
        if (file.suffix.lower() in _SUFFIXES or file.name.lower() in _CAPTIONS)
        and file.is_file()
        and file.name[0] != "."
    )
    if len(found) > _MAX_FILES:
        raise DataError(
            f"{path} has {len(found)} array files, more than one data set; give the folder or "
            "the file of one"
        )
    return found


def read_variables(file: Path) -> list[Variable]:
    """Return the variables of a MATLAB or HDF5 file; reads headers only.

    A text file is one variable with one caption per line.

    Raises:
        DataError: the file is damaged, or neither of them.
    """
    if file.name.lower() in _CAPTIONS:
        lines = [[line] if line else [] for line in text_lines(file)]
        return [Variable(file, file.stem, (len(lines),), "text", False, _sentences=lambda: lines)]
    try:
        hdf5 = is_hdf5(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    return read_hdf5(file) if hdf5 else read_matlab5(file)


def sort_variables(variables: list[Variable]) -> dict[Part, dict[str, Variable]]:
    """Return variables by part, and in each part by what they are.

    That is `labels`, `image` and `text` (features), `images`, `captions` and `names` (strings),
    and `index` (numbers of the part's items). Variables whose names say nothing are left out.

    Raises:
        DataError: two variables are the same, or one has a shape that nothing is read from.
    """
    parts: dict[Part, dict[str, Variable]] = {}
    for variable in variables:
        found = meaning(variable.name)
        slot = _slot(variable, found[0]) if found else None
        if found is None or slot is None or (slot, found[1]) == ("index", "all"):
            continue
        slots = parts.setdefault(found[1], {})
        if slot in slots:
            raise DataError(
                f"{variable.path}: {variable} and {slots[slot]} both seem to be {slot} of "
                f"{found[1]} items; keep one of them in a separate folder. Found: "
                f"{listed(variables)}"
            )
        slots[slot] = variable
    return parts


def _slot(variable: Variable, role: str) -> str | None:
    if variable.kind == "text":
        return {"image": "names", "index": "names", "text": "captions"}.get(role)
    axes = len(variable.shape)
    if role == "image" and axes == 4:
        return "images"
    if axes == 2 or (axes == 1 and role in {"labels", "index"}):
        return role
    raise DataError(
        f"{variable.path}: {variable} has {axes} axes; expected are items x values, or images as "
        "height x width x 3 x items. Reshape it, or leave it out"
    )


ARRAYS = register_converter(
    Converter(
        name="arrays",
        recognizes=_recognizes,
        read=_read,
        expects=".mat or .h5 files with IAll, YAll, LAll; index, caption, category; or ImgQuery, "
        "TagQuery, LabQuery and the like",
        options=frozenset({"images", "captions"}),
        fallback=True,
    )
)
