"""PHNet: a network that learns a discriminative code for every class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.losses import bit_balance, proxy_separation, quantization
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.networks.tensors import one_thread
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies, check_capacity

__all__ = ["PHNet", "learn_phnet", "phnet_loss"]

STEPS = 300
LEAST_STEPS = 30
"""Steps for thousands of classes; one takes a second or two for 3,000."""
_RATE, _RATE_WIDTH = 1e-2, 512
"""Learning rate of Adam, up to this width of the hidden layer.

A step of Adam moves every weight by about the rate, so it moves the outputs in proportion to the
width: at 4,096 units a rate of 1e-2 saturates the tanh within a few steps, and what falls onto one
code then has no gradient to part again. Above this width the rate falls as 1 / width.
"""


class PHNet(nn.Module):
    """One-hot classes to relaxed proxies c in (-1, 1)^K: C -> hidden, ReLU -> K, tanh.

    The hidden layer is normalized over the classes, which form one batch. Otherwise the initial
    outputs resemble each other, and the quantization term freezes them before they separate.

    Args:
        classes: number of classes C.
        bits: code length K.
        hidden: width of the hidden layer; 512 in PSLDH's own release, 4,096 in DCPH's public port.
        seed: determines the initial weights.
    """

    def __init__(self, classes: int, bits: int, *, hidden: int = 512, seed: int = 0) -> None:
        super().__init__()
        self.network = HashingNetwork(
            classes, bits, hidden=(hidden,), batch_norm=classes > 1, seed=seed
        )
        self.register_buffer("one_hot", torch.eye(classes), persistent=False)

    def forward(self) -> Float[Tensor, "c k"]:
        """Return the relaxed proxies of all classes."""
        outputs: Tensor = self.network(self.one_hot)
        return outputs


def phnet_loss(
    outputs: Float[Tensor, "c k"], *, alpha: float = 0.05, beta: float = 1.0
) -> Float[Tensor, ""]:
    """Return the loss of a PHNet.

        L = (1/C^2) * sum_ij max(0, c_i . c_j - K * [i = j])^2
          + alpha * ||sum_i c_i||^2 / C + beta * sum_i ||sign(c_i) - c_i||^2 / C

    Source: PHNet of arXiv 2011.03451, the loss read from PSLDH's own release (rongchengtu1/PSLDH,
    PSLDH.py), where beta is 0.01; DCPH's public port, which loads proxies learned before, names 1.
    """
    codes = _signs(outputs.detach())
    return (
        proxy_separation(outputs)
        + alpha * bit_balance(outputs)
        + beta * quantization(outputs, codes)
    )


def learn_phnet(
    classes: int,
    bits: int,
    *,
    seed: int = 0,
    hidden: int = 512,
    alpha: float = 0.05,
    beta: float = 1.0,
    steps: int | None = None,
    learning_rate: float | None = None,
    track: Track = silent,
) -> Proxies:
    """Return the signs of a PHNet trained on all classes at once, with Adam.

    The weight of the quantization rises from 0 to beta over the first four fifths of the steps, so
    that signs settle after the proxies have separated. Takes a few seconds at most on one thread;
    equal arguments give equal proxies, whatever the number of cores.

    Args:
        classes: number of classes C.
        bits: code length K.
        seed: determines the network's initial weights, the only randomness.
        hidden: width of the hidden layer.
        alpha: weight of the bit balance.
        beta: weight of the quantization; the proxies in DCPH's public port were made with 0 to 10.
        steps: number of optimizer steps; None: 300, and fewer for more than 500 classes, whose
            steps take long.
        learning_rate: learning rate of Adam; None: 1e-2 up to 512 hidden units, and as 1 / width
            above.
        track: reports progress per step.

    Raises:
        UsageError: there are fewer codes than classes, or two classes ended with the same proxy.
    """
    check_capacity(classes, bits)
    if steps is None:
        steps = STEPS if classes <= 500 else max(LEAST_STEPS, STEPS * 500**2 // classes**2)
    if steps < 1:
        raise UsageError(f"steps is {steps}; PHNet needs at least 1 step")
    if learning_rate is None:
        learning_rate = _RATE * min(1.0, _RATE_WIDTH / hidden)
    with one_thread(), torch.enable_grad():
        net = PHNet(classes, bits, hidden=hidden, seed=seed)
        optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
        for step in track(range(steps), f"PHNet of {classes:,} classes"):
            optimizer.zero_grad()
            risen = min(1.0, 1.25 * step / steps)
            loss = phnet_loss(net(), alpha=alpha, beta=risen * beta)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        codes = _signs(net().detach())
    proxies = Proxies(codes=codes.to(torch.int8).numpy(), origin="phnet")
    if proxies.minimum_distance == 0:
        raise UsageError(
            f"PHNet gave the same {bits}-bit proxy to two of {classes} classes; "
            "use more bits, another seed, or the proxies 'codebook'"
        )
    return proxies


def _signs(outputs: Tensor) -> Tensor:
    """Return -1 and +1; 0 counts as -1, as in packed codes, where bit 1 means above 0."""
    return torch.where(outputs > 0, 1.0, -1.0).to(outputs.dtype)
