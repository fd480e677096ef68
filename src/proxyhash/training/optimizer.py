"""The optimizer of all networks, and its learning-rate schedule as a pure function."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.state import Networks
    from proxyhash.training.tuned import TunedEncoder

__all__ = [
    "clip_gradients",
    "learning_rate_factor",
    "load_optimizer",
    "make_optimizer",
    "optimizer_tensors",
    "set_learning_rates",
]

_STEP_AT = 5 / 8
"""Share of a run after which the schedule "step" falls: pass 50 of 80, as in DCPH's public port."""


def make_optimizer(
    config: TrainConfig,
    networks: Networks,
    objective: nn.Module,
    encoders: Mapping[Modality, TunedEncoder] = MappingProxyType({}),
) -> Optimizer:
    """Return one optimizer with parameter groups for each network, the objective and encoders.

    Parameters outside a pass have no gradient there and are skipped by every torch optimizer, so
    alternating methods need no second one, and encoders that learn later keep their weights. Where
    encoders learn, no norm or bias has weight decay.
    """
    modules: list[tuple[nn.Module, float]] = [
        (network, config.learning_rates.get(modality, config.learning_rate))
        for modality, network in networks.by_modality.items()
    ]
    modules.append((objective, config.learning_rate))
    groups: list[dict[str, Any]] = []
    seen: set[nn.Parameter] = set()
    for module, rate in modules:
        own = [parameter for parameter in module.parameters() if parameter not in seen]
        seen.update(own)  # networks may share a part
        if not encoders:
            parts = [(own, config.weight_decay)]
        else:
            matrices = [parameter for parameter in own if parameter.ndim > 1]
            others = [parameter for parameter in own if parameter.ndim <= 1]
            parts = [(matrices, config.weight_decay), (others, 0.0)]
        groups += [
            {"params": part, "lr": rate, "base_rate": rate, "weight_decay": decay}
            for part, decay in parts
            if part
        ]
    groups += [group for tuned in encoders.values() for group in tuned.groups()]
    # Fused kernels read each parameter once a step: three times faster on a CPU.
    optimizer: Optimizer
    if config.optimizer == "sgd":
        optimizer = SGD(
            groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
    else:
        kind = Adam if config.optimizer == "adam" else AdamW
        optimizer = kind(groups, weight_decay=config.weight_decay, fused=True)
    _step_by_rows(optimizer)
    return optimizer


def _step_by_rows(optimizer: Optimizer) -> None:
    """Let every step see weights that lie column by column as their transposes.

    Fused kernels copy what does not lie row by row, there and back, in twice the time of the step.
    """
    turned: list[Tensor] = []

    def before(*_: object) -> None:
        every = (each for group in optimizer.param_groups for each in group["params"])
        turned[:] = [each for each in every if each.grad is not None and _by_columns(each)]
        for each in turned:
            _transpose(each, optimizer.state[each])

    def after(*_: object) -> None:
        for each in turned:
            _transpose(each, optimizer.state[each])

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)


def _by_columns(values: Tensor) -> bool:
    return values.ndim == 2 and not values.is_contiguous() and values.t().is_contiguous()


def _transpose(parameter: Tensor, state: dict[str, Any]) -> None:
    """Transpose a parameter, its gradient and its state, none of which is copied."""
    gradient, parameter.grad = parameter.grad, None
    parameter.data = parameter.data.t()
    parameter.grad = None if gradient is None else gradient.t()
    for name, value in state.items():
        if isinstance(value, Tensor) and value.ndim == 2:
            state[name] = value.t()


def learning_rate_factor(config: TrainConfig, progress: float, *, start: float = 0.0) -> float:
    """Return the factor of the learning rates after `progress` epochs (0 to `epochs`).

    Rises linearly over `warmup` epochs; then stays 1, or falls to `lr_end` along half a cosine, a
    line, or in one step after five eighths of the rest.

    Args:
        config: The run's configuration.
        progress: Epochs that are done.
        start: Epochs after which the schedule begins; the factor is 0 before.
    """
    progress -= start
    if progress < 0:
        return 0.0
    if progress < config.warmup:
        return progress / config.warmup
    if config.lr_schedule == "constant":
        return 1.0
    done = (progress - config.warmup) / (config.epochs - start - config.warmup)
    if config.lr_schedule == "step":
        return 1.0 if done < _STEP_AT else config.lr_end
    left = 1 - done if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.lr_end + (1 - config.lr_end) * left


def set_learning_rates(optimizer: Optimizer, config: TrainConfig, progress: float) -> None:
    """Give every parameter group its own rate times the factor after `progress` epochs.

    The schedule of encoders begins when they begin to learn, after `head_epochs`: warmup, and then
    the whole way to its end.
    """
    networks = learning_rate_factor(config, progress)
    encoders = learning_rate_factor(config, progress, start=config.head_epochs)
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * (encoders if group.get("encoder") else networks)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as "PARAMETER.NAME" tensors, for a safetensors file."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)  # SGD keeps None where momentum is 0
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what `optimizer_tensors` returned; rates and decay stay those of the config."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        alike = value.shape == parameter.shape  # fused kernels take equal strides for granted
        own = torch.empty_like(parameter).copy_(value) if alike else value
        state.setdefault(int(index), {})[name] = own
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def clip_gradients(optimizer: Optimizer, limit: float) -> None:
    """Scale the gradients of a step down to the norm `limit`; 0 leaves them alone."""
    if limit:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, limit)
