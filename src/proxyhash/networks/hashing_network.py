"""Hashing network: linear layers from the features of one modality to bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from proxyhash.errors import UsageError, check_option
from proxyhash.networks.base import Network, register_network
from proxyhash.networks.dropout import Dropout
from proxyhash.networks.input_linear import InputLinear, is_sparse
from proxyhash.networks.linear import Linear

__all__ = [
    "ACTIVATIONS",
    "DROPOUT_AT",
    "INITIAL_WEIGHTS",
    "HashingNetwork",
    "draw_uniform_weights",
]

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
DROPOUT_AT = ("outputs", "inputs")
INITIAL_WEIGHTS = ("uniform", "normal", "kaiming")


@register_network
class HashingNetwork(Network):
    """Features (n, d) to outputs (n, K) in (-1, 1), whose signs are the code.

    The layers are, in order: standardization, input dropout, then for each hidden width a linear
    map, batch normalization, activation and dropout (or dropout first), then the linear map to K
    bits, its batch normalization, and tanh. Layers that are switched off do not exist.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        hidden: widths of the hidden layers; empty makes the network linear.
        dropout: share of units that training drops at each hidden layer.
        dropout_at: "outputs" drops units of every hidden layer, as VGG does; "inputs" drops what
            every hidden layer reads, features included, as AlexNet does: the last hidden layer then
            keeps its units.
        input_dropout: share of features that training drops.
        batch_norm: normalize the hidden layers over the batch.
        activation: one of `ACTIVATIONS`.
        standardize: scale every feature to mean 0 and standard deviation 1 over the items given to
            `fit_standardization`; otherwise pooled image features and word counts differ by orders
            of magnitude.
        center: shift every feature to mean 0 and scale all by one factor to a mean square of 1:
            features keep their relative weights, and learning does not depend on the scale of the
            encoder. `standardize` takes precedence.
        output_batch_norm: normalize the logits of each bit over the batch, without learned scale
            and shift, so that every bit is 1 for about half of the items (Hoe et al., "One
            Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective",
            NeurIPS 2021).
        initial_weights: "uniform", as torch draws linear maps; "normal", all from N(0, .01^2), as
            the text networks of DCMH; or "kaiming", normal with a variance of 2 / inputs, which
            keeps the scale of activations from layer to layer (He et al., "Delving Deep into
            Rectifiers", ICCV 2015), with biases of 0.
        seed: determines the initial weights.

    Raises:
        UsageError: an argument is out of its range; names it.
    """

    kind = "hashing"
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dim_in: int,
        bits: int,
        *,
        hidden: Sequence[int] = (1024,),
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
        standardize: bool = False,
        center: bool = False,
        output_batch_norm: bool = False,
        dropout_at: str = "outputs",
        initial_weights: str = "uniform",
        seed: int = 0,
    ) -> None:
        for width in hidden:
            if width < 1:
                raise UsageError(f"hidden is {width}; a layer needs a width of at least 1")
        for name, share in [("dropout", dropout), ("input_dropout", input_dropout)]:
            if not 0 <= share < 1:
                raise UsageError(f"{name} is {share}; it must be at least 0 and below 1")
        check_option("activation", activation, ACTIVATIONS)
        check_option("dropout_at", dropout_at, DROPOUT_AT)
        check_option("initial_weights", initial_weights, INITIAL_WEIGHTS)
        super().__init__(
            {
                "dim_in": dim_in,
                "bits": bits,
                "hidden": list(hidden),
                "dropout": dropout,
                "input_dropout": input_dropout,
                "batch_norm": batch_norm,
                "activation": activation,
                "standardize": standardize,
                "center": center,
                "categories": 0,  # a key of version 0.1.0; fingerprints depend on it
                "output_batch_norm": output_batch_norm,
                # Only where it differs: earlier models keep their fingerprints.
                **({} if dropout_at == "outputs" else {"dropout_at": dropout_at}),
            }
        )
        layers: list[nn.Module] = [Dropout(input_dropout)] if input_dropout else []
        width = dim_in
        for hidden_width in hidden:
            if dropout and dropout_at == "inputs":
                layers.append(Dropout(dropout))
            first = not any(isinstance(layer, nn.Linear) for layer in layers)
            layers.append((InputLinear if first else Linear)(width, hidden_width))
            if batch_norm:
                layers.append(nn.BatchNorm1d(hidden_width))
            layers.append(ACTIVATIONS[activation]())
            if dropout and dropout_at == "outputs":
                layers.append(Dropout(dropout))
            width = hidden_width
        layers.append(nn.Linear(width, bits))
        if output_batch_norm:
            layers.append(nn.BatchNorm1d(bits, affine=False))
        self.layers = nn.Sequential(*layers)
        if standardize or center:
            self.register_buffer("mean", torch.zeros(dim_in))
            self.register_buffer("scale", torch.ones(dim_in))
        self._draw_weights(initial_weights, torch.Generator().manual_seed(seed))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        """Return a network with this `config`, ready for `load_state_dict`."""
        return cls(**{key: value for key, value in config.items() if key != "categories"})

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the values before tanh; a bit is 1 where they are above 0."""
        logits: Tensor = self.layers(self.standardized(features))
        return logits

    def standardized(self, features: Float[Tensor, "*m n d"]) -> Float[Tensor, "*m n d"]:
        """Return the input of the first layer: features, standardized or centered if enabled."""
        return (features - self.mean) * self.scale if self._shifts else features

    @property
    def _shifts(self) -> bool:
        return bool(self.config["standardize"] or self.config["center"])

    @torch.no_grad()
    def fit_standardization(
        self, features: Float[Tensor, "n d"], present: Bool[Tensor, " n"] | None = None
    ) -> None:
        """Measure the mean and standard deviation of every feature, where they are used.

        A feature that is equal for all items is only centered. Where they are not used and features
        are sparse, training gets ready for that.

        Args:
            features: features of the training items alone.
            present: items that have this modality; the zero rows of the others are ignored.

        Raises:
            UsageError: no item has the modality.
        """
        if not self._shifts:
            for layer in self.modules():
                if isinstance(layer, InputLinear) and is_sparse(features):
                    layer.lay_out()
            return
        rows = (features if present is None else features[present]).double()
        if not len(rows):
            raise UsageError(
                "no training item has this modality, so its features cannot be standardized; "
                "choose a split whose training items have it, or turn off standardize and center"
            )
        self._standardize(
            rows.mean(dim=0), rows.std(dim=0, correction=0), largest=rows.abs().amax(dim=0)
        )

    @torch.no_grad()
    def fit_standardization_in_blocks(self, blocks: Callable[[], Iterable[Tensor]]) -> None:
        """Measure the same of features that come in blocks, which are read twice."""
        if not self._shifts:
            return
        count = 0
        total, squares, largest = torch.zeros(3, self.dim_in, dtype=torch.float64)
        for block in blocks():
            count += len(block)
            total += block.double().sum(dim=0)
            largest = torch.maximum(largest, block.double().abs().amax(dim=0))
        mean = total / max(count, 1)
        for block in blocks():
            squares += (block.double() - mean).square().sum(dim=0)
        self._standardize(mean, (squares / max(count, 1)).sqrt(), largest=largest)

    def _standardize(self, mean: Tensor, deviation: Tensor, *, largest: Tensor) -> None:
        self.mean.copy_(mean)
        # The deviation of equal floats may be a rounding error instead of 0.
        deviation[deviation <= 1e-6 * largest] = 0
        if not self.config["standardize"]:
            deviation[:] = deviation.square().mean().sqrt()
        self.scale.copy_(torch.where(deviation == 0, 1.0, 1.0 / deviation.clamp(min=1e-30)))

    def _draw_weights(self, kind: str, generator: torch.Generator) -> None:
        """Draw the initial weights of the linear maps from this generator."""
        for layer in self.layers:
            if not isinstance(layer, nn.Linear):
                continue
            if kind == "normal":
                nn.init.normal_(layer.weight, std=0.01, generator=generator)
                nn.init.normal_(layer.bias, std=0.01, generator=generator)
            elif kind == "kaiming":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)
            else:
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
                bound = 1 / math.sqrt(layer.in_features)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def draw_uniform_weights(module: nn.Module, *, seed: int) -> None:
    """Draw weights and biases of every linear map in a module from +-1 / sqrt(inputs)."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
