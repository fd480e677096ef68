"""Adding vectors to an index folder, storing them in another form, and dropping them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from proxyhash.catalog.build import needs_all
from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.images import images_taken
from proxyhash.catalog.manifests import manifests_of
from proxyhash.catalog.reencode import Reencoder
from proxyhash.codes import unpack
from proxyhash.codes.asymmetric import ONE
from proxyhash.data.images import image_limits
from proxyhash.data.manifest import ON_BAD_ITEM
from proxyhash.encoders import FeatureCache
from proxyhash.errors import (
    DataError,
    InterruptedRunError,
    ModelError,
    UsageError,
    check_option,
)
from proxyhash.hashing import model_folder
from proxyhash.index.store import Store
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxyhash.codes import Weights
    from proxyhash.codes.vectors import VectorKind
    from proxyhash.index import IndexItem

__all__ = ["VectorsReport", "keep_vectors"]

_AT_ONCE = 512
_NAMED = 5
_UNSURE = ONE // 1000
"""Bits with at most this weight may differ from what is stored: they are rounded here and there."""


@dataclass(frozen=True)
class VectorsReport:
    """The vectors that an index keeps now.

    Attributes:
        vectors: "int8", "float" or None.
        items: how many items it has.
        encoded: how many of them were encoded for it.
        unknown: how many cannot be encoded as they were, and count as sure of each bit.
        bytes: of the vectors of one item in one modality.
    """

    vectors: VectorKind | None
    items: int
    encoded: int
    unknown: int
    bytes: int


def keep_vectors(
    uri: str,
    kind: VectorKind | None,
    *,
    model: Path | None = None,
    data: Sequence[Path] = (),
    device: str = "cpu",
    on_bad_item: str = "fail",
    track: Track = silent,
) -> VectorsReport:
    """Let an index folder keep vectors beside its codes, or none.

    The items are encoded once more with the model that made their codes; features that are cached
    are not computed again. The index is rewritten beside itself: a call that was stopped or killed
    leaves it as it was.

    Args:
        uri: the index folder.
        kind: "int8", "float", or None for codes alone.
        model: run or model folder; default the copy in the index.
        data: manifests or folders of images where the files are now; default those remembered.
        device: where the model runs.
        on_bad_item: "fail" where an item cannot be encoded as it was, or "skip": it counts as sure
            of each bit.
        track: progress callback.

    Raises:
        UsageError: not an index folder, or it has no model.
        ModelError: the model is not the one that made the codes.
        DataError: items cannot be encoded as they were; names some.
        InterruptedRunError: Ctrl-C.
    """
    folder = Catalog.at(uri)
    if folder is None:
        raise UsageError(
            f"{uri} is not an index folder; vectors are kept in folders alone, and `proxyhash "
            "index copy` makes one of an index elsewhere"
        )
    check_option("on_bad_item", on_bad_item, ON_BAD_ITEM)
    with closing(Store.open(folder.path, write=True)) as store:
        work = None
        if kind is not None and store.vectors not in (kind, "float"):
            work = _Weigher(
                _encoder(store, folder, model, data, device),
                store.bits,
                store.modalities,
                on_bad_item == "fail",
                track,
            )
        try:
            with image_limits(images_taken(folder.path).limits):
                store.keep_vectors(kind, None if work is None else work.weigh)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"stopped by Ctrl-C; {uri} is as it was. Features that were computed are cached: "
                "run the same command again"
            ) from None
        found = store.info()["bytes_per_item"]
        assert isinstance(found, dict)
        return VectorsReport(
            vectors=store.vectors,
            items=len(store),
            encoded=0 if work is None else work.encoded,
            unknown=0 if work is None else len(work.unknown),
            bytes=found["vectors"],
        )


def _encoder(
    store: Store, folder: Catalog, model: Path | None, data: Sequence[Path], device: str
) -> Reencoder:
    from proxyhash.hashing import HashModel

    source = model or folder.model
    if source is None:
        raise UsageError(
            f"{folder.path} has no model; give the one that made its codes: --model RUN"
        )
    if missing := [path for path in data if not path.exists()]:
        raise UsageError(f"{missing[0]} does not exist; give a manifest or a folder of images")
    loaded = HashModel.load(model_folder(source), device=device)
    if store.model not in ("", loaded.fingerprint) or store.bits != loaded.bits:
        raise ModelError(f"{source} is not the model that made the codes of {folder.path}")
    return Reencoder(
        loaded,
        list(data) or manifests_of(folder.path),
        folder.keys,
        cache=FeatureCache(),
        whole=needs_all(loaded),
        weigh=True,
    )


@dataclass
class _Weigher:
    """Encodes stored items and says how sure of each bit they are."""

    encoder: Reencoder
    bits: int
    names: tuple[str, ...]
    fail: bool
    track: Track
    encoded: int = 0
    unknown: dict[str, str] = field(default_factory=dict)

    def weigh(self, items: Sequence[IndexItem]) -> dict[str, Weights]:
        """Return weights of items by modality, uint16 (n, bits)."""
        found = {name: np.full((len(items), self.bits), ONE, np.uint16) for name in self.names}
        starts = range(0, len(items), _AT_ONCE)
        for start in self.track(starts, "encoding items", len(starts)):
            some = items[start : start + _AT_ONCE]
            done = self.encoder.encode(some)
            new = {item.id: item for item in done.items}
            for place, item in enumerate(some, start=start):
                for name in item.codes:
                    weights = self._weights(item, new.get(item.id), name)
                    if weights is None:
                        missing = done.lacking.get(item.id)
                        why = missing.reason if missing else f"its {name} is not as it was"
                        self.unknown[item.id] = why
                    else:
                        found[name][place] = weights
            self.encoded += len(done.items)
            if self.fail and self.unknown:
                self._refuse()
        return found

    def _refuse(self) -> NoReturn:
        named = "\n".join(f"{id_!r:.80}: {why}" for id_, why in list(self.unknown.items())[:_NAMED])
        raise DataError(
            "items cannot be encoded as they were; the index is as it was. Put the files back, say "
            "where they are with --data, take in what changed with `proxyhash index sync`, or let "
            "these items count as sure of each bit with --on-bad-item skip; then run again:\n"
            f"{named}"
        )

    @staticmethod
    def _weights(item: IndexItem, new: IndexItem | None, name: str) -> Weights | None:
        """Return the weights of one code, None where it is not what is stored."""
        if new is None or name not in new.codes:
            return None
        weights = new.weights[name]
        both = unpack(np.stack([item.codes[name], new.codes[name]]), bits=len(weights))
        differing = both[0] != both[1]
        return None if (weights[differing] > _UNSURE).any() else weights
