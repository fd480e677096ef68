"""Pairs: codes learned from the pairing of two modalities alone, without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from proxyhash.losses import soft_contrastive
from proxyhash.methods.cca_itq import canonical_directions, paired_items
from proxyhash.methods.shared.batch import sign
from proxyhash.methods.shared.objective import MethodCard, Objective
from proxyhash.methods.shared.registry import register_method
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import HashingNetwork
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float

    from proxyhash.data import Modality
    from proxyhash.methods.shared.batch import Batch, Rows
    from proxyhash.methods.shared.objective import Context
    from proxyhash.networks import Network

__all__ = ["PairingSettings", "Pairs", "PairsSettings", "Topics", "pairing_terms"]

Compare = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From positions of b items to q, (b, b) float32, and which have the same content, (b, b) bool."""
_MOST_PAIRS = 20_000
"""Pairs that the canonical directions are computed from."""
_BLOCK = 4096
"""Items that are compared at once."""


class PairingSettings(Settings):
    """Settings of the methods that learn from which items belong together."""

    topics: float = Field(default=0.4, ge=0, le=1)
    """Share of an item's target that goes to items of its topics; the rest is its own other
    half's."""
    within: float = Field(default=0.4, ge=0)
    """Weight of the topics within each modality."""
    topic_temperature: float = Field(default=0.1, gt=0)
    """Temperature of the similarity of topics; a lower one means the most similar alone."""
    scale: float = Field(default=10.0, gt=0)
    """Factor of the cosines between codes."""
    directions: int = Field(default=128, ge=1)
    """Canonical directions that topics are compared in, at most."""
    power: float = Field(default=2.0, ge=0)
    """Power of the canonical correlation that scales a direction."""


class PairsSettings(PairingSettings):
    """Settings of `pairs`."""


@register_method("pairs")
class Pairs(Objective):
    """The code of an image finds that of its own text, and then those of its topics, and back.

    With b_i = sign(h_i) of one modality and b'_j of the other, through which gradients pass as if
    they were h_i and h'_j:

        L = mean_i -sum_j t_ij log softmax_j(s cos(b_i, b'_j))        "pairs", in both directions
          + w mean_i -sum_{j != i} q_ij log softmax_{j != i}(s cos(b_i, b_j)) "topics", in each
        q_ij = softmax_{j != i}(cos(z_i, z_j) / tau)
        t_ij = (1 - a) [i = j] + a q_ij

    z_i is the mean of both halves in the leading canonical directions of the training pairs, each
    scaled by a power of its correlation: what images and texts have in common, which is what
    `cca-itq` makes codes of. So the pairing says which items belong together, and the directions
    which others are alike. Items with the same image or the same text are not compared.
    Labels are never read; MRR of the other half among validation items chooses the epoch.

    Source: ours; what each part brings is in docs/lab-notes.md. The loss between the halves is that
    of CLIP (Radford et al., ICML 2021), soft targets are those of distillation, and gradients
    through the sign are those of Bengio, Léonard and Courville, "Estimating or Propagating
    Gradients Through Stochastic Neurons", arXiv 1308.3432 (2013).
    """

    reads_memory = False
    settings_type = PairsSettings
    needs_labels = False
    needs_pairs = True
    validated_by: ClassVar[Literal["mAP", "MRR"]] = "MRR"
    defaults: ClassVar[Mapping[str, Any]] = {
        "epochs": 60,
        "batch_size": 256,
        "optimizer": "adamw",
        "learning_rate": 3e-3,
        "weight_decay": 1e-4,
        "ema": 0.99,
        "standardize": True,
        "input_dropout": 0.5,
    }
    card = MethodCard(
        idea="an image finds its own text, then those of its topics (without labels)",
        loss="cross-entropy of softmax(s cos) with the own half and canonical similarities",
        source="ours; ablation in [lab-notes.md](lab-notes.md)",
        differs=(
            "60 epochs of AdamW at 3e-3, batches of 256, averaged weights, features standardized "
            "and half of them dropped"
        ),
    )
    settings: PairsSettings

    def __init__(self, context: Context, settings: PairsSettings) -> None:
        super().__init__(context, settings)
        self.topics = Topics(len(context.labels), settings.directions, seed=context.seed)

    def begin_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Compare the topics of all training items.

        Raises:
            UsageError: there are not two modalities, or fewer than two training items have both.
        """
        del track
        self.topics.fit(networks, train, power=self.settings.power, method="pairs")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "pairs" and "topics"."""
        temperature = self.settings.topic_temperature
        return pairing_terms(
            batch.index,
            batch.outputs,
            batch.present,
            lambda index: self.topics.compare(index, temperature),
            self.settings,
        )


def pairing_terms(
    index: Tensor,
    outputs: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    compare: Compare,
    settings: PairingSettings,
) -> dict[str, Tensor]:
    """Return the terms "pairs" and, if topics count within a modality, "topics"; see `Pairs`.

    Args:
        index: (b,) int64 positions of the items among the training items.
        outputs: h, (b, K), of the two modalities.
        present: per modality, (b,) bool: which of the items have it.
        compare: From positions to q of these items among themselves, and which of them have the
            same content, as `Topics.compare`.
        settings: Weights and scales.
    """
    codes = {name: _through_sign(values) for name, values in outputs.items()}
    one, two = codes
    rows = present[one] & present[two]
    first, second = codes[one][rows], codes[two][rows]
    alike, same = compare(index[rows])
    own = torch.eye(len(alike), device=alike.device)
    share = settings.topics * alike.sum(dim=1, keepdim=True)  # 0 where nothing is alike
    targets = (1 - share) * own + settings.topics * alike
    options: dict[str, Any] = {"scale": settings.scale, "ignored": same}
    there = soft_contrastive(first, second, targets, **options)
    back = soft_contrastive(second, first, targets, **options)
    terms = {"pairs": there + back}
    if settings.within:
        within = []
        for name, values in codes.items():
            has = present[name]
            alike, same = compare(index[has])
            ignored = same | torch.eye(len(alike), dtype=torch.bool, device=alike.device)
            options = {"scale": settings.scale, "ignored": ignored}
            within.append(soft_contrastive(values[has], values[has], alike, **options))
        terms["topics"] = settings.within * torch.stack(within).sum()
    return terms


class Topics(torch.nn.Module):
    """Topics of n training items, compared in canonical directions of their two halves.

    Attributes:
        vectors: z, (n, d) float32 of length 1; 0 in unused directions.
        contents: (n, 2) int64, equal numbers for equal features of a modality; negative and all
            different where it is missing.
    """

    vectors: Tensor
    contents: Tensor

    def __init__(self, items: int, directions: int, *, seed: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(items, directions))
        self.register_buffer("contents", torch.zeros(items, 2, dtype=torch.int64))
        self._seed = seed

    @torch.no_grad()
    def fit(
        self, networks: Mapping[Modality, Network], train: Rows, *, power: float, method: str
    ) -> None:
        """Compute vectors and contents of the training items, standardized as networks see them.

        Args:
            networks: of the two modalities.
            train: the training items.
            power: of the canonical correlation that scales a direction.
            method: its name, for messages.

        Raises:
            UsageError: there are not two modalities, or fewer than two training items have both.
        """
        rows = paired_items(train, method=method)
        generator = torch.Generator().manual_seed(self._seed)
        some = torch.randperm(len(rows), generator=generator)[:_MOST_PAIRS]
        rows = rows[some.to(rows.device)]
        views = [_seen(networks[name], train.features[name][rows]) for name in train.modalities]
        means = [view.mean(dim=0) for view in views]
        found = canonical_directions(
            views[0] - means[0],
            views[1] - means[1],
            count=self.vectors.shape[1],
            regularization=1.0,
        )
        strength = found.correlations**power
        total = torch.zeros(len(train), len(strength), device=self.vectors.device)
        for column, (name, mean, directions) in enumerate(
            zip(train.modalities, means, (found.first, found.second), strict=True)
        ):
            features, present = train.features[name], train.present[name]
            draw = torch.randint(-(2**62), 2**62, features.shape[1:], generator=generator)
            marks = torch.arange(len(train), device=total.device)
            (there,) = present.nonzero(as_tuple=True)
            for which in torch.split(there, _BLOCK):
                block = features[which].float().contiguous()
                values = (_seen(networks[name], block) - mean) @ (directions * strength)
                total[which] += functional.normalize(values, dim=1).float()
                # A sum of products modulo 2^64, so the same in every order of summation.
                marks[which] = (block.view(torch.int32) * draw.to(block.device)).sum(dim=1)
            numbers = torch.unique(marks, return_inverse=True)[1]
            missing = -1 - torch.arange(len(train), device=total.device)
            self.contents[:, column] = torch.where(present, numbers, missing)
        self.vectors[:, : len(strength)] = functional.normalize(total, dim=1)

    def compare(
        self, index: Tensor, temperature: float, *, also: Float[Tensor, "b b"] | None = None
    ) -> tuple[Float[Tensor, "b b"], Bool[Tensor, "b b"]]:
        """Return q of the items at `index`, and which others have the same image or text.

        Rows of q sum to 1, or to 0 where an item has no others; the same ones have no share.

        Args:
            index: (b,) int64 positions among the training items.
            temperature: of the similarity.
            also: a second similarity of the items, which is added to that of their topics.
        """
        own = torch.eye(len(index), dtype=torch.bool, device=index.device)
        contents = self.contents[index]
        same = (contents[:, None] == contents[None]).any(dim=2) & ~own
        vectors = self.vectors[index]
        similarity = vectors @ vectors.T if also is None else vectors @ vectors.T + also
        logits = (similarity / temperature).masked_fill(own | same, -torch.inf)
        return logits.softmax(dim=1).nan_to_num(0.0), same

    @torch.enable_grad()
    def predict_labels(
        self, labels: Float[Tensor, "n c"], given: Bool[Tensor, " n"], *, decay: float = 3e-4
    ) -> Float[Tensor, "n c"]:
        """Return the probabilities of labels by a logistic regression from the topics.

        Args:
            labels: of all training items, in [0, 1].
            given: the items to learn from; the labels of the others are not looked at.
            decay: weight of the squares of the coefficients, the intercepts aside.
        """
        inputs = torch.cat([self.vectors, self.vectors.new_ones(len(labels), 1)], dim=1)
        read, targets = inputs[given], labels[given]
        weights = torch.zeros(inputs.shape[1], labels.shape[1], device=inputs.device)
        weights.requires_grad_()
        optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = read @ weights
            terms = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            loss = terms.sum(dim=1).mean() + decay * weights[:-1].square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return torch.sigmoid(inputs @ weights).detach()


def _seen(network: Network, features: Tensor) -> Tensor:
    values = network.standardized(features) if isinstance(network, HashingNetwork) else features
    return values.double()


def _through_sign(outputs: Tensor) -> Tensor:
    """Return the signs, with the gradients of the outputs."""
    return outputs + (sign(outputs) - outputs).detach()
