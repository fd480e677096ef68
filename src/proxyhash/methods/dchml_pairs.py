"""DCHML-pairs: labels and pairs together, for collections with few labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from proxyhash.errors import UsageError
from proxyhash.losses import certain, label_posterior, relevance
from proxyhash.methods.pairs import PairingSettings, Pairs, Topics, pairing_terms
from proxyhash.methods.shared.batch import row_blocks
from proxyhash.methods.shared.objective import MethodCard
from proxyhash.methods.shared.posterior import PosteriorObjective, PosteriorSettings, predicting
from proxyhash.methods.shared.registry import register_method
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Rows
    from proxyhash.methods.shared.objective import Context
    from proxyhash.networks import Network

__all__ = ["DchmlPairs", "DchmlPairsSettings"]

_REFIT_PAIRS = 128
"""Pairs in a step of the refit."""


class DchmlPairsSettings(PosteriorSettings, PairingSettings):
    """Settings of `dchml-pairs`."""

    pairing: float | None = Field(default=None, ge=0)
    """Weight of the pairing; none: the square of the share of items without a label."""
    topics: float = Field(default=0.15, ge=0, le=1)
    """Share of an item's target that goes to items of its topics; the rest is its own other
    half's."""
    within: float = Field(default=0.2, ge=0)
    """Weight of the topics within each modality."""
    latents: int = Field(default=64, ge=0)
    """Outputs of the networks beside the class logits, for what no class says."""
    decay: float = Field(default=3e-4, ge=0)
    """Weight of the squares in the regression that predicts labels from both halves."""


@register_method("dchml-pairs")
class DchmlPairs(PosteriorObjective):
    """The networks of `dchml-plus`, and what labels do not say from the pairing of the halves.

    Every item has labels here: a regression from the topics of both halves (see `Topics`) to the
    labels of those that have any predicts the others'. The networks predict them as in
    `dchml-plus`, and latents beside them; PHNet reads both. Its codes say how relevant items are to
    each other, by classes, and which halves belong together:

        L = "posterior" + "relevance" + "quantization"                 as in `dchml-plus`
          + w ("pairs" + "topics")                                     as in `pairs`

    where the topics of two items are the more alike the more probably they share a label. The
    fewer labels there are, the more the pairing counts: w is (1 - share of labeled items)^2. MRR of
    the other half among validation items chooses the epoch, as few labels say little there. Where
    all items have labels, `dchml-plus` is better in mAP.

    Source: ours; figures are in docs/lab-notes.md.
    """

    settings_type = DchmlPairsSettings
    needs_labels = False
    reads_labels = True
    needs_pairs = True
    validated_by: ClassVar[Literal["mAP", "MRR"]] = "MRR"
    defaults: ClassVar[Mapping[str, Any]] = {**Pairs.defaults, "network_kind": "posterior"}
    card = MethodCard(
        idea=(
            "classes are predicted for every item, from few labels and the pairing; one PHNet "
            "reads them and latents"
        ),
        loss="that of `dchml-plus` with predicted labels, and that of `pairs`",
        source="ours; figures in [lab-notes.md](lab-notes.md)",
        differs=(
            "60 epochs of AdamW at 3e-3, batches of 256, averaged weights, features standardized "
            "and half of them dropped, PHNet fitted again at the end"
        ),
    )
    settings: DchmlPairsSettings
    targets: Tensor
    weight: Tensor

    def __init__(self, context: Context, settings: DchmlPairsSettings) -> None:
        super().__init__(context, settings)
        self.topics = Topics(len(context.labels), settings.directions, seed=context.seed)
        self.register_buffer("targets", torch.zeros(context.labels.shape))
        self.register_buffer("weight", torch.tensor(0.0))
        self._predictions: dict[Modality, tuple[Tensor, Tensor]] = {}

    def make_network(
        self, modality: Modality, kind: str, dim_in: int, *, seed: int, options: Mapping[str, Any]
    ) -> Network:
        """Return an untrained network that predicts classes and latents."""
        if kind == "posterior":
            options = {**options, "latents": self.settings.latents}
        return super().make_network(modality, kind, dim_in, seed=seed, options=options)

    def begin_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Compare the topics of all training items, and predict the labels of those without.

        Raises:
            UsageError: there are not two modalities, fewer than two training items have both, none
                has a label, or a network does not predict classes.
        """
        del track
        for network in networks.values():
            predicting(network, method="dchml-pairs")
        given = certain(train.labels).any(dim=1)
        if not given.any():
            raise UsageError(
                "method dchml-pairs learns from labels and pairs, and no training item has a "
                "label; use --method pairs"
            )
        self.topics.fit(networks, train, power=self.settings.power, method="dchml-pairs")
        labels = train.labels.float()
        predicted = self.topics.predict_labels(labels, given, decay=self.settings.decay)
        self.targets.copy_(torch.where(given[:, None], labels, predicted))
        pairing = self.settings.pairing
        missing = 1 - given.float().mean()
        self.weight.copy_(missing**2 if pairing is None else torch.tensor(pairing))

    def labels_of(self, train: Rows, index: Tensor) -> Tensor:  # noqa: ARG002
        """Return the labels of some items, given or predicted."""
        return self.targets[index]

    def run_network(
        self,
        modality: Modality,
        network: Network,
        features: Tensor,
        labels: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the outputs; the predictions behind them are kept for the loss."""
        posterior = predicting(network, method="dchml-pairs")
        predicted = posterior.predicted(features)
        noisy = self._noisy(predicted)
        self._predictions[modality] = predicted, noisy
        return torch.tanh(posterior.phnet(noisy))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "posterior", "relevance", "quantization", "pairs" and "topics"."""
        terms = {"posterior": batch.labels.new_zeros(())}
        outputs, noisy = [], []
        for modality in batch.learning:
            if modality not in self._predictions:  # nothing of this batch has the modality
                continue
            predicted, seen = self._predictions.pop(modality)
            has = batch.present[modality]
            logits = predicted[:, : self.classes]
            terms["posterior"] = terms["posterior"] + label_posterior(logits, batch.labels[has])
            outputs.append(batch.outputs[modality][has])
            noisy.append(seen[:, : self.classes])
        if not outputs:
            return terms
        terms |= self.code_terms(
            torch.cat(outputs), _relevance(noisy), scale=self.scale, bias=self.bias
        )
        return terms | self._pairing(batch.index, batch.outputs, batch.present)

    def end_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Fit PHNet to the predictions of the final networks for the training items."""
        phnet = predicting(next(iter(networks.values())), method="dchml-pairs").phnet
        predictions = _predict(networks, train)
        present = train.present
        if self.settings.refit:

            def terms(scale: Tensor, bias: Tensor) -> dict[str, Tensor]:
                index = torch.randperm(len(train), device=scale.device)[:_REFIT_PAIRS]
                has = {modality: present[modality][index] for modality in networks}
                noisy = {m: self._noisy(each[index]) for m, each in predictions.items()}
                outputs = {m: torch.tanh(phnet(each)) for m, each in noisy.items()}
                found = self.code_terms(
                    torch.cat([outputs[m][has[m]] for m in networks]),
                    _relevance([noisy[m][has[m], : self.classes] for m in networks]),
                    scale=scale,
                    bias=bias,
                )
                return found | self._pairing(index, outputs, has)

            self.fit_phnet(phnet, terms, track=track)
        self.name_proxies(phnet, self._usual_latents(predictions, present))

    def _pairing(
        self,
        index: Tensor,
        outputs: Mapping[Modality, Tensor],
        present: Mapping[Modality, Tensor],
    ) -> dict[str, Tensor]:
        if len(outputs) < 2 or not self.weight:
            return {}
        terms = pairing_terms(index, outputs, present, self._compare, self.settings)
        return {name: self.weight * value for name, value in terms.items()}

    def _compare(self, index: Tensor) -> tuple[Tensor, Tensor]:
        targets = self.targets[index]
        return self.topics.compare(
            index, self.settings.topic_temperature, also=relevance(targets, targets)
        )

    def _noisy(self, predicted: Tensor) -> Tensor:
        logits, latents = predicted[:, : self.classes], predicted[:, self.classes :]
        return torch.cat([self.with_noise(logits), latents], dim=1)

    def _usual_latents(
        self, predictions: Mapping[Modality, Tensor], present: Mapping[Modality, Tensor]
    ) -> Tensor:
        """Return the mean latents of each class's training items, (C, L)."""
        total = self.targets.new_zeros(self.classes, self.settings.latents)
        count = self.targets.new_zeros(self.classes, 1)
        for modality, predicted in predictions.items():
            weights = self.targets.T * present[modality]
            total += weights @ predicted[:, self.classes :]
            count += weights.sum(dim=1, keepdim=True)
        return total / count.clamp(min=1e-6)


def _relevance(logits: Sequence[Tensor]) -> Tensor:
    """Return how likely the items of all modalities are relevant to each other."""
    posteriors = torch.sigmoid(torch.cat(list(logits)))
    return relevance(posteriors, posteriors)


@torch.no_grad()
def _predict(networks: Mapping[Modality, Network], train: Rows) -> dict[Modality, Tensor]:
    """Return the class logits and latents of all training items, zeros where there are none."""
    predictions: dict[Modality, Tensor] = {}
    for modality, network in networks.items():
        posterior = predicting(network.eval(), method="dchml-pairs")
        blocks = row_blocks(train.features[modality])
        predictions[modality] = torch.cat([posterior.predicted(each) for _, each in blocks])
    return predictions
