"""DCHML-plus: proxies for label posteriors, our own method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from proxyhash.errors import UsageError
from proxyhash.losses import certain, label_posterior, quantization, relevance, relevance_likelihood
from proxyhash.methods.pairs import Topics
from proxyhash.methods.shared.batch import Batch, row_blocks, sign
from proxyhash.methods.shared.objective import Context, MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import HashingNetwork, Network, register_network
from proxyhash.networks.hashing_network import draw_uniform_weights
from proxyhash.progress import Track, silent
from proxyhash.proxies.proxies import Proxies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows

__all__ = [
    "DchmlPlus",
    "DchmlPlusSettings",
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
_DIRECTIONS, _POWER = 128, 4.0
"""Topics that labels are predicted from, and the power of the correlation that scales them."""
_REFIT_ITEMS = 256
"""Batch size of the refit, in equal parts of all modalities."""
_REFIT_RATE = 2e-3


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

    def forward(self, predicted: Float[Tensor, "n cl"]) -> Float[Tensor, "n k"]:
        """Return the logits of the codes, given class logits and latents side by side."""
        posteriors = 4 * torch.sigmoid(predicted[:, : self.classes]) - 1
        if self.past is None:
            codes: Tensor = self.layers(posteriors)
            return codes
        latents = predicted[:, self.classes :]
        *to_bits, normalize = self.layers
        values = torch.cat([posteriors, latents], dim=1)
        for layer in to_bits:
            values = layer(values)
        bits: Tensor = normalize(values + self.past(latents))
        return bits


@register_network
class PosteriorNetwork(HashingNetwork):
    """Features (n, d) to one logit per class (n, C), which a `PosteriorPHNet` turns into bits.

    With latents, the last layer has L more outputs, which go to the PHNet beside the class logits.

    Args:
        dim_in: width d of the features.
        bits: code length K.
        classes: number of classes C.
        latents: number of latents L.
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
        output_batch_norm: bool = False,
        seed: int = 0,
        **layers: Any,
    ) -> None:
        for name, value in (("bits", bits), ("classes", classes)):
            if value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        super().__init__(dim_in, classes + latents, seed=seed, **layers)
        self.config |= {
            "bits": bits,
            "categories": classes,  # the key of version 0.1.0; fingerprints depend on it
            "output_batch_norm": output_batch_norm,
            **({"latents": latents} if latents else {}),  # earlier models keep their fingerprints
        }
        hidden = 512 if latents else 256
        self.phnet = PosteriorPHNet(classes, bits, latents=latents, hidden=hidden, seed=seed)

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
        logits: Tensor = self.phnet(self.predicted(features))
        return logits

    def predicted(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n cl"]:
        """Return the class logits and then the latents, what the PHNet reads."""
        predicted: Tensor = self.layers(self.standardized(features))
        return predicted

    def class_logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Return one logit per class, its sigmoid the probability that the item has it."""
        return self.predicted(features)[:, : self.phnet.classes]


class PosteriorSettings(Settings):
    """Settings of the methods whose networks predict classes for a PHNet."""

    noise: float = Field(default=1.0, ge=0)
    """Deviation of the noise on class logits that PHNet learns from."""
    lambda_: float = Field(default=0.04, ge=0)
    """Weight of the quantization, the mean square of 1 - |h| over bits."""
    refit: int = Field(default=1000, ge=0)
    """Steps in which PHNet is fitted to the final networks; 0: it stays as training left it."""


class DchmlPlusSettings(PosteriorSettings):
    """Settings of `dchml-plus`."""

    image_mix: float = Field(default=0.0, ge=0)
    """Images are mixed in pairs, with shares drawn from Beta(image_mix, image_mix); 0: never."""
    text_mix: float = Field(default=1.0, ge=0)
    """The same for texts, which a network otherwise learns by heart."""
    trust: float = Field(default=1.0, ge=0, le=1)
    """Share of a given label in what is learned; the rest is what both halves of the item predict.
    Half where many labels may be wrong: with 30 % wrong ones they take .023 and .009 of mAP
    then, else .031 and .030; where all are right it changes .002 (docs/lab-notes.md)."""


class PosteriorObjective(Objective):
    """Base of the methods whose networks predict classes, which one PHNet turns into codes."""

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

    def fit_phnet(self, phnet: PosteriorPHNet, terms: CodeTerms, *, track: Track) -> None:
        """Take the steps of `refit`, in which PHNet alone learns, with scale and bias.

        Args:
            phnet: That of the networks that are kept, which are done.
            terms: Draws some items and returns the terms of the loss for a scale and a bias.
            track: Reports the progress.
        """
        scale, bias = (nn.Parameter(value.detach().clone()) for value in (self.scale, self.bias))
        optimizer = torch.optim.Adam(
            [{"params": list(phnet.parameters())}, {"params": [scale, bias]}], _REFIT_RATE
        )
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


@register_method("dchml-plus")
class DchmlPlus(PosteriorObjective):
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

    Of labels that cannot be trusted, only a share is learned as it stands: with `trust` t, y is
    t y + (1 - t) p, where p is what a regression says of an item that was fitted to the same labels
    from the topics of both halves (see `Topics`). As in Reed et al., "Training Deep Neural Networks
    on Noisy Labels with Bootstrapping", arXiv 1412.6596 (2014), where the model itself predicts.

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
    targets: Tensor

    def __init__(self, context: Context, settings: DchmlPlusSettings) -> None:
        super().__init__(context, settings)
        self._predictions: dict[Modality, tuple[Tensor, Tensor, Tensor]] = {}
        if settings.trust < 1:
            self.register_buffer("targets", torch.zeros_like(context.labels))

    def begin_run(
        self,
        networks: Mapping[Modality, Network],
        train: Rows,
        *,
        track: Track = silent,  # noqa: ARG002
    ) -> None:
        """Predict labels from both halves of the items, where given ones are not trusted.

        Raises:
            UsageError: a network does not predict classes; or labels are not trusted, and there are
                not two modalities.
        """
        for network in networks.values():
            predicting(network, method="dchml-plus")
        if self.settings.trust < 1:
            topics = Topics(len(train), _DIRECTIONS, seed=self.seed).to(self.scale.device)
            topics.fit(networks, train, power=_POWER, method="dchml-plus with trust below 1")
            given = certain(train.labels).any(dim=1)
            predicted = topics.predict_labels(train.labels, given)
            trusted = self.settings.trust * train.labels + (1 - self.settings.trust) * predicted
            self.targets.copy_(torch.where(given[:, None], trusted, 0.0))

    def labels_of(self, train: Rows, index: Tensor) -> Tensor:
        """Return the labels of some items as they are learned."""
        return self.targets[index] if self.settings.trust < 1 else super().labels_of(train, index)

    def run_network(
        self, modality: Modality, network: Network, features: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the outputs for mixed features; their predictions are kept for the loss."""
        mix = getattr(self.settings, f"{modality}_mix", 0.0)
        mixed, shares = _mix(features, labels, mix)
        posterior = predicting(network, method="dchml-plus")
        logits = posterior.class_logits(mixed)
        noisy = self.with_noise(logits)
        self._predictions[modality] = logits, noisy, shares
        return torch.tanh(posterior.phnet(noisy))

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
        return {"posterior": posterior} | self.code_terms(
            torch.cat(outputs), torch.cat(noisy), scale=self.scale, bias=self.bias
        )

    def end_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Fit PHNet to the predictions of the final networks for the training items."""
        phnet = predicting(next(iter(networks.values())), method="dchml-plus").phnet
        if self.settings.refit:
            predictions = _predict(networks, train)
            share = _REFIT_ITEMS // len(predictions)

            def terms(scale: Tensor, bias: Tensor) -> dict[str, Tensor]:
                drawn = [
                    logits[torch.randint(len(logits), (share,), device=logits.device)]
                    for logits in predictions.values()
                ]
                noisy = self.with_noise(torch.cat(drawn))
                return self.code_terms(torch.tanh(phnet(noisy)), noisy, scale=scale, bias=bias)

            self.fit_phnet(phnet, terms, track=track)
        self.name_proxies(phnet, self.scale.new_zeros(self.classes, 0))


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
        posterior = predicting(network.eval(), method="dchml-plus")
        blocks = row_blocks(train.features[modality], train.labeled(modality))
        predictions[modality] = torch.cat([posterior.class_logits(each) for _, each in blocks])
    return predictions
