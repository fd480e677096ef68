"""An index folder as a catalog: with a copy of its model and with thumbnails.

    header.json, generation-*/   the items, see `proxyhash.index.store`
    model/                       the model that made the codes, so that texts and images can ask
    thumbnails.sqlite3           see `ThumbnailStore`

With its model, an index is one folder that can be moved, served and searched when the run that it
was built from is gone or retrained.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.catalog.thumbnails import ThumbnailStore
from proxyhash.errors import ModelError

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
        folder = self.path / "model"
        return folder if (folder / "model.json").is_file() else None

    @property
    def thumbnails(self) -> ThumbnailStore | None:
        """The thumbnails, or None where the index has none."""
        path = self.path / "thumbnails.sqlite3"
        return ThumbnailStore(path) if path.is_file() else None

    @property
    def nbytes(self) -> int:
        """Bytes of all files of the index."""
        total = 0
        for file in self.path.rglob("*"):
            with suppress(FileNotFoundError):  # a writer may replace files meanwhile
                total += file.stat().st_size if file.is_file() else 0
        return total

    def make_thumbnails(self) -> ThumbnailStore:
        """Return the thumbnails; an empty store is made where there is none."""
        return ThumbnailStore.create(self.path / "thumbnails.sqlite3")

    def put_model(self, model: Path) -> None:
        """Copy a model's folder into the index, whole or not at all."""
        from proxyhash.files import replace_folder

        with replace_folder(self.path / "model") as new:
            shutil.copytree(model, new, dirs_exist_ok=True)

    def copy_to(self, target: Path) -> None:
        """Copy model and thumbnails into another index folder."""
        if self.model is not None:
            Catalog(target).put_model(self.model)
        if self.thumbnails is not None:
            self.thumbnails.copy_to(target / "thumbnails.sqlite3")

    def check(self, index: Index) -> list[str]:
        """Return the problems with model and thumbnails, one sentence each."""
        problems: list[str] = []
        if self.model is not None:
            from proxyhash.hashing import HashModel

            try:
                fingerprint = HashModel.load(self.model).fingerprint
            except ModelError as error:
                problems.append(str(error))
            else:
                if index.model not in ("", fingerprint):
                    problems.append(f"{self.model} is not the model that made the codes")
        if self.thumbnails is not None and (problem := self.thumbnails.verify()):
            problems.append(problem)
        return problems
