"""One batch of items on its way into an index, beside what the index holds of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from proxyhash.catalog.item_keys import key_of_stored
from proxyhash.index import IndexItem

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from proxyhash.codes import CodeFile, Codes
    from proxyhash.data import Collection

__all__ = ["Batch", "IndexReport", "presence_of"]


@dataclass(frozen=True)
class IndexReport:
    """Counts of the items of a manifest by what was done with them.

    Attributes:
        added: stored under new ids.
        replaced: stored in place of other codes or another payload.
        unchanged: already stored with the same codes and payload.
        without_code: without anything that the model encodes; not stored.
        thumbnails: made and stored.
        kept: of those stored before, how many keep a code or everything as it was, because what
            the manifest names cannot be read now.
        incomplete: stored without something that the manifest names and that cannot be read.
        skipped: cannot be read, or are not valid; nothing of them is stored.
        thumbnail_bytes: bytes of the thumbnails that were made.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    without_code: int = 0
    thumbnails: int = 0
    kept: int = 0
    incomplete: int = 0
    skipped: int = 0
    thumbnail_bytes: int = 0

    def __add__(self, other: IndexReport) -> IndexReport:
        ours, theirs = asdict(self), asdict(other)
        return IndexReport(**{name: ours[name] + theirs[name] for name in ours})

    @property
    def stored(self) -> int:
        """Number of the items that the index contains."""
        return self.added + self.replaced + self.unchanged


class Batch:
    """Items on their way into the index, with what is stored of them.

    Args:
        collection: the items.
        codes: theirs; what could not be read is filled in from the index.
        before: what the index holds of them, by id.

    Attributes:
        payloads: of each item; empty where it cannot be stored.
        refused: why rows cannot be stored, by row.
        coded: which rows have something to store, bool (n,).
        same: which of them are stored already, bool (n,).
    """

    def __init__(
        self, collection: Collection, *, codes: CodeFile, before: Mapping[str, IndexItem]
    ) -> None:
        self.collection = collection
        self.before = before
        self.payloads: list[dict[str, object]] = [{} for _ in codes.ids]
        self.refused: dict[int, str] = {}
        self.missed = np.zeros(len(codes), np.bool_)
        self.filled = np.zeros(len(codes), np.bool_)
        self.codes = self._with_stored(codes)
        self.coded = np.asarray(presence_of(self.codes).any(axis=1))
        self.same = np.zeros(len(codes), np.bool_)

    def place(self, row: int) -> str:
        """Return file, row and item, for a sentence."""
        item = self.collection.items[row]
        return f"{self.collection.path}, row {item.row}, item {item.id!r}"

    def compare(self) -> None:
        """Find out what is stored already; call it once the payloads are known."""
        self.coded[list(self.refused)] = False
        for row in np.flatnonzero(self.coded).tolist():
            item = self.before.get(self.codes.ids[row])
            self.same[row] = item is not None and self._is(item, row)

    def keys(self, sources: Mapping[str, bytes]) -> dict[str, tuple[bytes, bytes]]:
        """Return the digests of the items that are stored whole, by id; see `ItemKeys`."""
        found = {}
        for row in np.flatnonzero(self.coded & ~self.missed).tolist():
            id_ = self.codes.ids[row]
            if id_ in sources and row not in self.refused:
                item = IndexItem(id_, self._own(row), self.payloads[row])
                found[id_] = sources[id_], key_of_stored(item)
        return found

    def report(self, *, skip: bool) -> IndexReport:
        """Return what was done with the items, thumbnails left out."""
        there = np.array([id_ in self.before for id_ in self.codes.ids], np.bool_)
        refused = np.zeros(len(there), np.bool_)
        refused[list(self.refused)] = True
        coded, same = self.coded & ~refused, self.same & ~refused
        bare = ~coded & ~refused
        lost = bare & self.missed & skip  # of these, nothing could be read
        return IndexReport(
            added=int((coded & ~there).sum()),
            replaced=int((coded & there & ~same).sum()),
            unchanged=int((same | (refused & there) | (lost & there)).sum()),
            without_code=int((bare & ~lost).sum()),
            kept=int(((coded & self.filled) | (refused & there) | (lost & there)).sum()),
            incomplete=int((coded & self.missed & ~self.filled).sum()),
            skipped=int(((refused | lost) & ~there).sum()),
        )

    def _with_stored(self, codes: CodeFile) -> CodeFile:
        """Return the codes, with the stored ones in place of those that could not be read."""
        found = {name: codes.of(name).copy() for name in codes.modalities}
        present = {name: codes.has(name).copy() for name in codes.modalities}
        weights = {name: each.copy() for name, each in codes.weights.items()}
        for name in codes.modalities:
            for row in np.flatnonzero(codes.missed(name)).tolist():
                self.missed[row] = True
                item = self.before.get(codes.ids[row])
                if item is not None and name in item.codes:
                    found[name][row], present[name][row] = item.codes[name], True
                    self.filled[row] = True
                    if name in weights and name in item.weights:
                        weights[name][row] = item.weights[name]
        return replace(codes, codes=found, present=present, unreadable={}, weights=weights)

    def _own(self, row: int) -> dict[str, Codes]:
        codes = self.codes
        return {name: codes.of(name)[row] for name in codes.modalities if codes.has(name)[row]}

    def _is(self, item: IndexItem, row: int) -> bool:
        own = self._own(row)
        return (
            own.keys() == item.codes.keys()
            and all((item.codes[name] == code).all() for name, code in own.items())
            and item.payload == self.payloads[row]
        )


def presence_of(codes: CodeFile) -> npt.NDArray[np.bool_]:
    """Return which items have which of the modalities, bool (n, modalities)."""
    each = [codes.has(name) for name in codes.modalities]
    return np.stack(each, axis=1) if each else np.zeros((len(codes), 0), np.bool_)
