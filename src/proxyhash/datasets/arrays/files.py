"""Which files of a folder hold arrays, which variables they have, and what those are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxyhash.datasets.arrays.hdf5 import is_hdf5, read_hdf5
from proxyhash.datasets.arrays.matlab5 import read_matlab5
from proxyhash.datasets.arrays.naming import Part, meaning
from proxyhash.datasets.arrays.variable import Variable, listed
from proxyhash.datasets.files import text_lines
from proxyhash.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["array_files", "read_variables", "sort_variables"]

_SUFFIXES = (".mat", ".h5", ".hdf5")
_CAPTIONS = ("caption.txt", "captions.txt")  # a line an item, in place of `caption.mat`
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
            f"{path} holds {len(found)} array files, more than one data set; name the folder or "
            "the file of one"
        )
    return found


def read_variables(file: Path) -> list[Variable]:
    """Return the variables of a MATLAB or HDF5 file; reads headers only.

    A text file is one variable, of a caption a line.

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
                f"{found[1]} items; keep one file of them in a folder of its own. Found were "
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
