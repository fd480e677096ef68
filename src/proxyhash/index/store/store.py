"""The durable index: a folder that many processes read and one writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.codes import check_bits
from proxyhash.codes.vectors import check_kind
from proxyhash.errors import UsageError
from proxyhash.index.base import CAPABILITIES, Index
from proxyhash.index.checks import check_modalities
from proxyhash.index.filters import Contains
from proxyhash.index.open import register_index
from proxyhash.index.store.access import Access, Mode, whole
from proxyhash.index.store.column_reading import reading_filtered, reading_when
from proxyhash.index.store.database import MovedError
from proxyhash.index.store.disk import WriterLock, disk_errors
from proxyhash.index.store.folder import make_folder, read_header
from proxyhash.index.store.header import Header
from proxyhash.index.store.verify import find_header_problems, find_problems
from proxyhash.index.store.word_index import fill_current, follow_words
from proxyhash.index.store.word_search import search_words
from proxyhash.index.store.writing import delete_items, put_items
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    import numpy as np
    import numpy.typing as npt

    from proxyhash.codes import Codes, Weights
    from proxyhash.codes.vectors import VectorKind
    from proxyhash.index.fields import Fields
    from proxyhash.index.filters import Filter
    from proxyhash.index.hit import Hit, IndexItem
    from proxyhash.index.second_look import SecondLook
    from proxyhash.index.store.vectors import Weigh
    from proxyhash.index.store.word_index import WordState
    from proxyhash.index.words import WordQuery

__all__ = ["Store"]

MAX_MODALITIES = 8
_WRITING = frozenset({"write", "compact"})
_READING = frozenset(CAPABILITIES) - _WRITING - {"drop"}


@register_index("file")
class Store(Index):
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

    kind = "store"

    def __init__(self, access: Access) -> None:
        header = access.header
        super().__init__(bits=header.bits, model=header.model, modalities=header.modalities)
        self.capabilities = _READING | _WRITING if access.writable else _READING
        self.folder = access.folder
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
        keep_vectors: VectorKind | None = None,
    ) -> Self:
        """Create an empty index, and open it for writing.

        Args:
            folder: does not exist yet, or is empty.
            bits: the code length.
            model: fingerprint of the model that makes the codes, "" when unknown.
            modalities: what an item may have a code of, at most eight.
            engine: name of the engine that searches; "auto" measures which is fastest.
            keep_vectors: store the sizes of outputs beside the codes, for a second look: "int8" in
                a byte per bit, "float" in four.

        Raises:
            UsageError: there is something in the folder already, or more than eight modalities.
            ProxyhashError: the folder cannot be written.
        """
        folder, mode = _path(folder), Mode(engine=engine)
        if len(modalities) > MAX_MODALITIES:
            raise UsageError(f"there are {len(modalities)} modalities; a store has at most eight")
        header = Header(
            bits=check_bits(bits),
            modalities=check_modalities(modalities),
            model=model,
            vectors=None if keep_vectors is None else check_kind(keep_vectors),
        )
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
        pinned: bool = False,
    ) -> Self:
        """Open an index.

        Args:
            folder: made by `create` or `snapshot`.
            write: also for changing it; one process at a time can.
            bits: refuse an index with another code length.
            model: refuse an index of another model, by its fingerprint.
            salvage: read what is readable of a damaged index, and skip the rest.
            engine: name of the engine that searches; "auto" measures which is fastest.
            pinned: when the index is migrated to another model meanwhile, go on with the codes that
                were there; otherwise that raises `MigratedError`. See `superseded`.

        Raises:
            DataError: the folder is not an index, is damaged, or holds codes of something else.
            ProxyhashError: another process is writing it.
        """
        folder = _path(folder)
        if write and salvage:
            raise UsageError("a damaged index cannot be written; save what is readable elsewhere")
        mode = Mode(engine=engine, salvage=salvage, pinned=pinned)
        header = read_header(folder, salvage=salvage)
        header.check(folder, bits=bits, model=model)
        writer = None
        if write:
            with disk_errors(folder):
                writer = WriterLock(folder)
        access = Access(folder, mode, writer=writer)
        try:
            access.header.check(folder, bits=bits, model=model)  # it may have been migrated since
        except BaseException:
            access.close()
            raise
        return cls(access)

    @classmethod
    def exists(cls, folder: str | os.PathLike[str]) -> bool:
        """Whether the folder is taken: by an index, or by anything else."""
        path = _path(folder)
        return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)

    @whole
    def count_values(self, field: str) -> list[tuple[object, int]]:
        """Return the values in the lists of a payload field, each with how many items have it."""
        with reading_filtered(self._access, Contains(field, "")) as generation:
            return generation.count_values(field)

    @whole
    def fields(self) -> Fields:
        """Return the fields of all payloads by name, with the types of their values."""
        with reading_when(
            self._access, lambda generation: generation.columns.table_behind(generation.rows.count)
        ) as generation:
            return generation.fields()

    @property
    @whole
    def changes(self) -> tuple[int, int]:
        """Generation and number of the last change: the same as long as nothing changed."""
        with self._access.reading() as generation:
            return generation.header.generation, generation.rows.change

    @property
    @whole
    def vectors(self) -> VectorKind | None:
        """The form of the vectors beside the codes, "int8" or "float"; None where none are kept."""
        with self._access.reading() as generation:
            return generation.header.vectors

    @property
    def superseded(self) -> bool:
        """Whether the folder holds codes of another model by now: open it again, with its model."""
        return self._access.superseded

    @whole
    def info(self) -> dict[str, object]:
        """Return kind, counts and settings, for people to read."""
        with self._access.reading() as generation:
            return {
                "kind": self.kind,
                "folder": str(self.folder),
                "bits": self.bits,
                "model": self.model,
                **generation.info(),
            }

    @whole
    def verify(self, *, report: Callable[[str], None] | None = None) -> list[str]:
        """Read everything and return the problems found, one sentence each.

        Args:
            report: is told in sentences what was compared beside checksums.
        """
        with self._access.reading() as generation:
            problems = find_header_problems(self.folder)
            problems += find_problems(generation, report=report)
            return problems or generation.words.find_problems(generation)

    def compact(self) -> None:
        """Rewrite the index without deleted items, which reclaims disk space, and save its engines.

        Readers carry on and switch over by themselves. Until it is done, it needs as much disk
        space again as the index takes.

        Raises:
            DataError: something is damaged; nothing is changed.
        """
        self._access.compact()

    def keep_vectors(self, kind: VectorKind | None, weigh: Weigh | None = None) -> None:
        """Keep vectors from now on, in another form, or none; rewrites the index as `compact` does.

        A process that is killed meanwhile leaves the index as it was.

        Args:
            kind: "int8", "float", or None to drop them.
            weigh: how sure the codes of stored items are of each bit; needed where none are kept
                so far, or as int8.

        Raises:
            UsageError: `weigh` is needed.
            DataError: something is damaged; nothing is changed.
        """
        kind = None if kind is None else check_kind(kind)
        if kind == self.vectors:
            return
        if weigh is None and kind is not None and self.vectors != "float":
            raise UsageError("vectors of stored items are not known; give `weigh`")
        self._access.compact(vectors=kind, weigh=weigh)

    def adopt(self, folder: str | os.PathLike[str]) -> None:
        """Replace everything, bits and model included, by what another index holds, in one step.

        Who has this index open for reading goes on with the old codes (`pinned`), or is told. A
        process that is killed leaves the old index or the new one. The other folder is not an index
        afterwards.

        Args:
            folder: an index folder on the same disk that no process has open.
        """
        self._access.adopt(_path(folder))
        header = self._access.header
        self.bits, self.model, self.modalities = header.bits, header.model, header.modalities

    def yield_writing(self) -> None:
        """Let another process write the index; reading goes on, and changing raises."""
        self._access.yield_writing()

    def claim_writing(self) -> None:
        """Write again after `yield_writing`.

        Raises:
            ProxyhashError: another process is writing.
            MigratedError: the index was migrated to another model meanwhile.
        """
        self._access.claim_writing()

    def snapshot(self, folder: str | os.PathLike[str]) -> int:
        """Write the index as it is now to another folder, and return how many items it has.

        Others may read and write it meanwhile.

        The copy is an index of its own, compacted and checked.

        Raises:
            UsageError: there is something in the other folder already.
            DataError: something is damaged; open the index with `salvage=True` to skip it.
        """
        reader = Access(self.folder, self._access.mode, writer=None)
        try:
            return whole(_copy)(reader, Path(folder))
        finally:
            reader.close()

    def close(self) -> None:
        """Close all files; what was acknowledged is stored already."""
        self._access.close()

    @whole
    def __len__(self) -> int:
        """Return the number of items."""
        with self._access.reading() as generation:
            return generation.rows.items

    def _put(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        *,
        new: bool,
    ) -> None:
        with self._access.writing() as generation:
            put_items(generation, ids, codes, payloads, new=new)
            follow_words(generation)

    def _put_weighted(
        self,
        ids: list[str],
        codes: dict[str, Codes],
        payloads: list[dict[str, object]],
        weights: dict[str, Weights],
        *,
        new: bool,
    ) -> None:
        with self._access.writing() as generation:
            put_items(generation, ids, codes, payloads, new=new, weights=weights)
            follow_words(generation)

    def _delete(self, ids: list[str]) -> int:
        with self._access.writing() as generation:
            return delete_items(generation, ids)

    @whole
    def _get_many(self, ids: list[str]) -> dict[str, IndexItem]:
        with self._access.reading() as generation:
            return {item.id: item for item in generation.present(ids)}

    @whole
    def _contains(self, id_: str) -> bool:
        with self._access.reading() as generation:
            return generation.has(id_)

    @whole
    def _count(self, modality: str, filter: Filter | None) -> int:  # noqa: A002
        with reading_filtered(self._access, filter) as generation:
            return generation.count(modality, filter)

    @whole
    def _search(
        self,
        codes: Codes,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        with reading_filtered(self._access, filter) as generation:
            return generation.search(codes, k=k, modality=modality, radius=radius, filter=filter)

    @property
    @whole
    def has_words(self) -> bool:
        """Whether there is a word index; `fill_words` makes one."""
        with self._access.reading() as generation:
            return generation.words.exists and not generation.salvaged

    def words_state(self) -> WordState | None:
        """Return how far the word index is, None if there is none.

        Raises:
            DataError: it is damaged; says which command makes it again.
        """
        return whole(self._words_state)()

    def fill_words(self, *, fields: Sequence[str] | None = None, track: Track = silent) -> int:
        """Make the word index, in place of one that is there, and return how many rows it has.

        Others may read and write the index meanwhile; what they write later is taken in by them.

        Args:
            fields: keys of payloads whose words are indexed; None for all but `image`.
            track: told of the progress.
        """
        reader = Access(self.folder, self._access.mode, writer=None)
        try:
            return whole(fill_current)(reader, fields=fields, track=track)
        finally:
            reader.close()

    @whole
    def _words_state(self) -> WordState | None:
        with self._access.reading() as generation:
            return generation.words.state()

    @whole
    def _search_words(
        self,
        codes: Codes,
        words: Sequence[WordQuery],
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
        look: SecondLook | None,
    ) -> list[list[Hit]]:
        with reading_filtered(self._access, filter) as generation:
            found = search_words(
                generation,
                codes,
                words,
                k=k,
                modality=modality,
                radius=radius,
                filter=filter,
                look=look,
            )
        if found is None:
            raise UsageError(
                f"{self.folder} has no word index; `proxyhash index words {self.folder}` makes one"
            )
        return found

    @whole
    def _look_again(
        self,
        codes: Codes,
        look: SecondLook,
        *,
        k: int | None,
        modality: str,
        radius: int | None,
        filter: Filter | None,  # noqa: A002
    ) -> list[list[Hit]]:
        with reading_filtered(self._access, filter) as generation:
            if look.by == "vectors" and generation.header.vectors is None:
                self._refuse_vectors()  # another process dropped them a moment ago
            return generation.look_again(
                codes, look, k=k, modality=modality, radius=radius, filter=filter
            )

    @whole
    def _count_distances(
        self,
        query: Codes,
        modality: str,
        filter: Filter | None,  # noqa: A002
    ) -> npt.NDArray[np.int64]:
        with reading_filtered(self._access, filter) as generation:
            return generation.count_distances(query, modality=modality, filter=filter)

    def _items(self, batch: int) -> Iterator[list[IndexItem]]:
        last = ""
        while True:  # each batch is what is stored when it is asked for
            found = self._after(last, batch)
            if not found:
                return
            yield found
            last = found[-1].id

    @whole
    def _after(self, id_: str, count: int) -> list[IndexItem]:
        with self._access.reading() as generation:
            return generation.after(id_, count)


def _copy(reader: Access, folder: Path) -> int:
    """Write what is in an index to another folder, and return how many items that were."""
    made = False
    try:
        with reader.reading() as source:
            header = source.header.with_(generation=1)
            make_folder(folder, header, source=source).release()
            made = True
            return source.rows.items
    except MovedError:
        if made:
            shutil.rmtree(folder)
        raise


def _path(folder: str | os.PathLike[str]) -> Path:
    return Path(folder.removeprefix("file://") if isinstance(folder, str) else folder)
