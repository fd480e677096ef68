"""Concept networks of MITH: from an item, and its tokens if there are any, to its bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from proxyhash.errors import UsageError
from proxyhash.networks.base import Network, register_network
from proxyhash.networks.hashing_network import HashingNetwork, draw_uniform_weights
from proxyhash.networks.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

__all__ = ["ConceptLayers", "ConceptNetwork", "TokenNetwork", "TokenParts", "gather_tokens"]

_HEAD = 64  # width of an attention head, as in CLIP


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
                Linear(width, 4 * width),
                nn.GELU(),
                Linear(4 * width, width),
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
        _check_least(("bits", bits, 1), ("width", width, 1), ("blocks", blocks, 0))
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


class TokenParts(NamedTuple):
    """The two parts of what `TokenNetwork` makes of n items."""

    embeddings: Float[Tensor, "n d"]
    """Embeddings of the items, which the concepts are read from."""
    item_logits: Float[Tensor, "n k"]
    """Logits of the global part."""
    token_logits: Float[Tensor, "n k"]
    """Logits of the tokens' part."""
    concepts: Float[Tensor, "n k d"]
    """A vector for each concept, which the tokens' logits are read from."""

    @property
    def outputs(self) -> Float[Tensor, "n k"]:
        """The outputs in (-1, 1), the mean of both parts."""
        return (torch.tanh(self.item_logits) + torch.tanh(self.token_logits)) / 2


@register_network
class TokenNetwork(ConceptNetwork):
    """Vectors of an item and of its tokens, flat as (n, (1 + T) d), to bits.

    The item's own vector goes through a `ConceptNetwork`. Its tokens go through the same layers to
    embeddings, which are gathered by concept (`gather_tokens`); a transformer lets the K vectors
    look at one another, and bit k is read from the k-th. Bits are the signs of the sum of both
    parts. Token vectors of zeros are padding.

    Args:
        dim_in: (1 + T) d.
        bits: code length K.
        tokens: number T of token vectors.
        transformer_layers: number of its blocks.
        nearest: concepts that a token can belong to.
        seed: determines the initial weights.
        options: the other arguments of `ConceptNetwork`.

    Raises:
        UsageError: the features are not 1 + T vectors of one width, or an argument is out of its
            range; names it.

    Source: the release of MITH (DarrenZZhang/MM23-MITH), hash_model.py.
    """

    kind = "concept-tokens"
    positions: Tensor

    def __init__(
        self,
        dim_in: int,
        bits: int,
        *,
        tokens: int = 1,
        transformer_layers: int = 2,
        nearest: int = 8,
        seed: int = 0,
        **options: Any,
    ) -> None:
        _check_least(
            ("tokens", tokens, 1),
            ("transformer_layers", transformer_layers, 0),
            ("nearest", nearest, 1),
        )
        if dim_in % (1 + tokens):
            raise UsageError(
                f"features of width {dim_in} are not 1 + {tokens} vectors of one width; choose an "
                f"encoder that gives tokens, such as tokens:FOLDER,count={tokens}, for each "
                "modality, or leave tokens out"
            )
        super().__init__(dim_in // (1 + tokens), bits, seed=seed, **options)
        self.config |= {
            "dim_in": dim_in,
            "tokens": tokens,
            "transformer_layers": transformer_layers,
            "nearest": nearest,
        }
        if self._shifts:
            self.register_buffer("mean", torch.zeros(dim_in))
            self.register_buffer("scale", torch.ones(dim_in))
        width = int(self.config["width"])
        self.transformer = nn.Sequential(
            *(_Block(width, seed=seed + number) for number in range(transformer_layers))
        )
        self.register_buffer("positions", _positions(bits, width))
        self.bitwise = nn.Linear(width, bits)  # row k reads the vector of concept k alone
        draw_uniform_weights(self.bitwise, seed=seed + transformer_layers)
        normalized = bool(self.config["output_batch_norm"])
        self.normalize_tokens = nn.BatchNorm1d(bits, affine=False) if normalized else nn.Identity()

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the sum of both parts' logits; a bit is 1 where it is above 0.

        That is where the sum of their outputs is, too: tanh rises, and tanh(-x) = -tanh(x).
        """
        parts = self.parts(features)
        return parts.item_logits + parts.token_logits

    def embeddings(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return the embeddings of the items after the residual blocks."""
        return self.parts(features).embeddings

    def parts(self, features: Float[Tensor, "n d"]) -> TokenParts:
        """Return both parts of items."""
        count = 1 + int(self.config["tokens"])
        shape = -1, count, self.dim_in // count
        padding = (features.reshape(shape)[:, 1:] == 0).all(dim=2)
        vectors = self.standardized(features).reshape(shape)
        embeddings = self.shared(self.layers(vectors[:, 0]))
        tokens = self.layers(vectors[:, 1:].flatten(0, 1))
        with torch.no_grad():
            scores = torch.tanh(self._scores(self.shared(tokens)))
        gathered = gather_tokens(
            tokens.reshape(-1, count - 1, tokens.shape[1]),
            scores.reshape(-1, count - 1, scores.shape[1]),
            padding,
            nearest=int(self.config["nearest"]),
        )
        concepts = self.transformer(gathered + self.positions)
        token_logits = (concepts * self.bitwise.weight).sum(dim=2) + self.bitwise.bias
        return TokenParts(
            embeddings,
            self.read(embeddings),
            self.normalize_tokens(token_logits)
            if self.training
            else _scaled(self.normalize_tokens, token_logits),
            concepts,
        )

    def _scores(self, embeddings: Tensor) -> Tensor:
        """Return the logits of tokens, on the scale of items, whose statistics they leave alone."""
        return _scaled(self.normalize, self.shared.concepts(embeddings))


def _scaled(norm: nn.Module, logits: Tensor) -> Tensor:
    """Return logits scaled as a batch normalization does outside of training.

    Written out, as the exporter to ONNX knows `BatchNorm1d` for inputs of known width only.
    """
    if not isinstance(norm, nn.BatchNorm1d):
        return logits
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return (logits - norm.running_mean) * (norm.running_var + norm.eps).rsqrt()


def gather_tokens(
    tokens: Float[Tensor, "n t d"],
    scores: Float[Tensor, "n t k"],
    padding: Bool[Tensor, "n t"],
    *,
    nearest: int,
) -> Float[Tensor, "n k d"]:
    """Return for each concept the mean of its tokens, weighted by the softmax of their scores.

    A token belongs to those of the `nearest` concepts with its highest scores that are above 0.
    The vector of a concept without tokens is zero.

    Args:
        tokens: vectors of n items' tokens.
        scores: of each token for each concept.
        padding: tokens that are none.
        nearest: concepts that a token can belong to, equal scores aside.
    """
    scores = scores.masked_fill(padding[:, :, None] | (scores <= 0), -math.inf)
    least = scores.topk(min(nearest, scores.shape[2]), dim=2).values[:, :, -1:]
    scores = scores.masked_fill(scores < least, -math.inf)
    weights = torch.softmax(scores, dim=1).nan_to_num(nan=0.0)
    return weights.transpose(1, 2) @ tokens


class _Block(nn.Module):
    """A block of CLIP's transformer: (n, k, d) to the same shape.

    Args:
        width: d; an attention head is 64 wide, or d where that is not a multiple of 64.
        seed: determines the initial weights.
    """

    def __init__(self, width: int, *, seed: int) -> None:
        super().__init__()
        self._heads = width // _HEAD if width % _HEAD == 0 else 1
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = Linear(width, 3 * width), Linear(width, width)
        self.widen, self.narrow = Linear(width, 4 * width), Linear(4 * width, width)
        draw_uniform_weights(self, seed=seed)

    def forward(self, values: Float[Tensor, "n k d"]) -> Float[Tensor, "n k d"]:
        parts = self.project(self.before_attention(values)).chunk(3, dim=2)
        shape = -1, values.shape[1], self._heads, values.shape[2] // self._heads
        heads = (part.reshape(shape).transpose(1, 2) for part in parts)
        seen = functional.scaled_dot_product_attention(*heads)
        values = values + self.join(seen.transpose(1, 2).flatten(2))
        hidden = self.widen(self.before_layers(values))
        hidden = hidden * torch.sigmoid(1.702 * hidden)  # CLIP's GELU
        moved: Tensor = values + self.narrow(hidden)
        return moved


def _check_least(*arguments: tuple[str, int, int]) -> None:
    """Refuse an argument below the least value it can have, each given with its name first."""
    for name, value, least in arguments:
        if value < least:
            raise UsageError(f"{name} is {value}; it must be at least {least}")


def _positions(count: int, width: int) -> Tensor:
    """Return the sine and cosine positions of "Attention Is All You Need", divided by sqrt(d)."""
    place = torch.arange(count, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    found = torch.zeros(count, width)
    found[:, 0::2] = torch.sin(place * rate)
    found[:, 1::2] = torch.cos(place * rate)[:, : width // 2]
    return found / math.sqrt(width)
