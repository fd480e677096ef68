"""The recorded network against the same network layer by layer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from proxyhash.encoders._backbone import ImageNetwork, image_features
from proxyhash.encoders._transformers import load_backbone
from tests.encoders import tiny_models
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxyhash.encoders._backbone import Backbone

MODELS: dict[str, Callable[[Path], Path]] = {
    "mobilenet": tiny_models.save_mobilenet,
    "vit": tiny_models.save_vit,
    "clip": tiny_models.save_clip,
}


def noise(count: int, *, size: int = 32, seed: int = 0) -> torch.Tensor:
    pixels = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return pixels.contiguous(memory_format=torch.channels_last)


def calls_of(backbone: Backbone) -> list[int]:
    """How many images each call of the module gets, growing as it is called."""
    calls: list[int] = []
    backbone.module.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(len((*args, *kwargs.values())[0])), with_kwargs=True
    )
    return calls


@torch.inference_mode()
def features(network: ImageNetwork, pixels: torch.Tensor) -> torch.Tensor:
    return network(pixels)


@pytest.mark.parametrize("name", MODELS)
def test_features_stay_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(MODELS[name](tmp_path), modality="image")
    network = ImageNetwork(backbone)
    for step, count in enumerate((1, 20, 16, 2, 1, 7)):
        pixels = noise(count, seed=step)
        with torch.inference_mode():
            assert torch.equal(network(pixels), image_features(backbone, pixels))


def test_many_images_go_through_without_the_module(tmp_path: Path) -> None:
    backbone = load_backbone(tiny_models.save_mobilenet(tmp_path), modality="image")
    calls = calls_of(backbone)
    network = ImageNetwork(backbone)
    features(network, noise(30))
    assert calls == [30]
    features(network, noise(3))
    calls.clear()
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda seed: features(network, noise(2, seed=seed)), range(6)))
    assert calls == []
    for seed, each in enumerate(found):
        torch.testing.assert_close(each, features(ImageNetwork(backbone), noise(2, seed=seed)))


def test_images_of_another_size_go_layer_by_layer(tmp_path: Path) -> None:
    backbone = load_backbone(tiny_models.save_mobilenet(tmp_path), modality="image")
    network = ImageNetwork(backbone)
    features(network, noise(40))
    calls = calls_of(backbone)
    other = noise(2, size=48)
    found = features(network, other)
    assert calls == [2]
    with torch.inference_mode():
        assert torch.equal(found, image_features(backbone, other))


class Odd(nn.Module):
    """Does something with the number of images that no record of one image can know."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def get_image_features(self, pixel_values: torch.Tensor) -> Any:
        count = len(pixel_values)
        if self.way == "refuses" and torch.jit.is_tracing():
            raise ValueError("not to be recorded")
        if self.way == "reshapes":
            pixel_values = pixel_values.reshape(int(count), 3, 32, 32)
        return pixel_values.mean(dim=(2, 3)) + float(count)


@pytest.mark.parametrize("way", ["adds", "reshapes", "refuses"])
def test_what_a_record_would_change_goes_layer_by_layer(way: str, tmp_path: Path) -> None:
    backbone = load_backbone(tiny_models.save_clip(tmp_path), modality="image")
    network = ImageNetwork(replace(backbone, module=Odd(way)))
    for count in (40, 1, 5):
        pixels = noise(count)
        wanted = pixels.mean(dim=(2, 3)) + count
        torch.testing.assert_close(features(network, pixels), wanted)


@pytest.mark.shared
def test_mobilenet_is_recorded_and_gives_the_same_features() -> None:
    folder = shared_path("models/mobilenet_v2_1.0_224")
    backbone = load_backbone(folder, modality="image")
    network = ImageNetwork(backbone)
    features(network, noise(33, size=224))
    calls = calls_of(backbone)
    found = features(network, noise(2, size=224, seed=1))
    assert calls == []
    with torch.inference_mode():
        assert torch.equal(found, image_features(backbone, noise(2, size=224, seed=1)))
