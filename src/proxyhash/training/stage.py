"""One stage of a run: from a collection to networks, and to the results in a folder.

A run of frozen encoders has one stage; where encoders learn there can be two, see `run`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from proxyhash.encoders import FeatureCache
from proxyhash.progress import Track, silent
from proxyhash.training.build import build_state, complete_networks
from proxyhash.training.devices import fast_precision, use_precision
from proxyhash.training.history import EpochRecord, cut_history, logs_of
from proxyhash.training.loop import Report, batch_size, run_epochs
from proxyhash.training.memory import advise_on_memory
from proxyhash.training.prepare import Prepared, prepare
from proxyhash.training.processes import SINGLE, Processes
from proxyhash.training.results import RunResult, write_results
from proxyhash.training.signals import listen_for_stop
from proxyhash.training.state import check_inputs, load_best, load_state, read_inputs
from proxyhash.training.summary import start_sentences, tuned_encoders, where_it_ran
from proxyhash.training.tuned import TunedEncoder, close_features

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxyhash.data import Collection, Modality, Split
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.folder import RunFolder
    from proxyhash.training.state import TrainState

__all__ = ["Services", "Stage", "result_from_main", "run_stage", "say_nothing"]

_NO_BFLOAT16 = (
    "precision bfloat16: this processor has no instructions for it and would take several times as "
    "long, so this run computes in float32"
)


def say_nothing(_what: object) -> None:
    """Take a report or a note and leave it at that."""


@dataclass(frozen=True)
class Services:
    """Helpers of a run, the same for all its stages."""

    report: Report = say_nothing
    """Called after every epoch."""
    track: Track = silent
    """Reports the progress of long work."""
    note: Callable[[str], None] = say_nothing
    """Called with sentences about what begins now."""
    cache: FeatureCache = field(default_factory=FeatureCache)
    """Where features are kept between runs."""
    checkpoints: bool = True
    """Whether anything is written before the end, so that the run can be resumed."""
    processes: Processes = SINGLE
    """Those that train together."""


@dataclass(frozen=True)
class Stage:
    """Work of one stage, and its place."""

    config: TrainConfig
    """What it trains with."""
    folder: RunFolder
    """Where checkpoints, history and results go."""
    given: TrainConfig
    """The configuration that results and the model card name."""
    begin: Callable[[Collection, Split], None]
    """Called by process 0 once nothing can be mistyped any more, before the first step."""
    resume: bool = False
    """Whether the folder's split and last state are taken up, where they are there."""
    keep_last: bool = False
    """Whether the networks of the last epoch are kept, without looking at validation items."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What metrics.json says about the training besides what this stage knows."""
    before: Path | None = None
    """The last state of the stage before; the collection and frozen encoders are those of it."""
    learned: tuple[Modality, ...] = ()
    """The modalities whose encoders learned in the stage before."""


def run_stage(
    stage: Stage,
    services: Services,
    *,
    prepared: Prepared | None = None,
    collection: Collection | None = None,
) -> RunResult:
    """Train the networks of a stage to the last epoch, and write the results.

    Args:
        stage: What it does.
        services: Those of the run.
        prepared: The result of `prepare`, if it was called already.
        collection: The collection, if it was read already.
    """
    folder, processes, track = stage.folder, services.processes, services.track
    device = processes.device(stage.config.device)
    precision = fast_precision(stage.config.precision, device)
    config = stage.config.model_copy(update={"device": device, "precision": precision})
    resumed = processes.from_main(lambda: stage.resume and folder.last.exists())
    if prepared is None:
        prepared = _prepared(stage, services, collection=collection, resumed=resumed)
    elif config.tune:
        prepared = prepared.with_own_encoders(config)
    collection, split = prepared.collection, prepared.split
    inputs = prepared.fingerprints
    processes.check_same(inputs | {"split": _fingerprint(split)})
    tuned = {
        modality: TunedEncoder(prepared.encoders[modality], config, processes)
        for modality in config.tune
    }
    validation = split.validation[:0] if stage.keep_last else split.validation
    with ExitStack() as stack:
        with processes.in_turn():  # as pixels are cached, too
            rows = partial(
                prepared.rows,
                device=config.device,
                tuned=tuned,
                evaluated=len(validation) > 0,
                track=track,
            )
            train_rows = rows(split.train, learning=True)
            validation_rows = rows(validation, learning=False)
        stack.callback(close_features, train_rows)
        about = where_it_ran(config, processes=processes.world) | {
            "tuned": tuned_encoders(config, prepared.encoders)
        }
        with use_precision(config.precision):
            state = build_state(
                config, train_rows, inputs=inputs, encoders=tuned, resumed=resumed, track=track
            )
        if resumed:  # before anything is written: it may not fit
            load_state(folder.last, state)
        if processes.main:
            stage.begin(collection, split)
        processes.broadcast(state.tensors)
        if processes.main:
            cut_history(folder.history, epoch=state.epoch)
        for sentence in start_sentences(config, about["tuned"], items=len(train_rows)):
            services.note(sentence)
        if precision != stage.config.precision:
            services.note(_NO_BFLOAT16)
        stop = stack.enter_context(listen_for_stop())
        report = services.report
        for log in logs_of(config, folder, first_epoch=state.epoch + 1) if processes.main else ():
            report = _both(report, stack.enter_context(log))
        stack.enter_context(use_precision(config.precision))  # codes are made without it
        stack.enter_context(
            advise_on_memory(
                config,
                batch_size=batch_size(config, state, len(train_rows)),
                image_size=about["tuned"].get("image", {}).get("image_size", 0),
            )
        )
        run_epochs(
            state,
            train_rows,
            validation_rows,
            config=config,
            folder=folder,
            report=report,
            stop=lambda: processes.any(stop()),
            track=track,
            checkpoints=services.checkpoints,
            processes=processes,
        )
    if not processes.main:
        return result_from_main(processes, folder)
    networks = load_best(folder.best, state)
    if tuned:
        prepared = prepared.with_frozen_encoders(config, cache=services.cache, track=track)
        train_rows = prepared.rows(split.train, device=config.device)
    complete_networks(config, state, train_rows, networks, track=track)
    about |= _summary(config, state, items=len(train_rows)) | dict(stage.about)
    del train_rows, validation_rows  # their labels are not needed where all items are evaluated
    result = write_results(
        stage.given, folder, state, networks, prepared,
        about=about, cache=services.cache, track=track,
    )  # fmt: skip
    processes.from_main(lambda: result.metrics)
    return result


def _prepared(
    stage: Stage, services: Services, *, collection: Collection | None, resumed: bool
) -> Prepared:
    """Read, split and encode the collection, or take the split of what is resumed."""
    folder, processes = stage.folder, services.processes
    device = processes.device(stage.config.device)
    earlier = processes.from_main(lambda: _earlier(stage, resumed=resumed))
    with processes.in_turn():  # so that each feature is computed once, and found by the others
        prepared = prepare(
            stage.config.model_copy(update={"device": device}),
            collection=collection,
            split_file=folder.split if stage.resume and folder.split.exists() else None,
            fingerprints=earlier,
            cache=services.cache,
            track=services.track,
        )
    if stage.before and not resumed:  # else `load_state` checks it
        same = {name: prepared.fingerprints[name] for name in earlier}
        check_inputs(stage.before, earlier, same)
    return prepared


def _earlier(stage: Stage, *, resumed: bool) -> dict[str, str]:
    """Return the fingerprints that the stage goes on with: its own, or those of the one before."""
    if resumed:
        return read_inputs(stage.folder.last)
    if stage.before is None or not stage.before.exists():
        return {}
    changed = {f"{modality} encoder" for modality in stage.learned}
    return {k: v for k, v in read_inputs(stage.before).items() if k not in changed}


def result_from_main(processes: Processes, folder: RunFolder) -> RunResult:
    """Return the result in a process that waits for process 0, which evaluates and writes."""
    metrics = processes.from_main(dict[str, Any])
    training, nothing = metrics["training"], cast("Any", None)
    epochs, best, seconds = (training[key] for key in ("epochs", "best_epoch", "seconds"))
    return RunResult(folder.path, metrics, epochs, best, seconds, nothing)


def _fingerprint(split: Split) -> str:
    parts = (split.query, split.train, split.validation)
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _summary(config: TrainConfig, state: TrainState, *, items: int) -> dict[str, Any]:
    return {
        "method": config.method,
        "seed": config.seed,
        "items": items,
        "epochs": state.epoch,
        "batch_size": batch_size(config, state, items),
        "best_epoch": state.best.epoch,
        **_validation(state),
        "seconds": round(state.seconds, 3),
    }


def _validation(state: TrainState) -> dict[str, Any]:
    if state.objective.validated_by == "mAP":
        return {"validation_map": state.best.score}
    return {"validation_map": None, "validation_mrr": state.best.score}


def _both(first: Report, second: Report) -> Report:
    def report(record: EpochRecord) -> None:
        first(record)
        second(record)

    return report
