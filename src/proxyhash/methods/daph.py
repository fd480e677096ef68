"""DAPH: data-aware proxy hashing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from proxyhash.losses import (
    bit_balance,
    certain,
    cosine_quantization,
    data_softmax,
    margin_dynamic_softmax,
    partial_softmax,
    proxy_separation,
)
from proxyhash.methods.shared.batch import row_blocks, sign
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.presets import END_TO_END
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.schedule import ScheduledObjective, ScheduleSettings
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Rows
    from proxyhash.methods.shared.objective import Context
    from proxyhash.networks import Network

__all__ = [
    "Daph",
    "DaphSettings",
    "DataProxies",
    "LabelFused",
    "first_stage_loss",
    "learn_data_proxies",
]

_WIDTH = 512
"""Width at which features and labels meet in the first stage, as in DAPH's own release."""


class DaphSettings(ScheduleSettings):
    """Settings of `daph`."""

    gamma: float = Field(default=10.0, gt=0)
    """Sharpness of every softmax, on cosines; 20 in DAPH's release, which is worse at 16 bits."""
    sigma: float = Field(default=0.2, ge=0)
    """Margin of every softmax, on cosines."""
    eta: float = Field(default=1.0, ge=0)
    """Weight of the data proxies that share some labels with an item."""
    alpha: float = Field(default=0.2, ge=0)
    """Weight of the bit balance in the first stage."""
    beta: float = Field(default=0.2, ge=0)
    """Weight of the quantization in the first stage."""
    first_stage_epochs: int = Field(default=5, ge=1)
    """Epochs of the first stage, with Adam; 80 with SGD in DAPH's own release."""
    data_proxies: int = Field(default=1000, ge=1)
    """Largest number of training items whose codes are proxies, drawn at random before training;
    all items in DAPH's own release. The time of a step is proportional: with 5,000, a run takes
    several times as long as one of `dchml`, with 1,000 about twice."""


@register_method("daph")
class Daph(ScheduledObjective):
    """Outputs aim at proxies of the classes and at those of the training items themselves.

    A first stage learns class proxies P together with an image and a text network that see an
    item's labels beside its features; their codes of the training items are the data proxies A, A'.
    Then, for each modality that learns, with cosines o = h P^T / K,

        L = margin_dynamic_softmax(o)                                                "classes"
          + sum over A and A' of the mean softmax term of each proxy of equal labels "same"
          + eta (sum over A and A' of one term of those that share some)             "partial"

    against the negative classes, and the data proxies with foreign labels.

    Source: Tu et al., "Data-Aware Proxy Hashing for Cross-modal Retrieval", SIGIR 2023, details as
    in the authors' own release (rongchengtu1/DAPH: DAPH.py, DAPH_proxy_code.py).

    The "reference" preset has the release's settings: gamma 20, every training item a proxy, 80
    epochs of the first stage, then 220 alternating ones of plain SGD at a constant .005 with weight
    decay 1e-5 and batches of 128; images from pixels through two hidden layers of 4,096 with
    dropout before each, texts through one of 4,096 with dropout of .2 after it. It differs in the
    first stage, which has Adam, features instead of pixels, and 1,024 units here, and in first
    weights (the release draws the texts' last layer from N(0, .3^2)); for images see `dchml`.
    """

    settings_type = DaphSettings
    card = MethodCard(
        idea="proxies learned from the data, then every item's code is one",
        loss="per-positive softmax on cosines, weighted by the overlap of label sets",
        source="DAPH, SIGIR 2023",
        differs="a first stage learns the proxies",
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            **END_TO_END,
            "epochs": 220,
            "batch_size": 128,
            "learning_rate": 5e-3,
            "encoder_rate": 5e-3,
            "lr_schedule": "constant",
            "dropout_at": "inputs",
            "networks": {
                "image": {"initial_weights": "kaiming", "center": True},
                "text": {"hidden": [4096], "dropout": 0.2, "dropout_at": "outputs"},
            },
            "settings": {
                "schedule": "alternating",
                "gamma": 20.0,
                "first_stage_epochs": 80,
                "data_proxies": 10**9,
            },
        }
    }
    settings: DaphSettings
    class_codes: Tensor

    def __init__(self, context: Context, settings: DaphSettings) -> None:
        super().__init__(context, settings)
        self.count = min(len(context.labels), settings.data_proxies)
        self.register_buffer("class_codes", torch.zeros(context.classes, context.bits))
        for modality in context.modalities:
            self.register_buffer(f"{modality}_codes", torch.zeros(self.count, context.bits))
            self.register_buffer(f"{modality}_labels", torch.zeros(self.count, context.classes))

    def begin_run(
        self,
        networks: Mapping[Modality, Network],  # noqa: ARG002
        train: Rows,
        *,
        track: Track = silent,
    ) -> None:
        """Learn the proxies of both kinds."""
        options = self.settings.model_dump(include={"gamma", "sigma", "alpha", "beta"})
        found = learn_data_proxies(
            train, self.bits, epochs=self.settings.first_stage_epochs, track=track, **options
        )
        self.class_codes.copy_(found.classes)
        drawn = torch.randperm(len(train))[: self.count].to(train.labels.device)
        for modality in self.modalities:
            codes, labels = self._data_proxies(modality)
            codes.copy_(found.items[modality][drawn])
            # A proxy without labels takes part in no term.
            labels.copy_(certain(train.labels)[drawn] & train.present[modality][drawn, None])

    @property
    def proxies(self) -> Proxies:
        """P."""
        return Proxies(codes=self.class_codes.to(torch.int8).cpu().numpy(), origin="daph")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "classes", "same" and "partial"."""
        gamma, sigma = self.settings.gamma, self.settings.sigma
        classes = same = partial = batch.labels.new_zeros(())
        for modality in batch.learning:
            outputs, labels = batch.outputs[modality] / self.bits, batch.labels_of(modality)
            sets = certain(labels).to(labels.dtype)
            classes = classes + margin_dynamic_softmax(
                outputs @ self.class_codes.T, labels, gamma=gamma, sigma=sigma
            )
            for source in self.modalities:
                codes, code_labels = self._data_proxies(source)
                terms = data_softmax(outputs @ codes.T, sets, code_labels, gamma=gamma, sigma=sigma)
                same, partial = same + terms[0], partial + terms[1]
        return {"classes": classes, "same": same, "partial": self.settings.eta * partial}

    def _data_proxies(self, modality: Modality) -> tuple[Tensor, Tensor]:
        """Return codes (p, K) and labels (p, C)."""
        return self.get_buffer(f"{modality}_codes"), self.get_buffer(f"{modality}_labels")


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

    The networks are discarded: they read labels, which queries do not have. Everything drawn
    comes from torch's own generators.

    Args:
        train: The training items.
        bits: Code length K.
        gamma: As in `first_stage_loss`, like sigma, alpha and beta.
        sigma: Margin.
        alpha: Weight of the bit balance.
        beta: Weight of the quantization.
        epochs: Number of epochs.
        learning_rate: Step size of Adam.
        batch_size: Batch size.
        hidden: Units of the layers that read features or classes.
        track: Reports progress per epoch.
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
    classes = torch.eye(count, device=device)
    usable = {m: train.labeled(m) for m in train.modalities}
    for _ in track(range(epochs), "first stage"):
        for index in torch.split(torch.randperm(len(train)).to(device), batch_size):
            items = []
            for modality in train.modalities:
                rows = index[usable[modality][index]]
                labels = train.labels[rows].float()
                items.append((networks[modality](train.features[modality][rows], labels), labels))
            loss = first_stage_loss(
                normalize(class_network(classes)),
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
            m: torch.cat(
                [
                    sign(networks[m](values, train.labels[rows].float()))
                    for rows, values in row_blocks(features)
                ]
            )
            * usable[m][:, None]
            for m, features in train.features.items()
        }
        return DataProxies(sign(class_network(classes)), codes)


def _two_layers(dim_in: int, hidden: int, dim_out: int, *, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim_in, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim_out)
    )
