"""Paths in a run folder, whether a run may write there, and the lock of the one that does."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxyhash.errors import UsageError
from proxyhash.files import hold_lock, holds, make_folders

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    def tuning(self) -> Path:
        """The run folder of the stage in which encoders learned, where another one follows."""
        return self.path / "tuning"

    @property
    def tensorboard(self) -> Path:
        """Event files, when asked for."""
        return self.path / "tensorboard"

    @property
    def wandb(self) -> Path:
        """Files of Weights & Biases, and the id of the run."""
        return self.path / "wandb"

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

    @property
    def lock(self) -> Path:
        """The lock of the process that writes here."""
        return self.path / ".lock"

    @property
    def entries(self) -> set[Path]:
        """Everything in the folder but its lock."""
        return set(self.path.iterdir()) - {self.lock}

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes out of the folder while a block runs, making it if needed.

        The kernel drops the lock when the process ends, however it ends. A folder that was made
        for the lock alone is removed again when the block raises.

        Raises:
            UsageError: the folder holds something other than a run.
            DataError: "another process (pid 123) is writing to the run folder runs/f64; ...".
        """
        if not (self.lock.exists() or self.config.is_file()):
            self.check(overwrite=False)  # so that no folder of someone else gets a lock file
        made = not self.path.exists()
        with ExitStack() as stack:
            while True:
                make_folders(self.path)
                with suppress(FileNotFoundError):  # the folder was removed in this instant
                    stack.enter_context(hold_lock(self.lock, f"the run folder {self.path}"))
                    if self._is_own_lock():
                        break
                stack.close()
            try:
                yield
            finally:
                self.lock.unlink(missing_ok=True)
                if made:
                    with suppress(OSError):  # it is not empty: a run is in it
                        self.path.rmdir()

    def _is_own_lock(self) -> bool:
        """Whether the lock file is the one that this process holds, and was not removed since."""
        try:
            return self.lock.read_bytes() == f"{os.getpid()}\n".encode()
        except OSError:
            return False

    def check(self, *, overwrite: bool) -> None:
        """Check that a new run may be written here; nothing is touched yet.

        Raises:
            UsageError: "runs/f64 exists and is not empty; ..." or, with `overwrite`, when the
                folder holds something other than a run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; --out needs a folder")
        if not self.path.is_dir() or not self.entries - {self.inputs}:
            return
        is_run = holds(self.path, self.config.name, keys=("method", "bits"))
        if not overwrite:
            choices = "choose another --out"
            if is_run:
                choices = f"continue it with --resume, replace it with --overwrite, or {choices}"
            raise UsageError(f"{self.path} exists and is not empty; {choices}")
        if not is_run:  # never delete what this program did not make
            raise UsageError(
                f"{self.path} holds no run (there is no config.json of one), so --overwrite leaves "
                "it alone; choose another --out"
            )

    def start(self) -> None:
        """Make the folder, and remove what an earlier run left in it."""
        for folder in (self.last.parent, self.model, self.tuning, self.tensorboard, self.wandb):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.metrics, self.split, self.history, self.codes, self.card):
            file.unlink(missing_ok=True)
        self.config.unlink(missing_ok=True)  # last: it tells that what is left is that of a run
        self.path.mkdir(parents=True, exist_ok=True)
