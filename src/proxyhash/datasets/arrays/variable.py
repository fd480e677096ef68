"""One variable of a MATLAB or HDF5 file: its header, its values on demand, and what its name means.

The name of a published array is a role and a part in either order, in any case, with anything in
between: `IAll`, `ImgQuery`, `I_te`, `train_L`, `databaseL` and `train/labels` all say both. The
names were gathered from the loaders that authors released.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from proxyhash.errors import DataError, ProxyhashError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES",
    "PARTS",
    "ROLES",
    "Part",
    "Role",
    "Variable",
    "guarded",
    "listed",
    "meaning",
]

MAX_BYTES = 8 << 30
"""Memory limit of one variable; checked by its header, before it is read."""


@dataclass(frozen=True)
class Variable:
    """Numbers or strings under a name.

    Attributes:
        path: the file.
        name: the variable's name in it; inside of groups and structs, `group/name`.
        shape: as MATLAB shows it; in an HDF5 file that MATLAB did not write, as the file has it.
        kind: numbers, or text: a character matrix, a cell array of strings, HDF5 strings.
        loose: whether the axes may be either way round, as in HDF5 files without MATLAB's marks.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: Literal["numbers", "text"]
    loose: bool
    _block: Callable[[int, int, int], NDArray[Any]] | None = None
    _sentences: Callable[[], list[list[str]]] | None = None

    def __str__(self) -> str:
        return f"{self.name} {'x'.join(map(str, self.shape))} in {self.path.name}"

    def block(self, start: int, stop: int, *, axis: int) -> NDArray[Any]:
        """Return the entries from `start` to `stop` of one axis, all of the other axes.

        Raises:
            DataError: they are too many for the memory, or the file is damaged.
        """
        assert self._block is not None
        read = partial(self._block, start, stop, axis)
        size = int(np.prod(self.shape, dtype=object)) // max(self.shape[axis], 1) * (stop - start)
        if size * 8 > MAX_BYTES:
            raise DataError(
                f"{self.path}: {self.name} has {size:,} values, more than fit in "
                f"{MAX_BYTES >> 30} GiB; save it as a smaller type or in parts"
            )
        return np.asarray(guarded(self.path, read))

    def sentences(self) -> list[list[str]]:
        """Return the strings of each entry, without the blanks that MATLAB fills up with."""
        assert self._sentences is not None
        return list(guarded(self.path, self._sentences))


def guarded(path: Path, read: Callable[[], Any]) -> Any:
    """Return what `read` does.

    Raises:
        DataError: "PATH cannot be read (REASON); is it damaged, or not copied whole?".
    """
    try:
        return read()
    except ProxyhashError:
        raise
    except Exception as error:  # SciPy and HDF5 answer damaged bytes with nearly any exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{path} cannot be read ({reason}); is it damaged, or not copied whole?"
        ) from error


def listed(variables: list[Variable]) -> str:
    """Return names and shapes, for messages."""
    return ", ".join(map(str, variables)) or "nothing"


Role: TypeAlias = Literal["image", "text", "labels", "index"]
Part: TypeAlias = Literal["all", "query", "train", "database", "validation"]

ROLES: dict[Role, tuple[str, ...]] = {
    "image": ("i", "v", "x", "img", "imgs", "image", "images", "f", "fname", "data", "visual"),
    "text": ("t", "y", "txt", "txts", "text", "texts", "tag", "tags", "caption", "captions"),
    "labels": ("l", "lab", "labs", "label", "labels", "category", "categories"),
    "index": ("index", "indices", "idx", "ind"),
}
"""Contents of a variable; `index` numbers the items of a part, or, as strings, names images."""

PARTS: dict[Part, tuple[str, ...]] = {
    "all": ("all",),
    "query": ("query", "queries", "test", "te"),
    "train": ("train", "training", "tr", "tra"),
    "database": ("database", "db", "dataset", "retrieval", "ret", "gallery"),
    "validation": ("validation", "valid", "val", "verify"),
}
"""Part of the items; a role alone stands for all of them."""

_ALONE = {"img", "imgs", "image", "images", "text", "texts", "txt", "tags", "caption", "captions"}
_ALONE |= {"labels", "label", "category", "categories", "index"}
_IN_BETWEEN = re.compile(r"[^a-z0-9]")


def meaning(name: str) -> tuple[Role, Part] | None:
    """Return what a variable is, None where its name does not say."""
    return _MEANINGS.get(_IN_BETWEEN.sub("", name.lower().removeprefix("param/")))


def _meanings() -> dict[str, tuple[Role, Part]]:
    found: dict[str, tuple[Role, Part]] = {}
    for role, words in ROLES.items():
        for word in words:
            if word in _ALONE:
                found[word] = (role, "all")
            for part, names in PARTS.items():
                for each in names:  # the first reading stays: VAll is all of V, not val of L
                    found.setdefault(word + each, (role, part))
                    found.setdefault(each + word, (role, part))
    return found


_MEANINGS = _meanings()
