"""Networks, objective and optimizer of a run before the first step, and after the last one."""

from __future__ import annotations

import time
from functools import partial
from inspect import Parameter, signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.amp import GradScaler

from proxyhash.data import MODALITIES
from proxyhash.errors import UsageError
from proxyhash.methods import BLOCK_ROWS, Context, Memory, make_objective, row_blocks
from proxyhash.networks import NETWORKS
from proxyhash.progress import Track, silent
from proxyhash.training.average import WeightAverage
from proxyhash.training.config import NetworkOptions
from proxyhash.training.devices import derive_seed, seeded
from proxyhash.training.optimizer import make_optimizer
from proxyhash.training.state import Networks, TrainState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods import FeatureRows, Objective, Rows
    from proxyhash.networks import Network
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.tuned import TunedEncoder

__all__ = ["build_state", "complete_networks"]

_WEIGHTS = 0
"""Names the use of a seed: epochs are numbered from 1, initial weights are drawn in epoch 0."""
_FIRST_STAGE = 2
"""Names what a method draws before epoch 1, besides the weights of networks 0 and 1."""
_LAST_STAGE = 3
"""Names what a method draws after the last epoch."""


def build_state(
    config: TrainConfig,
    train: Rows,
    *,
    inputs: Mapping[str, str],
    encoders: Mapping[Modality, TunedEncoder] = MappingProxyType({}),
    resumed: bool = False,
    track: Track = silent,
) -> TrainState:
    """Return the state before epoch 1, the same for equal configurations and items.

    Args:
        config: The run's configuration.
        train: The training items.
        inputs: Fingerprints of the data and encoders that the features came from.
        encoders: Encoders that learn.
        resumed: A checkpoint is about to be loaded into the state, so the method prepares nothing.
        track: Reports the progress of what a method does before the first epoch.

    Raises:
        UsageError: an option cannot be used, or too few items have both labels and a modality.
    """
    objective = make_objective(
        config.method,
        Context(
            labels=train.labels.cpu(),
            bits=config.bits,
            seed=config.seed,
            modalities=train.modalities,
            track=track,
        ),
        config.settings,
    ).to(config.device)
    networks = Networks(_make_networks(config, objective, train)).to(config.device)
    started = time.perf_counter()
    if not resumed:
        with seeded(config.seed, _WEIGHTS, _FIRST_STAGE, device=config.device):
            objective.begin_run(networks.by_modality, train, track=track)
    kind = torch.device(config.device).type
    remembered = train.modalities if objective.reads_memory else ()
    shape = len(train), config.bits
    return TrainState(
        networks=networks,
        objective=objective,
        optimizer=make_optimizer(config, networks, objective, encoders),
        memory=Memory(
            outputs={m: torch.zeros(shape, device=config.device) for m in remembered},
            present=train.present,
        ),
        inputs=inputs,
        average=WeightAverage(networks, encoders, decay=config.ema) if config.ema else None,
        encoders=encoders,
        scaler=GradScaler(kind) if config.precision == "float16" else None,
        seconds=time.perf_counter() - started,
    )


def complete_networks(
    config: TrainConfig, state: TrainState, train: Rows, networks: Networks, *, track: Track
) -> None:
    """Let the method complete the networks that are kept; the time counts as training."""
    started = time.perf_counter()
    with seeded(config.seed, _WEIGHTS, _LAST_STAGE, device=config.device):
        state.objective.end_run(networks.by_modality, train, track=track)
    state.seconds += time.perf_counter() - started


def _make_networks(
    config: TrainConfig, objective: Objective, train: Rows
) -> dict[Modality, Network]:
    """Return one network per modality, with initial weights and standardization."""
    networks: dict[Modality, Network] = {}
    for position, (modality, features) in enumerate(train.features.items()):
        present, width = train.present[modality], features.shape[1]
        if int(present.sum()) < 2:
            raise UsageError(
                f"{int(present.sum())} training items have "
                f"{'a label and ' if objective.needs_labels else ''}{MODALITIES[modality].one}; "
                "at least 2 are needed"
            )
        options = _accepted_options(config, modality)
        if options.get("input_dropout", 0.0) is None:
            options["input_dropout"] = objective.input_dropout(width)
        networks[modality] = objective.make_network(
            modality,
            config.network_kind,
            width,
            seed=derive_seed(config.seed, _WEIGHTS, _weights_number(position)),
            options=options,
        )
        if isinstance(features, torch.Tensor) or len(present) <= BLOCK_ROWS:
            networks[modality].fit_standardization(features[:].cpu(), present.cpu())
        else:
            networks[modality].fit_standardization_in_blocks(partial(_blocks_of, features, present))
    first, *others = networks.values()
    for network in others:
        network.share_parts(first)
    return networks


def _blocks_of(features: FeatureRows, present: Tensor) -> Iterator[Tensor]:
    for _, block in row_blocks(features, present):
        yield block.cpu()


def _accepted_options(config: TrainConfig, modality: Modality) -> dict[str, Any]:
    """Return the network options that networks of the configured kind take.

    Raises:
        UsageError: an option was changed that they do not take.
    """
    options = config.network_options(modality)
    parameters = signature(NETWORKS[config.network_kind]).parameters
    if any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values()):
        return options
    for key in options.keys() - parameters.keys():
        if options.pop(key) != NetworkOptions.model_fields[key].default:
            raise UsageError(
                f"networks of kind {config.network_kind} have no option {key}; leave it out, or "
                "choose another --network-kind"
            )
    return options


def _weights_number(position: int) -> int:
    """Return the number that names the weights of the network at `position`: 0, 1, 4, 5, ..."""
    return position if position < _FIRST_STAGE else position + 2
