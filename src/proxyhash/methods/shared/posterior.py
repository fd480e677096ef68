"""Label posteriors, and the PHNet that turns them into codes: for `dchml-plus`, `dchml-pairs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.losses import quantization, relevance_likelihood
from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import Context, Objective
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import HashingNetwork, Network, register_network
from proxyhash.networks.hashing_network import draw_uniform_weights
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float

    from proxyhash.progress import Track

__all__ = [
    "PosteriorNetwork",
    "PosteriorObjective",
    "PosteriorPHNet",
    "PosteriorSettings",
    "predicting",
]

CodeTerms = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""From a scale and a bias to the terms of a loss by name."""
_CERTAIN = 8.0
"""Logit of a class that is known to hold."""
_REFIT_RATE = 2e-3
_MEMBER_SEED = 7919
"""Between the seeds of members: runs, whose seeds are near to each other, share no weights."""


class PosteriorPHNet(nn.Module):
    """Class logits z (n, C), and latents u (n, L) if there are any, to the logits of a code (n, K).

    The PHNet of DCHML reads one-hot classes. This one reads any set of classes with a
    probability each, so that an item of several classes, or of uncertain ones, has a proxy of
    its own: 4 sigmoid(z) - 1 -> hidden, ReLU -> K, batch normalization. Latents say what no class
    does; they are read as they are, and go to the bits past the hidden layer, too.

    Args:
        classes: number of classes C.
        bits: code length K.
        latents: number of latents L.
        hidden: width of the hidden layer.
        seed: determines the initial weights.
    """

    def __init__(
        self, classes: int, bits: int, *, latents: int = 0, hidden: int = 256, seed: int = 0
    ) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(
            nn.Linear(classes + latents, hidden),
            nn.ReLU(),
            nn.Linear(hidden, bits),
            nn.BatchNorm1d(bits),
        )
        self.past = nn.Linear(latents, bits, bias=False) if latents else None
        draw_uniform_weights(self, seed=seed)

    def forward(
        self, predicted: Float[Tensor, "n cl"], shifts: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "n k"]:
        """Return the logits of the codes.

        Args:
            predicted: class logits and latents side by side.
            shifts: what is added before the ReLU, (hidden,) or (n, hidden), and to the bits before
                their normalization, (K,) or (n, K).
        """
        read = 4 * torch.sigmoid(predicted[:, : self.classes]) - 1
        if self.past is not None:
            latents = predicted[:, self.classes :]
            read = torch.cat([read, latents], dim=1)
        from_classes, activate, to_bits, normalize = self.layers
        hidden = from_classes(read)
        if shifts is not None:
            hidden = hidden + shifts[0]
        values = to_bits(activate(hidden))
        if self.past is not None:
            values = values + self.past(latents)
        if shifts is not None:
            values = values + shifts[1]
        bits: Tensor = normalize(values)
        return bits


@register_network
class PosteriorNetwork(HashingNetwork):
    """Features (n, d) to one logit per class (n, C), which a `PosteriorPHNet` turns into bits.

    With latents, the last layer has L more outputs, which go to the PHNet beside the class logits.
    With members, several stacks of layers predict, and the mean of their logits counts: members
    that start from other weights err differently (Lakshminarayanan et al., "Simple and Scalable
    Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017, who average
    probabilities). With shifts, a network shifts the hidden layer and the bits of the PHNet that it
    shares with others, so that some bits can say of one modality what they do not say of another.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        classes: number of classes C.
        latents: number of latents L.
        shifts: whether it has shifts of its own, which are 0 at first.
        members: number of stacks of layers.
        output_batch_norm: stored and otherwise ignored: the PHNet normalizes the bits itself.
        seed: determines the initial weights.
        layers: the other arguments of `HashingNetwork`, for the layers from features to class
            logits.

    Raises:
        UsageError: an argument is out of its range; names it.
    """

    kind = "posterior"
    phnet: PosteriorPHNet

    def __init__(
        self,
        dim_in: int,
        bits: int,
        *,
        classes: int,
        latents: int = 0,
        shifts: bool = False,
        members: int = 1,
        output_batch_norm: bool = False,
        seed: int = 0,
        **layers: Any,
    ) -> None:
        for name, value in (("bits", bits), ("classes", classes), ("members", members)):
            if value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        super().__init__(dim_in, classes + latents, seed=seed, **layers)
        self.config |= {
            "bits": bits,
            "categories": classes,  # the key of version 0.1.0; fingerprints depend on it
            "output_batch_norm": output_batch_norm,
            # Only where there are any: earlier models keep their fingerprints.
            **({"latents": latents} if latents else {}),
            **({"shifts": True} if shifts else {}),
            **({"members": members} if members > 1 else {}),
        }
        further = (seed + _MEMBER_SEED * number for number in range(1, members))
        self.further_members = nn.ModuleList(
            HashingNetwork(dim_in, classes + latents, seed=each, **layers).layers
            for each in further
        )
        hidden = 512 if latents else 256
        self.phnet = PosteriorPHNet(classes, bits, latents=latents, hidden=hidden, seed=seed)
        if shifts:
            self.hidden_shift = nn.Parameter(torch.zeros(hidden))
            self.bit_shift = nn.Parameter(torch.zeros(bits))

    @classmethod
    def make(cls, dim_in: int, bits: int, *, classes: int, seed: int, **options: Any) -> Network:
        """Return an untrained network that predicts `classes` classes; see `Network.make`."""
        return cls(dim_in, bits, classes=classes, seed=seed, **options)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        """Return a network with this `config`, ready for `load_state_dict`."""
        arguments = dict(config)
        return cls(classes=arguments.pop("categories"), **arguments)

    def share_parts(self, first: Network) -> None:
        """Use the PHNet of the run's first network, so that codes agree where predictions do."""
        assert isinstance(first, PosteriorNetwork)
        self.phnet = first.phnet

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the values before tanh; a bit is 1 where they are above 0."""
        logits: Tensor = self.phnet(self.predicted(features), self.shifts)
        return logits

    @property
    def shifts(self) -> tuple[Tensor, Tensor] | None:
        """Its shifts of the hidden layer (H,) and of the bits (K,), if it has any."""
        return (self.hidden_shift, self.bit_shift) if self.config.get("shifts") else None

    def predicted(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n cl"]:
        """Return the class logits and then the latents, what the PHNet reads."""
        return self._of_members(features).mean(dim=0)

    def class_logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return one logit per class, its sigmoid the probability that the item has it."""
        return self.predicted(features)[:, : self.phnet.classes]

    def member_logits(self, features: Float[Tensor, "*m n d"]) -> Float[Tensor, "m n c"]:
        """Return the class logits of each member, of the same features or of its own (m, n, d)."""
        return self._of_members(features)[:, :, : self.phnet.classes]

    def _of_members(self, features: Tensor) -> Tensor:
        read = self.standardized(features)
        members = (self.layers, *self.further_members)
        each = read if read.dim() > 2 else [read] * len(members)
        return torch.stack([layers(own) for layers, own in zip(members, each, strict=True)])


class PosteriorSettings(Settings):
    """Settings of the methods whose networks predict classes for a PHNet."""

    noise: float = Field(default=1.0, ge=0)
    """Deviation of the noise on class logits that PHNet learns from."""
    lambda_: float = Field(default=0.04, ge=0)
    """Weight of the quantization, the mean square of 1 - |h| over bits."""
    refit: int = Field(default=1000, ge=0)
    """Steps in which PHNet is fitted to the final networks; 0: it stays as training left it."""


class PosteriorObjective(Objective):
    """Base of the methods whose networks predict classes, which one PHNet turns into codes."""

    reads_memory = False
    settings: PosteriorSettings

    def __init__(self, context: Context, settings: PosteriorSettings) -> None:
        super().__init__(context, settings)
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self._proxies: Proxies | None = None

    @property
    def proxies(self) -> Proxies | None:
        """The codes of items that have one class for certain, once the run has ended."""
        return self._proxies

    def fit_phnet(
        self,
        phnet: PosteriorPHNet,
        terms: CodeTerms,
        *,
        shifts: Sequence[Tensor] = (),
        track: Track,
    ) -> None:
        """Take the steps of `refit`, in which PHNet alone learns, with shifts, scale and bias.

        Args:
            phnet: That of the networks that are kept, which are done.
            terms: Draws some items and returns the terms of the loss for a scale and a bias.
            shifts: Those of the networks, if they have any.
            track: Reports the progress.
        """
        scale, bias = (nn.Parameter(value.detach().clone()) for value in (self.scale, self.bias))
        learned: list[Tensor] = [*phnet.parameters(), *shifts, scale, bias]
        optimizer = torch.optim.Adam(learned, _REFIT_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.refit)
        phnet.train()
        for _ in track(range(self.settings.refit), "fit PHNet"):
            found = terms(scale, bias)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()

    def name_proxies(self, phnet: PosteriorPHNet, latents: Tensor) -> None:
        """Keep the code of each class: that of an item which has it for certain, and no other.

        Args:
            phnet: As it is kept.
            latents: (C, L) of such items.
        """
        certain = torch.eye(self.classes, device=self.scale.device) * 2 - 1
        with torch.no_grad():
            codes = sign(phnet.eval()(torch.cat([_CERTAIN * certain, latents], dim=1)))
        self._proxies = Proxies(codes=codes.to(torch.int8).cpu().numpy(), origin="phnet")

    def with_noise(self, logits: Tensor) -> Tensor:
        """Return class logits as PHNet is to see them, without gradient."""
        return logits.detach() + self.settings.noise * torch.randn_like(logits)

    def code_terms(
        self,
        outputs: Tensor,
        probability: Tensor,
        *,
        scale: Tensor,
        bias: Tensor,
        weights: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms that PHNet learns from, given its outputs and how relevant they are."""
        return {
            "relevance": relevance_likelihood(
                outputs, probability, scale=scale, bias=bias, weights=weights
            ),
            "quantization": self.settings.lambda_
            * quantization(outputs, sign(outputs.detach()))
            / self.bits,
        }


def predicting(network: Network, *, method: str) -> PosteriorNetwork:
    """Return the network, which predicts classes.

    Raises:
        UsageError: it does not; names the method.
    """
    if not isinstance(network, PosteriorNetwork):
        raise UsageError(
            f"method {method} trains networks of kind posterior, not {network.kind}; leave out "
            "--network-kind"
        )
    return network
