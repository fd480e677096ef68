"""The interface of search engines: codes in rows, nothing known of ids or payloads.

An index gives its engine the rows' codes and their `order`: numbers that compare as the rows' ids
do, so that an engine can order equal distances by id without seeing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from proxyhash.codes.bits import MAX_BITS
from proxyhash.errors import DataError
from proxyhash.files import write_json
from proxyhash.index.engines.saved import check_saved, is_whole, read_settings
from proxyhash.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    from proxyhash.codes import Codes

__all__ = [
    "ENGINES",
    "HEADER",
    "Engine",
    "Matches",
    "check_usable",
    "join_queries",
    "read_header",
    "register_engine",
    "write_header",
]


@dataclass(frozen=True, slots=True)
class Matches:
    """The rows found for each query, ordered by (distance, order).

    Attributes:
        offsets: int64 (q + 1,); query i's answers are `offsets[i]` to `offsets[i + 1]`.
        rows: int64 (m,).
        distances: uint16 (m,), in bits.
        asymmetric: float64 (m,), asymmetric distances in bits, where rows are ordered by those.
        vector_distances: float64 (m,), in bits, where rows are ordered by those.
    """

    offsets: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    distances: npt.NDArray[np.uint16]
    asymmetric: npt.NDArray[np.float64] | None = None
    vector_distances: npt.NDArray[np.float64] | None = None

    @property
    def triples(self) -> Iterable[tuple[int, float | None, float | None]]:
        """The distance, asymmetric distance and vector distance of each row found."""
        more = (
            repeat(None) if each is None else each.tolist()
            for each in (self.asymmetric, self.vector_distances)
        )
        return zip(self.distances.tolist(), *more, strict=False)


def join_queries(parts: Sequence[tuple[npt.NDArray[np.int64], Matches]]) -> Matches:
    """Return one answer to q queries from the answers to some of them each.

    Args:
        parts: which queries, int64, and their answers; every query of `range(q)` once.
    """
    sizes = np.empty(sum(len(which) for which, _ in parts), np.int64)
    for which, found in parts:
        sizes[which] = np.diff(found.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.empty(offsets[-1], np.int64)
    distances = np.empty(offsets[-1], np.uint16)
    for which, found in parts:
        shift = np.repeat(offsets[which] - found.offsets[:-1], np.diff(found.offsets))
        places = shift + np.arange(len(found.rows))
        rows[places], distances[places] = found.rows, found.distances
    return Matches(offsets, rows, distances)


class Engine(Protocol):
    """Finds the rows nearest to a query.

    Attributes:
        name: what it is called in options and reports.
        exact: whether it never misses a row. One that may miss says so here.
        checks_saved: whether `load` compares all that it reads with the codes before it uses any
            of it, so that files of unknown origin do no harm. An index in a folder saves and loads
            such engines alone, and builds others from the codes. False where there is none.
        bits: the code length.
        count: how many rows it holds.
        nbytes: memory of everything it holds, the codes included.
    """

    name: ClassVar[str]
    exact: ClassVar[bool]
    checks_saved: ClassVar[bool]
    bits: int
    count: int

    @property
    def nbytes(self) -> int: ...  # noqa: D102

    @classmethod
    def build(
        cls, codes: Codes, *, bits: int, order: npt.NDArray[np.uint64] | None = None, **options: Any
    ) -> Self:
        """Return an engine over codes uint8 (n, ceil(bits/8)).

        Args:
            codes: kept, not copied, where the engine can; may be memory-mapped.
            bits: the code length.
            order: uint64 (n,), all different; ties go to the smaller one. Default: the row. Its
                values may be renumbered later, in place, but never so that two rows change places.
            options: the engine's own settings.
        """
        ...

    def search(
        self,
        query: Codes,
        *,
        k: int | None,
        radius: int | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Matches:
        """Return the nearest rows of each query.

        Args:
            query: packed codes (q, B).
            k: at most this many rows per query; None for all within `radius`.
            radius: no row farther than this; None for no limit. One of k and radius is given.
            mask: bool (n,); rows where it is False are never returned.
            threads: how many threads to use; default all cores.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything but the codes and the order into an empty folder."""
        ...

    @classmethod
    def load(
        cls, folder: Path, codes: Codes, *, order: npt.NDArray[np.uint64] | None = None
    ) -> Self:
        """Return the engine that `save` wrote, memory-mapped, over the same codes and order.

        Raises:
            DataError: a file is missing or damaged, or does not fit the codes.
        """
        ...


HEADER = "engine.json"
"""The header of a saved engine's folder."""
_VERSION = 1


def write_header(folder: Path, *, engine: str, bits: int, count: int, **settings: int) -> None:
    """Write which engine was saved, over how many codes, and its own settings."""
    header = {"version": _VERSION, "engine": engine, "bits": bits, "count": count}
    write_json(folder / HEADER, {**header, **settings})


def read_header(folder: Path, *, engine: str, codes: Codes) -> dict[str, Any]:
    """Return what `write_header` wrote, if it was about these codes.

    Raises:
        DataError: it is missing or damaged, of another engine, or of other codes.
    """
    path = folder / HEADER
    header = read_settings(path)
    if header.get("version") != _VERSION:
        raise DataError(f"{path} has another version; rebuild the engine")
    if header.get("engine") != engine:
        raise DataError(f"{path} is of the engine {header.get('engine')!r}, not of {engine!r}")
    if header.get("count") != len(codes):
        raise DataError(
            f"{path} is about {header.get('count')} codes and there are {len(codes)}; "
            "rebuild the engine"
        )
    bits = header.get("bits")
    fits = is_whole(bits, 1, MAX_BITS) and (bits + 7) // 8 == codes.shape[1]
    check_saved(fits, path, f"it says {bits!r} bits for codes of {codes.shape[1]} bytes")
    return header


ENGINES: Registry[type[Engine]] = Registry(
    "engine",
    group="proxyhash.engines",
    modules=("proxyhash.index.engines.*", "proxyhash.index.engines.*.engine"),
)
"""Every engine by its name.

To add one, put a class with the `Engine` interface under `@register_engine` into a new file here,
or into the file `engine.py` of a new folder; another package names its module under the entry-point
group. The contract suite (tests/index/engines/test_contract.py) runs over every exact engine.
An index searches with it where it is named, as in `create_index(..., engine=)`. An index in a
folder searches with `auto` otherwise, which measures those in `CANDIDATES` of its module, and the
one for GPUs where there is one.
"""


def check_usable(name: str) -> None:
    """Check that an engine can be built here, whatever the codes.

    An engine that needs more than the processor says so by a class method `check_usable`.

    Raises:
        MissingExtraError: a library is not installed.
        UsageError: a device is not there.
    """
    check = getattr(ENGINES[name], "check_usable", None)
    if check is not None:
        check()


E = TypeVar("E", bound=type[Engine])


def register_engine(engine: E) -> E:
    """Class decorator: make an engine available under its `name`.

    Raises:
        ValueError: another class already has that name.
    """
    ENGINES.add(engine.name, engine)
    return engine
