"""MITH: one concept layer for both modalities, and halves of pairs that agree before it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.losses import (
    certain,
    paired_contrastive,
    pairwise_likelihood,
    probable_similarity,
    quantization,
)
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import HashingNetwork, Network, register_network
from proxyhash.networks.hashing_network import draw_uniform_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch
    from proxyhash.methods.shared.objective import Context

__all__ = ["ConceptLayers", "ConceptNetwork", "Mith", "MithSettings"]


class ConceptLayers(nn.Module):
    """Embeddings (n, D) to concepts (n, K): residual blocks D -> 4 D -> D, then one linear map.

    Args:
        width: D.
        bits: K.
        blocks: number of residual blocks.
        seed: determines the initial weights.
    """

    def __init__(self, width: int, bits: int, *, blocks: int, seed: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width),
                nn.GELU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(blocks)
        )
        self.concepts = nn.Linear(width, bits, bias=False)
        draw_uniform_weights(self, seed=seed)

    def forward(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the embeddings after the residual blocks."""
        for block in self.blocks:
            embeddings = embeddings + block(embeddings)
        return embeddings


@register_network
class ConceptNetwork(HashingNetwork):
    """Features (n, d) to an embedding (n, D), which `ConceptLayers` turn into bits.

    The networks of a run share their `ConceptLayers`.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        width: width D of the embeddings.
        blocks: number of residual blocks.
        output_batch_norm: normalize the logits of each bit over the batch, as in `HashingNetwork`;
            each network of a run has its own normalization.
        seed: determines the initial weights.
        layers: the other arguments of `HashingNetwork`, for the layers from features to embeddings.

    Raises:
        UsageError: an argument is out of its range; names it.
    """

    kind = "concepts"
    shared: ConceptLayers

    def __init__(
        self,
        dim_in: int,
        bits: int,
        *,
        width: int = 512,
        blocks: int = 2,
        output_batch_norm: bool = False,
        seed: int = 0,
        **layers: Any,
    ) -> None:
        for name, value, least in (("bits", bits, 1), ("width", width, 1), ("blocks", blocks, 0)):
            if value < least:
                raise UsageError(f"{name} is {value}; it must be at least {least}")
        super().__init__(dim_in, width, seed=seed, **layers)
        self.config |= {
            "bits": bits,
            "width": width,
            "blocks": blocks,
            "output_batch_norm": output_batch_norm,
        }
        self.shared = ConceptLayers(width, bits, blocks=blocks, seed=seed)
        self.normalize = nn.BatchNorm1d(bits, affine=False) if output_batch_norm else nn.Identity()

    def share_parts(self, first: Network) -> None:
        """Use the concept layers of the run's first network."""
        assert isinstance(first, ConceptNetwork)
        self.shared = first.shared

    def embeddings(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the embeddings after the residual blocks, which the concepts are read from."""
        embeddings: Tensor = self.shared(self.layers(self.standardized(features)))
        return embeddings

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the values before tanh; a bit is 1 where they are above 0."""
        return self.read(self.embeddings(features))

    def read(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the logits of embeddings."""
        logits: Tensor = self.normalize(self.shared.concepts(embeddings))
        return logits


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


@register_method("mith")
class Mith(Objective):
    """Both modalities have one layer from embeddings to bits, and agree in front of it.

    With h the outputs, e the embeddings that they are read from, B = sign(H_image + H_text), and
    theta_ij = h_i . g_j / 2 for an item of the batch and a training item of the other modality,

        10 (1/bn) sum_ij softplus(theta_ij) - S_ij theta_ij       "pairs", in both directions
        50 InfoNCE(e_image, e_text; T = .07)                      "contrast"
        8 (1/bK) sum_i |B_i - h_i|^2                              "quantization", of each modality

    Source: MITH, "Multi-Granularity Interactive Transformer Hashing for Cross-modal Retrieval", ACM
    MM 2023, as in the authors' release (DarrenZZhang/MM23-MITH: train_asym.py, hash_model.py,
    utils/get_args.py); the paper's text was not read. This is its global part, for encoders that
    give one vector per item. The release's second part reads tokens: it has K vectors of its own
    for each item, a likelihood within each modality, distillation between the two parts, and a
    contrast of weight .5. Its embeddings are those of CLIP, which have one width; here the common
    layers lead to the embeddings, and bits are normalized over the batch as in all methods.
    """

    settings_type = MithSettings
    defaults: ClassVar[Mapping[str, Any]] = {"network_kind": "concepts"}
    card = MethodCard(
        idea="one layer from embeddings to bits for both modalities, which agree before it",
        loss="softplus(θ) - Sθ of a batch and all training items; InfoNCE of the embeddings",
        source="MITH, ACM MM 2023 (its global part)",
        differs="two residual blocks of width 512 after the common layers",
    )
    settings: MithSettings
    train_labels: Tensor

    def __init__(self, context: Context, settings: MithSettings) -> None:
        super().__init__(context, settings)
        self.register_buffer("train_labels", context.labels, persistent=False)
        self._embeddings: dict[Modality, Tensor] = {}

    def run_network(
        self,
        modality: Modality,
        network: Network,
        features: Tensor,
        labels: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the outputs; the embeddings are kept for the loss.

        Raises:
            UsageError: the network has no embeddings.
        """
        if not isinstance(network, ConceptNetwork):
            raise UsageError(
                f"method mith trains networks of kind concepts, not {network.kind}; leave out "
                "--network-kind"
            )
        embeddings = network.embeddings(features)
        self._embeddings[modality] = embeddings
        return torch.tanh(network.read(embeddings))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "pairs", "contrast" and "quantization"."""
        pairs = contrast = quantized = batch.labels.new_zeros(())
        unified = batch.unified()
        # Of the items of the batch that have the modality; nothing where none has it.
        embeddings, self._embeddings = self._embeddings, {}
        for modality in batch.learning:
            rows = batch.supervised(modality)
            outputs = batch.outputs[modality][rows]
            for other in batch.others(modality):
                pairs = pairs + self._likelihood(batch, outputs, batch.labels[rows], other)
            quantized = quantized + quantization(outputs, unified[rows]) / self.bits
        for one, other in combinations(embeddings, 2):
            both = batch.supervised(one) & batch.supervised(other)
            halves = [
                embeddings[name][batch.present[name].cumsum(dim=0)[both] - 1]
                for name in (one, other)
            ]
            contrast = contrast + paired_contrastive(*halves, temperature=self.settings.temperature)
        return {
            "pairs": self.settings.pairs * pairs,
            "contrast": self.settings.contrast * contrast,
            "quantization": self.settings.lambda_ * quantized,
        }

    def _likelihood(
        self, batch: Batch, outputs: Tensor, labels: Tensor, against: Modality
    ) -> Tensor:
        """Return the likelihood of outputs and the latest ones of all items of a modality."""
        across = batch.memory.present[against] & certain(self.train_labels).any(dim=1)
        similar = probable_similarity(labels, self.train_labels[across].to(labels.dtype))
        return pairwise_likelihood(outputs, batch.memory.outputs[against][across], similar)
