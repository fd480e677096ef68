"""New codes of items that an index holds, from the texts in their payloads and their image files.

A payload has what the manifest had: a text itself, of a file its path below the manifest. Where
several manifests have such a file, the one is taken whose size and time are those recorded when the
item was stored.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from proxyhash.catalog.item_keys import key_of_source, key_of_stored
from proxyhash.data import MODALITIES, Collection, Item, read_collection
from proxyhash.data.contained import has_content
from proxyhash.index import IndexItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from proxyhash.catalog.item_keys import ItemKeys
    from proxyhash.codes import CodeFile
    from proxyhash.encoders import FeatureCache
    from proxyhash.hashing import HashModel

__all__ = ["Lacking", "Reencoded", "Reencoder", "recorded_sources"]

_NOT_THERE = "no manifest has it"
_NOTHING = "it has nothing that the model encodes"


@dataclass(frozen=True)
class Lacking:
    """An item that lacks a code of the new model which it had of the old one, or any.

    Attributes:
        kept: whether it has another code.
        reason: a clause.
    """

    kept: bool
    reason: str


@dataclass
class Reencoded:
    """Result for some items.

    Attributes:
        items: those that have codes of the new model, payloads as they were.
        lacking: by id, those that lack a code; they are among `items` where they have another one.
    """

    items: list[IndexItem] = field(default_factory=list)
    lacking: dict[str, Lacking] = field(default_factory=dict)


class Reencoder:
    """Encodes stored items once more, with another model.

    Args:
        model: the new one.
        manifests: that the items may have come from, the latest last.
        keys: digests of what the items were made from.
        cache: of features.
        whole: whether the model has features of whole manifests only, not of single items.
        weigh: whether items come with how sure of each bit their codes are.
    """

    def __init__(
        self,
        model: HashModel,
        manifests: Sequence[Path],
        keys: ItemKeys,
        *,
        cache: FeatureCache | None = None,
        whole: bool = False,
        weigh: bool = False,
    ) -> None:
        self._weigh = weigh
        self._model = model
        self._manifests = list(manifests)
        self._keys = keys
        self._cache = cache
        self._whole = whole
        folders = (path if path.is_dir() else path.parent for path in reversed(self._manifests))
        self.roots = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]

    def encode(self, items: Sequence[IndexItem]) -> Reencoded:
        """Return items with the codes of the new model, and which of them lack one."""
        done = Reencoded()
        if self._whole:
            for item in items:
                codes, row = self._found(item.id)
                self._take(done, item, codes, row, None)
            return done
        places = self._places(items)
        groups: dict[Path | None, list[IndexItem]] = defaultdict(list)
        for item in items:
            groups[places.get(item.id)].append(item)
        for root, some in groups.items():
            codes = self._codes(root, some)
            for row, item in enumerate(some):
                self._take(done, item, codes, row, root)
        return done

    def find_lacking(self, items: Sequence[IndexItem]) -> dict[str, Lacking]:
        """Return the items that will lack a code, by id, because a file is missing.

        Nothing is encoded for that, unless the model has features of whole manifests only.
        """
        places = {} if self._whole else self._places(items)
        found = {}
        for item in items:
            if self._whole:
                if self._found(item.id)[0] is None:
                    found[item.id] = Lacking(kept=False, reason=_NOT_THERE)
                continue
            root, sources = places.get(item.id), self._sources(item)
            there = {name for name in sources if self._is_there(root, name, sources)}
            lacking = [name for name in self._needed(item) if name not in there]
            if lacking:
                reason = self._reason(lacking[0], sources, root)
                found[item.id] = Lacking(kept=bool(there), reason=reason)
            elif not there:
                found[item.id] = Lacking(kept=False, reason=_NOTHING)
        return found

    def _take(
        self,
        done: Reencoded,
        item: IndexItem,
        codes: CodeFile | None,
        row: int,
        root: Path | None,
    ) -> None:
        new = {}
        if codes is not None:
            new = {name: codes.of(name)[row] for name in codes.modalities if codes.has(name)[row]}
        if new and codes is not None:
            weights = {name: each[row] for name, each in codes.weights.items() if name in new}
            done.items.append(IndexItem(item.id, new, item.payload, weights))
        sources = self._sources(item)
        lacking = [name for name in self._needed(item) if name not in new]
        if codes is None:
            done.lacking[item.id] = Lacking(kept=False, reason=_NOT_THERE)
        elif lacking:
            reason = self._reason(lacking[0], sources, root)
            done.lacking[item.id] = Lacking(kept=bool(new), reason=reason)
        elif not new:
            done.lacking[item.id] = Lacking(kept=False, reason=_NOTHING)

    def _codes(self, root: Path | None, items: Sequence[IndexItem]) -> CodeFile:
        """Return the codes of items whose files lie in one folder."""
        encoded = []
        for item in items:
            sources = self._sources(item)
            if root is None:
                sources = {name: one for name, one in sources.items() if not _is_file(name)}
            encoded.append(Item(item.id, sources, ()))
        place = root or self._keys.path.parent
        return self._encoded(Collection.of(place, encoded))

    def _encoded(self, collection: Collection) -> CodeFile:
        return self._model.encode_collection(
            collection, cache=self._cache, on_bad_item="skip", weigh=self._weigh
        )

    def _found(self, id_: str) -> tuple[CodeFile | None, int]:
        """Return the codes of the latest manifest that has an item, and its row there."""
        for codes, rows in self._manifest_codes:
            if id_ in rows:
                return codes, rows[id_]
        return None, 0

    @cached_property
    def _manifest_codes(self) -> list[tuple[CodeFile, dict[str, int]]]:
        """Codes of whole manifests, and the rows of their ids; the latest manifest first."""
        found = []
        for path in reversed(self._manifests):
            collection = read_collection(path, on_bad_item="skip")
            found.append((self._encoded(collection), dict(collection.positions)))
        return found

    def _places(self, items: Sequence[IndexItem]) -> dict[str, Path]:
        """Return the folder that each item's files lie in, or would; empty where none is known."""
        recorded = recorded_sources(self._keys, items) if len(self.roots) > 1 else {}
        found = {}
        for item in items:
            sources = self._sources(item)
            files = [name for name in sources if _is_file(name)]
            if not self.roots:
                continue
            having = [
                root
                for root in self.roots
                if all(self._is_there(root, name, sources) for name in files)
            ]
            found[item.id] = (having or self.roots)[0]
            if len(having) > 1 and (wanted := recorded.get(item.id)) is not None:
                same = (root for root in having if self._source_key(root, item) == wanted)
                found[item.id] = next(same, having[0])
        return found

    def _source_key(self, root: Path, item: IndexItem) -> bytes | None:
        collection = Collection.of(root, [Item(item.id, self._sources(item), ())])
        return key_of_source(item.payload, collection, 0)

    def _sources(self, item: IndexItem) -> dict[str, str]:
        """Return what a payload has for each modality of the model."""
        found = {}
        for name in MODALITIES:
            value = item.payload.get(name)
            if name in self._model.modalities and isinstance(value, str) and value.strip():
                found[name] = value
        return found

    def _needed(self, item: IndexItem) -> list[str]:
        return [name for name in item.codes if name in self._model.modalities]

    def _is_there(self, root: Path | None, name: str, sources: Mapping[str, str]) -> bool:
        if name not in sources:
            return False
        if not _is_file(name):
            return True
        try:
            return root is not None and has_content(root / sources[name])
        except (OSError, ValueError):  # a name that no disk takes
            return False

    def _reason(self, name: str, sources: Mapping[str, str], root: Path | None) -> str:
        """Return why an item lacks a code, a clause."""
        if name not in sources:
            return f"its {name} is not in its payload"
        if not _is_file(name):
            return f"its {name} has no code"
        if root is None:
            return f"where its {name} {sources[name]} lies is not known"
        return f"its {name} {root / sources[name]} cannot be read"


def recorded_sources(keys: ItemKeys, items: Iterable[IndexItem]) -> dict[str, bytes]:
    """Return the digest of what each item was made from, where it is known and still holds."""
    items = list(items)
    known = keys.get_many([item.id for item in items])
    return {
        item.id: known[item.id][0]
        for item in items
        if item.id in known and known[item.id][1] == key_of_stored(item)
    }


def _is_file(modality: str) -> bool:
    return MODALITIES[modality].is_file
