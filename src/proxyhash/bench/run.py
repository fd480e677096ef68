"""A whole benchmark: data sets made and encoded once, cells filled side by side."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from proxyhash.bench.cell import cells_of, collection_path, encoder_cells, yardstick_cells
from proxyhash.bench.machine import peak_memory, share_machine
from proxyhash.bench.pool import Outcome, fill_cells
from proxyhash.errors import DataError, InterruptedRunError, UsageError
from proxyhash.progress import Track, silent
from proxyhash.training.signals import listen_for_stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxyhash.bench.cell import Cell
    from proxyhash.bench.suite import DataSet, Suite
    from proxyhash.training import TrainConfig

__all__ = ["Filled", "fill_suite"]


@dataclass(frozen=True)
class Filled:
    """Result of filling a suite.

    Attributes:
        cells: every cell of the suite.
        trained: how many were filled now.
        failed: those that failed, with the reason.
    """

    cells: tuple[Cell, ...]
    trained: int
    failed: tuple[Outcome, ...]


def fill_suite(
    suite: Suite,
    out: Path,
    *,
    processes: int | None = None,
    memory: float | None = None,
    keep_models: bool = False,
    rerun_changed: bool = False,
    note: Callable[[str], None] = lambda _text: None,
    track: Track = silent,
) -> Filled:
    """Fill the cells of a suite that are not finished.

    Where the suite has shared encoders, those of the data sets and seeds that are needed are tuned
    first.

    Args:
        suite: what to measure.
        out: where the cells lie.
        processes: workers side by side; None: one per core, as far as the memory goes.
        memory: GiB that everything may take; None: three quarters of what is available.
        keep_models: keep the model folders of new cells (tens of MB each).
        rerun_changed: rerun finished cells whose configuration the suite changed.
        note: called with a sentence about each step.
        track: progress callback.

    Raises:
        UsageError: the suite cannot be configured, or finished cells were made otherwise.
        DataError: a data set is missing or cannot be read.
        InterruptedRunError: Ctrl-C or SIGTERM; finished cells are kept.
    """
    cells, tuners = cells_of(suite, out), encoder_cells(suite, out)
    yardsticks = yardstick_cells(suite, out)
    if yardsticks:
        from proxyhash.bench.quantizers import load_faiss

        load_faiss()
    changed = [cell for cell in (*tuners, *cells, *yardsticks) if cell.state == "changed"]
    if changed and not rerun_changed:
        raise UsageError(_changed_words(changed))
    todo = [cell for cell in cells if cell.state != "done"]
    open_yardsticks = [cell for cell in yardsticks if cell.state != "done"]
    wanted = {(cell.data, cell.seed) for cell in (*todo, *open_yardsticks)}
    tuning = [
        cell
        for cell in tuners
        if cell.state == "changed" or (cell.state != "done" and (cell.data, cell.seed) in wanted)
    ]
    for data in suite.data:
        if any(cell.data == data.name for cell in (*tuning, *todo, *open_yardsticks)):
            check_data(data, out)
    fill = partial(_fill, suite, out, processes=processes, memory=memory, note=note, track=track)
    failed = fill(tuning, tuners, "encoders", keep_models=True)
    if tuning:  # cells that were finished with an earlier encoder are not any more
        lacking = {(each.cell.data, each.cell.seed): each.error for each in failed}
        left = [cell for cell in cells_of(suite, out) if cell.state != "done"]
        todo = [cell for cell in left if (cell.data, cell.seed) not in lacking]
        failed += [
            Outcome(cell, f"its shared encoders were not tuned: {lacking[cell.data, cell.seed]}")
            for cell in left
            if (cell.data, cell.seed) in lacking
        ]
    last = fill(todo, cells, "cells", keep_models=keep_models)
    lost = {each.cell.folder for each in last}
    again = [cell for cell in yardstick_cells(suite, out) if cell.state != "done"]
    measured = [cell for cell in again if not _lacks_source(cell, lost)]
    none = fill(measured, yardsticks, "yardsticks", keep_models=False)
    none += [
        Outcome(cell, "the training of its outputs failed")
        for cell in again
        if _lacks_source(cell, lost)
    ]
    return Filled(tuple(cells), len(todo) - len(last), (*failed, *last, *none))


def _lacks_source(cell: Cell, lost: set[Path]) -> bool:
    return cell.yardsticks is not None and cell.yardsticks.source in lost


def _fill(
    suite: Suite,
    out: Path,
    todo: Sequence[Cell],
    every: Sequence[Cell],
    what: str,
    *,
    keep_models: bool,
    processes: int | None,
    memory: float | None,
    note: Callable[[str], None],
    track: Track,
) -> list[Outcome]:
    """Fill some of the cells side by side; return those that failed.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; finished cells are kept.
    """
    if not todo:
        return []
    sizes = [_warm(data, out, todo, note, track) for data in suite.data]
    tuned = [cell for cell in todo if cell.config.tune]
    if processes is None and any(cell.config.device != "cpu" for cell in tuned):
        processes = 1  # each of them fills the GPU
    share = share_machine(
        processes=processes,
        memory=memory,
        features=max(size[0] for size in sizes),
        parameters=max(size[1] for size in sizes),
        tuned=bool(tuned),
        taken=peak_memory(),
    )
    note(f"{len(todo):,} of {len(every):,} {what} to fill, in {share.reason}")
    failed: list[Outcome] = []
    ended = 0
    with listen_for_stop() as stop:
        filling = fill_cells(todo, share=share, keep_models=keep_models, stop=stop, note=note)
        with closing(filling) as outcomes:
            for outcome in track(outcomes, f"{what} of {suite.name}", len(todo)):
                ended += 1
                if outcome.error:
                    failed.append(outcome)
                    note(f"failed: {outcome.cell.name}: {outcome.error}")
    if ended < len(todo):
        finished = len(every) - len(todo) + ended - len(failed)
        raise InterruptedRunError(
            f"stopped with {finished} of {len(every)} {what} finished; run the same command again "
            "to continue"
        )
    return failed


def check_data(data: DataSet, out: Path) -> None:
    """Check that a data set is there, or can be made.

    Raises:
        DataError: "data set 'flickr8k' is missing: there is no /data/flickr8k; ...".
    """
    path = collection_path(data, out)
    needed = data.convert or (None if data.generate else path)
    if path.exists() or needed is None or needed.exists():
        return
    raise DataError(
        f"data set {data.name!r} is missing: there is no {needed}; put it there, change the path "
        "in the suite, or name the other data sets with --data"
    )


def _warm(
    data: DataSet,
    out: Path,
    todo: Sequence[Cell],
    note: Callable[[str], None],
    track: Track,
) -> tuple[int, int]:
    """Make a data set and fill the feature cache; return bytes of features and of weights."""
    from proxyhash.encoders import FeatureCache
    from proxyhash.training.prepare import prepare

    wanted = {
        tuple(cell.config.encoders.items()): cell.config for cell in todo if cell.data == data.name
    }
    sizes = [(0, 0)]
    for config in wanted.values():
        _make(data, collection_path(data, out), note, track)
        prepared = prepare(config, cache=FeatureCache(), track=track)
        arrays = {modality: given.values for modality, given in prepared.features.items()}
        widths = {modality: values.shape[1] for modality, values in arrays.items()}
        nbytes = sum(values.nbytes for values in arrays.values())
        sizes.append((nbytes, 4 * _parameters(config, widths)))
    return max(sizes)


def _make(data: DataSet, path: Path, note: Callable[[str], None], track: Track) -> None:
    """Convert or generate a data set that does not exist yet."""
    if path.exists() or (data.convert is None and data.generate is None):
        return
    partial = path.with_name(f".{path.name}-{os.getpid()}")
    if data.convert is not None:
        from proxyhash.datasets.convert import convert_data_set

        note(f"converting {data.name}")
        convert_data_set(data.convert, partial)
    else:
        from proxyhash.datasets.scenes import generate_scenes

        note(f"generating {data.generate:,} images for {data.name}")
        generate_scenes(partial, items=data.generate or 0, size=64, track=track)
    partial.replace(path)  # whole or not at all


def _parameters(config: TrainConfig, widths: dict[Any, int]) -> int:
    total = 0
    for modality, width in widths.items():
        layers = [width, *config.network_options(modality)["hidden"], config.bits]
        total += sum(a * b + 3 * b for a, b in pairwise(layers))
    return total


def _changed_words(changed: Sequence[Cell]) -> str:
    lines = [f"  {cell.name}: {'; '.join(cell.changes[:4])}" for cell in changed[:5]]
    more = [f"  and {len(changed) - 5} more"] if len(changed) > 5 else []
    count = f"{len(changed)} finished cell{'s were' if len(changed) > 1 else ' was'}"
    return "\n".join(
        [
            f"{count} made with other settings than the suite and this version now have:",
            *lines,
            *more,
            "rerun them with --rerun-changed, or choose another --out",
        ]
    )
