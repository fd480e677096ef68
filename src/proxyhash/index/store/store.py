"""The durable index: a folder that many processes read and one writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.codes import check_bits
from proxyhash.errors import UsageError, check_option
from proxyhash.index.checks import check_items, check_modalities, check_search
from proxyhash.index.store.access import Access, Mode
from proxyhash.index.store.disk import disk_errors
from proxyhash.index.store.folder import make_folder, read_header
from proxyhash.index.store.header import Header
from proxyhash.index.store.locking import WriterLock
from proxyhash.index.store.verify import find_header_problems, find_problems
from proxyhash.index.store.writing import delete_items, put_items

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import Codes
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import Hit, IndexItem

__all__ = ["Store"]

MAX_MODALITIES = 8


class Store:
    """The `Index` in a folder; made by `Store.create`, opened by `Store.open`.

    A change that a call returned from survives the end of the process at any moment. Every search
    sees all of a change or nothing of it, also one that another process made a moment ago.
    Threads may share a store.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Store.create(f"{folder}/index", bits=8, modalities=("text",)) as store:
        ...         store.add(["a"], np.array([[0b11]], np.uint8), payloads=[{"price": 3}])
        ...     with Store.open(f"{folder}/index") as store:
        ...         store.search(np.array([[0b01]], np.uint8), k=1)
        [[Hit(id='a', distance=1, payload={'price': 3})]]
    """

    def __init__(self, access: Access) -> None:
        self.folder = access.folder
        self.bits = access.header.bits
        self.model = access.header.model
        self.modalities = access.header.modalities
        self._access = access

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        *,
        bits: int,
        model: str = "",
        modalities: Sequence[str] = ("image", "text"),
        engine: str = "auto",
    ) -> Self:
        """Make an index without items, and open it for writing.

        Args:
            folder: does not exist yet, or is empty.
            bits: the code length.
            model: fingerprint of the model that makes the codes, "" when unknown.
            modalities: what an item may have a code of, at most eight.
            engine: name of the engine that searches; "auto" measures which is fastest.

        Raises:
            UsageError: there is something in the folder already, or more than eight modalities.
            ProxyhashError: the folder cannot be written.
        """
        folder, mode = Path(folder), Mode(engine=engine)
        if len(modalities) > MAX_MODALITIES:
            raise UsageError(f"there are {len(modalities)} modalities; a store has at most eight")
        header = Header(bits=check_bits(bits), modalities=check_modalities(modalities), model=model)
        writer = make_folder(folder, header)
        return cls(Access(folder, mode, writer=writer))

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        write: bool = False,
        bits: int | None = None,
        model: str | None = None,
        salvage: bool = False,
        engine: str = "auto",
    ) -> Self:
        """Open an index.

        Args:
            folder: made by `create` or `snapshot`.
            write: also for changing it; one process at a time can.
            bits: refuse an index with another code length.
            model: refuse an index of another model, by its fingerprint.
            salvage: read what is readable of a damaged index, and pass over the rest.
            engine: name of the engine that searches; "auto" measures which is fastest.

        Raises:
            DataError: the folder is no index, is damaged, or holds codes of something else.
            ProxyhashError: another process is writing it.
        """
        folder = Path(folder)
        if write and salvage:
            raise UsageError("a damaged index cannot be written; save what is readable elsewhere")
        mode = Mode(engine=engine, salvage=salvage)
        header = read_header(folder, salvage=salvage)
        header.check(folder, bits=bits, model=model)
        if not write:
            return cls(Access(folder, mode, writer=None))
        with disk_errors(folder):
            writer = WriterLock(folder)
        return cls(Access(folder, mode, writer=writer))

    def add(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store new items, all of them or none; see `Index.add`."""
        self._put(ids, codes, payloads, new=True)

    def upsert(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        *,
        payloads: Sequence[Mapping[str, object]] | None = None,
    ) -> None:
        """Store items in place of whatever was stored under their ids; see `Index.upsert`."""
        self._put(ids, codes, payloads, new=False)

    def delete(self, ids: Sequence[str]) -> int:
        """Remove items and return how many there were of them; see `Index.delete`."""
        with self._access.writing() as generation:
            return delete_items(generation, ids)

    def get(self, id: str, /) -> IndexItem:  # noqa: A002 -- the interface's word
        """Return what is stored under an id; see `Index.get`."""
        with self._access.reading() as generation:
            return generation.get(id)

    def get_many(self, ids: Sequence[str]) -> dict[str, IndexItem]:
        """Return what is stored under those of the ids that are there, at one moment."""
        with self._access.reading() as generation:
            return {item.id: item for item in generation.present(ids)}

    def search(
        self,
        codes: Codes,
        *,
        k: int | None = None,
        modality: str | None = None,
        radius: int | None = None,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> list[list[Hit]]:
        """Return the nearest items of each query, ordered by (distance, id); see `Index.search`."""
        modality = check_search(
            codes, k=k, modality=modality, radius=radius, bits=self.bits, modalities=self.modalities
        )
        with self._access.reading() as generation:
            return generation.search(codes, k=k, modality=modality, radius=radius, filter=filter)

    def count(
        self,
        modality: str,
        *,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> int:
        """Return how many items a search of a modality compares; see `Index.count`."""
        check_option("modality", modality, self.modalities)
        with self._access.reading() as generation:
            return generation.count(modality, filter)

    def count_members(self, field: str) -> list[tuple[object, int]] | None:
        """Return the values in the lists of a payload field, each with how many items have it.

        None while the field is still to be read: a call reads a part, for about .05 s, so that
        searches can come in between. Call again.
        """
        with self._access.reading() as generation:
            return generation.count_members(field)

    @property
    def changes(self) -> tuple[int, int]:
        """Generation and number of the last change: the same as long as nothing changed."""
        with self._access.reading() as generation:
            return generation.header.generation, generation.rows.change

    def count_distances(
        self,
        codes: Codes,
        *,
        modality: str,
        filter: Filter | None = None,  # noqa: A002 -- the interface's word
    ) -> npt.NDArray[np.int64]:
        """Return how many items lie at each distance from a query, int64 (bits + 1,).

        Args:
            codes: one packed query, uint8 (1, ceil(bits/8)).
            modality: whose codes are compared.
            filter: only items whose payload matches.
        """
        modality = check_search(
            codes, k=1, modality=modality, radius=None, bits=self.bits, modalities=self.modalities
        )
        with self._access.reading() as generation:
            return generation.count_distances(codes, modality=modality, filter=filter)

    def items(self, *, batch: int = 10_000) -> Iterator[list[IndexItem]]:
        """Return all items in batches, in the order of their ids.

        Each batch is what is stored when it is asked for.
        """
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be at least 1")
        return self._items(batch)

    def info(self) -> dict[str, object]:
        """Return what the index is and holds, for people to read."""
        with self._access.reading() as generation:
            return {
                "kind": "store",
                "folder": str(self.folder),
                "bits": self.bits,
                "model": self.model,
                **generation.info(),
            }

    def verify(self) -> list[str]:
        """Read everything and return what is wrong, a sentence each; nothing when all is well."""
        with self._access.reading() as generation:
            return [*find_header_problems(self.folder), *find_problems(generation)]

    def compact(self) -> None:
        """Write the index anew without what was deleted, and save its search structures.

        Others read on meanwhile and change over by themselves. Takes the room of the index once
        more on the disk until it is done.

        Raises:
            DataError: something is damaged; nothing is changed.
        """
        self._access.compact()

    def snapshot(self, folder: str | os.PathLike[str]) -> None:
        """Write the index as it is now to another folder, while others read and write it.

        The copy is an index of its own, compacted and checked.

        Raises:
            UsageError: there is something in the other folder already.
            DataError: something is damaged; open the index with `salvage=True` to pass over it.
        """
        reader = Access(self.folder, self._access.mode, writer=None)
        try:
            with reader.reading() as source:
                header = source.header.with_(generation=1)
                make_folder(Path(folder), header, source=source).release()
        finally:
            reader.close()

    def close(self) -> None:
        """Close all files; what was acknowledged is stored already."""
        self._access.close()

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self.close()

    def __contains__(self, id: object, /) -> bool:  # noqa: A002
        """Whether something is stored under this id."""
        with self._access.reading() as generation:
            return generation.has(id)

    def __len__(self) -> int:
        """Return the number of items."""
        with self._access.reading() as generation:
            return generation.rows.items

    def _put(
        self,
        ids: Sequence[str],
        codes: Codes | Mapping[str, Codes],
        payloads: Sequence[Mapping[str, object]] | None,
        *,
        new: bool,
    ) -> None:
        ids, codes, payloads = check_items(
            ids, codes, payloads, bits=self.bits, modalities=self.modalities
        )
        with self._access.writing() as generation:
            put_items(generation, ids, codes, payloads, new=new)

    def _items(self, batch: int) -> Iterator[list[IndexItem]]:
        last = ""
        while True:
            with self._access.reading() as generation:
                found = generation.after(last, batch)
            if not found:
                return
            yield found
            last = found[-1].id
