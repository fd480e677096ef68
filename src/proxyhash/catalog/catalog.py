"""An index folder as a catalog: with a copy of its model and with thumbnails.

    header.json, generation-*/   the items, see `proxyhash.index.store`
    model/                       the model that made the codes, so that texts and images can ask
    model-0123456789abcdef/      another, which takes its place: see `proxyhash.catalog.migration`
    thumbnails.sqlite3           see `ThumbnailStore`
    sources.sqlite3              see `ItemKeys`

With its model, an index is one folder that can be moved, served and searched when the run that it
was built from is gone or retrained.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.catalog.item_keys import ItemKeys
from proxyhash.catalog.thumbnails import ThumbnailStore
from proxyhash.errors import DataError, MissingExtraError, ProxyhashError
from proxyhash.index.store.header import Header

if TYPE_CHECKING:
    from proxyhash.index import Index

__all__ = ["Catalog"]


@dataclass(frozen=True)
class Catalog:
    """Index folder with a copy of its model and thumbnails, either of which may be missing.

    Attributes:
        path: the index folder.
    """

    path: Path

    @classmethod
    def at(cls, uri: str) -> Catalog | None:
        """Return the folder that an index URI names, or None where the index is elsewhere."""
        return cls(Path(uri)) if (Path(uri) / "header.json").is_file() else None

    @property
    def model(self) -> Path | None:
        """The folder of the model, or None if the index has none."""
        try:
            fingerprint = Header.load(self.path).model
        except ProxyhashError:  # a damaged header, whose index is salvaged
            fingerprint = ""
        return self.model_of(fingerprint)

    def model_of(self, fingerprint: str) -> Path | None:
        """Return the folder of the model that an open index is of; None if there is none."""
        own = self.place_of_model(fingerprint)
        for folder in (self.path / "model",) if own is None else (own, self.path / "model"):
            if (folder / "model.json").is_file():
                return folder
        return None

    def place_of_model(self, fingerprint: str) -> Path | None:
        """Return where a model stands that takes another one's place; None for no fingerprint."""
        known = re.fullmatch("[0-9a-f]{16,128}", fingerprint)
        return self.path / f"model-{fingerprint[:16]}" if known else None

    @property
    def thumbnails(self) -> ThumbnailStore | None:
        """The thumbnails, or None where the index has none."""
        path = self.path / "thumbnails.sqlite3"
        return ThumbnailStore(path, forgiving=True) if os.path.lexists(path) else None

    @property
    def thumbnails_problem(self) -> str | None:
        """Reason that the thumbnails cannot be read now, a sentence; else None."""
        stored = self.thumbnails
        return None if stored is None else stored.problem()

    @property
    def keys(self) -> ItemKeys:
        """Digests of what the items were made from; empty where it is unknown."""
        return ItemKeys(self.path / "sources.sqlite3")

    @property
    def nbytes(self) -> int:
        """Bytes of all files of the index."""
        total = 0
        for file in self.path.rglob("*"):
            with suppress(OSError):  # a writer may replace files meanwhile
                found = file.lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
        return total

    def make_thumbnails(self) -> ThumbnailStore:
        """Return the thumbnails; an empty store is made where there is none."""
        return ThumbnailStore.create(self.path / "thumbnails.sqlite3")

    def put_model(
        self, model: Path, *, follow_links: bool = True, fingerprint: str | None = None
    ) -> None:
        """Copy a model's folder into the index, whole or not at all.

        Args:
            model: the folder.
            follow_links: whether links in it are followed, as in a run of one's own; not in an
                index, which may come from a stranger.
            fingerprint: of a model that is put beside the one of the index, to take its place.

        Raises:
            DataError: something in it is a pipe or a device, or a link that is not followed.
        """
        from proxyhash.files import replace_folder

        place = None if fingerprint is None else self.place_of_model(fingerprint)
        with replace_folder(place or self.path / "model") as new:
            _copy_files(model, new, follow_links=follow_links)

    def settle_model(self, fingerprint: str) -> None:
        """Remove the models that another took the place of, and give that one the usual name."""
        own = self.place_of_model(fingerprint)
        for path in self.path.glob("model-*"):
            if path != own and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
        if own is None:
            return
        for path in self.path.glob(f".{own.name}-*"):  # a copy that was killed
            shutil.rmtree(path, ignore_errors=True)
        if (own / "model.json").is_file():
            shutil.rmtree(self.path / "model", ignore_errors=True)
            with suppress(OSError):
                own.rename(self.path / "model")

    def copy_thumbnails(self, target: Path) -> str:
        """Copy the thumbnails into another index folder; return why not, or "".

        Thumbnails are derived and may be missing, so a copy does not fail for them.
        """
        path = target / "thumbnails.sqlite3"
        try:
            if self.thumbnails is not None:
                self.thumbnails.copy_to(path)
        except ProxyhashError as error:
            return str(error)
        return ""

    def check(self, index: Index) -> list[str]:
        """Return the problems with model and thumbnails, one sentence each."""
        problems: list[str] = []
        if self.model is not None:
            problems.extend(_model_problems(self.model, index))
        elif os.path.lexists(self.path / "model"):
            problems.append(
                f"{self.path / 'model'} has no model.json, so it is not a complete model; delete "
                "it, then `proxyhash index add` with --model copies the model again"
            )
        if self.thumbnails is not None and (problem := self.thumbnails.verify()):
            problems.append(problem)
        return problems


def _copy_files(source: Path, target: Path, *, follow_links: bool) -> None:
    """Copy a folder of regular files; `target` exists and is empty."""
    if source.is_symlink() and not follow_links:
        raise DataError(f"{source} is a link, which is not followed; put the folder in its place")
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=follow_links):
                (target / entry.name).mkdir()
                _copy_files(source / entry.name, target / entry.name, follow_links=follow_links)
            elif entry.is_file(follow_symlinks=follow_links):
                shutil.copyfile(entry.path, target / entry.name, follow_symlinks=follow_links)
            else:
                raise DataError(
                    f"{entry.path} is a link, a pipe or a device, which is not copied; put the "
                    "file itself in its place"
                )


def _model_problems(folder: Path, index: Index) -> list[str]:
    """Return the problems with a model and its encoders, one sentence each."""
    from proxyhash.hashing import HashModel
    from proxyhash.hashing.checksums import find_damage

    problems = find_damage(folder)
    try:
        model = HashModel.load(folder)
    except ProxyhashError as error:
        return [*problems, str(error)]
    if index.model not in ("", model.fingerprint):
        problems.append(f"{folder} is not the model that made the codes")
    for modality in model.modalities:
        try:
            model.encoder(modality)
        except MissingExtraError:
            continue  # nothing can be said about it here
        except ProxyhashError as error:
            problems.append(str(error))
    return problems
