"""One finished run, and one thread: tiny tensors only wait for each other on several."""

from __future__ import annotations

import pytest
import torch

from proxyhash.training import train
from tests.encoders import tiny_models
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


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory):
    """A folder with a tiny image model of transformers."""
    return tiny_models.save_mobilenet(tmp_path_factory.mktemp("models") / "image")


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """A folder with a tiny text model of transformers."""
    return tiny_models.save_bert(tmp_path_factory.mktemp("models") / "text")
