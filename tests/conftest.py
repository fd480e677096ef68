"""What every test gets: shape checks, no network, no touching the home folder, one image set."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from numba.core.dispatcher import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.data import Collection
    from proxyhash.demo import DemoResult
    from proxyhash.training.history import EpochRecord

# Before torch is loaded: threads that wait must not burn the processor under other test workers.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Before Triton is loaded: without a GPU its kernels run in its interpreter.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Before anything imports these rooms, so that jaxtyping's shapes are checked on every call.
install_import_hook(
    ["proxyhash.losses", "proxyhash.networks", "proxyhash.proxies", "proxyhash.hashing"],
    "beartype.beartype",
)

# What compiles a kernel is numba's own code, which coverage would slow down by a third.
_compile = Dispatcher.compile


def _compile_untraced(dispatcher: Dispatcher, signature: Any) -> Any:
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return _compile(dispatcher, signature)
    finally:
        sys.settrace(tracer)


Dispatcher.compile = _compile_untraced

# A busy two-core machine makes honest tests slow now and then; that is not a failure.
settings.register_profile(
    "proxyhash",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("proxyhash")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out of coverage what goes over the same lines many times, or runs in a browser."""
    for item in items:
        random = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        in_browser = "chromium" in getattr(item, "fixturenames", ())
        if random or in_browser or item.get_closest_marker("slow"):
            item.add_marker("no_cover")


@pytest.fixture(scope="session", autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep caches inside the test run and pretrained models off the network; let Ctrl-C work."""
    # Whoever was started in the background ignores Ctrl-C, and so would every process of a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROXYHASH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.delenv("PROXYHASH_MODELS", raising=False)
        patch.setenv("NO_COLOR", "1")
        yield


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A generated image set of 200 items; do not write into its folder."""
    from proxyhash.datasets.scenes import generate_scenes

    return generate_scenes(tmp_path_factory.mktemp("scenes"), items=200, seed=0, size=64)


@pytest.fixture(scope="session")
def small_run(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over the 200 generated scenes, 16 bits; do not write into its folder."""
    from proxyhash.training.config import read_config
    from proxyhash.training.run import train

    folder = tmp_path_factory.mktemp("runs") / "small"
    values = {
        "query": 20,
        "train": 100,
        "validation": 20,
        "hidden": [64],
        "epochs": 5,
        "threads": 1,
    }
    train(read_config({"data": str(scenes.root), "out": str(folder), "bits": 16, **values}))
    return folder


@dataclass(frozen=True)
class FinishedDemo:
    """A demo that was run once for all tests, and what it told; do not write into its folder."""

    result: DemoResult
    notes: list[str]
    records: list[EpochRecord]


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> FinishedDemo:
    """The whole demo on as few images as it takes."""
    from proxyhash.demo import run_demo

    notes: list[str] = []
    records: list[EpochRecord] = []
    folder = tmp_path_factory.mktemp("demo") / "demo"
    result = run_demo(folder, items=200, note=notes.append, report=records.append)
    return FinishedDemo(result, notes, records)


@dataclass(frozen=True)
class CommandResult:
    """What one call of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be JSON and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def proxyhash_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CommandResult]:
    """A function that runs `proxyhash ARGUMENTS...` in this process, exit code included."""

    def run(*arguments: object) -> CommandResult:
        from proxyhash.cli import app, main

        monkeypatch.setattr(app, "_leave", sys.exit)
        monkeypatch.setattr(sys, "argv", ["proxyhash", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return CommandResult(code=int(stop.value.code or 0), out=captured.out, err=captured.err)

    return run
