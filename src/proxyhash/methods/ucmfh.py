"""UCMFH: a transformer over both halves of a pair, and heads that turn its halves into bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.errors import UsageError
from proxyhash.losses import soft_contrastive
from proxyhash.methods.cca_itq import paired_items
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import HashingNetwork, Network, register_network
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jaxtyping import Bool, Float

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Rows
    from proxyhash.methods.shared.objective import Context

__all__ = ["FusionLayer", "FusionNetwork", "Ucmfh", "UcmfhSettings"]

_HEADS = 4


class FusionLayer(nn.Module):
    """A transformer's encoder layer for sequences of one token, (n, width) to (n, width).

    Attention over one token is its value, so queries and keys do not exist. Otherwise this is
    torch's `TransformerEncoderLayer` with its defaults: ReLU, and norms after each sum.

    Args:
        width: of a token; the attention has four heads, the hidden layer twice the width.
        dropout: share that is dropped of heads, of units, and of what is added to the token.
        generator: draws the weights, with torch's distributions.
    """

    def __init__(self, width: int, *, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.value, self.attended = nn.Linear(width, width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout, self.head_dropout = nn.Dropout(dropout), nn.Dropout1d(dropout)
        for linear in (self.value, self.attended, self.wide, self.narrow):
            bound = linear.in_features**-0.5
            if linear is self.value:  # torch draws queries, keys and values as one matrix
                bound *= 1.5**0.5
            nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
            nn.init.uniform_(linear.bias, -bound, bound, generator=generator)
        for linear in (self.value, self.attended):
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """Return the tokens of the next layer."""
        heads = self.value(tokens).unflatten(1, (_HEADS, -1))
        attended = self.attended(self.head_dropout(heads).flatten(1))
        tokens = self.norms[0](tokens + self.dropout(attended))
        units = self.narrow(self.dropout(functional.relu(self.wide(tokens))))
        after: Tensor = self.norms[1](tokens + self.dropout(units))
        return after


@register_network
class FusionNetwork(Network):
    """Features (n, d) as one half of a token that is zero elsewhere, to outputs (n, K).

    Features, standardized or centered, are mapped linearly to half of a token, which passes through
    a transformer of two layers that the networks of a run share. The same half of what it gives,
    at length 1, passes through a head of hidden layers to K bits.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        side: 0 or 1, the half of the token that features enter.
        width: of the token, a multiple of 8.
        fusion_dropout: share that the transformer drops in training.
        input_dropout: share of features that training drops.
        standardize: as in `HashingNetwork`, like the following ones.
        center: as there.
        hidden: widths of the head's hidden layers.
        dropout: share of the head's hidden units that training drops.
        output_batch_norm: as there.
        seed: determines the initial weights.

    Raises:
        UsageError: an argument is out of its range; names it.
    """

    kind = "fusion"

    def __init__(
        self,
        dim_in: int,
        bits: int,
        *,
        side: int = 0,
        width: int = 128,
        fusion_dropout: float = 0.0,
        input_dropout: float = 0.0,
        standardize: bool = False,
        center: bool = False,
        hidden: Sequence[int] = (1024,),
        dropout: float = 0.0,
        output_batch_norm: bool = False,
        seed: int = 0,
    ) -> None:
        if side not in (0, 1):
            raise UsageError(f"side is {side}; it must be 0 or 1")
        if width < 1 or width % (2 * _HEADS):
            raise UsageError(f"width is {width}; it must be a multiple of {2 * _HEADS}")
        if not 0 <= fusion_dropout < 1:
            raise UsageError(
                f"fusion_dropout is {fusion_dropout}; it must be at least 0 and below 1"
            )
        outside = {"input_dropout": input_dropout, "standardize": standardize, "center": center}
        head = {"hidden": list(hidden), "dropout": dropout, "output_batch_norm": output_batch_norm}
        fusion = {"side": side, "width": width, "fusion_dropout": fusion_dropout}
        super().__init__({"dim_in": dim_in, "bits": bits, **fusion, **outside, **head})
        seeds = torch.Generator().manual_seed(seed)
        first, last = torch.randint(2**62, (2,), generator=seeds, device="cpu").tolist()
        self.side = side
        self.enter = HashingNetwork(
            dim_in,
            width // 2,
            hidden=(),
            input_dropout=input_dropout,
            standardize=standardize,
            center=center,
            seed=first,
        )
        self.fusion = nn.Sequential(
            *(FusionLayer(width, dropout=fusion_dropout, generator=seeds) for _ in range(2))
        )
        self.head = HashingNetwork(
            width // 2,
            bits,
            hidden=hidden,
            dropout=dropout,
            output_batch_norm=output_batch_norm,
            seed=last,
        )

    def share_parts(self, first: Network) -> None:
        """Use the transformer of the run's first network."""
        assert isinstance(first, FusionNetwork)
        self.fusion = first.fusion

    def fit_standardization(
        self, features: Float[Tensor, "n d"], present: Bool[Tensor, " n"] | None = None
    ) -> None:
        """Measure the mean and deviation of every feature, where they are used."""
        self.enter.fit_standardization(features, present)

    def fit_standardization_in_blocks(self, blocks: Callable[[], Iterable[Tensor]]) -> None:
        """Measure the same of features that come in blocks."""
        self.enter.fit_standardization_in_blocks(blocks)

    def embed(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n w2"]:
        """Return the half of the transformer's token, (n, width / 2), at length 1."""
        entered = self.enter.logits(features)
        parts = [torch.zeros_like(entered), torch.zeros_like(entered)]
        parts[self.side] = entered
        halves = self.fusion(torch.cat(parts, dim=1)).chunk(2, dim=1)
        return functional.normalize(halves[self.side], dim=1)

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the values before tanh; a bit is 1 where they are above 0."""
        return self.head.logits(self.embed(features))


class UcmfhSettings(Settings):
    """Settings of `ucmfh`."""

    temperature: float = Field(default=0.5, gt=0)
    """Temperature of both contrasts. With 0.2 an item finds its other half more often and mAP is
    .06 lower, see docs/lab-notes.md."""
    codes: float = Field(default=0.5, ge=0)
    """Weight of the contrast between outputs; that between the transformer's halves has 1."""
    width: int = Field(default=256, ge=8, multiple_of=8)
    """Width of the transformer's token; 1,024 in the release, twice that of CLIP's features, which
    costs ten times as much."""
    fusion_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share that the transformer drops."""


@register_method("ucmfh")
class Ucmfh(Objective):
    """The halves of a pair are each other's nearest, in a shared transformer and in the bits.

    With e the halves of the transformer's tokens and h the outputs, of all images and texts of a
    batch together, and v' the other half of v:

        L = N(e) + 0.5 N(h)                                                "halves", "codes"
        N(v) = mean_v -log exp(cos(v, v') / tau) / sum_{w != v} exp(cos(v, w) / tau)

    Images with images and texts with texts are among the w, and items with one half are among
    those of the others. Labels are never read; MRR of the other half among validation items
    chooses the epoch.

    Source: Xia, Dong, Li, Zhu and Ying, "When CLIP meets cross-modal hashing retrieval: A new
    strong baseline", Information Fusion 2023, as in the authors' own release (XinyuXia97/UCMFH):
    networks in model.py, N in metric.py, the loop and `evaluate` in ICMR.py.

    There a token is image and text together, in training and in `evaluate` as well: the code of a
    query's image is made of its text, too, and, as tokens come without the dimension of a batch,
    attention mixes the 128 pairs that are encoded together. An image or a text alone has no code.
    Here it has one: the other half of its token is zero, in training as in a search, and what both
    halves have in common is the transformer. docs/lab-notes.md says what the release's tokens give
    when one half is absent.

    Other differences: a linear map brings features of any width to half a token, where the release
    takes CLIP's 512 as they are; features are centered; both layers are drawn, where torch copies
    the first; one Adam, where the release has a rate of 1e-4 for the transformer and 1e-3 for the
    heads, betas of .5 and .999, and heads whose rate rises by 1.2 after 30 and 80 steps; a token of
    256 and heads with 1,024 units; and the release keeps the last epoch. The preset "reference" has
    its sizes: a token of 1,024, heads with 4,096 units and a dropout of .3, 100 epochs.
    """

    reads_memory = False
    settings_type = UcmfhSettings
    needs_labels = False
    needs_pairs = True
    validated_by: ClassVar[Literal["mAP", "MRR"]] = "MRR"
    defaults: ClassVar[Mapping[str, Any]] = {
        "network_kind": "fusion",
        "dropout": 0.3,
        "output_batch_norm": False,
        "center": True,
    }
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "reference": {
            "optimizer": "adam",
            "learning_rate": 1e-4,
            "lr_schedule": "constant",
            "epochs": 100,
            "batch_size": 128,
            "hidden": [4096],
            "dropout": 0.3,
            "output_batch_norm": False,
            "settings": {"width": 1024},
        }
    }
    card = MethodCard(
        idea="both halves pass through one transformer, and a head for each (without labels)",
        loss="cross-entropy of softmax(cos / τ) with the other half, of embeddings and of outputs",
        source="Xia et al., Information Fusion 2023",
        differs=(
            "a transformer of two layers before the head, features centered, no BatchNorm before "
            "the sign, dropout .3"
        ),
    )
    settings: UcmfhSettings

    def __init__(self, context: Context, settings: UcmfhSettings) -> None:
        super().__init__(context, settings)
        self._halves: dict[Modality, Tensor] = {}

    def make_network(
        self,
        modality: Modality,
        kind: str,
        dim_in: int,
        *,
        seed: int,
        options: Mapping[str, Any],
    ) -> Network:
        """Return the network of one modality, which enters its own half of the token."""
        if kind == FusionNetwork.kind:
            own = {"side": self.modalities.index(modality) % 2}
            own |= self.settings.model_dump(include={"width", "fusion_dropout"})
            options = {**options, **own}
        return super().make_network(modality, kind, dim_in, seed=seed, options=options)

    def begin_run(
        self,
        networks: Mapping[Modality, Network],
        train: Rows,
        *,
        track: Track = silent,  # noqa: ARG002
    ) -> None:
        """Refuse runs without pairs, and networks without the transformer.

        Raises:
            UsageError: there are not two modalities, fewer than two training items have both, or
                the networks are not of the kind fusion.
        """
        paired_items(train, method="ucmfh")
        for network in networks.values():
            _fusing(network)

    def run_network(
        self,
        modality: Modality,
        network: Network,
        features: Tensor,
        labels: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the outputs; the halves they are made of are kept for the loss."""
        fusing = _fusing(network)
        self._halves[modality] = fusing.embed(features)
        return torch.tanh(fusing.head.logits(self._halves[modality]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "halves" and "codes"."""
        rows = {name: batch.present[name].nonzero(as_tuple=True)[0] for name in batch.learning}
        items = torch.cat(list(rows.values()))
        outputs = torch.cat([batch.outputs[name][which] for name, which in rows.items()])
        halves = [self._halves.pop(name) for name in rows if name in self._halves]
        return {
            "halves": self._contrast(torch.cat(halves), items),
            "codes": self.settings.codes * self._contrast(outputs, items),
        }

    def _contrast(self, views: Tensor, items: Tensor) -> Tensor:
        """Return N over the views that have another half; `items` says whose they are."""
        own = torch.eye(len(items), dtype=torch.bool, device=items.device)
        halves = (items[:, None] == items[None]) & ~own
        paired = halves.any(dim=1)
        return soft_contrastive(
            views[paired],
            views,
            halves[paired].to(views),
            scale=1 / self.settings.temperature,
            ignored=own[paired],
        )


def _fusing(network: Network) -> FusionNetwork:
    if not isinstance(network, FusionNetwork):
        raise UsageError(
            f"method ucmfh trains networks of kind fusion, not {network.kind}; leave out "
            "--network-kind"
        )
    return network
