"""The first stage of DAPH: codes of the classes, and of every train item seen with its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from proxyhash.losses import bit_balance, cosine_quantization, partial_softmax, proxy_separation
from proxyhash.methods.shared.batch import sign
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows

__all__ = ["DataProxies", "LabelFused", "first_stage_loss", "learn_data_proxies"]

_WIDTH = 512
"""Width at which features and labels meet, as in the released code."""


@dataclass(frozen=True)
class DataProxies:
    """Codes in {-1, +1}; rows of items without the modality are zero."""

    classes: Tensor
    """(C, K)."""
    items: Mapping[Modality, Tensor]
    """Per modality, (n, K)."""


class LabelFused(nn.Module):
    """Features and labels of an item to one point on the unit sphere.

    Both go through two layers to a vector of length 1; their sum is mapped to K dimensions.

    Args:
        dim_in: Width of the features.
        classes: Number of classes C.
        bits: Code length K.
        hidden: Units of the layer that reads the features.
    """

    def __init__(self, dim_in: int, classes: int, bits: int, *, hidden: int) -> None:
        super().__init__()
        self.features = _two_layers(dim_in, hidden, _WIDTH, dropout=0.5)
        self.labels = _two_layers(classes, _WIDTH, _WIDTH, dropout=0.1)
        self.code = nn.Linear(_WIDTH, bits)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return (b, K) vectors of length 1."""
        fused = normalize(self.features(features)) + normalize(self.labels(labels))
        return normalize(self.code(fused))


def first_stage_loss(
    classes: Tensor,
    items: list[tuple[Tensor, Tensor]],
    *,
    gamma: float,
    sigma: float,
    alpha: float,
    beta: float,
) -> Tensor:
    """Return what the first stage minimizes, divided by the items b of a batch.

        L = sum_i partial_softmax(h_i P^T) + ||relu(P P^T - I)||^2
          + alpha (||sum_c p_c||^2 + ||sum_i h_i||^2)
          + beta (sum_c (cos(p_c, sign p_c) - 1)^2 + sum_i (cos(h_i, sign h_i) - 1)^2)

    Args:
        classes: P, (C, K) unit vectors.
        items: for each modality, H (b, K) unit vectors and labels (b, C), of items that have both.
        gamma: Sharpness of the softmax.
        sigma: Its margin.
        alpha: Weight of the bit balance.
        beta: Weight of the quantization.
    """
    count, bits = classes.shape
    batch = max([len(outputs) for outputs, _ in items] + [1])
    # `proxy_separation` is a mean over pairs of vectors of length sqrt(K).
    loss = (count / bits) ** 2 * proxy_separation(bits**0.5 * classes) / batch
    loss = loss + (count / batch) * (
        alpha * bit_balance(classes) + beta * cosine_quantization(classes)
    )
    for outputs, labels in items:
        loss = loss + (
            partial_softmax(outputs @ classes.T, labels, gamma=gamma, sigma=sigma)
            + alpha * bit_balance(outputs)
            + beta * cosine_quantization(outputs)
        )
    return loss


@torch.enable_grad()
def learn_data_proxies(
    train: Rows,
    bits: int,
    *,
    gamma: float,
    sigma: float,
    alpha: float,
    beta: float,
    epochs: int,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    hidden: int = 1024,
    track: Track = silent,
) -> DataProxies:
    """Return the codes that networks of classes and of items with their labels agree on.

    The networks are thrown away: they read labels, which queries do not have. Everything drawn
    comes from torch's own generators.

    Args:
        train: The train items.
        bits: Code length K.
        gamma: As in `first_stage_loss`, like sigma, alpha and beta.
        sigma: Margin.
        alpha: Weight of the bit balance.
        beta: Weight of the quantization.
        epochs: Rounds over the items.
        learning_rate: Step size of Adam.
        batch_size: Most items a step.
        hidden: Units of the layers that read features or classes.
        track: Told about every epoch.
    """
    device, count = train.labels.device, train.labels.shape[1]
    class_network = _two_layers(count, hidden, bits, dropout=0.2)
    networks = nn.ModuleDict(
        {
            modality: LabelFused(features.shape[1], count, bits, hidden=hidden)
            for modality, features in train.features.items()
        }
    )
    nn.ModuleList([class_network, networks]).to(device)
    optimizer = torch.optim.Adam(
        [*class_network.parameters(), *networks.parameters()], lr=learning_rate
    )
    categories = torch.eye(count, device=device)
    taught = {m: train.labeled(m) for m in train.modalities}
    for _ in track(range(epochs), "first stage"):
        for index in torch.split(torch.randperm(len(train)).to(device), batch_size):
            items = []
            for modality in train.modalities:
                rows = index[taught[modality][index]]
                labels = train.labels[rows]
                items.append((networks[modality](train.features[modality][rows], labels), labels))
            loss = first_stage_loss(
                normalize(class_network(categories)),
                items,
                gamma=gamma,
                sigma=sigma,
                alpha=alpha,
                beta=beta,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    class_network.eval(), networks.eval()
    with torch.no_grad():
        codes = {
            m: sign(networks[m](features, train.labels)) * taught[m][:, None]
            for m, features in train.features.items()
        }
        return DataProxies(sign(class_network(categories)), codes)


def _two_layers(dim_in: int, hidden: int, dim_out: int, *, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim_in, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim_out)
    )
