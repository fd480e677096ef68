"""DCHML-plus: proxies for label posteriors, our own method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from proxyhash.losses import (
    certain,
    label_posterior,
    relative_relevance,
    relevance,
)
from proxyhash.methods.pairs import Topics
from proxyhash.methods.shared.batch import Batch, row_blocks
from proxyhash.methods.shared.objective import Context, MethodCard
from proxyhash.methods.shared.posterior import PosteriorObjective, PosteriorSettings, predicting
from proxyhash.methods.shared.registry import register_method
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Rows
    from proxyhash.networks import Network

__all__ = ["DchmlPlus", "DchmlPlusSettings"]

_DIRECTIONS, _POWER = 128, 4.0
"""Topics that labels are predicted from, and the power of the correlation that scales them."""
_REFIT_ITEMS = 256
"""Batch size of the refit, in equal parts of all modalities."""
_REFIT_FROM = 1 << 18
"""Items whose predictions the refit draws from, at most."""
_WITHIN = 10
"""Code length up to which pairs within a modality count as much as others."""


class DchmlPlusSettings(PosteriorSettings):
    """Settings of `dchml-plus`."""

    members: int = Field(default=3, ge=1, le=16)
    """Number of stacks of layers that predict the classes of each modality; the mean of their
    logits counts. While encoders learn it is 1 by default; where they do not, 1 costs .001 to .009
    of mAP and saves a third of the time (docs/lab-notes.md)."""
    image_mix: float = Field(default=0.0, ge=0)
    """Images are mixed in pairs, with shares drawn from Beta(image_mix, image_mix); 0: never. The
    last stage of runs that tune encoders has 1 by default."""
    relative: float = Field(default=1.0, ge=0, le=1)
    """Share of the relevance, as PHNet learns it, that is divided by that of the item which fits
    best, so that codes order items for queries, too, that are sure of nothing."""
    within: float | None = Field(default=None, ge=0, le=1)
    """Weight of pairs within a modality, against 1 for those across; none: 10 / K, at most 1. 1
    serves searches within a modality best (docs/lab-notes.md)."""
    text_mix: float = Field(default=1.0, ge=0)
    """The same for texts, which a network otherwise learns by heart."""
    trust: float = Field(default=1.0, ge=0, le=1)
    """Share of a given label in what is learned; the rest is what both halves of the item predict.
    Half where many labels may be wrong: with 30 % wrong ones they take .023 and .009 of mAP
    then, else .031 and .030; where all are right it changes .002 (docs/lab-notes.md)."""


@register_method("dchml-plus")
class DchmlPlus(PosteriorObjective):
    """The networks predict classes; one PHNet for both turns predictions into codes.

    DCHML has a proxy for each class, and an item of several classes aims at a point between
    their proxies. Here PHNet has a proxy for every label posterior p = sigmoid(z), z the class
    logits of a network. Both modalities share it, so that codes agree where predictions do. What
    codes should say is how likely two items are relevant to each other, S, not which class they
    have; and as a query orders items by their distance alone, S counts relative to that of the item
    which fits it best:

        S_ij = 1 - prod_c (1 - p_ic p_jc),   R_ij = S_ij / max_{l != i} S_il
        L = sum_modalities (1/n) sum_i sum_c softplus(z_ic) - y_ic z_ic              "posterior"
          + (1 / sum w_ij) sum_{i != j} w_ij (softplus(theta_ij) - R_ij theta_ij)    "relevance"
          + lambda (1/m) sum_i mean_k (1 - |h_ik|)^2                                 "quantization"
        theta_ij = scale h_i . h_j / K + bias,   h = tanh(PHNet(z + noise))

    with labels y_ic in {0, 1}, or probabilities, which are learned as they stand. i and j run over
    the m images and texts of a step, and only PHNet, scale and bias learn from the last two terms.
    w_ij is 1 for an image and a text, and `within` for two images or two texts. Each modality
    shifts the hidden layer of PHNet and its bits by vectors of its own: a bit that is 1 for every
    text, and for images only if they are sure of something, brings sure images nearer to all texts,
    which codes cannot do otherwise, as all are equally long.

    Each network has `members` stacks of layers that start from different weights and learn from the
    same items; z is the mean of their logits, and the posterior's term the mean of theirs.

    Texts are mixed in pairs (Zhang et al., "mixup", ICLR 2018), images lose half of their features
    at random. After the last epoch PHNet is fitted once more, to the predictions of the networks
    that are kept.

    Of labels that cannot be trusted, only a share is learned as it stands: with `trust` t, y is
    t y + (1 - t) p, where p is what a regression says of an item that was fitted to the same labels
    from the topics of both halves (see `Topics`). As in Reed et al., "Training Deep Neural Networks
    on Noisy Labels with Bootstrapping", arXiv 1412.6596 (2014), where the model itself predicts.

    The common budget of epochs holds, and that of layers for each stack; `defaults` says what else
    differs.

    Source: our own; its development and an ablation of its parts are in docs/lab-notes.md.
    """

    settings_type = DchmlPlusSettings
    card = MethodCard(
        idea=(
            "networks predict classes, one PHNet for all modalities has a proxy for every "
            "label posterior, which each modality shifts"
        ),
        loss=(
            "cross-entropy of the labels; cross-entropy of θ = s h·h' / K + b with the "
            "probability that two items share a label, relative to the item that fits best"
        ),
        source="ours; ablation in [lab-notes.md](lab-notes.md)",
        differs=(
            "three stacks of layers per network, images centered and scaled, up to half of their "
            "features dropped, texts mixed in pairs, learning rate 1.5e-3, batch size a 48th of "
            "the training items (32 to 96), PHNet fitted again at the end; while encoders learn "
            "one stack, and after that images mixed in pairs, too"
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
    tuning_settings: ClassVar[Mapping[str, Any]] = {"members": 1}
    # An encoder that was tuned on these images tells them apart too well: their classes are learned
    # by heart (cross-entropy .02 of the training images of flickr8k, .20 of others).
    final_settings: ClassVar[Mapping[str, Any]] = {"image_mix": 1.0}
    settings: DchmlPlusSettings
    targets: Tensor

    def __init__(self, context: Context, settings: DchmlPlusSettings) -> None:
        super().__init__(context, settings)
        self._predictions: dict[Modality, tuple[Tensor, Tensor, Tensor]] = {}
        if settings.trust < 1:
            self.register_buffer("targets", torch.zeros(context.labels.shape))

    def make_network(
        self, modality: Modality, kind: str, dim_in: int, *, seed: int, options: Mapping[str, Any]
    ) -> Network:
        """Return an untrained network that predicts classes and shifts the bits of PHNet."""
        if kind == "posterior":
            options = {"shifts": True, "members": self.settings.members, **options}
        return super().make_network(modality, kind, dim_in, seed=seed, options=options)

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
            labels = train.labels.float()
            predicted = topics.predict_labels(labels, given)
            trusted = self.settings.trust * labels + (1 - self.settings.trust) * predicted
            self.targets.copy_(torch.where(given[:, None], trusted, 0.0))

    def labels_of(self, train: Rows, index: Tensor) -> Tensor:
        """Return the labels of some items as they are learned."""
        return self.targets[index] if self.settings.trust < 1 else super().labels_of(train, index)

    def run_network(
        self, modality: Modality, network: Network, features: Tensor, labels: Tensor
    ) -> Tensor:
        """Return the outputs for mixed features; their predictions are kept for the loss."""
        mix = getattr(self.settings, f"{modality}_mix", 0.0)
        posterior = predicting(network, method="dchml-plus")
        members = self.settings.members
        if mix and members > 1:
            each = [_mix(features, labels, mix) for _ in range(members)]
            mixed, shares = (torch.stack(part) for part in zip(*each, strict=True))
            logits = posterior.member_logits(mixed)
            read = logits[int(torch.randint(members, ()))]
        else:
            mixed, shares = _mix(features, labels, mix)
            logits = posterior.member_logits(mixed)
            read, shares = logits.mean(dim=0), shares.expand(len(logits), *shares.shape)
        noisy = self.with_noise(read)
        self._predictions[modality] = logits, noisy, shares
        return torch.tanh(posterior.phnet(noisy, posterior.shifts))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "posterior", "relevance" and "quantization"."""
        posterior = batch.labels.new_zeros(())
        outputs, noisy = [], []
        for modality in batch.learning:
            if modality not in self._predictions:  # nothing of this batch has the modality
                continue
            logits, noisy_logits, shares = self._predictions.pop(modality)
            for member, share in zip(logits, shares, strict=True):
                posterior = posterior + label_posterior(member, share) / len(logits)
            labeled = batch.labels[batch.present[modality]].bool().any(dim=1)
            outputs.append(batch.outputs[modality][batch.present[modality]][labeled])
            noisy.append(noisy_logits[labeled])
        if not outputs:
            return {"posterior": posterior}
        return {"posterior": posterior} | self._relevance_terms(
            torch.cat(outputs), noisy, scale=self.scale, bias=self.bias
        )

    def _relevance_terms(
        self, outputs: Tensor, noisy: Sequence[Tensor], *, scale: Tensor, bias: Tensor
    ) -> dict[str, Tensor]:
        """Return the terms "relevance" and "quantization".

        Args:
            outputs: Those of all modalities, one after the other.
            noisy: The class logits that they were made of, of each modality.
            scale: Factor of the inner products.
            bias: What is added to them.
        """
        posteriors = torch.sigmoid(torch.cat(list(noisy)))
        probability = relevance(posteriors, posteriors)
        if share := self.settings.relative:
            probability = (1 - share) * probability + share * relative_relevance(probability)
        weights = None
        if len(noisy) > 1:
            sizes = torch.tensor([len(each) for each in noisy], device=outputs.device)
            side = torch.arange(len(sizes), device=outputs.device).repeat_interleave(sizes)
            within = self.settings.within
            within = min(1.0, _WITHIN / self.bits) if within is None else within
            weights = torch.where(side[:, None] == side, within, 1.0)
        return self.code_terms(outputs, probability, scale=scale, bias=bias, weights=weights)

    def end_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Fit PHNet to the predictions of the final networks for the training items."""
        own = [predicting(network, method="dchml-plus") for network in networks.values()]
        phnet = own[0].phnet
        if self.settings.refit:
            predictions = _predict(networks, train)
            share = _REFIT_ITEMS // len(predictions)
            shifts = [each.shifts for each in own if each.shifts is not None]

            def terms(scale: Tensor, bias: Tensor) -> dict[str, Tensor]:
                noisy = [
                    self.with_noise(
                        logits[torch.randint(len(logits), (share,), device=logits.device)]
                    )
                    for logits in predictions.values()
                ]
                rows = [
                    torch.cat([v.expand(share, -1) for v in each])
                    for each in zip(*shifts, strict=True)
                ]
                outputs = torch.tanh(phnet(torch.cat(noisy), (rows[0], rows[1]) if rows else None))
                return self._relevance_terms(outputs, noisy, scale=scale, bias=bias)

            self.fit_phnet(phnet, terms, shifts=[v for each in shifts for v in each], track=track)
        self.name_proxies(phnet, self.scale.new_zeros(self.classes, 0))


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
    """Return the class logits of training items that have the modality and a label.

    Those of all of them, or of `_REFIT_FROM` that are drawn, in their order.
    """
    predictions: dict[Modality, Tensor] = {}
    for modality, network in networks.items():
        posterior = predicting(network.eval(), method="dchml-plus")
        (rows,) = train.labeled(modality).nonzero(as_tuple=True)
        if len(rows) > _REFIT_FROM:
            drawn = torch.randperm(len(rows))[:_REFIT_FROM].sort().values
            rows = rows[drawn.to(rows.device)]
        blocks = row_blocks(train.features[modality], rows)
        predictions[modality] = torch.cat([posterior.class_logits(each) for _, each in blocks])
    return predictions
