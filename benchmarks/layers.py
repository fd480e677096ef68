"""Time layers of a hashing network: the first over a bag of words, one in bfloat16, and dropout.

    python benchmarks/layers.py --words 2000 --present 40 12

The first layer takes all features, or those that are not zero; a hidden layer has factors in
float32, or rounded to bfloat16; dropout is torch's, or ours.

Ratios of two ways taken in turns, each the median of its times: read those, not the times.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import torch

from proxyhash.networks.dropout import Dropout
from proxyhash.networks.input_linear import InputLinear
from proxyhash.networks.linear import Linear, rounding

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 15


def step(layer: torch.nn.Module, features: torch.Tensor, gradient: torch.Tensor) -> float:
    """Return the seconds of one pass forward and back."""
    layer.zero_grad(set_to_none=True)
    started = time.perf_counter()
    layer(features).backward(gradient)
    return time.perf_counter() - started


def ratio(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float, float]:
    """Return the median seconds of both, taken in turns, and their ratio."""
    times = [(first(), second()) for _ in range(REPEATS)]
    one, other = (statistics.median(column) for column in zip(*times, strict=True))
    return one, other, one / other


def main() -> None:
    """Print a line for each number of words that an item has."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--words", type=int, default=2000, help="words of the vocabulary")
    options.add_argument(
        "--present", type=int, nargs="+", default=[40, 12], help="words of an item"
    )
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--hidden", type=int, default=1024)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    plain, laid_out = (InputLinear(given.words, given.hidden) for _ in range(2))
    laid_out.load_state_dict(plain.state_dict())
    laid_out.lay_out()
    gradient = torch.randn(given.batch, given.hidden)
    for present in given.present:
        features = torch.zeros(given.batch, given.words)
        for row in features:
            row[torch.randperm(given.words)[:present]] = 1
        torch.testing.assert_close(plain(features), laid_out(features))
        dense, sparse, times = ratio(
            lambda features=features: step(plain, features, gradient),
            lambda features=features: step(laid_out, features, gradient),
        )
        print(
            f"{present} of {given.words} words, batch {given.batch}: all features "
            f"{1000 * dense:.1f} ms, those there are {1000 * sparse:.1f} ms, {times:.1f} times"
        )
    units = torch.randn(given.batch, given.hidden, requires_grad=True)
    layer = Linear(given.hidden, given.hidden)

    def rounded() -> float:
        with rounding(True):
            return step(layer, units, gradient)

    plain, fast, times = ratio(lambda: step(layer, units, gradient), rounded)
    print(
        f"{given.hidden} to {given.hidden} units, batch {given.batch}: float32 "
        f"{1000 * plain:.1f} ms, bfloat16 {1000 * fast:.1f} ms, {times:.1f} times"
    )
    for share in (0.5, 0.1):
        layers = torch.nn.Dropout(share), Dropout(share)
        of_torch, ours, times = ratio(
            *(lambda layer=layer: step(layer, units, gradient) for layer in layers)
        )
        print(
            f"dropout of {share}, {given.batch} x {given.hidden} units: torch "
            f"{1000 * of_torch:.2f} ms, ours {1000 * ours:.2f} ms, {times:.1f} times"
        )


if __name__ == "__main__":
    main()
