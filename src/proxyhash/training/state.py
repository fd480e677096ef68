"""The state of a run between two epochs, and its two checkpoint files.

`checkpoints/last.safetensors` holds the whole state after an epoch, `checkpoints/best.safetensors`
the weights of the best epoch so far. A checkpoint is one file: tensors as safetensors, and a few
numbers as JSON in its header. One rename completes it, so weights and epoch never disagree, and
nothing is pickled.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from proxyhash.errors import ModelError
from proxyhash.networks.tensors import read_tensors, write_tensors
from proxyhash.training.optimizer import load_optimizer, optimizer_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from proxyhash.data import Modality
    from proxyhash.methods import Memory, Objective
    from proxyhash.networks import Network

__all__ = [
    "Best",
    "Networks",
    "TrainState",
    "WeightAverage",
    "load_best",
    "load_state",
    "read_checkpoint",
    "read_inputs",
    "remember_best",
    "save_best",
    "save_state",
    "write_checkpoint",
]

FORMAT = 1


class Networks(nn.Module):
    """The hashing networks of a run by modality, as one module; they may share parts."""

    def __init__(self, networks: Mapping[Modality, Network]) -> None:
        super().__init__()
        for modality, network in networks.items():
            self.add_module(modality, network)

    def __getitem__(self, modality: Modality) -> Network:
        return cast("Network", self.get_submodule(modality))

    @property
    def by_modality(self) -> dict[Modality, Network]:
        """The networks themselves."""
        return {modality: self[modality] for modality, _ in self.named_children()}


class WeightAverage:
    """Exponential moving average of networks, updated after every step: w' = d w' + (1 - d) w.

    The decay d rises as (1 + step) / (10 + step) to its final value, so that initial weights do not
    linger in short runs (as TensorFlow's ExponentialMovingAverage with `num_updates`).
    """

    def __init__(self, networks: Networks, *, decay: float) -> None:
        self.networks = copy.deepcopy(networks).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, networks: Networks) -> None:
        """Take in the weights after one step; statistics of batch normalization are copied."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averaged: list[torch.Tensor] = list(self.networks.parameters())
        torch._foreach_lerp_(averaged, list[torch.Tensor](networks.parameters()), 1 - decay)
        for mine, theirs in zip(self.networks.buffers(), networks.buffers(), strict=True):
            mine.copy_(theirs)


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
    """Everything that changes during a run."""

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
        """The networks that are evaluated and saved: the averaged ones if there are any."""
        return self.average.networks if self.average else self.networks

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that every process of a run computes in full: all but an encoder's."""
        return [*self.networks.parameters(), *self.objective.parameters()]

    @property
    def tensors(self) -> list[Tensor]:
        """The weights, buffers and latest outputs that are the same in every process of a run."""
        averaged = self.average.networks.state_dict() if self.average else {}
        return [
            *self.networks.state_dict().values(),
            *self.objective.state_dict().values(),
            *averaged.values(),
            *self.memory.outputs.values(),
        ]


def save_state(path: Path, state: TrainState) -> None:
    """Write the whole state atomically."""
    tensors = {
        **_prefixed("networks", state.networks.state_dict()),
        **_prefixed("objective", state.objective.state_dict()),
        **_prefixed("optimizer", optimizer_tensors(state.optimizer)),
        **_prefixed("memory", state.memory.outputs),
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
    """Load the saved state into `state`, which was built from the same configuration.

    Raises:
        ModelError: the file is missing, damaged, or belongs to other networks; or the collection
            or an encoder changed since.
    """
    tensors, numbers = read_checkpoint(path)
    for name, fingerprint in state.inputs.items():
        if numbers.get("inputs", {}).get(name) != fingerprint:
            raise ModelError(
                f"the {name} changed since {path} was written, so the run cannot be resumed; "
                "train into a new folder"
            )
    try:
        state.networks.load_state_dict(_under("networks", tensors))
        state.objective.load_state_dict(_under("objective", tensors))
        load_optimizer(state.optimizer, _under("optimizer", tensors))
        for modality, outputs in state.memory.outputs.items():
            outputs.copy_(tensors[f"memory.{modality}"])
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


def read_inputs(path: Path) -> dict[str, str]:
    """Return the fingerprints of the data and encoders that a saved state learned from.

    Raises:
        ModelError: the file is missing, damaged, or of another format.
    """
    _, numbers = read_checkpoint(path)
    inputs = numbers.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def save_best(path: Path, state: TrainState) -> None:
    """Write the weights that are evaluated, with their epoch."""
    write_checkpoint(path, state.final_networks.state_dict(), {"epoch": state.epoch})


def remember_best(state: TrainState) -> None:
    """Keep the weights that are evaluated in memory, instead of `save_best`."""
    weights = state.final_networks.state_dict()
    state.best_weights = {name: value.clone() for name, value in weights.items()}


def load_best(path: Path, state: TrainState) -> Networks:
    """Return the networks of the best epoch, loaded into those of `state`.

    They come from memory after `remember_best`, else from the file.

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


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and numbers atomically."""
    text = json.dumps({"format": FORMAT, **numbers}, allow_nan=False)
    write_tensors(path, tensors, metadata={"numbers": text})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and numbers of a checkpoint.

    Raises:
        ModelError: the file is missing, damaged, or of another format.
    """
    tensors, metadata = read_tensors(path)
    try:
        numbers = json.loads(metadata["numbers"])
        found = numbers["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a checkpoint; train into a new folder") from error
    if found != FORMAT:
        raise ModelError(f"checkpoint {path} has format {found!r}; this version reads {FORMAT}")
    return tensors, numbers


def _prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in tensors.items()}


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = name + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
