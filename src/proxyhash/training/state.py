"""The state of a run between two epochs, and its two checkpoint files.

`checkpoints/last.safetensors` holds the whole state after an epoch, `checkpoints/best.safetensors`
the weights of the best epoch so far. A checkpoint is one file: tensors as safetensors, and a few
numbers as JSON in its header. One rename completes it, so weights and epoch never disagree, and
nothing is pickled.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from proxyhash.errors import ModelError
from proxyhash.networks.tensors import read_tensors, write_tensors
from proxyhash.training.optimizer import load_optimizer, optimizer_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.amp import GradScaler
    from torch.optim import Optimizer

    from proxyhash.data import Modality
    from proxyhash.methods import Memory, Objective
    from proxyhash.networks import Network
    from proxyhash.training.average import WeightAverage
    from proxyhash.training.tuned import TunedEncoder

__all__ = [
    "Best",
    "Networks",
    "TrainState",
    "check_inputs",
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
_ENCODER = "encoder"
_CONTENT = "content of "
_SCALER = ("scale", "_growth_tracker")


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
    encoders: Mapping[Modality, TunedEncoder] = field(default_factory=dict)
    """Encoders that learn."""
    scaler: GradScaler | None = None
    """Keeps gradients of float16 in range."""
    epoch: int = 0
    """Finished epochs."""
    best: Best = Best()
    seconds: float = 0.0
    """Time spent in epochs, over all resumes."""
    best_weights: Mapping[str, Tensor] | None = None
    """The weights of the best epoch, in a run that writes no checkpoints."""

    @property
    def items(self) -> int:
        """Number of training items."""
        return len(next(iter(self.memory.present.values())))

    @property
    def final_networks(self) -> Networks:
        """The networks that are evaluated and saved: the averaged ones if there are any."""
        return self.average.networks if self.average else self.networks

    @property
    def final_weights(self) -> dict[str, Tensor]:
        """The weights that are evaluated and saved, by name."""
        weights = dict(self.final_networks.state_dict())
        for modality, tuned in self.encoders.items():
            own = self.average.encoders[modality] if self.average else tuned.weights
            weights |= _prefixed(f"{_ENCODER}.{modality}", own)
        return weights

    @contextmanager
    def final_encoders(self) -> Iterator[None]:
        """Give encoders that learn the weights that are evaluated, while a block runs."""
        average = self.average
        moved = [
            (tuned, average.encoders[modality], tuned.version)
            for modality, tuned in self.encoders.items()
            if average and tuned.steps
        ]
        for tuned, averaged, _ in moved:
            tuned.swap(averaged, version=("average", tuned.steps))
        try:
            yield
        finally:
            for tuned, averaged, version in moved:
                tuned.swap(averaged, version=version)

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """The parameters that every process of a run computes in full: all but an encoder's."""
        return [*self.networks.parameters(), *self.objective.parameters()]

    @property
    def tensors(self) -> list[Tensor]:
        """The weights, buffers and latest outputs that are the same in every process of a run."""
        averaged = self.average.networks.state_dict() if self.average else {}
        learned = [tuned.weights for tuned in self.encoders.values()]
        learned += self.average.encoders.values() if self.average else []
        return [
            *self.networks.state_dict().values(),
            *self.objective.state_dict().values(),
            *averaged.values(),
            *self.memory.outputs.values(),
            *(value for weights in learned for value in weights.values()),
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
        "items": state.items,
        "inputs": dict(state.inputs),
    }
    if state.average:
        tensors |= _prefixed("average", state.average.networks.state_dict())
        numbers["average_steps"] = state.average.steps
        for modality, averaged in state.average.encoders.items():
            tensors |= _prefixed(f"average_{_ENCODER}.{modality}", averaged)
    for modality, tuned in state.encoders.items():
        tensors |= _prefixed(f"{_ENCODER}.{modality}", tuned.weights)
        numbers[f"{modality}_encoder_steps"] = tuned.steps
    if state.scaler:
        numbers["scaler"] = {name: state.scaler.state_dict()[name] for name in _SCALER}
    write_checkpoint(path, tensors, numbers)


def load_state(path: Path, state: TrainState) -> None:
    """Load the saved state into `state`, which was built from the same configuration.

    Raises:
        ModelError: the file is missing, damaged, or belongs to other networks; or the collection
            or an encoder changed since.
    """
    tensors, numbers = read_checkpoint(path)
    before, now = _inputs_of(numbers), state.inputs
    check_inputs(path, before, {name: now[name] for name in now if not name.startswith(_CONTENT)})
    # Says more of files that are gone than their content does.
    _check_counts(path, tensors, numbers, state)
    check_inputs(path, before, now)
    try:
        state.networks.load_state_dict(_under("networks", tensors))
        state.objective.load_state_dict(_under("objective", tensors))
        load_optimizer(state.optimizer, _under("optimizer", tensors))
        for modality, outputs in state.memory.outputs.items():
            outputs.copy_(tensors[f"memory.{modality}"])
        if state.average:
            state.average.networks.load_state_dict(_under("average", tensors))
            state.average.steps = int(numbers["average_steps"])
            for modality, averaged in state.average.encoders.items():
                saved = _under(f"average_{_ENCODER}.{modality}", tensors)
                for name, value in averaged.items():
                    value.copy_(saved[name])
        for modality, tuned in state.encoders.items():
            saved = _under(f"{_ENCODER}.{modality}", tensors)
            tuned.load(saved, steps=int(numbers[f"{modality}_encoder_steps"]))
        if state.scaler:
            state.scaler.load_state_dict({**state.scaler.state_dict(), **numbers["scaler"]})
        state.epoch = int(numbers["epoch"])
        state.best = Best(epoch=int(numbers["best_epoch"]), score=numbers["best_score"])
        state.seconds = float(numbers["seconds"])
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"checkpoint {path} does not fit this run: {error}; train into a new folder"
        ) from error


def _check_counts(
    path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any], state: TrainState
) -> None:
    remembered = [len(tensors[name]) for name in tensors if name.startswith("memory.")]
    saved = numbers.get("items", *remembered[:1])  # without the number: of an earlier version
    if saved not in (None, state.items):  # files of items were lost, and are skipped
        raise ModelError(
            f"{path} was written with {saved} training items, and {state.items} can be used now, "
            "so the run cannot be resumed; put back the files of items that were there, or train "
            "into a new folder"
        )


def read_inputs(path: Path) -> dict[str, str]:
    """Return the fingerprints of the data and encoders that a saved state learned from.

    Raises:
        ModelError: the file is missing, damaged, or of another format.
    """
    _, numbers = read_checkpoint(path)
    return _inputs_of(numbers)


def _inputs_of(numbers: Mapping[str, Any]) -> dict[str, str]:
    inputs = numbers.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def check_inputs(path: Path, before: Mapping[str, str], inputs: Mapping[str, str]) -> None:
    """Check that data and encoders are those that a saved state learned from.

    Args:
        path: The saved state, for the message.
        before: Its fingerprints, from `read_inputs`.
        inputs: Fingerprints as they are now; others are not looked at, nor is the content of files
            where an earlier version has not written it.

    Raises:
        ModelError: "the collection changed since RUN/checkpoints/last.safetensors was written ...".
    """
    for name, fingerprint in inputs.items():
        unknown = name.startswith(_CONTENT) and name not in before
        if before.get(name) != fingerprint and not unknown:
            raise ModelError(
                f"the {name} changed since {path} was written, so the run cannot be resumed; "
                "train into a new folder"
            )


def save_best(path: Path, state: TrainState) -> None:
    """Write the weights that are evaluated, with their epoch."""
    write_checkpoint(path, state.final_weights, {"epoch": state.epoch})


def remember_best(state: TrainState) -> None:
    """Keep the weights that are evaluated in memory, instead of `save_best`."""
    state.best_weights = {name: value.clone() for name, value in state.final_weights.items()}


def load_best(path: Path, state: TrainState) -> Networks:
    """Return the networks of the best epoch, loaded into those of `state`.

    Encoders that learn get theirs of that epoch. Weights come from memory after `remember_best`,
    else from the file.

    Raises:
        ModelError: the file is missing, damaged, or not of the epoch that `state` names.
    """
    if state.best_weights is not None:
        tensors = dict(state.best_weights)
    else:
        tensors, numbers = read_checkpoint(path)
        if numbers.get("epoch") != state.best.epoch:
            raise ModelError(
                f"{path} holds epoch {numbers.get('epoch')}, but the best epoch is "
                f"{state.best.epoch}; train into a new folder"
            )
    for modality, tuned in state.encoders.items():
        own = _under(f"{_ENCODER}.{modality}", tensors)
        tuned.load(own, steps=tuned.steps)
    networks = {k: v for k, v in tensors.items() if not k.startswith(f"{_ENCODER}.")}
    state.final_networks.load_state_dict(networks)
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
