"""The training loop: epochs of passes of steps, on features that lie in memory.

Everything random in an epoch comes from (seed, epoch), and everything that lasts longer is in the
`TrainState` that is saved after each epoch. So a run that was stopped anywhere continues from its
last whole epoch to the bit-identical end.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from proxyhash.errors import DataError, DivergedError, InterruptedRunError
from proxyhash.methods.shared.objective import Batch, Passes
from proxyhash.progress import Track, silent
from proxyhash.training.fitting import batch_size
from proxyhash.training.history import EpochRecord, append_record
from proxyhash.training.optimizer import clip_gradients, learning_rate_factor, set_learning_rates
from proxyhash.training.randomness import seeded
from proxyhash.training.state import Best, TrainState, remember_best, save_best, save_state
from proxyhash.training.validation import validation_scores

if TYPE_CHECKING:
    from proxyhash.data.item import Modality
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.folder import RunFolder
    from proxyhash.training.rows import Rows

__all__ = ["Report", "run_epochs"]

Report = Callable[[EpochRecord], None]
"""Called after every epoch."""


@dataclass(frozen=True)
class _Step:
    """One optimizer step to be done: who learns, from which items, and how far the epoch is."""

    learning: tuple[Modality, ...]
    index: Tensor
    done: float


def run_epochs(
    state: TrainState,
    train: Rows,
    validation: Rows,
    *,
    config: TrainConfig,
    folder: RunFolder,
    report: Report,
    stop: Callable[[], bool],
    track: Track = silent,
    checkpoints: bool = True,
) -> None:
    """Train `state` to the last epoch, or until `patience` runs out; save after every epoch.

    Args:
        state: Where to start; changed in place.
        train: What to learn from.
        validation: Queries against `train` that choose the epoch to keep; may be empty.
        config: The run's configuration.
        folder: Where checkpoints and history go.
        report: Told about every epoch.
        stop: Asked before every step; True ends the run.
        track: Told about every epoch and step.
        checkpoints: False keeps the best weights in memory, and the run cannot be continued.

    Raises:
        DivergedError: a loss or weight is not finite; names the epoch, step and term.
        InterruptedRunError: `stop` returned True; says how to go on.
    """
    if state.epoch == 0:
        _fill_memory(state, train)
        if checkpoints:
            save_state(folder.last, state)  # there is something to resume from the first step on
    heading = ""
    for epoch in track(range(state.epoch + 1, config.epochs + 1), f"train {config.method}"):
        if _out_of_patience(state, config):
            break
        started = time.perf_counter()
        with seeded(config.seed, epoch, device=config.device):
            terms = _train_epoch(
                state, train, config, epoch=epoch, stop=stop, track=track, heading=heading
            )
        if not _finite(state.networks) or not _finite(state.objective):
            raise _diverged("a weight is not finite after the last step", epoch, config)
        try:
            scores = validation_scores(state.final_networks, validation, train)
        except DataError as error:  # huge weights can be finite and still give NaN
            raise _diverged(f"the networks give no codes ({error})", epoch, config) from error
        state.epoch = epoch
        score = scores.get("mean")
        if state.best.beaten_by(score):
            state.best = Best(epoch=epoch, score=score)
            if checkpoints:
                save_best(folder.best, state)
            else:
                remember_best(state)
        seconds = time.perf_counter() - started
        state.seconds += seconds
        record = EpochRecord(
            epoch=epoch,
            epochs=config.epochs,
            loss=sum(terms.values()),
            terms=terms,
            validation=scores,
            best_epoch=state.best.epoch,
            best_score=state.best.score,
            learning_rate=state.optimizer.param_groups[0]["lr"],
            seconds=seconds,
        )
        # The checkpoint comes last: a kill before it leaves a line too many, which resume cuts.
        append_record(folder.history, record)
        if checkpoints:
            save_state(folder.last, state)
        report(record)
        heading = f", {record.brief()}"


def _train_epoch(
    state: TrainState,
    train: Rows,
    config: TrainConfig,
    *,
    epoch: int,
    stop: Callable[[], bool],
    track: Track,
    heading: str,
) -> dict[str, float]:
    """Do one round of passes; return the mean of each term over the steps it took part in."""
    state.networks.train()
    state.objective.train()
    state.objective.begin_round(state.memory)
    steps = list(_steps(train, state.objective.passes, batch_size=batch_size(config, len(train))))
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for number, step in enumerate(track(steps, f"epoch {epoch}{heading}"), start=1):
        if stop():
            raise _interrupted(epoch, config)
        factor = learning_rate_factor(config, epoch - 1 + step.done)
        set_learning_rates(state.optimizer, factor)
        batch = _forward(state, train, step)
        terms = state.objective.loss(batch)
        for name, value in zip(terms, torch.stack(list(terms.values())).tolist(), strict=True):
            if not math.isfinite(value):
                raise _diverged(
                    f"the loss is {value} in step {number} of {len(steps)}, term {name!r}",
                    epoch,
                    config,
                )
            sums[name] += value
            counts[name] += 1
        loss = torch.stack(list(terms.values())).sum()
        if loss.requires_grad:  # a batch can lack the modality that learns
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            clip_gradients(state.optimizer, config.clip)
            state.optimizer.step()
            if state.average:
                state.average.update(state.networks)
        _remember(state, batch)
    return {name: sums[name] / counts[name] for name in sums}


def _steps(train: Rows, passes: Passes, *, batch_size: int) -> Iterator[_Step]:
    """Yield the steps of a round, each pass in an order of its own, batches of nearly equal size.

    A pass walks over the items that have at least one of its modalities.
    """
    for learning in passes:
        has = torch.stack([train.has(modality) for modality in learning]).any(dim=0).cpu()
        items = has.nonzero().flatten()
        order = items[torch.randperm(len(items))].to(train.labels.device)
        batches = order.tensor_split(max(1, math.ceil(len(order) / batch_size)))
        for number, index in enumerate(batches):
            yield _Step(learning=learning, index=index, done=(number + 0.5) / len(batches))


def _forward(state: TrainState, train: Rows, step: _Step) -> Batch:
    """Run the networks that learn in this step; outputs of missing modalities are zero."""
    outputs: dict[str, Tensor | None] = {"image": None, "text": None}
    has = {"image": train.has_image[step.index], "text": train.has_text[step.index]}
    for modality in step.learning:
        network, features = state.networks.of(modality), train.features(modality)[step.index]
        labels = train.labels[step.index]
        if train.complete(modality):
            outputs[modality] = state.objective.run_network(modality, network, features, labels)
            continue
        if _needs_two(network) and int(has[modality].sum()) < 2:
            has[modality] = torch.zeros_like(has[modality])
        values = features.new_zeros(len(features), state.objective.bits)
        if has[modality].any():
            rows = has[modality]
            values[rows] = state.objective.run_network(
                modality, network, features[rows], labels[rows]
            )
        outputs[modality] = values
    return Batch(
        index=step.index,
        labels=train.labels[step.index],
        image=outputs["image"],
        text=outputs["text"],
        has_image=has["image"],
        has_text=has["text"],
        memory=state.memory,
    )


def _needs_two(network: nn.Module) -> bool:
    """Whether the network normalizes over the batch, which one row alone cannot feed."""
    return any(isinstance(module, nn.BatchNorm1d) for module in network.modules())


def _remember(state: TrainState, batch: Batch) -> None:
    """Write the outputs of this step into the memory."""
    for modality in batch.learning():
        has = batch.has(modality)
        outputs = batch.latest(modality)
        state.memory.of(modality)[batch.index[has]] = outputs[has]


@torch.no_grad()
def _fill_memory(state: TrainState, train: Rows) -> None:
    """Fill the memory with the outputs of the untrained networks."""
    state.networks.eval()
    modalities: tuple[Modality, ...] = ("image", "text")
    for modality in modalities:
        outputs = state.networks.of(modality)(train.features(modality))
        state.memory.of(modality).copy_(outputs * train.has(modality)[:, None])


def _out_of_patience(state: TrainState, config: TrainConfig) -> bool:
    return 0 < config.patience <= state.epoch - state.best.epoch


def _finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in module.parameters())


def _diverged(what: str, epoch: int, config: TrainConfig) -> DivergedError:
    return DivergedError(
        f"training diverged in epoch {epoch}: {what}. Try a smaller learning_rate (it is "
        f"{config.learning_rate:g}), warmup, or clip=1 in a new folder; the checkpoint of epoch "
        f"{epoch - 1} is kept in {config.out}"
    )


def _interrupted(epoch: int, config: TrainConfig) -> InterruptedRunError:
    return InterruptedRunError(
        f"stopped in epoch {epoch}; {epoch - 1} of {config.epochs} epochs are saved. Continue "
        f"with: proxyhash train --resume --out {config.out}"
    )
