"""Tiny pretrained models, once for all tests of the encoders, and images of noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.encoders import tiny_models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_mobilenet(tmp_path_factory.mktemp("mobilenet"))


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def images() -> list[Image.Image]:
    """Ten images of noise in several sizes, the same in every run."""
    noise = np.random.default_rng(0)
    sizes = [(40, 60), (60, 40), (33, 33), (128, 90), (7, 9)] * 2
    return [
        Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for height, width in sizes
    ]
