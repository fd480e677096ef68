"""A complete run: from a collection to a run folder with model, codes, metrics and card.

Where encoders learn, a run has two stages. In the first one they learn together with the networks,
in the folder `tuning` of the run folder, which is a run folder itself; in the second one new
networks learn from the features of the encoders as they are by then, as in any run of frozen ones.
Networks that learn together with an encoder see features that move and images that change, and are
held back by both. `final_epochs` is the length of the second stage; 0 leaves it out.
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.data.images import ImageLimits, image_limits
from proxyhash.encoders import FeatureCache
from proxyhash.errors import InterruptedRunError, ProxyhashError
from proxyhash.files import write_json
from proxyhash.hashing.devices import check_device
from proxyhash.progress import Track, silent
from proxyhash.training.devices import use_threads
from proxyhash.training.final import (
    final_config,
    final_sentence,
    keeps_last_tuned,
    tuning_config,
    tuning_facts,
)
from proxyhash.training.folder import RunFolder
from proxyhash.training.history import require_logs
from proxyhash.training.processes import SINGLE, Processes
from proxyhash.training.results import RunResult
from proxyhash.training.sources import check_stage, resume_config, stored_config, with_settings
from proxyhash.training.stage import Services, Stage, result_from_main, run_stage, say_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.data import Collection, Split
    from proxyhash.training.config import TrainConfig
    from proxyhash.training.loop import Report
    from proxyhash.training.prepare import Prepared

__all__ = ["RunResult", "train"]


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Report = say_nothing,
    track: Track = silent,
    cache: FeatureCache | None = None,
    prepared: Prepared | None = None,
    collection: Collection | None = None,
    checkpoints: bool = True,
    held: bool = False,
    processes: Processes = SINGLE,
    note: Callable[[str], None] = say_nothing,
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
        note: Called before the first step of a stage with sentences about the encoders that learn.

    Raises:
        UsageError: an option cannot be used, or the folder is taken.
        DataError: the collection cannot be used, or another process writes to the folder.
        DivergedError: a loss is not finite; earlier checkpoints are kept.
        InterruptedRunError: Ctrl-C or SIGTERM; says how to continue.
    """
    config = _resolved(config, processes)
    folder = RunFolder(Path(config.out))
    services = Services(cache=cache or FeatureCache(), checkpoints=checkpoints, processes=processes)
    if processes.main:
        services = replace(services, report=report, track=track, note=note)
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
        run = _run_both if config.tune and config.final_epochs else _run_one
        try:
            return run(
                config, folder, services, resume=resume, prepared=prepared, collection=collection
            )
        except KeyboardInterrupt:  # not between two steps, where it is listened for
            raise InterruptedRunError(_how_to_go_on(config, folder)) from None


def _run_one(
    config: TrainConfig,
    folder: RunFolder,
    services: Services,
    *,
    resume: bool,
    prepared: Prepared | None,
    collection: Collection | None,
) -> RunResult:
    begin = partial(_begin, folder, config, fresh=not resume)
    stage = Stage(config, folder, given=config, begin=begin, resume=resume)
    return run_stage(stage, services, prepared=prepared, collection=collection)


def _run_both(
    config: TrainConfig,
    folder: RunFolder,
    services: Services,
    *,
    resume: bool,
    prepared: Prepared | None,
    collection: Collection | None,
) -> RunResult:
    """Tune the encoders in `folder.tuning`, then train networks on their features in `folder`."""
    processes, first = services.processes, RunFolder(folder.tuning)
    final = final_config(config, encoders=first.model)
    if prepared is not None:
        collection = prepared.collection
    tuning = tuning_config(config)
    given = tuning.model_copy(update={"out": str(first.path)})
    finished = processes.from_main(lambda: resume and first.metrics.exists())
    started = processes.from_main(lambda: resume and first.config.exists())
    if finished or started:
        processes.from_main(lambda: check_stage(given, first.path, finished=finished))
    if not finished:

        def begin(collection: Collection, split: Split) -> None:
            _begin(folder, config, collection, split, fresh=not resume)
            _begin(first, given, collection, split, fresh=not started)

        stage = Stage(
            tuning,
            first,
            given=given,
            begin=begin,
            resume=started,
            keep_last=keeps_last_tuned(config),
        )
        run_stage(stage, services, prepared=prepared, collection=collection)
    if not processes.main:
        return result_from_main(processes, folder)
    facts = tuning_facts(config, first.metrics)
    services.note(final_sentence(final))
    stage = Stage(
        final,
        folder,
        given=final.model_copy(update={"encoders": config.encoders}),
        begin=partial(_begin, folder, config, fresh=False),
        resume=True,
        about=facts,
        before=first.last,
        learned=config.tune,
    )
    alone = replace(services, processes=SINGLE)
    result = run_stage(stage, alone, collection=collection)
    processes.from_main(lambda: result.metrics)
    return replace(result, seconds=result.seconds + facts["tuning"]["seconds"])


def _begin(
    folder: RunFolder, config: TrainConfig, collection: Collection, split: Split, *, fresh: bool
) -> None:
    """Write what a run folder begins with, and nothing before: a mistyped option leaves none."""
    if fresh:
        folder.start()
    write_json(folder.config, config.to_dict())
    split.save(folder.split, collection)


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


def _resolved(config: TrainConfig, processes: Processes) -> TrainConfig:
    """Return the configuration with every setting of its method, its extras and device checked."""
    check_device(processes.device(config.device))
    require_logs(config)
    return with_settings(config)
