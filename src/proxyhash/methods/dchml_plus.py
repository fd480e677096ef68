"""DCHML-plus: proxies for label posteriors, our own method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.losses import label_posterior, quantization, relevance, relevance_likelihood
from proxyhash.methods.shared.batch import Batch, row_blocks, sign
from proxyhash.methods.shared.objective import Context, MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import HashingNetwork, Network, register_network
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows

__all__ = ["DchmlPlus", "DchmlPlusSettings", "PosteriorNetwork", "PosteriorPHNet"]

_CERTAIN = 8.0
"""Logit of a class that is known to hold."""
_REFIT_ITEMS = 256
"""Batch size of the refit, in equal parts of all modalities."""
_REFIT_RATE = 2e-3


class PosteriorPHNet(nn.Module):
    """Class logits z (n, C) to the logits of a code (n, K).

    The PHNet of DCHML reads one-hot classes. This one reads any set of classes with a
    probability each, so that an item of several classes, or of uncertain ones, has a proxy of
    its own: 4 sigmoid(z) - 1 -> hidden, ReLU -> K, batch normalization.

    Args:
        classes: number of classes C.
        bits: code length K.
        hidden: width of the hidden layer.
        seed: determines the initial weights.
    """

    def __init__(self, classes: int, bits: int, *, hidden: int = 256, seed: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(classes, hidden),
            nn.ReLU(),
            nn.Linear(hidden, bits),
            nn.BatchNorm1d(bits),
        )
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)

    def forward(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n k"]:
        """Return the logits of the codes; a bit is 1 where they are above 0."""
        codes: Tensor = self.layers(4 * torch.sigmoid(logits) - 1)
        return codes


@register_network
class PosteriorNetwork(HashingNetwork):
    """Features (n, d) to one logit per class (n, C), which a `PosteriorPHNet` turns into bits.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        classes: number of classes C.
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
        output_batch_norm: bool = False,
        seed: int = 0,
        **layers: Any,
    ) -> None:
        for name, value in (("bits", bits), ("classes", classes)):
            if value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        super().__init__(dim_in, classes, seed=seed, **layers)
        self.config |= {
            "bits": bits,
            "categories": classes,  # the key of version 0.1.0; fingerprints depend on it
            "output_batch_norm": output_batch_norm,
        }
        self.phnet = PosteriorPHNet(classes, bits, seed=seed)

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
        logits: Tensor = self.phnet(self.class_logits(features))
        return logits

    def class_logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return one logit per class, its sigmoid the probability that the item has it."""
        logits: Tensor = self.layers(self.standardized(features))
        return logits


class DchmlPlusSettings(Settings):
    """Settings of `dchml-plus`."""

    image_mix: float = Field(default=0.0, ge=0)
    """Images are mixed in pairs, with shares drawn from Beta(image_mix, image_mix); 0: never."""
    text_mix: float = Field(default=1.0, ge=0)
    """The same for texts, which a network otherwise learns by heart."""
    noise: float = Field(default=1.0, ge=0)
    """Deviation of the noise on class logits that PHNet learns from."""
    lambda_: float = Field(default=0.04, ge=0)
    """Weight of the quantization, the mean square of 1 - |h| over bits."""
    refit: int = Field(default=1000, ge=0)
    """Steps in which PHNet is fitted to the final networks; 0: it stays as training left it."""


@register_method("dchml-plus")
class DchmlPlus(Objective):
    """The networks predict classes; one PHNet for both turns predictions into codes.

    DCHML has a proxy for each class, and an item of several classes aims at a point between
    their proxies. Here PHNet has a proxy for every label posterior p = sigmoid(z), z the class
    logits of a network. Both modalities share it, so that codes agree where predictions do. What
    codes should say is how likely two items are relevant to each other, S, not which class they
    have:

        S_ij = 1 - prod_c (1 - p_ic p_jc)
        L = sum_modalities (1/n) sum_i sum_c softplus(z_ic) - y_ic z_ic              "posterior"
          + (1/m(m-1)) sum_{i != j} softplus(theta_ij) - S_ij theta_ij               "relevance"
          + lambda (1/m) sum_i mean_k (1 - |h_ik|)^2                                 "quantization"
        theta_ij = scale h_i . h_j / K + bias,   h = tanh(PHNet(z + noise))

    with labels y_ic in {0, 1}, or probabilities, which are learned as they stand. i and j run over
    the m images and texts of a step, and only PHNet, scale and bias learn from the last two terms.
    Texts are mixed in pairs (Zhang et al., "mixup", ICLR 2018), images lose half of their features
    at random. After the last epoch PHNet is fitted once more, to the
    predictions of the networks that are kept.

    The common budget of epochs and layers holds; `defaults` says what differs.

    Source: our own; its development and an ablation of its parts are in docs/lab-notes.md.
    """

    settings_type = DchmlPlusSettings
    card = MethodCard(
        idea=(
            "networks predict classes, one PHNet for all modalities has a proxy for every "
            "label posterior"
        ),
        loss=(
            "cross-entropy of the labels; cross-entropy of θ = s h·h' / K + b with the "
            "probability that two items share a label"
        ),
        source="ours; ablation in [lab-notes.md](lab-notes.md)",
        differs=(
            "images centered and scaled, up to half of their features dropped, texts mixed in "
            "pairs, learning rate 1.5e-3, batch size a 48th of the training items (32 to 96), "
            "PHNet fitted again at the end; images mixed in pairs, too, on encoders that were tuned"
        ),
    )
    defaults: ClassVar[Mapping[str, Any]] = {
        "network_kind": "posterior",
        "learning_rate": 1.5e-3,
        "batch_size": None,
        "input_dropout": None,
        "center": True,
        "networks": {"text": {"input_dropout": 0.0, "center": False}},
    }
    # An encoder that was tuned on these images tells them apart too well: their classes are learned
    # by heart (cross-entropy .02 of the training images of flickr8k, .20 of others).
    final_settings: ClassVar[Mapping[str, Any]] = {"image_mix": 1.0}
    settings: DchmlPlusSettings

    def __init__(self, context: Context, settings: DchmlPlusSettings) -> None:
        super().__init__(context, settings)
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self._predictions: dict[Modality, tuple[Tensor, Tensor, Tensor]] = {}
        self._proxies: Proxies | None = None

    @property
    def proxies(self) -> Proxies | None:
        """The codes of items that have one class for certain, once the run has ended."""
        return self._proxies

    def begin_run(
        self,
        networks: Mapping[Modality, Network],
        train: Rows,  # noqa: ARG002
        *,
        track: Track = silent,  # noqa: ARG002
    ) -> None:
        """Refuse networks that do not predict classes."""
        for network in networks.values():
            _predicting(network)

    def run_network(
        self, modality: Modality, network: Network, features: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the outputs for mixed features; their predictions are kept for the loss."""
        mix = getattr(self.settings, f"{modality}_mix", 0.0)
        mixed, shares = _mix(features, labels, mix)
        predicting = _predicting(network)
        logits = predicting.class_logits(mixed)
        noisy = logits.detach() + self.settings.noise * torch.randn_like(logits)
        self._predictions[modality] = logits, noisy, shares
        return torch.tanh(predicting.phnet(noisy))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "posterior", "relevance" and "quantization"."""
        posterior = batch.labels.new_zeros(())
        outputs, noisy = [], []
        for modality in batch.learning:
            if modality not in self._predictions:  # nothing of this batch has the modality
                continue
            logits, noisy_logits, shares = self._predictions.pop(modality)
            posterior = posterior + label_posterior(logits, shares)
            labeled = batch.labels[batch.present[modality]].bool().any(dim=1)
            outputs.append(batch.outputs[modality][batch.present[modality]][labeled])
            noisy.append(noisy_logits[labeled])
        if not outputs:
            return {"posterior": posterior}
        return {"posterior": posterior} | self._code_terms(
            torch.cat(outputs), torch.cat(noisy), scale=self.scale, bias=self.bias
        )

    def end_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Fit PHNet to the predictions of the final networks for the training items."""
        phnet = _predicting(next(iter(networks.values()))).phnet
        if self.settings.refit:
            self._refit(phnet, _predict(networks, train), track=track)
        certain = torch.eye(self.classes, device=self.scale.device) * 2 - 1
        with torch.no_grad():
            codes = sign(phnet.eval()(_CERTAIN * certain))
        self._proxies = Proxies(codes=codes.to(torch.int8).cpu().numpy(), origin="phnet")

    def _refit(
        self, phnet: PosteriorPHNet, predictions: Mapping[Modality, Tensor], *, track: Track
    ) -> None:
        scale, bias = (nn.Parameter(value.detach().clone()) for value in (self.scale, self.bias))
        optimizer = torch.optim.Adam(
            [{"params": list(phnet.parameters())}, {"params": [scale, bias]}], _REFIT_RATE
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.refit)
        share = _REFIT_ITEMS // len(predictions)
        phnet.train()
        for _ in track(range(self.settings.refit), "fit PHNet"):
            drawn = [
                logits[torch.randint(len(logits), (share,), device=logits.device)]
                for logits in predictions.values()
            ]
            logits = torch.cat(drawn)
            noisy = logits + self.settings.noise * torch.randn_like(logits)
            terms = self._code_terms(torch.tanh(phnet(noisy)), noisy, scale=scale, bias=bias)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()

    def _code_terms(
        self, outputs: Tensor, logits: Tensor, *, scale: Tensor, bias: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms that PHNet learns from, given its outputs for these class logits."""
        posteriors = torch.sigmoid(logits)
        probability = relevance(posteriors, posteriors)
        return {
            "relevance": relevance_likelihood(outputs, probability, scale=scale, bias=bias),
            "quantization": self.settings.lambda_
            * quantization(outputs, sign(outputs.detach()))
            / self.bits,
        }


def _predicting(network: Network) -> PosteriorNetwork:
    if not isinstance(network, PosteriorNetwork):
        raise UsageError(
            f"method dchml-plus trains networks of kind posterior, not {network.kind}; leave out "
            "--network-kind"
        )
    return network


def _mix(features: Tensor, labels: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return the rows mixed with rows drawn at random, and the labels in the same shares.

    An item without labels is mixed with itself alone: nobody knows what it would bring.
    """
    if not strength:
        return features, labels
    labeled = labels.bool().any(dim=1)
    (rows,) = labeled.nonzero(as_tuple=True)
    partner = torch.arange(len(labels), device=labels.device)
    partner[rows] = rows[torch.randperm(len(rows), device=rows.device)]
    beta = torch.distributions.Beta(strength, strength)
    share = beta.sample((len(labels), 1)).to(features)
    return (
        share * features + (1 - share) * features[partner],
        share * labels + (1 - share) * labels[partner],
    )


@torch.no_grad()
def _predict(networks: Mapping[Modality, Network], train: Rows) -> dict[Modality, Tensor]:
    """Return the class logits of the training items that have the modality and a label."""
    predictions: dict[Modality, Tensor] = {}
    for modality, network in networks.items():
        predicting = _predicting(network.eval())
        blocks = row_blocks(train.features[modality], train.labeled(modality))
        predictions[modality] = torch.cat([predicting.class_logits(each) for _, each in blocks])
    return predictions
