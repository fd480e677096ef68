"""A complete run: from a collection to a run folder with model, codes, metrics and card."""

from __future__ import annotations

import shlex
import signal
import threading
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data.images import ImageLimits, image_limits
from proxyhash.encoders import FeatureCache
from proxyhash.errors import InterruptedRunError, ProxyhashError
from proxyhash.files import write_json
from proxyhash.progress import Track, silent
from proxyhash.training.build import build_state, complete_networks
from proxyhash.training.devices import check_device, use_precision, use_threads
from proxyhash.training.folder import RunFolder
from proxyhash.training.history import (
    EpochRecord,
    cut_history,
    require_tensorboard,
    tensorboard_log,
)
from proxyhash.training.loop import Report, batch_size, run_epochs
from proxyhash.training.memory import advise_on_memory
from proxyhash.training.prepare import Prepared, prepare
from proxyhash.training.processes import SINGLE, Processes
from proxyhash.training.results import RunResult, write_results
from proxyhash.training.sources import resume_config, stored_config, with_settings
from proxyhash.training.state import TrainState, load_best, load_state, read_inputs
from proxyhash.training.summary import start_sentences, tuned_encoders, where_it_ran
from proxyhash.training.tuned import TunedEncoder, close_features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from proxyhash.data import Collection, Split
    from proxyhash.training.config import TrainConfig

__all__ = ["RunResult", "listen_for_stop", "train"]


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = lambda _record: None,
    track: Track = silent,
    cache: FeatureCache | None = None,
    prepared: Prepared | None = None,
    collection: Collection | None = None,
    checkpoints: bool = True,
    held: bool = False,
    processes: Processes = SINGLE,
    note: Callable[[str], None] = lambda _text: None,
) -> RunResult:
    """Train, evaluate and write the run folder `config.out`; return its metrics.

    Args:
        config: The run's configuration.
        resume: Continue the run in the folder, with results identical to an uninterrupted run;
            start a new one if there is none.
        overwrite: Replace an earlier run in the folder.
        report: Called after every epoch.
        track: Reports the progress of long work.
        cache: Where features are kept between runs; by default the user's cache.
        prepared: The result of `prepare` for a configuration with the same `preparing_key`, for
            many runs on the same inputs.
        collection: The run's collection, if it was read already.
        checkpoints: False for short runs that would rather be restarted than resumed: nothing is
            written before the end.
        held: Whether the caller holds the folder's lock already, see `RunFolder.hold`.
        processes: Those that train together, from `open_processes`. Process 0 alone reports and
            writes.
        note: Called before the first step with sentences about the encoders that learn.

    Raises:
        UsageError: an option cannot be used, or the folder is taken.
        DataError: the collection cannot be used, or another process writes to the folder.
        DivergedError: a loss is not finite; earlier checkpoints are kept.
        InterruptedRunError: Ctrl-C or SIGTERM; says how to continue.
    """
    config = _resolved(config, processes)
    folder = RunFolder(Path(config.out))
    if not processes.main:
        report, track, note = _say_nothing, silent, _say_nothing
    with ExitStack() as stack:
        if not held and processes.main:
            stack.enter_context(folder.hold())
        resume = processes.from_main(lambda: resume and folder.config.exists())
        if resume and not checkpoints:
            raise ValueError("a run without checkpoints cannot be resumed")
        if resume:
            stored = processes.from_main(lambda: stored_config(folder.path))
            config = resume_config(stored, config.to_dict())
        elif processes.main:
            folder.check(overwrite=overwrite)
        stack.enter_context(use_threads(config.threads))
        if config.max_megapixels is not None:
            limits = ImageLimits.of_megapixels(config.max_megapixels)
            stack.enter_context(image_limits(limits))
        try:
            return _train(
                config,
                folder,
                resume=resume,
                report=report,
                track=track,
                cache=cache or FeatureCache(),
                prepared=prepared,
                collection=collection,
                checkpoints=checkpoints,
                processes=processes,
                note=note,
            )
        except KeyboardInterrupt:  # not between two steps, where it is listened for
            raise InterruptedRunError(_how_to_go_on(config, folder)) from None


def _train(
    config: TrainConfig,
    folder: RunFolder,
    *,
    resume: bool,
    report: Report,
    track: Track,
    cache: FeatureCache,
    prepared: Prepared | None,
    collection: Collection | None,
    checkpoints: bool,
    processes: Processes,
    note: Callable[[str], None],
) -> RunResult:
    given, config = config, config.model_copy(update={"device": processes.device(config.device)})
    resumed = processes.from_main(lambda: resume and folder.last.exists())
    if prepared is not None and config.tune:
        prepared = prepared.with_own_encoders(config)
    elif prepared is None:
        stored = folder.split if resume and folder.split.exists() else None
        earlier = processes.from_main(lambda: read_inputs(folder.last) if resumed else {})
        with processes.in_turn():  # so that each feature is computed once, and found by the others
            prepared = prepare(
                config,
                collection=collection,
                split_file=stored,
                fingerprints=earlier,
                cache=cache,
                track=track,
            )
    collection, split = prepared.collection, prepared.split
    inputs = prepared.fingerprints
    processes.check_same(inputs | {"split": _fingerprint(split)})
    tuned = {
        modality: TunedEncoder(prepared.encoders[modality], config, processes)
        for modality in config.tune
    }
    with ExitStack() as stack:
        with processes.in_turn():  # as pixels are cached, too
            train_rows, validation_rows = (
                prepared.rows(
                    positions, device=config.device, tuned=tuned, learning=learning, track=track
                )
                for positions, learning in ((split.train, True), (split.validation, False))
            )
        stack.callback(close_features, train_rows)
        about = where_it_ran(config, processes=processes.world)
        about["tuned"] = tuned_encoders(config, prepared.encoders)
        with use_precision(config.precision):
            state = build_state(
                config, train_rows, inputs=inputs, encoders=tuned, resumed=resumed, track=track
            )
        if processes.main:
            if not resume:
                folder.start()  # not before here, so that a mistyped option leaves no folder behind
            write_json(folder.config, given.to_dict())
            split.save(folder.split, collection)
        if resumed:
            load_state(folder.last, state)
        processes.broadcast(state.tensors)
        if processes.main:
            cut_history(folder.history, epoch=state.epoch)
        for sentence in start_sentences(config, about["tuned"], items=len(train_rows)):
            note(sentence)
        stop = stack.enter_context(listen_for_stop())
        if config.tensorboard and processes.main:
            log = tensorboard_log(folder.tensorboard, first_epoch=state.epoch + 1)
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
            checkpoints=checkpoints,
            processes=processes,
        )
    if not processes.main:
        return _told(processes, folder, state)
    networks = load_best(folder.best, state)
    if tuned:
        prepared = prepared.with_frozen_encoders(config, cache=cache, track=track)
        train_rows = prepared.rows(split.train, device=config.device)
    complete_networks(config, state, train_rows, networks, track=track)
    about |= _summary(config, state, items=len(train_rows))
    result = write_results(config, folder, state, networks, prepared, about=about, track=track)
    processes.from_main(lambda: result.metrics)
    return result


def _fingerprint(split: Split) -> str:
    parts = (split.query, split.train, split.validation)
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _told(processes: Processes, folder: RunFolder, state: TrainState) -> RunResult:
    """Return the result in a process that waits for process 0, which evaluates and writes."""
    metrics = processes.from_main(dict[str, Any])
    nothing: Any = None
    return RunResult(folder.path, metrics, state.epoch, state.best.epoch, state.seconds, nothing)


def _how_to_go_on(config: TrainConfig, folder: RunFolder) -> str:
    """Return what to do after Ctrl-C before the first step or after the last one."""
    try:
        started = folder.config.is_file() and stored_config(folder.path) == config.to_dict()
    except ProxyhashError:  # of an earlier run, and damaged
        started = False
    if not started:
        return "stopped by Ctrl-C before the first epoch; run the same command again"
    return (
        "stopped by Ctrl-C; what was trained is saved. Continue with: proxyhash train --resume "
        f"--out {shlex.quote(config.out)}"
    )


@contextmanager
def listen_for_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM has arrived since.

    So Ctrl-C ends a run between two steps, never inside a write. A second signal of either kind
    stops at once with KeyboardInterrupt. The earlier handlers are restored afterwards. Outside the
    main thread Python allows no handlers: then nothing is caught.
    """
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _resolved(config: TrainConfig, processes: Processes) -> TrainConfig:
    """Return the configuration with every setting of its method, its extras and device checked."""
    check_device(processes.device(config.device))
    if config.tensorboard:
        require_tensorboard()
    return with_settings(config)


def _summary(config: TrainConfig, state: TrainState, *, items: int) -> dict[str, Any]:
    return {
        "method": config.method,
        "seed": config.seed,
        "items": items,
        "epochs": state.epoch,
        "batch_size": batch_size(config, state, items),
        "best_epoch": state.best.epoch,
        "validation_map": state.best.score,
        "seconds": round(state.seconds, 3),
    }


def _say_nothing(_what: object) -> None: ...


def _both(first: Report, second: Report) -> Report:
    def report(record: EpochRecord) -> None:
        first(record)
        second(record)

    return report
