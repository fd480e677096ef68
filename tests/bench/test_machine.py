from __future__ import annotations

import pytest

from proxyhash.bench import machine
from proxyhash.bench.machine import GIB, share_machine
from proxyhash.errors import UsageError


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "available_memory", lambda: 8.0 * GIB)


def share(**given):
    values = {"processes": None, "memory": None, "features": 0, "parameters": 0}
    return share_machine(**{**values, **given})


def test_one_process_a_core_as_far_as_memory_goes():
    assert (share().processes, share().threads) == (8, 1)
    few = share(memory=2.0)
    assert (few.processes, few.threads) == (2, 4)
    assert "8 cores, of which 2 fit" in few.reason
    assert share(memory=2.0, taken=GIB).processes == 1
    assert share(processes=3).threads == 2


def test_features_and_weights_count():
    # 0.75 GiB + 4 x 0.25 GiB of features + 8 x 0.125 GiB of weights = 2.75 GiB of 6 GiB
    assert share(features=GIB // 4, parameters=GIB // 8).processes == 2


def test_encoders_that_learn_take_more():
    assert share(tuned=True).processes == 2  # of 0.75 + 1.5 GiB in 6 GiB
    assert share(tuned=True, memory=20.0).processes == 8


def test_too_little_memory_is_told():
    with pytest.raises(UsageError, match="give more with --memory"):
        share(memory=0.5)
