"""Everything that changes while a run goes on, and its two checkpoint files.

`checkpoints/last.safetensors` holds the whole state after an epoch, `checkpoints/best.safetensors`
the weights of the best epoch so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.errors import ModelError
from proxyhash.training.checkpoint import read_checkpoint, write_checkpoint
from proxyhash.training.optimizer import load_optimizer, optimizer_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from proxyhash.methods.shared.objective import Memory, Objective
    from proxyhash.training.average import WeightAverage
    from proxyhash.training.networks import Networks

__all__ = [
    "Best",
    "TrainState",
    "load_best",
    "load_state",
    "remember_best",
    "save_best",
    "save_state",
]


@dataclass(frozen=True)
class Best:
    """The epoch that is kept: the best validation score so far, or the latest without one."""

    epoch: int = 0
    score: float | None = None

    def beaten_by(self, score: float | None) -> bool:
        """Whether an epoch with this score takes its place; an equal score does not."""
        return score is None or self.score is None or score > self.score


@dataclass
class TrainState:
    """A run between two epochs."""

    networks: Networks
    objective: Objective
    optimizer: Optimizer
    memory: Memory
    inputs: Mapping[str, str]
    """Fingerprints of the data and encoders that the features came from."""
    average: WeightAverage | None = None
    epoch: int = 0
    """Finished epochs."""
    best: Best = Best()
    seconds: float = 0.0
    """Time spent in epochs, over all resumes."""
    best_weights: Mapping[str, Tensor] | None = None
    """The weights of the best epoch, in a run that writes no checkpoints."""

    @property
    def final_networks(self) -> Networks:
        """The networks that are evaluated and saved: the averaged ones where there are any."""
        return self.average.networks if self.average else self.networks


def save_state(path: Path, state: TrainState) -> None:
    """Write the whole state atomically."""
    tensors = {
        **_prefixed("networks", state.networks.state_dict()),
        **_prefixed("objective", state.objective.state_dict()),
        **_prefixed("optimizer", optimizer_tensors(state.optimizer)),
        "memory.image": state.memory.image,
        "memory.text": state.memory.text,
    }
    numbers: dict[str, Any] = {
        "epoch": state.epoch,
        "best_epoch": state.best.epoch,
        "best_score": state.best.score,
        "seconds": state.seconds,
        "inputs": dict(state.inputs),
    }
    if state.average:
        tensors |= _prefixed("average", state.average.networks.state_dict())
        numbers["average_steps"] = state.average.steps
    write_checkpoint(path, tensors, numbers)


def load_state(path: Path, state: TrainState) -> None:
    """Put the saved state into `state`, which was built from the same configuration.

    Raises:
        ModelError: the file is missing, damaged, or belongs to other networks; or the collection
            or an encoder changed since.
    """
    tensors, numbers = read_checkpoint(path)
    for name, fingerprint in state.inputs.items():
        if numbers.get("inputs", {}).get(name) != fingerprint:
            raise ModelError(
                f"the {name} changed since {path} was written, so the run cannot be continued; "
                "train into a new folder"
            )
    try:
        state.networks.load_state_dict(_under("networks", tensors))
        state.objective.load_state_dict(_under("objective", tensors))
        load_optimizer(state.optimizer, _under("optimizer", tensors))
        state.memory.image.copy_(tensors["memory.image"])
        state.memory.text.copy_(tensors["memory.text"])
        if state.average:
            state.average.networks.load_state_dict(_under("average", tensors))
            state.average.steps = int(numbers["average_steps"])
        state.epoch = int(numbers["epoch"])
        state.best = Best(epoch=int(numbers["best_epoch"]), score=numbers["best_score"])
        state.seconds = float(numbers["seconds"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} does not fit this run: {error}; train into a new folder"
        ) from error


def save_best(path: Path, state: TrainState) -> None:
    """Write the weights that are evaluated, with their epoch."""
    write_checkpoint(path, state.final_networks.state_dict(), {"epoch": state.epoch})


def remember_best(state: TrainState) -> None:
    """Keep the weights that are evaluated in memory, in place of `save_best`."""
    weights = state.final_networks.state_dict()
    state.best_weights = {name: value.clone() for name, value in weights.items()}


def load_best(path: Path, state: TrainState) -> Networks:
    """Return the networks of the best epoch, put into those of `state`.

    They come from memory where `remember_best` put them, else from the file.

    Raises:
        ModelError: the file is missing, damaged, or not of the epoch that `state` names.
    """
    if state.best_weights is not None:
        state.final_networks.load_state_dict(state.best_weights)
        return state.final_networks
    tensors, numbers = read_checkpoint(path)
    if numbers.get("epoch") != state.best.epoch:
        raise ModelError(
            f"{path} holds epoch {numbers.get('epoch')}, but the best epoch is "
            f"{state.best.epoch}; train into a new folder"
        )
    state.final_networks.load_state_dict(tensors)
    return state.final_networks


def _prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in tensors.items()}


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = name + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
