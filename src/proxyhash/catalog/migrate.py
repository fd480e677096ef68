"""Re-encode an index with another model while the old one serves, then swap both in one step."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.catalog.build import needs_all
from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.catch_up import AT_ONCE, CatchUp
from proxyhash.catalog.images import images_taken
from proxyhash.catalog.item_keys import ItemKeys
from proxyhash.catalog.manage import missed_words
from proxyhash.catalog.manifests import manifests_of, remember_manifests
from proxyhash.catalog.migration import MigrationFolder
from proxyhash.catalog.reencode import Reencoder
from proxyhash.codes import code_bytes
from proxyhash.data.images import image_limits
from proxyhash.data.manifest import ON_BAD_ITEM
from proxyhash.encoders import FeatureCache
from proxyhash.errors import (
    DataError,
    InterruptedRunError,
    ProxyhashError,
    UsageError,
    check_option,
)
from proxyhash.hashing import model_folder
from proxyhash.index.open import scheme_of
from proxyhash.index.store import Store
from proxyhash.index.store.disk import BusyError, disk_errors, sync
from proxyhash.index.store.header import Header
from proxyhash.index.store.word_index import hold_words
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxyhash.hashing import HashModel

__all__ = ["MigrateReport", "migrate_index"]

logger = logging.getLogger(__name__)

_FEW = 1_000
"""Items that may be encoded while writers wait."""

_ROUNDS = 8
_POLL = 0.05
_HEADROOM = 20_000_000


@dataclass(frozen=True)
class MigrateReport:
    """Counts of a migration, or of what it would do.

    Attributes:
        model: fingerprint of the new model.
        bits: of its codes.
        items: in the index before the swap.
        encoded: by this call; of a dry run, those that are still to be encoded.
        resumed: that an earlier call had encoded already.
        lost: without any code of the new model, and so left out.
        incomplete: without a code that they had, and kept with the other one.
        bytes_needed: on the disk at most while it runs, about; 0 where nothing was to be done.
        named: of some that are lost or incomplete, id and reason.
    """

    model: str
    bits: int
    items: int
    encoded: int = 0
    resumed: int = 0
    lost: int = 0
    incomplete: int = 0
    bytes_needed: int = 0
    named: tuple[str, ...] = ()


def migrate_index(
    uri: str,
    model: Path,
    *,
    data: Sequence[Path] = (),
    device: str = "cpu",
    on_bad_item: str = "fail",
    dry_run: bool = False,
    wait: float = 60.0,
    track: Track = silent,
) -> MigrateReport:
    """Encode all items of an index folder with another model, which takes the old one's place.

    Until the swap, the index serves the old model and may be changed; what changed is encoded as
    well. The swap is one step: whoever opens the index gets the old codes with the old model, or
    the new ones with the new. Ids, payloads, thumbnails and limits stay. A call that was stopped or
    killed is continued by the next one with the same model.

    Texts are taken from the payloads, images from their files, below the manifests that the index
    remembers.

    Args:
        uri: the index folder.
        model: run or model folder of the new model, of any code length; the index gets a copy.
        data: manifests or folders of images where the files are now, instead of those remembered;
            the last one wins.
        device: where the model runs.
        on_bad_item: "fail": where an item cannot be encoded, change nothing and say which; "skip":
            leave out items without any code, and keep the others without what cannot be read.
        dry_run: change nothing, and return what would be done.
        wait: seconds to wait at the end for another process that writes the index or its words.
        track: progress callback.

    Raises:
        UsageError: not an index folder.
        DataError: items cannot be encoded; the index is as it was, and what is encoded is kept.
        ProxyhashError: the disk is too small or full, or another process goes on writing.
        InterruptedRunError: Ctrl-C; says how to continue.
    """
    folder = _folder(uri)
    check_option("on_bad_item", on_bad_item, ON_BAD_ITEM)
    from proxyhash.hashing import HashModel

    source = model_folder(model)
    new = HashModel.load(source, device=device)
    manifests = list(data) or manifests_of(folder.path)
    if missing := [path for path in data if not path.exists()]:
        raise UsageError(f"{missing[0]} does not exist; give a manifest or a folder of images")
    encoder = Reencoder(
        new,
        manifests,
        folder.keys,
        cache=FeatureCache(),
        whole=needs_all(new),
        weigh=Header.load(folder.path).vectors is not None,
    )
    place = MigrationFolder(folder.path)
    work = _Migration(folder, new, CatchUp(place.done, encoder, track), place, on_bad_item)
    if dry_run:
        return work.plan()
    with place.locked():
        if work.is_done():
            work.count()
        else:
            try:
                work.begin(source)
                with image_limits(images_taken(folder.path).limits):
                    work.encode_all()
                    work.swap(wait)
            except KeyboardInterrupt:
                state = "is as it was, and what is encoded is kept"
                if work.is_done():
                    state = "is of the new model, and is not put in order yet"
                raise InterruptedRunError(
                    f"stopped by Ctrl-C; {uri} {state}: run the same command again to continue"
                ) from None
        if data:
            remember_manifests(folder.path, manifests)
        work.finish()
    return work.report()


@dataclass
class _Migration:
    """One call of `migrate_index`."""

    folder: Catalog
    model: HashModel
    work: CatchUp
    place: MigrationFolder
    on_bad_item: str
    items: int = 0
    needed: int = 0

    def is_done(self) -> bool:
        """Whether the index is of the new model."""
        header = Header.load(self.folder.path)
        return (header.model, header.bits) == (self.model.fingerprint, self.model.bits)

    def count(self) -> None:
        """Count the items."""
        with Store.open(self.folder.path) as index:
            self.items = len(index)

    def plan(self) -> MigrateReport:
        """Return what would be done."""
        with Store.open(self.folder.path) as old:
            self.items = len(old)
            if self.is_done():
                return self.report()
            self.needed = self.bytes_needed(old)
            if not self.place.is_for(self.model):
                self.work.done = ItemKeys(self.place.path / "nothing")
            self.work.encoded = self.work.find_lacking(old)
            self.work.resumed = self.items - self.work.encoded
        return self.report()

    def bytes_needed(self, old: Store) -> int:
        """Return about how many bytes the disk must have free at most."""
        size, count = old.info()["bytes"], len(old)
        assert isinstance(size, int)
        kept = {None: 0, "int8": 1, "float": 4}[old.vectors]  # bytes per bit
        width, new_width = (code_bytes(bits) + kept * bits for bits in (old.bits, self.model.bits))
        rest = max(size - count * width * len(old.modalities), 0)
        codes = count * new_width * len(self.model.modalities)
        return 2 * (rest + 3 * codes) + _HEADROOM  # as collected, and compacted with engines

    def begin(self, source: Path) -> None:
        """Make folder and model ready, if the disk has room.

        Raises:
            ProxyhashError: says what is needed and what is free.
        """
        with Store.open(self.folder.path) as old:
            self.needed = self.bytes_needed(old)
            self.items = len(old)
            vectors = old.vectors
        if self.place.begin(self.model, vectors=vectors):
            logger.info("continuing the migration of %s", self.folder.path)
        there = Catalog(self.place.path).nbytes
        free = shutil.disk_usage(self.folder.path).free
        if free + there < self.needed:
            raise ProxyhashError(
                f"migrating {self.folder.path} takes up to {self.needed / 1e6:,.0f} MB on its "
                f"disk, and {free / 1e6:,.0f} MB are free; free some disk space and run again"
            )
        own = self.folder.place_of_model(self.model.fingerprint)
        assert own is not None
        if not (own / "model.json").is_file():
            with disk_errors(self.folder.path):
                self.folder.put_model(source, fingerprint=self.model.fingerprint)
                for path in (*own.rglob("*"), own):
                    sync(path)

    def encode_all(self) -> None:
        """Encode what is not encoded yet, until the index holds hardly anything new."""
        with Store.open(self.folder.path) as old, self.place.open(write=True) as new:
            self._carry_words(old, new)
            if self.on_bad_item == "fail" and self.work.seen is None:
                self.work.find_lacking(old)
                self._refuse(old)
            for _ in range(_ROUNDS):
                count = self.work.run(old, new)
                self._refuse(old)
                if old.changes == self.work.seen or 0 < count < _FEW:
                    break
            new.compact()  # engines are built now, not while writers wait

    def swap(self, wait: float) -> None:
        """Take in the last changes while nobody writes, and exchange codes and model.

        Raises:
            ProxyhashError: another process goes on writing items or words.
        """
        for turn in range(_ROUNDS):
            with self._words_held(wait), self._writing(wait) as old:
                self._check_form(old)
                last = turn == _ROUNDS - 1
                if last or (self._has_words_of(old) and self._lacks_few(old)):
                    with self.place.open() as new:
                        self._carry_words(old, new)
                    if old.changes != self.work.seen:
                        with self.place.open(write=True) as new:
                            self.work.run(old, new)
                        self._refuse(old)
                    self.items = len(old)
                    old.adopt(self.place.path / "index")
                    self._follow(old)
                    return
            self.encode_all()

    def finish(self) -> None:
        """Remove what the migration and the old model left behind; again where it was killed."""
        if self.place.done.path.exists():
            with Store.open(self.folder.path) as index:
                self._move_keys(index)
        self.folder.settle_model(self.model.fingerprint)
        self.place.remove()

    def report(self) -> MigrateReport:
        """Return the counts."""
        lost = sum(not item.kept for item in self.work.lacking.values())
        return MigrateReport(
            model=self.model.fingerprint,
            bits=self.model.bits,
            items=self.items,
            encoded=self.work.encoded,
            resumed=self.work.resumed,
            lost=lost,
            incomplete=len(self.work.lacking) - lost,
            bytes_needed=self.needed,
            named=tuple(self.work.named()),
        )

    def _check_form(self, old: Store) -> None:
        """Refuse to swap in vectors that are kept otherwise than the index keeps them by now."""
        with self.place.open() as new:
            if new.vectors != old.vectors:
                raise ProxyhashError(
                    f"{self.folder.path} keeps its vectors otherwise since this migration began; "
                    "run the same command again, which encodes the items once more"
                )

    def _carry_words(self, old: Store, new: Store) -> None:
        if (words := missed_words(old, new)) is not None:
            new.fill_words(fields=words.fields)

    def _has_words_of(self, old: Store) -> bool:
        with self.place.open() as new:
            return missed_words(old, new) is None

    def _lacks_few(self, old: Store) -> bool:
        return self.work.count_changed(old, most=_FEW) < _FEW

    def _refuse(self, old: Store) -> None:
        if self.on_bad_item == "fail":
            self.work.refuse(old)

    @contextmanager
    def _words_held(self, wait: float) -> Iterator[None]:
        """Let nobody make a word index of the old items, once a process that does so is done."""
        end = time.monotonic() + wait
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(hold_words(self.folder.path))
                    break
                except DataError as error:
                    if time.monotonic() > end:
                        raise ProxyhashError(
                            f"{error}. What is encoded is kept: once that process has ended, run "
                            "the same command again to swap"
                        ) from error
                    time.sleep(_POLL)
            yield

    @contextmanager
    def _writing(self, wait: float) -> Iterator[Store]:
        """Open the index for writing, once the process that writes it lets it go."""
        end = time.monotonic() + wait
        while True:
            try:
                old = Store.open(self.folder.path, write=True)
                break
            except BusyError as error:
                self.place.ask_for_writing()
                if time.monotonic() > end:
                    raise ProxyhashError(
                        f"{error}. What is encoded is kept: once that process has ended, run the "
                        "same command again to swap (`proxyhash serve --write` makes way by "
                        "itself)"
                    ) from error
                time.sleep(_POLL)
        with closing(old):
            yield old

    def _follow(self, index: Store) -> None:
        """Let what lies beside the items follow them: thumbnails and digests."""
        stored = self.folder.thumbnails
        if stored is not None and self.work.lacking:
            with suppress(ProxyhashError):
                stored.delete([id_ for id_ in self.work.lacking if id_ not in index])
        self._move_keys(index)

    def _move_keys(self, index: Store) -> None:
        """Let `index sync` know that the items are as they were, though their codes are new."""
        keys = self.folder.keys
        if not keys.path.exists():
            return
        for some in index.items(batch=AT_ONCE):
            ids = [item.id for item in some]
            known, done = keys.get_many(ids), self.place.done.get_many(ids)
            keys.put(
                {
                    id_: (known[id_][0], done[id_][1])
                    for id_ in ids
                    if id_ in known and id_ in done and known[id_][1] == done[id_][0]
                }
            )


def _folder(uri: str) -> Catalog:
    folder = Catalog.at(uri)
    if folder is not None:
        return folder
    if scheme_of(uri) == "file":
        raise UsageError(f"{uri} is not an index folder; `proxyhash index build` makes one")
    raise UsageError(
        f"{uri} is not an index folder. Copy it into one, migrate that, and copy it into another "
        f"collection, then serve that: `proxyhash index copy '{uri}' FOLDER`, `proxyhash index "
        f"migrate FOLDER MODEL`, `proxyhash index copy FOLDER '{uri.partition('#')[0]}#new'`"
    )
