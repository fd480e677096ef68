"""Encoders that learn together with the networks of a run, and the features they make."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from proxyhash.data import MODALITIES
from proxyhash.encoders import TrainableEncoder
from proxyhash.errors import UsageError
from proxyhash.progress import Track, silent
from proxyhash.training.devices import seeded
from proxyhash.training.processes import SINGLE, Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxyhash.encoders import Encoder
    from proxyhash.methods import Rows
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.inputs import EncoderInputs, SourceInputs

__all__ = ["TunedEncoder", "TunedFeatures", "close_features", "trainable"]

logger = logging.getLogger(__name__)

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TunedEncoder:
    """An encoder that learns: its pass with gradient, and those of its weights that change.

    The pass runs in the precision of the configuration (autocast); weights, features and what the
    optimizer keeps are float32. Evaluation, as by the finished model, is float32 altogether.

    Attributes:
        encoder: the encoder itself; its weights change in place.
        learns: whether it learns in this epoch, or only the network above it.
        steps: number of steps that changed its weights.
        version: equal values mean equal weights.

    Raises:
        UsageError: the encoder cannot learn.
    """

    def __init__(
        self, encoder: Encoder, config: TrainConfig, processes: Processes = SINGLE
    ) -> None:
        self.encoder = trainable(encoder)
        self.processes = processes
        encoder = self.encoder
        self.config = config
        self.learns = False
        self.steps = 0
        self.version: Any = 0
        encoder.tune(config.tune_layers)
        if config.checkpointing:
            encoder.checkpoint_activations(on=True)
        if config.tune_batch_norm and encoder.moving_statistics:
            if config.micro_batch:
                raise UsageError(
                    "micro_batch cannot be used with tune_batch_norm, as batch normalization would "
                    "see parts instead of the batch; leave out one of them"
                )
            logger.warning(
                "tune_batch_norm: %d layers of the %s encoder follow the statistics of single "
                "batches, which can cost more than it brings; check the validation scores",
                len(encoder.moving_statistics),
                encoder.modality,
            )
        self.run = processes.parallel(_Forward(encoder.module, self._in_parts))

    def begin_epoch(self, epoch: int) -> None:
        """Go to learning mode, or stay in evaluation mode while the networks learn alone."""
        self.learns = epoch > self.config.head_epochs
        if self.learns:
            self.encoder.learning_mode(batch_norm=self.config.tune_batch_norm)
        else:
            self.encoder.evaluation_mode()

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the features of a batch, float32 (b, d) with gradient."""
        features: Tensor = self.run(inputs)
        return features

    @torch.no_grad()
    def without_gradient(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the features of a batch while the encoder does not learn, float32 (b, d)."""
        return self._in_parts(inputs)

    def _in_parts(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the features of a batch, in parts of `micro_batch` items.

        Their activations are not kept but computed again in the backward pass, so that the loss
        still sees the whole batch and gradients are the same.
        """
        size = self.config.micro_batch
        count = len(next(iter(inputs.values())))
        if size is None or count <= size:
            return self._pass(inputs)
        parts: list[Tensor] = []
        for start in range(0, count, size):
            part = {name: values[start : start + size] for name, values in inputs.items()}
            features: Any = checkpoint(self._pass, part, use_reentrant=False)
            parts.append(features)
        return torch.cat(parts)

    def _pass(self, inputs: Mapping[str, Tensor]) -> Tensor:
        dtype = _AUTOCAST.get(self.config.precision)
        kind = torch.device(self.encoder.device).type
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
            return self.encoder.features(inputs).float()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights that learn, and the statistics that move with them, by name."""
        module = self.encoder.module
        found = {name: w.detach() for name, w in module.named_parameters() if w.requires_grad}
        if self.config.tune_batch_norm:
            kept = module.state_dict()
            found |= {name: buffer for name, buffer in module.named_buffers() if name in kept}
        return found

    def end_step(self) -> None:
        """Take note of a step in which the encoder had a part."""
        if self.learns:
            self.steps += 1
            self.version = self.steps

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], *, steps: int) -> None:
        """Take over weights in place.

        Raises:
            KeyError: some are missing.
        """
        for name, value in self.weights.items():
            value.copy_(weights[name])
        self.steps, self.version = steps, ("loaded", object())

    @torch.no_grad()
    def average_into(self, averaged: Mapping[str, Tensor], *, share: float) -> None:
        """Move `averaged` by a share of the way to the weights; statistics are copied."""
        weights = self.weights
        learning = {name for name, w in self.encoder.module.named_parameters() if w.requires_grad}
        torch._foreach_lerp_(
            [averaged[name] for name in weights if name in learning],
            [weights[name] for name in weights if name in learning],
            share,
        )
        for name in weights.keys() - learning:
            averaged[name].copy_(weights[name])

    @torch.no_grad()
    def swap(self, others: Mapping[str, Tensor], *, version: Any) -> None:
        """Exchange the weights with `others`, in place, so that nothing is held three times."""
        for name, value in self.weights.items():
            before = value.clone()
            value.copy_(others[name])
            others[name].copy_(before)
        self.version = version

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of an optimizer.

        From each layer to the one below it the rate is multiplied by `layer_decay`. Norms and
        biases, the parameters of one axis, have no weight decay.
        """
        config = self.config
        rate = config.encoder_rates.get(self.encoder.modality, config.encoder_rate)
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        learning = [
            block
            for block in self.encoder.blocks()
            if any(p.requires_grad for p in block.parameters)
        ]
        for depth, block in enumerate(reversed(learning)):
            for parameter in block.parameters:
                key = rate * config.layer_decay**depth, parameter.ndim > 1
                found.setdefault(key, []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": own,
                "base_rate": own,
                "weight_decay": config.weight_decay if decays else 0.0,
                "encoder": True,
            }
            for (own, decays), parameters in found.items()
        ]


def trainable(encoder: Encoder) -> TrainableEncoder:
    """Return the encoder, if it is one that can learn.

    Raises:
        UsageError: it is not.
    """
    if isinstance(encoder, TrainableEncoder):
        return encoder
    name = encoder.modality
    raise UsageError(
        f"tune names {name}, but the {name} encoder {encoder.kind!r} has no weights that learn; "
        f"give the folder or hub id of a transformers model with --{name}-encoder, or leave {name} "
        "out of --tune (--tune none where a preset names it)"
    )


class _Forward(nn.Module):
    """The pass from inputs to features as a module, which processes can share."""

    def __init__(
        self, module: nn.Module, features: Callable[[Mapping[str, Tensor]], Tensor]
    ) -> None:
        super().__init__()
        self.module = module
        self._features = features

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self._features(inputs)


class TunedFeatures:
    """Features of n items by an encoder that learns, read by rows: see `FeatureRows`.

    What is read are evaluation features without gradient, as the finished model computes them. They
    are computed for all items once the weights changed, and kept until they change again; those of
    the weights at the start are given. `learning` yields features with gradient.

    Args:
        tuned: the encoder.
        inputs: what the items go into the encoder as, while it learns; none where it does not
            learn from them.
        sources: (n) what they go into it as, for evaluation.
        values: (n, d) their features with the weights as they are.
        present: (n,) bool: which items have the modality.
        track: reports progress.
    """

    def __init__(
        self,
        tuned: TunedEncoder,
        inputs: EncoderInputs | None,
        *,
        sources: SourceInputs,
        values: Tensor,
        present: Tensor,
        track: Track = silent,
    ) -> None:
        self.tuned = tuned
        self._processes = tuned.processes
        self._inputs = inputs
        self._positions = present.cpu().nonzero().flatten().numpy()
        self._sources = sources
        self._values = values
        self._version = tuned.version
        self._track = track

    @property
    def shape(self) -> torch.Size:
        """(n, d)."""
        return self._values.shape

    @property
    def device(self) -> torch.device:
        """Device of the features."""
        return self._values.device

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: Any) -> Tensor:
        """Return evaluation features, encoding all items first if the weights changed."""
        if self._version != self.tuned.version:
            encoder = self.tuned.encoder
            with encoder.evaluating():  # an epoch can go on learning afterwards
                found = self._sources.encode(self._positions, self._processes, self._track)
            self._values, self._version = found.to(self.device), self.tuned.version
        return self._values[rows]

    def learning(self, wanted: Sequence[Tensor], *, epoch: int) -> Iterator[Tensor]:
        """Yield features with gradient of the items at each of the positions, (b, d).

        Where the networks learn alone, features have no gradient. They come from the same random
        images as later on, as networks that know whole images of another size alone would pull the
        encoder apart when it begins to learn. Where nothing differs, they are those of evaluation.
        """
        if not self.tuned.learns and (self._inputs is None or self._inputs.as_evaluated):
            for items in wanted:
                yield self[items]
            return
        assert self._inputs is not None
        forward = self.tuned if self.tuned.learns else self.tuned.without_gradient
        some = [self._own(items.cpu()) for items in wanted if len(items)]
        with closing(self._inputs.batches(some, epoch=epoch)) as batches:
            for number, items in enumerate(wanted):
                if not len(items):
                    yield self._values[items]
                    continue
                own = self._processes.share(len(items))
                with self._own_randomness(epoch, number):
                    features = forward(next(batches))[: own.stop - own.start]
                yield self._processes.gather(features, len(items))

    def close(self) -> None:
        """End the processes that prepare inputs; reading on starts others."""
        if self._inputs is not None:
            self._inputs.close()

    def _own(self, items: Tensor) -> Tensor:
        """Return the items that this process encodes; one where it has none, as all take part."""
        share = items[self._processes.share(len(items))]
        return share if len(share) else items[:1]

    def _own_randomness(self, epoch: int, step: int) -> AbstractContextManager[None]:
        """Draw what is random in an encoder, such as dropout, apart from what processes share."""
        if self._processes.world == 1:
            return nullcontext()
        encoder, rank = self.tuned.encoder, self._processes.rank
        modality = list(MODALITIES).index(encoder.modality)
        parts = (self.tuned.config.seed, epoch, step, rank, modality)
        return seeded(*parts, device=encoder.device)


def close_features(rows: Rows) -> None:
    """End the processes that prepare what encoders learn from."""
    for features in rows.features.values():
        if isinstance(features, TunedFeatures):
            features.close()
