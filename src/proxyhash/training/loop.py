"""The training loop: epochs of passes of steps, and their validation.

Everything random in an epoch comes from (seed, epoch), and everything that lasts longer is in the
`TrainState` that is saved after each epoch. A run stopped anywhere therefore continues from its
last complete epoch, with results identical to those of an uninterrupted run.
"""

from __future__ import annotations

import math
import shlex
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from proxyhash.errors import DataError, DivergedError, InterruptedRunError
from proxyhash.methods import Batch, row_blocks
from proxyhash.progress import Track, silent
from proxyhash.training.batches import Portion, Step, learning_features, make_steps, needs_two
from proxyhash.training.devices import seeded
from proxyhash.training.history import EpochRecord, append_record
from proxyhash.training.optimizer import clip_gradients, set_learning_rates
from proxyhash.training.processes import SINGLE, Processes
from proxyhash.training.state import (
    Best,
    TrainState,
    remember_best,
    save_best,
    save_state,
)
from proxyhash.training.validation import last_validated, validation_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from proxyhash.data import Modality
    from proxyhash.methods import Rows
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.folder import RunFolder

__all__ = ["Report", "batch_size", "run_epochs"]

Report = Callable[[EpochRecord], None]
"""Called after every epoch."""


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
    processes: Processes = SINGLE,
) -> None:
    """Train `state` to the last epoch, or until `patience` runs out; save after every epoch.

    Args:
        state: Where to start; changed in place.
        train: The training items.
        validation: Queries against `train` that choose the epoch to keep; may be empty.
        config: The run's configuration.
        folder: Where checkpoints and history go.
        report: Called after every epoch.
        stop: Called before every step; True ends the run.
        track: Reports progress per epoch and step.
        checkpoints: False keeps the best weights in memory, and the run cannot be continued.
        processes: Those that train together; process 0 alone writes.

    Raises:
        DivergedError: a loss or weight is not finite; names the epoch, step and term.
        InterruptedRunError: `stop` returned True; says how to continue.
    """
    if state.epoch == 0:
        _fill_memory(state, train)
        if checkpoints and processes.main:
            save_state(folder.last, state)  # so that a run can be resumed from the first step on
    heading = ""
    for epoch in track(range(state.epoch + 1, config.epochs + 1), f"train {config.method}"):
        if _out_of_patience(state, config):
            break
        started = time.perf_counter()
        with seeded(config.seed, epoch, device=config.device):
            terms = _train_epoch(
                state,
                train,
                config,
                epoch=epoch,
                stop=stop,
                track=track,
                heading=heading,
                processes=processes,
            )
        learned = [state.networks, state.objective, *(each.run for each in state.encoders.values())]
        if not all(map(_finite, learned)):
            raise _diverged("a weight is not finite after the last step", epoch, config)
        due = last_validated(config, epoch) == epoch or not len(validation)
        scores: dict[str, float] = {}
        if due and (len(validation) or not state.encoders):
            try:
                with state.final_encoders():
                    scores = validation_scores(
                        state.final_networks,
                        validation,
                        train,
                        by=state.objective.validated_by,
                    )
                scores = processes.from_main(partial(dict, scores))
            except DataError as error:  # huge weights can be finite and still give NaN
                raise _diverged(f"the networks give no codes ({error})", epoch, config) from error
        state.epoch = epoch
        score = scores.get("mean")
        if due and state.best.beaten_by(score):
            state.best = Best(epoch=epoch, score=score)
            if processes.main:
                _keep_best(folder, state, checkpoints=checkpoints)
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
            validated_by=state.objective.validated_by,
        )
        # The checkpoint comes last: a kill before it leaves a line too many, which resume cuts.
        if processes.main:
            append_record(folder.history, record)
        if checkpoints and processes.main:
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
    processes: Processes,
) -> dict[str, float]:
    """Do all passes of one epoch; return the mean of each term over the steps that had it."""
    state.networks.train()
    state.objective.train()
    for tuned in state.encoders.values():
        tuned.begin_epoch(epoch)
    state.objective.begin_epoch(state.memory)
    networks = state.networks.by_modality
    steps = list(
        make_steps(
            train,
            state.objective.passes,
            batch_size=batch_size(config, state, len(train)),
            pairwise=[m for m, network in networks.items() if needs_two(network)],
            portion=Portion(epoch, config.epoch_items or len(train), config.seed),
        )
    )
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    with ExitStack() as stack:  # after an error, too, nothing goes on preparing the next steps
        features = {
            m: stack.enter_context(closing(learning_features(train, m, steps, epoch=epoch)))
            for m in networks
        }
        for number, step in enumerate(track(steps, f"epoch {epoch}{heading}"), start=1):
            if stop():
                raise _interrupted(epoch, config)
            set_learning_rates(state.optimizer, config, epoch - 1 + step.done)
            batch = _forward(state, train, step, features)
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
                _learn(state, loss, config, processes)
                for modality in step.learning:
                    if modality in state.encoders and len(step.items(modality)):
                        state.encoders[modality].end_step()
                if state.average:
                    state.average.update(state.networks, state.encoders)
            _remember(state, batch)
    return {name: sums[name] / counts[name] for name in sums}


def _forward(
    state: TrainState, train: Rows, step: Step, features: Mapping[Modality, Iterator[Tensor]]
) -> Batch:
    """Run the networks that learn in this step; outputs of missing modalities are zero."""
    outputs: dict[Modality, Tensor] = {}
    labels = state.objective.labels_of(train, step.index)
    for modality in step.learning:
        network, inputs = state.networks[modality], next(features[modality])
        run = state.objective.run_network
        if train.complete(modality):
            outputs[modality] = run(modality, network, inputs, labels)
            continue
        values = labels.new_zeros(len(labels), state.objective.bits)
        rows = step.present[modality]
        if len(inputs):
            values[rows] = run(modality, network, inputs, labels[rows])
        outputs[modality] = values
    return Batch(
        index=step.index,
        labels=labels,
        outputs=outputs,
        present=step.present,
        memory=state.memory,
    )


def _learn(state: TrainState, loss: Tensor, config: TrainConfig, processes: Processes) -> None:
    """Do one optimizer step."""
    optimizer, scaler = state.optimizer, state.scaler
    optimizer.zero_grad(set_to_none=True)
    if scaler is None:
        loss.backward()  # type: ignore[no-untyped-call]
        processes.same_gradients(state.head_parameters)
        clip_gradients(optimizer, config.clip)
        optimizer.step()
        return
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    processes.same_gradients(state.head_parameters)
    scaler.unscale_(optimizer)
    clip_gradients(optimizer, config.clip)
    scaler.step(optimizer)  # not where a gradient is infinite: then the scale is too large
    scaler.update()


def _remember(state: TrainState, batch: Batch) -> None:
    """Write the outputs of this step into the memory, where the method reads it."""
    for modality in batch.learning if state.memory.outputs else ():
        has = batch.present[modality]
        state.memory.outputs[modality][batch.index[has]] = batch.latest(modality)[has]


@torch.no_grad()
def _fill_memory(state: TrainState, train: Rows) -> None:
    """Fill the memory with the outputs of the untrained networks."""
    state.networks.eval()
    for modality, outputs in state.memory.outputs.items():
        network = state.networks[modality]
        for rows, features in row_blocks(train.features[modality]):
            outputs[rows] = network(features) * train.present[modality][rows, None]


def batch_size(config: TrainConfig, state: TrainState, items: int) -> int:
    """Return the batch size: the configuration's, else the one the method chooses for the items."""
    return config.batch_size or state.objective.batch_size(items)


def _keep_best(folder: RunFolder, state: TrainState, *, checkpoints: bool) -> None:
    if checkpoints:
        save_best(folder.best, state)
    else:
        remember_best(state)


def _out_of_patience(state: TrainState, config: TrainConfig) -> bool:
    return 0 < config.patience <= last_validated(config, state.epoch) - state.best.epoch


def _finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in module.parameters())


def _diverged(what: str, epoch: int, config: TrainConfig) -> DivergedError:
    rates = f"learning_rate (it is {config.learning_rate:g})"
    if config.tune and epoch > config.head_epochs:
        rates = f"encoder_rate (it is {config.encoder_rate:g}) or {rates}"
    return DivergedError(
        f"training diverged in epoch {epoch}: {what}. Try a smaller {rates}, warmup, or clip=1 "
        f"in a new folder; the checkpoint of epoch {epoch - 1} is kept in {config.out}"
    )


def _interrupted(epoch: int, config: TrainConfig) -> InterruptedRunError:
    return InterruptedRunError(
        f"stopped in epoch {epoch}; {epoch - 1} of {config.epochs} epochs are saved. Continue "
        f"with: proxyhash train --resume --out {shlex.quote(config.out)}"
    )
