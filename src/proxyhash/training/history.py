"""The history of a run: one JSON line per epoch, and scalars for other tools if asked for."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.errors import ModelError, UsageError, require_extra
from proxyhash.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from proxyhash.training.config import TrainConfig
    from proxyhash.training.folder import RunFolder

__all__ = [
    "EpochRecord",
    "append_record",
    "cut_history",
    "logs_of",
    "read_history",
    "require_logs",
]


@dataclass(frozen=True)
class EpochRecord:
    """Losses and scores of one epoch."""

    epoch: int
    """From 1."""
    epochs: int
    """Epochs asked for."""
    loss: float
    """Mean over the steps of the sum of all terms."""
    terms: Mapping[str, float]
    """Mean over the steps of each term of the method, weighted as in the loss."""
    validation: Mapping[str, float]
    """The score of each direction and their "mean"; empty without validation items."""
    best_epoch: int
    """The epoch whose weights are kept so far."""
    best_score: float | None
    """Its validation mean; none without validation items."""
    learning_rate: float
    """Of the first network in the last step."""
    seconds: float
    """Training and validation together."""
    validated_by: str = "mAP"
    """The name of the score: "mAP", or "MRR" of the other half among validation items."""

    def summary(self) -> str:
        """Return "epoch 3/20, loss 2.130 (margin 1.890, ...), validation mAP ..., 1.2 s".

        Methods in closed form have no loss.
        """
        terms = ", ".join(f"{name} {value:.3f}" for name, value in self.terms.items())
        text = f"epoch {self.epoch}/{self.epochs}"
        if terms:
            text += f", loss {self.loss:.3f} ({terms})"
        if self.best_score is not None and "mean" in self.validation:
            text += (
                f", validation {self.validated_by} {self.validation['mean']:.4f} "
                f"(best {self.best_score:.4f} in epoch {self.best_epoch})"
            )
        return f"{text}, {self.seconds:.1f} s"

    def brief(self) -> str:
        """Return "loss 2.13, mAP 0.612", short enough to stand beside a bar."""
        loss = [f"loss {self.loss:.2f}"] if self.terms else []
        mean = self.validation.get("mean")
        score = [] if mean is None else [f"{self.validated_by} {mean:.3f}"]
        return ", ".join(loss + score)


def append_record(path: Path, record: EpochRecord) -> None:
    """Add one line to the history file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n")


def read_history(path: Path) -> list[EpochRecord]:
    """Return the records of a history file, oldest first; none when there is no file.

    A last line that a kill cut short is left out.

    Raises:
        ModelError: "history.jsonl, line 3 is damaged".
    """
    if not path.exists():
        return []
    records = []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            records.append(EpochRecord(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ModelError(f"{path}, line {number} is damaged: {error}") from error
    return records


def cut_history(path: Path, *, epoch: int) -> None:
    """Drop what was written after the checkpoint of `epoch`, so that no epoch appears twice."""
    kept = [record for record in read_history(path) if record.epoch <= epoch]
    lines = [json.dumps(dataclasses.asdict(record), allow_nan=False) + "\n" for record in kept]
    write_text(path, "".join(lines))


def require_logs(config: TrainConfig) -> None:
    """Check that what a run is to log with is installed and can be used, before the run.

    Raises:
        MissingExtraError: "writing TensorBoard logs needs tensorboard: pip install ...".
        UsageError: nobody is logged in to Weights & Biases; names the way out.
    """
    if config.tensorboard:
        require_extra("tensorboard", extra="tensorboard", purpose="writing TensorBoard logs")
    if config.wandb:
        wandb = require_extra("wandb", extra="wandb", purpose="logging to Weights & Biases")
        mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
        if mode == "online" and not wandb.login(prompt=False):
            raise _no_wandb("nobody is logged in")


def logs_of(
    config: TrainConfig, folder: RunFolder, *, first_epoch: int
) -> list[AbstractContextManager[Callable[[EpochRecord], None]]]:
    """Return the logs that a run asks for; each, once entered, takes the records of epochs.

    Args:
        config: The run's configuration.
        folder: The run folder.
        first_epoch: The next one, more than 1 where the run is resumed.
    """
    logs: list[AbstractContextManager[Callable[[EpochRecord], None]]] = []
    if config.tensorboard:
        logs.append(_tensorboard_log(folder.tensorboard, first_epoch=first_epoch))
    if config.wandb:
        logs.append(_wandb_log(folder.wandb, config))
    return logs


@contextmanager
def _tensorboard_log(folder: Path, *, first_epoch: int) -> Iterator[Callable[[EpochRecord], None]]:
    """Yield a function that writes losses and scores of an epoch as scalars, one step per epoch.

    Args:
        folder: Where the event files go.
        first_epoch: TensorBoard hides what an interrupted run wrote from this epoch on.
    """
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def write(record: EpochRecord) -> None:
        for name, value in _scalars(record).items():
            writer.add_scalar(name, value, record.epoch)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


@contextmanager
def _wandb_log(folder: Path, config: TrainConfig) -> Iterator[Callable[[EpochRecord], None]]:
    """Yield a function that logs losses and scores of an epoch to Weights & Biases.

    The project is "proxyhash", unless WANDB_PROJECT names another. A resumed run goes on under its
    id, which the file "id" keeps; what was logged for later epochs stays as it is.

    Args:
        folder: Where wandb keeps its files.
        config: Shown with the run, whose name is that of its folder.

    Raises:
        UsageError: nobody is logged in; or wandb cannot start; names the way out.
    """
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "id"
    if not kept.exists():
        write_text(kept, secrets.token_hex(4))
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "proxyhash"),
            name=Path(config.out).resolve().name,
            dir=str(folder),
            id=kept.read_text(encoding="utf-8"),
            resume="allow",
            config=config.to_dict(),
            settings=wandb.Settings(console="off", silent=True),
        )
    except wandb.Error as error:
        raise _no_wandb(str(error)) from error
    try:
        yield lambda record: run.log(_scalars(record), step=record.epoch)
    finally:
        run.finish()


def _no_wandb(reason: str) -> UsageError:
    return UsageError(
        f"Weights & Biases cannot log this run ({reason}); run `wandb login`, set "
        "WANDB_MODE=offline, or leave out --wandb"
    )


def _scalars(record: EpochRecord) -> dict[str, float]:
    """Return what is logged of an epoch, by name."""
    return {
        "loss/total": record.loss,
        **{f"loss/{name}": value for name, value in record.terms.items()},
        **{f"validation/{name}": value for name, value in record.validation.items()},
        "learning_rate": record.learning_rate,
    }
