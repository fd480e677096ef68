"""The networks, objective and optimizer of a run, before the first step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from proxyhash.errors import UsageError
from proxyhash.methods.registry import make_objective
from proxyhash.methods.shared.objective import Context, Memory
from proxyhash.networks.hashing_network import HashingNetwork, IHNet, THNet
from proxyhash.progress import Track, silent
from proxyhash.training.average import WeightAverage
from proxyhash.training.fitting import input_dropout
from proxyhash.training.networks import Networks
from proxyhash.training.optimizer import make_optimizer
from proxyhash.training.randomness import derive_seed, seeded
from proxyhash.training.state import TrainState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.rows import Rows

__all__ = ["build_state", "complete_networks"]

_WEIGHTS = 0
"""Names the use of a seed: epochs are numbered from 1, first weights are drawn in epoch 0."""
_FIRST_STAGE = 2
"""Names what a method draws before epoch 1, beside the weights of two networks."""
_LAST_STAGE = 3
"""Names what a method draws after the last epoch."""


def build_state(
    config: TrainConfig,
    train: Rows,
    *,
    inputs: Mapping[str, str],
    resumed: bool = False,
    track: Track = silent,
) -> TrainState:
    """Return the state before epoch 1, the same for equal configurations and items.

    Args:
        config: The run's configuration.
        train: What to learn from.
        inputs: Fingerprints of the data and encoders that the features came from.
        resumed: A checkpoint is about to be loaded into the state, so the method prepares nothing.
        track: Told about what a method does before the first epoch.

    Raises:
        UsageError: an option cannot be used, or too few items have both labels and a modality.
    """
    networks = Networks(
        image=_network(config, train, "image", IHNet, number=0),
        text=_network(config, train, "text", THNet, number=1),
    ).to(config.device)
    objective = make_objective(
        config.method,
        Context(labels=train.labels.cpu(), bits=config.bits, seed=config.seed),
        config.settings,
    ).to(config.device)
    started = time.perf_counter()
    if not resumed:
        with seeded(config.seed, _WEIGHTS, _FIRST_STAGE, device=config.device):
            objective.begin_run(
                {"image": networks.image, "text": networks.text}, train, track=track
            )
    empty = torch.zeros(len(train), config.bits, device=config.device)
    return TrainState(
        networks=networks,
        objective=objective,
        optimizer=make_optimizer(config, networks, objective),
        memory=Memory(
            image=empty.clone(),
            text=empty.clone(),
            has_image=train.has_image,
            has_text=train.has_text,
        ),
        inputs=inputs,
        average=WeightAverage(networks, decay=config.ema) if config.ema else None,
        seconds=time.perf_counter() - started,
    )


def complete_networks(
    config: TrainConfig, state: TrainState, train: Rows, networks: Networks, *, track: Track
) -> None:
    """Let the method complete the networks that are kept; their seconds count."""
    started = time.perf_counter()
    with seeded(config.seed, _WEIGHTS, _LAST_STAGE, device=config.device):
        state.objective.end_run(
            {"image": networks.image, "text": networks.text}, train, track=track
        )
    state.seconds += time.perf_counter() - started


def _network(
    config: TrainConfig, train: Rows, modality: Modality, kind: type[HashingNetwork], *, number: int
) -> HashingNetwork:
    features, has = train.features(modality), train.has(modality)
    if int(has.sum()) < 2:
        article = "an" if modality == "image" else "a"
        raise UsageError(
            f"{int(has.sum())} train items have a label and {article} {modality}; at least 2 are "
            "needed"
        )
    options = config.network_options(modality)
    if options["input_dropout"] is None:
        options["input_dropout"] = input_dropout(features.shape[1])
    network = kind(
        features.shape[1],
        config.bits,
        seed=derive_seed(config.seed, _WEIGHTS, number),
        categories=train.labels.shape[1] if config.posterior else 0,
        **options,
    )
    network.fit_standardization(features.cpu(), has.cpu())
    return network
