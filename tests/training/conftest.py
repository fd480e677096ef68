"""One finished run, and one thread: tiny tensors only wait for each other on several."""

from __future__ import annotations

import pytest
import torch

from proxyhash.training import train
from tests.training.runs import config_of


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def finished(scenes, tmp_path_factory):
    """A run folder and its result; do not write into it."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    records = []
    result = train(config_of(scenes.root, folder), report=records.append)
    return folder, result, records
