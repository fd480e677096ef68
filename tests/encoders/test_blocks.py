"""Blocks of networks that are written here, whose depth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from proxyhash.encoders._blocks import checkpoint_layers, find_blocks

if TYPE_CHECKING:
    from collections.abc import Callable


class Layer(nn.Module):
    """A residual layer; adds in place, which gives its input another node in autograd's graph."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, *, shift: torch.Tensor | None = None) -> torch.Tensor:
        return x + torch.tanh(self.linear(x)) + (0 if shift is None else shift)


class Stage(nn.Module):
    """Layers with a part before them that belongs to the first one."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer() for _ in range(count)))
        self.down = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(self.down(x))
        return found


class Staged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.end = nn.Linear(4, 4)  # is defined first and runs last
        self.stages = nn.ModuleList([Stage(1), Stage(2)])
        self.start = nn.Linear(4, 4)
        self.unused = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        for stage in self.stages:
            x = stage(x)
        x.mul_(2)
        found: torch.Tensor = self.end(x)
        return found


class Backwards(nn.Module):
    """Layers that run last to first, one of them twice, and share a shift that stands beside."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer(), Layer()])
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers[2](x)
        x = self.layers[1](x, shift=self.shift)
        x = self.layers[0](x, shift=self.shift)
        found: torch.Tensor = self.layers[1](x)
        return found


class Nested(nn.Module):
    """Lists of lists; a tuple and a dictionary as outputs."""

    class Pair(Layer):
        def forward(self, x: torch.Tensor) -> dict[str, tuple[torch.Tensor, str]]:  # type: ignore[override]
            return {"out": (super().forward(x), "beside")}

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleList([nn.ModuleList([self.Pair()]), nn.ModuleList([self.Pair()])])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for (layer,) in self.block:
            x = layer(x)["out"][0]
        return x


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.LayerNorm(4))


EXPECTED: dict[Callable[[], nn.Module], list[tuple[str, list[str]]]] = {
    Staged: [
        ("input", ["stages.0.down", "start"]),
        ("stages.0.layers.0", ["stages.0.layers.0.linear"]),
        ("stages.1.layers.0", ["stages.1.layers.0.linear", "stages.1.down"]),
        ("stages.1.layers.1", ["stages.1.layers.1.linear"]),
        ("output", ["end"]),
    ],
    Backwards: [
        ("layers.2", ["layers.2.linear"]),
        ("layers.1", ["shift", "layers.1.linear"]),
        ("layers.0", ["layers.0.linear"]),
    ],
    Nested: [
        ("block.0.0", ["block.0.0.linear"]),
        ("block.1.0", ["block.1.0.linear"]),
    ],
    chain: [("0", ["0"]), ("2", ["2"]), ("3", ["3"])],
    lambda: nn.Linear(4, 4): [("network", [""])],
}


@pytest.mark.parametrize("make", EXPECTED, ids=["staged", "backwards", "nested", "chain", "whole"])
def test_blocks_stand_where_they_run(make: Callable[[], nn.Module]) -> None:
    module = make()
    blocks = find_blocks(module, lambda: module(torch.ones(2, 4)))
    names = {id(each): name for name, each in module.named_parameters()}
    found = [(block.name, [names[id(each)] for each in block.parameters]) for block in blocks]
    wanted = []
    for name, parts in EXPECTED[make]:
        paths = [
            path
            for part in parts
            for path in names.values()
            if path == part or path.rpartition(".")[0] == part
        ]
        wanted.append((name, paths))
    assert found == wanted
    assert [block.is_layer for block in blocks] == [
        name not in ("input", "output") for name, _ in wanted
    ]


def test_a_frozen_part_has_no_blocks() -> None:
    module = Staged()
    assert find_blocks(module, lambda: torch.ones(2, 4)) == []


def test_checkpointing_ends_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = Layer()
    calls = []
    own = Layer.forward
    monkeypatch.setattr(Layer, "forward", lambda *args: (calls.append(1), own(*args))[1])
    for on, wanted in ((True, 2), (True, 2), (False, 1)):
        checkpoint_layers([layer], on=on)
        calls.clear()
        layer(torch.ones(2, 4)).sum().backward()
        assert len(calls) == wanted
        with torch.no_grad():
            layer(torch.ones(2, 4))
        assert len(calls) == wanted + 1
    assert "forward" not in vars(layer)
