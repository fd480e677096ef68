"""Opening what can be searched, by its place: an index, or the gallery of a run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from proxyhash.catalog.catalog import Catalog
from proxyhash.errors import DataError, ModelError, UsageError
from proxyhash.index.open import scheme_of
from proxyhash.search.run import RunSearcher
from proxyhash.search.searcher import Searcher

__all__ = ["is_index", "open_searcher"]


def is_index(uri: str) -> bool:
    """Whether this names an index: a folder with a header, or one of another backend."""
    return scheme_of(uri) != "file" or Catalog.at(uri) is not None


def open_searcher(
    where: str | os.PathLike[str],
    *,
    data: Path | None = None,
    model: Path | None = None,
    device: str = "cpu",
) -> Searcher:
    """Open an index or the gallery of a run.

    Args:
        where: index folder or URI, or run folder.
        data: where a run's collection is now, if it was moved.
        model: run or model folder of an index; default the copy in its folder.
        device: where the model runs, once it is needed.

    Raises:
        UsageError: `data` is given for an index, or `model` for a run.
        DataError, ModelError: what is there cannot be read.
    """
    where = os.fspath(where)
    if is_index(where):
        if data is not None:
            raise UsageError("--data is for runs; an index holds what it shows")
        return Searcher.open(where, model=model, device=device)
    if model is not None:
        raise UsageError("--model is for indexes; a run has its own model")
    if not Path(where).exists():
        raise DataError(
            f"{where} does not exist; give an index folder (`proxyhash index build` makes one) or "
            "a run folder (`proxyhash train`)"
        )
    if Path(where).is_dir() and not (Path(where) / "config.json").is_file():
        raise ModelError(
            f"{where} is not a run folder, nor an index; if these are images, "
            f"`proxyhash up {shlex.quote(where)}` makes both"
        )
    return RunSearcher.open(where, data=data, device=device)
