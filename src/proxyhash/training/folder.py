"""Paths in a run folder, and whether a run may write there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run; every file is written atomically, so none is ever half there."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.json"

    @property
    def split(self) -> Path:
        """The split, as lists of ids."""
        return self.path / "split.json"

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.path / "history.jsonl"

    @property
    def last(self) -> Path:
        """The state after the latest epoch."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def tensorboard(self) -> Path:
        """Event files, when asked for."""
        return self.path / "tensorboard"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path / "model"

    @property
    def codes(self) -> Path:
        """The codes of the whole collection."""
        return self.path / "codes.npz"

    @property
    def metrics(self) -> Path:
        """The evaluation."""
        return self.path / "metrics.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def inputs(self) -> Path:
        """Manifest and features of a run on arrays; written before the run starts."""
        return self.path / "inputs"

    def check(self, *, overwrite: bool) -> None:
        """Check that a new run may be written here; nothing is touched yet.

        Raises:
            UsageError: "runs/f64 exists and is not empty; ..." or, with `overwrite`, when the
                folder holds something other than a run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; --out needs a folder")
        if not self.path.is_dir() or not set(self.path.iterdir()) - {self.inputs}:
            return
        is_run = self.config.is_file()
        if not overwrite:
            choices = "choose another --out"
            if is_run:
                choices = f"continue it with --resume, replace it with --overwrite, or {choices}"
            raise UsageError(f"{self.path} exists and is not empty; {choices}")
        if not is_run:  # never delete what this program did not make
            raise UsageError(
                f"{self.path} holds no run (there is no config.json), so --overwrite leaves it "
                "alone; choose another --out"
            )

    def start(self) -> None:
        """Make the folder, and remove what an earlier run left in it."""
        for file in (self.split, self.history, self.codes, self.metrics, self.card, self.config):
            file.unlink(missing_ok=True)
        for folder in (self.last.parent, self.model, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
