"""A tiny suite on the generated scenes, and one whole run of it that several tests look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxyhash.bench import Filled, cells_of, fill_suite, read_suite
from proxyhash.bench import run as run_module
from proxyhash.bench.pool import Filler, Outcome
from proxyhash.bench.report import write_report
from proxyhash.bench.results import read_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from proxyhash.bench import Cell
    from proxyhash.bench.machine import Share

SUITE = """
name = "tiny"
bits = [16]
seeds = [0, 1]
ours = ["dchml"]
methods = ["dchml", {{ name = "dcmh, wide", method = "dcmh", hidden = [24] }}]

[options]
hidden = [16]
epochs = {epochs}
query = 30
train = 110
validation = 20

[[data]]
name = "scenes"
path = "{data}"
"""


def write_suite(folder: Path, data: Path, *, epochs: int = 2, more: str = "") -> Path:
    path = folder / "tiny.toml"
    path.write_text(SUITE.format(data=data, epochs=epochs) + more, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def filled(scenes, tmp_path_factory) -> tuple[Path, Path, Filled]:
    """The suite file, the folder it was filled into, and what happened; do not write there."""
    folder = tmp_path_factory.mktemp("bench")
    path = write_suite(folder, scenes.root)
    suite, out = read_suite(path), folder / "out"
    done = fill_suite(suite, out, processes=2)
    write_report(read_results(suite, cells_of(suite, out)), out)
    return path, out, done


@pytest.fixture
def filled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells are filled in this process: starting workers is what `filled` tests, and is slow."""

    def fill_cells(
        cells: Sequence[Cell],
        *,
        share: Share,
        keep_models: bool,
        stop: Callable[[], bool],
        note: Callable[[str], None],
    ) -> Iterator[Outcome]:
        filler = Filler(threads=share.threads, keep_models=keep_models)
        yield from map(filler.try_to_fill, cells)

    monkeypatch.setattr(run_module, "fill_cells", fill_cells)
