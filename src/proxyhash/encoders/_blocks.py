"""Layers of any torch network: found by running it, and checkpointed one by one."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from proxyhash.encoders.trainable import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["WHOLE", "checkpoint_layers", "find_blocks", "moving_norms"]

WHOLE = "network"
"""Name of the only block of a network that has no layers."""


def find_blocks(module: nn.Module, run: Callable[[], torch.Tensor]) -> list[Block]:
    """Return the blocks of a network, from the input to the output; see `Block`.

    Which parameters there are in which order is read from the graph that autograd records of one
    forward pass, without a backward pass.

    Args:
        module: the network; its modes and its `requires_grad` are as before afterwards.
        run: returns features of any input, computed by the network.
    """
    layers = dict(_layers(module)) or dict(_steps(module))
    ends: dict[str, list[Any]] = {}

    def note(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def noted(_module: nn.Module, _inputs: Any, output: Any) -> None:
            # Later layers may change the output in place, and with it its `grad_fn`.
            ends.setdefault(path, [each.grad_fn for each in _tensors(output) if each.grad_fn])

        return noted

    hooks = [layer.register_forward_hook(note(path)) for path, layer in layers.items()]
    try:
        with _learning_without_mode(module), torch.enable_grad():
            end = run().grad_fn
    finally:
        for hook in hooks:
            hook.remove()

    order = {id(parameter): place for place, parameter in enumerate(module.parameters())}
    visited: set[Any] = set()
    blocks = []

    def add(name: str, parameters: list[nn.Parameter], *, is_layer: bool) -> None:
        parameters.sort(key=lambda parameter: order[id(parameter)])
        if parameters:
            blocks.append(Block(name, tuple(parameters), is_layer))

    for place, (path, nodes) in enumerate(ends.items()):
        reached = [each for each in _leaves(nodes, visited) if id(each) in order]
        if place == 0:
            own = {id(parameter) for parameter in layers[path].parameters()}
            add("input", [each for each in reached if id(each) not in own], is_layer=False)
            reached = [each for each in reached if id(each) in own]
        add(path, reached, is_layer=True)
    rest = [each for each in _leaves([end] if end else [], visited) if id(each) in order]
    add("output" if ends else WHOLE, rest, is_layer=not ends)
    return blocks


def moving_norms(module: nn.Module) -> dict[str, nn.Module]:
    """Return the BatchNorm layers that keep running statistics, by path."""
    return {
        path: layer
        for path, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def checkpoint_layers(layers: Sequence[nn.Module], *, on: bool) -> None:
    """Make layers compute their activations again in the backward pass, or no longer.

    Some networks of transformers can do that themselves, but not MobileNetV2, ResNet, ConvNeXt or
    MPNet, so every network is treated alike here.
    """
    for layer in layers:
        layer.__dict__.pop("forward", None)
        if on:
            layer.forward = _checkpointed(layer, layer.forward)


def _checkpointed(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[Any, Any]:
        return nullcontext(), _statistics_kept(layer)

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return checkpointed


@contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    """Let BatchNorm layers normalize by the batch a second time without counting it again."""
    norms: list[Any] = [norm for norm in moving_norms(layer).values() if norm.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _layers(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the repeated parts of a network: entries of lists, or of the lists of its stages."""
    for name, child in module.named_children():
        where = f"{path}{name}."
        if not isinstance(child, nn.ModuleList) or not _is_repetition(child):
            yield from _layers(child, where)
            continue
        for number, entry in child.named_children():
            inner = [("", entry), *((f"{name}.", part) for name, part in entry.named_children())]
            stage = [
                (f"{where}{number}.{name}{place}", layer)
                for name, layers in inner
                if isinstance(layers, (nn.ModuleList, nn.Sequential)) and _is_repetition(layers)
                for place, layer in layers.named_children()
            ]
            yield from stage or [(f"{where}{number}", entry)]


def _steps(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the learning parts of a plain chain."""
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            if next(child.parameters(), None) is not None:
                yield name, child


def _is_repetition(layers: nn.Module) -> bool:
    """Return whether a list holds whole layers, not a few single operations."""
    entries = list(layers.children())
    return bool(entries) and all(any(True for _ in entry.children()) for entry in entries)


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = tuple(output.values())
    return (
        [each for value in output for each in _tensors(value)]
        if isinstance(output, (list, tuple))
        else []
    )


def _leaves(nodes: Sequence[Any], visited: set[Any]) -> list[nn.Parameter]:
    """Return the parameters that nodes of autograd's graph depend on, past none of `visited`."""
    found = []
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting.extend(following for following, _ in node.next_functions)
    return found


@contextmanager
def _learning_without_mode(module: nn.Module) -> Iterator[None]:
    """Let all parameters require gradients, in evaluation mode; restore both after the block."""
    modes = {part: part.training for part in module.modules()}
    required = [parameter.requires_grad for parameter in module.parameters()]
    try:
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        yield
    finally:
        for part, training in modes.items():
            part.training = training
        for parameter, was in zip(module.parameters(), required, strict=True):
            parameter.requires_grad_(was)
