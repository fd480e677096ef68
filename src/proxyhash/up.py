"""From a folder of images to a search page: the steps, as the commands that do them."""

from __future__ import annotations

import re
import shlex
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data.find import find_manifest
from proxyhash.errors import DataError, UsageError
from proxyhash.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Step", "Workplace"]

PORT = 8080


@dataclass(frozen=True)
class Step:
    """One command of the way from a folder to a page.

    Attributes:
        arguments: of `proxyhash`.
        purpose: what it is done for, a few words.
        may_skip: whether bad rows and images are only left out, and the next step is done.
    """

    arguments: tuple[str, ...]
    purpose: str
    may_skip: bool = False

    def __str__(self) -> str:
        """Return the command as a shell takes it."""
        return shlex.join(("proxyhash", *self.arguments))


@dataclass(frozen=True)
class Workplace:
    """The folder that holds the run and the index of one collection.

    Args:
        data: folder or manifest of the collection.
        path: where run and index are written; default `proxyhash-NAME` in the current folder.
        training: options of `proxyhash train` that were given, by name: {"bits": 32}.
        on_bad_item: "skip" or "fail".
        keep_vectors: "int8", "float" or "none", for an index that does not keep them so; None as it
            is.
    """

    data: Path
    path: Path
    training: Mapping[str, object] = field(default_factory=dict)
    on_bad_item: str = "skip"
    keep_vectors: str | None = None

    @classmethod
    def default_path(cls, data: Path) -> Path:
        """Return `proxyhash-photos` for `/somewhere/My photos!/photos`."""
        name = re.sub(r"[^\w.-]+", "-", data.resolve().stem).strip("-.")
        return Path(f"proxyhash-{name or 'collection'}")

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.path / "run"

    @property
    def index(self) -> Path:
        """The index folder."""
        return self.path / "index"

    def claim(self) -> None:
        """Make the folder, or take one that was made for the same collection.

        Raises:
            UsageError: it was made for another collection, by another program, or with other
                options of training; nothing is changed.
        """
        if not self.data.exists():
            raise DataError(f"{self.data} does not exist; give a folder of images, or a manifest")
        marker, source = self.path / "up.json", str(self.data.resolve())
        if not marker.is_file():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise UsageError(
                    f"{self.path} was not made by `proxyhash up`, so it is not changed; choose "
                    "another folder with --out"
                )
            write_json(marker, {"made_by": "proxyhash up", "data": source})
            return
        content = read_json(marker)
        made_for = content.get("data") if isinstance(content, dict) else None
        if made_for != source:
            raise UsageError(
                f"{self.path} was made for {made_for}, not for {source}; choose another folder "
                "with --out"
            )
        self._check_options()

    def steps(self, *, serve: bool, port: int | None, open_page: bool) -> Iterator[Step]:
        """Yield the steps that are left; each is to be done before the next is asked for.

        Args:
            serve: whether the last step is the page.
            port: of the page; None for 8080, or a free one where that is taken.
            open_page: whether a browser opens it.
        """
        data, skip = str(self.data), ("--on-bad-item", self.on_bad_item)
        if not self._trained():
            checking = self.on_bad_item == "skip"
            yield Step(("data", "check", data), "look at every row and image", may_skip=checking)
            if (self.run / "config.json").is_file():
                arguments: tuple[str, ...] = ("train", "--resume", "--out", str(self.run))
                yield Step(arguments, "go on with the training that was stopped")
            else:
                options = [
                    text
                    for name, value in self.training.items()
                    for text in (f"--{name.replace('_', '-')}", str(value))
                ]
                arguments = ("train", data, "--out", str(self.run), *options, *skip)
                yield Step(arguments, "learn codes")
        if (self.index / "header.json").is_file():
            arguments = ("index", "sync", str(self.index), data, *skip)
            yield Step(arguments, "take over what is new, changed or gone", may_skip=True)
            if self.keep_vectors is not None:
                arguments = ("index", "vectors", str(self.index), self.keep_vectors)
                yield Step(arguments, "keep vectors as asked for")
        else:
            kept = () if self.keep_vectors is None else ("--keep-vectors", self.keep_vectors)
            arguments = ("index", "build", str(self.run), data, "--out", str(self.index))
            arguments = (*arguments, *kept, *skip)
            yield Step(arguments, "store the codes of every item", may_skip=True)
        if serve:
            chosen = free_port() if port is None else port
            shown = ("--port", str(chosen)) if chosen != PORT else ()
            opening = ("--open",) if open_page else ()
            yield self.page(*shown, *opening)

    def page(self, *options: str) -> Step:
        """Return the last step; the page shows images in full, where there are any."""
        arguments = ("serve", str(self.index), *self._originals(), *options)
        return Step(arguments, "search in a browser")

    def finds_by_words(self) -> bool:
        """Return whether a text finds items by its words, too: texts are encoded and indexed."""
        from proxyhash.index.store import Store

        if not self._encodes("text"):
            return False
        with Store.open(self.index) as index:
            return index.has_words

    def _encodes(self, modality: str) -> bool:
        stored = self.run / "config.json"
        config = read_json(stored) if stored.is_file() else None
        found = _stored(config, f"{modality}_encoder") if isinstance(config, dict) else None
        return found not in (None, "none")

    def _originals(self) -> tuple[str, ...]:
        if not self._encodes("image"):
            return ()
        manifest = find_manifest(self.data)[0]
        return ("--originals", str(manifest if manifest.is_dir() else manifest.parent))

    def _trained(self) -> bool:
        return (self.run / "metrics.json").is_file() and (self.run / "model").is_dir()

    def _check_options(self) -> None:
        """Refuse options that a run which is there already was not trained with."""
        stored = self.run / "config.json"
        if not self.training or not stored.is_file():
            return
        config = read_json(stored)
        if not isinstance(config, dict):
            raise DataError(f"{stored} is damaged; remove {self.run} to train again")
        for name, value in self.training.items():
            has = _stored(config, name)
            if has != value:
                raise UsageError(
                    f"{self.run} is trained with {name.replace('_', ' ')} {has}, not {value}; "
                    "choose another folder with --out, or leave the option out"
                )


def free_port() -> int:
    """Return 8080, or 0 (any free one) where that is taken on this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            return 0
    return PORT


def _stored(config: Mapping[str, Any], name: str) -> Any:
    modality, _, what = name.partition("_")
    if what == "encoder":
        return config.get("encoders", {}).get(modality)
    if name == "tune":
        return ",".join(config.get("tune", ())) or "none"
    return config.get(name)
