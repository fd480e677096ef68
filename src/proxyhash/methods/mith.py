"""MITH: one concept layer for both modalities, and halves of pairs that agree before it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.errors import UsageError
from proxyhash.losses import (
    certain,
    paired_contrastive,
    pairwise_likelihood,
    probable_similarity,
    quantization,
)
from proxyhash.methods.shared.batch import row_blocks, sign
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks.concepts import ConceptNetwork, TokenNetwork, TokenParts
from proxyhash.networks.hashing_network import draw_uniform_weights
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Rows
    from proxyhash.methods.shared.objective import Context
    from proxyhash.networks import Network

__all__ = ["Mith", "MithSettings"]

_PARTS = ("items", "tokens")


class MithSettings(Settings):
    """Settings of `mith`."""

    pairs: float = Field(default=10.0, ge=0)
    """Weight of the likelihood across modalities; published 10."""
    contrast: float = Field(default=50.0, ge=0)
    """Weight of the contrast between the halves of pairs; published 50."""
    temperature: float = Field(default=0.07, gt=0)
    """Temperature of that contrast; published .07."""
    lambda_: float = Field(default=8.0, ge=0)
    """Weight of the quantization; published 8."""
    tokens: int = Field(default=0, ge=0)
    """Number of token vectors that follow the item's own in features, as the encoders
    `tokens:FOLDER,count=16` give them; 0: the global part alone."""
    within: float = Field(default=1.0, ge=0)
    """Weight of the likelihood within a modality, of the tokens' part; published 1."""
    distillation: float = Field(default=1.0, ge=0)
    """Weight of the distance between both parts, of which a tenth moves the global part;
    published 1."""
    token_contrast: float = Field(default=0.01, ge=0)
    """Weight of the contrast between the concepts of a pair, as a share of `contrast`;
    published .01."""
    token_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the tokens' part in the unified code; published .01."""


@register_method("mith")
class Mith(Objective):
    """Both modalities have one layer from embeddings to bits, and agree in front of it.

    With h the outputs, e the embeddings that they are read from, B = sign(H_image + H_text), and
    theta_ij = h_i . g_j / 2 for an item of the batch and a training item of the other modality,

        10 (1/bn) sum_ij softplus(theta_ij) - S_ij theta_ij       "pairs", in both directions
        50 InfoNCE(e_image, e_text; T = .07)                      "contrast"
        8 (1/bK) sum_i |B_i - h_i|^2                              "quantization", of each modality

    With `tokens`, items have a second output t, read from their token vectors (`TokenNetwork`);
    outputs are (h + t) / 2, B is the sign of the sum of .99 h + .01 t over both modalities, and

        1 (1/bn) sum_ij softplus(theta_ij) - S_ij theta_ij        "within", of t within a modality
        1 (1/b) sum_i |h_i - t_i|^2                               "distillation", .1 of it to h
        50 * .01 InfoNCE(c_image, c_text; T = .07)                in "contrast", of the K concepts
                                                                  of one pair

    Source: MITH, "Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval", ACM
    MM 2023, as in the authors' release (DarrenZZhang/MM23-MITH: train_asym.py, hash_model.py,
    utils/get_args.py); the paper's text was not read. The release's embeddings are those of CLIP,
    which have one width; here the common layers lead to the embeddings, and bits are normalized
    over the batch as in all methods.
    """

    settings_type = MithSettings
    across = True
    defaults: ClassVar[Mapping[str, Any]] = {"network_kind": "concepts"}
    card = MethodCard(
        idea="one layer from embeddings to bits for both modalities, which agree before it",
        loss="softplus(θ) - Sθ of a batch and all training items; InfoNCE of the embeddings",
        source="MITH, ACM MM 2023",
        differs="two residual blocks of width 512 after the common layers; with tokens=T, a "
        "transformer over K concepts, gathered from T token vectors",
    )
    settings: MithSettings
    train_labels: Tensor

    def __init__(self, context: Context, settings: MithSettings) -> None:
        super().__init__(context, settings)
        self.register_buffer("train_labels", context.labels.float(), persistent=False)
        self.projections = nn.ModuleDict()  # of concepts, before the halves of pairs are compared
        self._parts: dict[Modality, Tensor | TokenParts] = {}
        for modality in context.modalities if settings.tokens else ():
            for part in _PARTS:
                empty = torch.zeros(len(context.labels), context.bits)
                self.register_buffer(f"latest_{part}_{modality}", empty)

    def make_network(
        self,
        modality: Modality,
        kind: str,
        dim_in: int,
        *,
        seed: int,
        options: Mapping[str, Any],
    ) -> Network:
        """Return the network of a modality, one that reads tokens where there are any."""
        if not self.settings.tokens or kind != ConceptNetwork.kind:
            return super().make_network(modality, kind, dim_in, seed=seed, options=options)
        options = {**options, "tokens": self.settings.tokens}
        try:
            network = super().make_network(
                modality, TokenNetwork.kind, dim_in, seed=seed, options=options
            )
        except UsageError as error:
            raise UsageError(f"{modality}: {error}") from error
        width = int(network.config["width"])
        projection = nn.Linear(width, width).to(self.train_labels.device)
        draw_uniform_weights(projection, seed=seed)
        self.projections[modality] = projection
        return network

    @torch.no_grad()
    def begin_run(
        self,
        networks: Mapping[Modality, Network],
        train: Rows,
        *,
        track: Track = silent,  # noqa: ARG002
    ) -> None:
        """Fill the latest outputs of both parts with those of the untrained networks."""
        for modality, network in networks.items() if self.settings.tokens else ():
            learning = network.training
            network.eval()
            for rows, features in row_blocks(train.features[modality]):
                self._keep(modality, rows, _of_tokens(network).parts(features))
            network.train(learning)
            for part in _PARTS:
                self._latest(part, modality)[~train.present[modality]] = 0

    def run_network(
        self,
        modality: Modality,
        network: Network,
        features: Tensor,
        labels: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the outputs; what they are read from is kept for the loss.

        Raises:
            UsageError: the network has no embeddings.
        """
        if self.settings.tokens:
            parts = _of_tokens(network).parts(features)
            self._parts[modality] = parts
            return parts.outputs
        if not isinstance(network, ConceptNetwork):
            raise _other_kind(network)
        embeddings = network.embeddings(features)
        self._parts[modality] = embeddings
        return torch.tanh(network.read(embeddings))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return "pairs", "contrast" and "quantization"; of tokens "within", "distillation"."""
        parts, self._parts = self._parts, {}  # of the items that have the modality
        items, tokens = dict(batch.outputs), dict[str, Tensor]()
        for name, part in parts.items():
            if isinstance(part, TokenParts):
                items[name] = _spread(torch.tanh(part.item_logits), batch.present[name])
                tokens[name] = _spread(torch.tanh(part.token_logits), batch.present[name])
        pairs = quantized = within = distilled = batch.labels.new_zeros(())
        unified = self._unified(items, tokens) if tokens else batch.unified()
        for modality in batch.learning:
            rows = batch.supervised(modality)
            labels, own = batch.labels[rows], items[modality][rows]
            for other in batch.others(modality):
                pairs = pairs + self._likelihood(batch, own, labels, other, "items")
            quantized = quantized + quantization(batch.outputs[modality][rows], unified[rows])
            if modality in tokens:
                read = tokens[modality][rows]
                within = within + self._likelihood(batch, read, labels, modality, "tokens")
                distilled = distilled + _distance(own, read)
        terms = {
            "pairs": self.settings.pairs * pairs,
            "contrast": self.settings.contrast * self._contrast(batch, parts),
            "quantization": self.settings.lambda_ * quantized / self.bits,
        }
        if self.settings.tokens:
            terms["within"] = self.settings.within * within
            terms["distillation"] = self.settings.distillation * distilled
            for name, part in parts.items():
                if isinstance(part, TokenParts):
                    self._keep(name, batch.index[batch.present[name]], part)
        return terms

    def _unified(
        self, items: Mapping[Modality, Tensor], tokens: Mapping[Modality, Tensor]
    ) -> Tensor:
        share = self.settings.token_share
        mixed = [(1 - share) * items[name] + share * tokens[name] for name in tokens]
        return sign(torch.stack(mixed).sum(dim=0).detach())

    def _contrast(self, batch: Batch, parts: Mapping[Modality, Tensor | TokenParts]) -> Tensor:
        """Return the contrast of the embeddings of pairs, and that of their concepts."""
        total = batch.labels.new_zeros(())
        temperature = self.settings.temperature
        for one, other in combinations(parts, 2):
            both = batch.supervised(one) & batch.supervised(other)
            halves = [
                (parts[name], batch.present[name].cumsum(dim=0)[both] - 1) for name in (one, other)
            ]
            embeddings = [
                (part.embeddings if isinstance(part, TokenParts) else part)[rows]
                for part, rows in halves
            ]
            total = total + paired_contrastive(*embeddings, temperature=temperature)
            concepts = [
                self.projections[name](part.concepts[rows])
                for name, (part, rows) in zip((one, other), halves, strict=True)
                if isinstance(part, TokenParts)
            ]
            if len(concepts) == 2 and len(concepts[0]):
                between = _concept_contrast(*concepts, temperature=temperature)
                total = total + self.settings.token_contrast * between
        return total

    def _likelihood(
        self, batch: Batch, outputs: Tensor, labels: Tensor, against: Modality, part: str
    ) -> Tensor:
        """Return the likelihood of outputs and the latest ones of all items of a modality."""
        across = batch.memory.present[against] & certain(self.train_labels).any(dim=1)
        similar = probable_similarity(labels, self.train_labels[across].to(labels.dtype))
        latest = batch.memory.outputs[against]
        if self.settings.tokens:
            latest = self._latest(part, against)
        return pairwise_likelihood(outputs, latest[across].to(outputs.dtype), similar)

    def _latest(self, part: str, modality: Modality) -> Tensor:
        return self.get_buffer(f"latest_{part}_{modality}")

    @torch.no_grad()
    def _keep(self, modality: Modality, rows: Any, parts: TokenParts) -> None:
        for name, logits in (("items", parts.item_logits), ("tokens", parts.token_logits)):
            latest = self._latest(name, modality)
            latest[rows] = torch.tanh(logits).to(latest.dtype)


def _of_tokens(network: Network) -> TokenNetwork:
    if not isinstance(network, TokenNetwork):
        raise _other_kind(network)
    return network


def _other_kind(network: Network) -> UsageError:
    return UsageError(
        f"method mith trains networks of kind concepts, not {network.kind}; leave out "
        "--network-kind"
    )


def _spread(values: Tensor, present: Tensor) -> Tensor:
    """Return the values of items that have a modality as rows of all items, others zero."""
    rows = values.new_zeros(len(present), values.shape[1])
    rows[present] = values
    return rows


def _distance(items: Tensor, tokens: Tensor) -> Tensor:
    """Return the mean squared distance of both parts; a tenth of its gradient moves the items'."""
    moved = functional.mse_loss(tokens, items.detach(), reduction="sum")
    moving = functional.mse_loss(items, tokens.detach(), reduction="sum")
    return (moved + 0.1 * moving) / max(len(items), 1)


def _concept_contrast(one: Tensor, other: Tensor, *, temperature: float) -> Tensor:
    """Return InfoNCE between the K concepts (n, K, D) of each pair, the mean of both directions."""
    cosines = functional.normalize(one, dim=2) @ functional.normalize(other, dim=2).transpose(1, 2)
    scores = cosines / temperature
    own = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
    there = functional.cross_entropy(scores.flatten(0, 1), own)
    back = functional.cross_entropy(scores.transpose(1, 2).flatten(0, 1), own)
    return (there + back) / 2
