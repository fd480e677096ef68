from __future__ import annotations

from pathlib import Path

import pytest
import torch

from proxyhash.errors import OutOfMemoryError
from proxyhash.training.config import read_config
from proxyhash.training.memory import advise_on_memory

REAL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . not enough memory: you tried ..."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    MemoryError(),
]


def told(error, **values):
    config = read_config({"data": "d", "out": "my runs", **values})
    with (
        pytest.raises(OutOfMemoryError) as caught,
        advise_on_memory(config, batch_size=64, image_size=160 if values.get("tune") else 0),
    ):
        raise error
    assert caught.value.__cause__ is error
    return str(caught.value)


@pytest.mark.parametrize("error", REAL, ids=lambda error: type(error).__name__)
def test_every_kind_of_allocator_is_understood(error):
    message = told(error, tune="image")
    assert message.startswith("there is not enough memory on cpu for batches of 64 items (")
    again = f"Continue with: proxyhash train --resume --out '{Path.cwd()}/my runs'"
    assert f"{again} --micro-batch 16 (now the whole batch of 64)" in message


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"tune": "image", "micro_batch": 16}, "--micro-batch 8 (now 16)"),
        ({"tune": "image", "micro_batch": 3}, "in parts of 3 "),
        ({"tune": "image", "micro_batch": 500}, "--micro-batch 32 (now 64)"),
        ({"tune": "image", "micro_batch": 1}, "my runs' --checkpointing: the same gradients"),
        ({"tune": "image", "tune_batch_norm": True}, "my runs' --checkpointing: the same"),
        (
            {"tune": "image", "micro_batch": 1, "checkpointing": True},
            "into a new folder with --image-size 120 (now 160)",
        ),
        ({}, "Train into a new folder with --batch-size 32"),
    ],
)
def test_the_next_option_is_named_with_its_value(values, advice):
    assert advice in told(MemoryError(), **values)


def test_a_real_allocation_that_fails_is_told_in_a_sentence():
    config = read_config({"data": "d", "out": "o"})
    with pytest.raises(OutOfMemoryError), advise_on_memory(config, batch_size=64, image_size=0):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_stay_as_they_are():
    config = read_config({"data": "d", "out": "o"})
    with (
        pytest.raises(RuntimeError, match="shapes"),
        advise_on_memory(config, batch_size=64, image_size=0),
    ):
        raise RuntimeError("shapes do not match")
