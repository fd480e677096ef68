from __future__ import annotations

import platform
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from proxyhash.encoders import batches
from proxyhash.encoders.batches import encode_batches, worker_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray


@given(
    count=st.integers(0, 70),
    batch_size=st.integers(1, 20),
    threads=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_every_position_once_in_order_in_batches_of_the_size(
    count: int, batch_size: int, threads: int, seed: int
) -> None:
    positions = np.random.default_rng(seed).permutation(count)
    sizes: list[int] = []

    def square(batch: NDArray[np.int64]) -> list[int]:
        sizes.append(len(batch))
        return [int(position) ** 2 for position in batch]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "worker_threads", lambda: threads)
        rows = list(encode_batches(square, positions, batch_size=batch_size))
    assert rows == [(position, position**2) for position in positions.tolist()]
    assert sum(sizes) == count
    assert not sizes or (max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1)
    assert not sizes or len(sizes) >= min(threads, count)


def test_batches_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "worker_threads", lambda: 3)
    together = threading.Barrier(3, timeout=10)

    def meet(batch: NDArray[np.int64]) -> NDArray[np.int64]:
        together.wait()  # goes on only when three batches are running
        return batch

    assert len(list(encode_batches(meet, np.arange(6), batch_size=1))) == 6


def test_each_batch_has_one_torch_thread_and_the_caller_keeps_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = encode_batches(
            lambda batch: [torch.get_num_threads()] * len(batch), np.arange(8), batch_size=2
        )
        assert {threads for _, threads in rows} == {1}
        assert torch.get_num_threads() == 2
        assert worker_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_out_after_the_rows_before_it() -> None:
    def fail_on_five(batch: NDArray[np.int64]) -> NDArray[np.int64]:
        if 5 in batch:
            raise ValueError("five")
        return batch

    seen = []
    threads = torch.get_num_threads()
    rows = encode_batches(fail_on_five, np.arange(100), batch_size=1)
    with pytest.raises(ValueError, match="five"):
        seen.extend(position for position, _ in rows)
    assert seen == [0, 1, 2, 3, 4]
    assert torch.get_num_threads() == threads


def test_a_caller_that_had_enough_stops_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "worker_threads", lambda: 2)
    started: list[int] = []

    def slow(batch: NDArray[np.int64]) -> NDArray[np.int64]:
        started.append(len(batch))
        time.sleep(0.01)
        return batch

    rows = encode_batches(slow, np.arange(1000), batch_size=1)
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert len(started) < 10


def test_without_torch_the_cores_of_the_process_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(batches.sys.modules, "torch")
    assert worker_threads() >= 1
    assert list(encode_batches(lambda b: b, np.arange(3), batch_size=2)) == [(0, 0), (1, 1), (2, 2)]


# Freed memory stays in the process: counted by the kernel, in processes of their own.
_PROGRAM = """
import resource, sys, threading
import numpy as np
from proxyhash.encoders.batches import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
    keep_freed_memory()

def work():
    for step in range(25):
        if step == 5:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layers = [np.ones(9_000_000, np.uint8) for _ in range(5)]
        del layers
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(mode: str) -> int:
    """Pages that the kernel had to bring in while a thread took and freed 45 MB twenty times."""
    command = [sys.executable, "-c", _PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_is_not_asked_for_again() -> None:
    # Where the kernel hands out huge pages, there are few faults either way.
    assert faults("keep") < max(faults("leave") / 10, 1000)
