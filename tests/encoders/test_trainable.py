"""Encoders that learn: gradients, blocks, modes, and what is left of it when they are frozen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from proxyhash.encoders import TrainableEncoder, load_encoder, make_encoder
from proxyhash.encoders.trainable import read_layers
from proxyhash.errors import UsageError
from tests.encoders.tiny_models import SENTENCES

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image


@pytest.fixture(params=["mobilenet image", "bert text", "clip image", "clip text"])
def encoder(request: pytest.FixtureRequest) -> TrainableEncoder:
    name, modality = request.param.split()
    made = make_encoder(str(request.getfixturevalue(name)), modality=modality)
    assert isinstance(made, TrainableEncoder)
    return made


@pytest.fixture
def inputs(encoder: TrainableEncoder, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    sources = list(SENTENCES) if encoder.modality == "text" else images
    return encoder.tensors([encoder.prepare(source) for source in sources])


def test_a_step_changes_features_and_the_frozen_encoder_keeps_them(
    encoder: TrainableEncoder, inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with torch.no_grad():
        before, fingerprint = encoder.features(inputs), encoder.fingerprint
    learning = encoder.tune()
    encoder.learning_mode()
    found = encoder.features(inputs)
    found.square().mean().backward()
    assert all(parameter.grad is not None for parameter in learning)
    torch.optim.SGD(learning, 0.01).step()
    encoder.freeze()
    assert not any(parameter.requires_grad for parameter in encoder.module.parameters())
    after = encoder.features(inputs)
    assert not torch.equal(after, before)
    assert encoder.fingerprint != fingerprint
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, TrainableEncoder)
    assert torch.equal(loaded.features(inputs), after)


@pytest.mark.parametrize("layers", ["last", "last:0", "last:-1", "first:2", "last:1.5", ""])
def test_other_words_for_layers_are_refused(layers: str) -> None:
    with pytest.raises(UsageError, match=f"layers to tune are '{layers}'; use all, or last:N"):
        read_layers(layers)
