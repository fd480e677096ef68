"""What learning does to modes, statistics, fingerprints, caches and recorded programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from proxyhash.data import Collection, Item
from proxyhash.encoders import (
    FeatureCache,
    TrainableEncoder,
    TransformersImageEncoder,
    encode_collection,
    load_encoder,
    make_encoder,
)
from proxyhash.encoders.trainable import read_layers
from proxyhash.errors import ModelError, UsageError
from tests.encoders import tiny_models
from tests.encoders.families import save_family
from tests.encoders.tiny_models import SENTENCES
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image


def opened(folder: Path, modality: str = "image") -> TrainableEncoder:
    encoder = make_encoder(str(folder), modality=modality)
    assert isinstance(encoder, TrainableEncoder)
    return encoder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family("resnet", tmp_path_factory.mktemp("resnet"))


@pytest.fixture
def convolutional(resnet: Path) -> TrainableEncoder:
    return opened(resnet)


def pixels(encoder: TrainableEncoder, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    return encoder.tensors([encoder.prepare(image) for image in images])


def step(encoder: TrainableEncoder, inputs: dict[str, torch.Tensor]) -> None:
    """One step that no parameter that learns comes out of unchanged."""
    encoder.features(inputs).square().sum().backward()
    with torch.no_grad():
        for parameter in encoder.module.parameters():
            if parameter.requires_grad:
                parameter.sub_(0.01 * (1 + torch.rand_like(parameter)))
                parameter.grad = None


def statistics(encoder: TrainableEncoder) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in encoder.module.named_buffers()}


@pytest.mark.parametrize("layers", ["last", "last:0", "last:-1", "first:2", "last:1.5", ""])
def test_other_words_for_layers_are_refused(layers: str) -> None:
    with pytest.raises(UsageError, match=f"layers to tune are '{layers}'; use all, or last:N"):
        read_layers(layers)


def test_layers_are_read() -> None:
    assert [read_layers(layers) for layers in ("all", "last:1", "last:120")] == [None, 1, 120]


def test_batch_norm_keeps_its_statistics_unless_asked(
    convolutional: TrainableEncoder, images: list[Image.Image]
) -> None:
    inputs, before = pixels(convolutional, images), statistics(convolutional)
    norms = {
        n for n, part in convolutional.module.named_modules() if isinstance(part, nn.BatchNorm2d)
    }
    assert set(convolutional.moving_statistics) == norms
    convolutional.tune()
    convolutional.learning_mode()
    step(convolutional, inputs)
    after = statistics(convolutional)
    assert all(after[name].equal(before[name]) for name in before)

    convolutional.learning_mode(batch_norm=True)
    step(convolutional, inputs)
    after = statistics(convolutional)
    assert len(before) == 3 * len(norms)
    assert not any(after[name].equal(before[name]) for name in before)

    last = convolutional.tune("last:1")
    convolutional.learning_mode(batch_norm=True)
    before = after
    step(convolutional, inputs)
    after = statistics(convolutional)
    moved = {name.rpartition(".")[0] for name in before if not after[name].equal(before[name])}
    learning = {id(each) for each in last}
    assert moved == {
        n for n in norms if id(convolutional.module.get_parameter(f"{n}.weight")) in learning
    }
    assert 0 < len(moved) < len(norms)


def test_statistics_move_once_when_activations_are_computed_twice(
    resnet: Path, images: list[Image.Image]
) -> None:
    found = []
    for on in (False, True):
        encoder = opened(resnet)
        encoder.tune()
        encoder.checkpoint_activations(on)
        encoder.learning_mode(batch_norm=True)
        encoder.features(pixels(encoder, images)).sum().backward()
        found.append(statistics(encoder))
        found.append({n: each.grad for n, each in encoder.module.named_parameters()})
    for plain, checkpointed in zip(found[:2], found[2:], strict=True):
        assert all(torch.equal(checkpointed[name], each) for name, each in plain.items())


@pytest.mark.parametrize("checkpointed", [False, True])
def test_large_batches_learn_in_parts_on_a_processor(
    convolutional: TrainableEncoder, checkpointed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyhash.encoders.pretrained.CPU_LEARNING_PIXELS", 3 * 32 * 32 + 5)
    inputs = {"pixels": torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))}
    learning = convolutional.tune()
    sizes: list[int] = []
    first = convolutional.module.get_submodule("embedder")
    first.register_forward_hook(lambda _module, given, _output: sizes.append(len(given[0])))

    def gradients() -> list[torch.Tensor]:
        sizes.clear()
        features = convolutional.features(inputs)
        (features * torch.linspace(-1, 1, 10)[:, None]).square().sum().backward()
        found = [features.detach(), *(each.grad for each in learning if each.grad is not None)]
        convolutional.module.zero_grad()
        return found

    whole = gradients()  # in evaluation mode
    assert sizes == [10]
    convolutional.checkpoint_activations(checkpointed)
    convolutional.learning_mode()
    parts = gradients()
    assert sizes == [3, 3, 3, 1]
    assert len(parts) == len(whole) == 1 + len(learning)
    for found, wanted in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    convolutional.learning_mode(batch_norm=True)  # the statistics are those of the whole batch
    gradients()
    assert sizes == [10]
    with torch.no_grad():
        convolutional.features(inputs)
    assert sizes == [10, 10]


def test_texts_have_no_statistics(bert: Path) -> None:
    assert opened(bert, "text").moving_statistics == ()


def test_finding_blocks_leaves_no_trace(convolutional: TrainableEncoder) -> None:
    module = convolutional.module
    next(module.parameters()).requires_grad_()
    convolutional.learning_mode(batch_norm=True)
    before = statistics(convolutional)
    modes = [part.training for part in module.modules()]
    required = [each.requires_grad for each in module.parameters()]
    convolutional.blocks()
    assert [part.training for part in module.modules()] == modes
    assert True in modes
    assert False in modes
    assert [each.requires_grad for each in module.parameters()] == required
    assert all(each.equal(before[name]) for name, each in statistics(convolutional).items())
    assert not any(part._forward_hooks for part in module.modules())


def test_a_recorded_program_sees_what_was_learned(
    mobilenet: Path, images: list[Image.Image]
) -> None:
    encoder = opened(mobilenet)
    batch = [encoder.prepare(image) for image in images]
    for _ in range(6):
        encoder.embed(batch)
    calls: list[Any] = []
    handle = encoder.module.register_forward_pre_hook(lambda *_: calls.append(1))
    before = encoder.embed(batch)
    assert not calls  # it is recorded
    handle.remove()
    encoder.tune()
    encoder.learning_mode()
    step(encoder, encoder.tensors(batch))
    encoder.evaluation_mode()
    found = encoder.embed(batch)
    assert (found != before).any(axis=1).all()
    assert found.tobytes() == encoder.features(encoder.tensors(batch)).detach().numpy().tobytes()
    encoder.freeze()
    assert found.tobytes() == encoder.embed(batch).tobytes()


def test_encoding_in_learning_mode_is_refused(bert: Path, mobilenet: Path) -> None:
    for encoder, source in ((opened(bert, "text"), "snow"), (opened(mobilenet), None)):
        encoder.tune()
        encoder.learning_mode()
        with pytest.raises(RuntimeError, match=r"call evaluation_mode\(\) or freeze\(\) before"):
            encoder.embed([encoder.prepare(source or encoder.example())])
        encoder.evaluation_mode()
        encoder.embed([encoder.prepare(source or encoder.example())])


def test_evaluating_between_steps_leaves_the_mode_as_it_was(
    convolutional: TrainableEncoder, images: list[Image.Image]
) -> None:
    convolutional.tune()
    convolutional.learning_mode()
    modes = [part.training for part in convolutional.module.modules()]
    assert len(set(modes)) == 2
    with convolutional.evaluating():
        convolutional.encode(images)
    with pytest.raises(OSError, match="in the middle"), convolutional.evaluating():
        raise OSError("in the middle")
    assert [part.training for part in convolutional.module.modules()] == modes


def test_nothing_is_cached_while_weights_change(bert: Path, tmp_path: Path) -> None:
    items = [Item(text, {"text": text}, (), row=row) for row, text in enumerate(SENTENCES, 1)]
    collection = Collection.of(tmp_path / "items.jsonl", items)
    cache = FeatureCache(tmp_path / "cache")
    encoder = opened(bert, "text")
    base = encode_collection(encoder, collection, cache=cache).values
    encoder.tune()
    encoder.learning_mode()
    step(encoder, encoder.tensors(SENTENCES))
    encoder.evaluation_mode()
    tuned = encode_collection(encoder, collection, cache=cache).values
    assert not np.array_equal(tuned, base)
    again = encode_collection(opened(bert, "text"), collection, cache=cache).values
    assert np.array_equal(again, base)
    encoder.freeze()
    assert encoder.cached
    for _ in range(2):
        found = encode_collection(encoder, collection, cache=cache).values
        np.testing.assert_allclose(found, tuned, rtol=1e-5, atol=1e-6)


def test_saving_before_freezing_writes_the_fingerprint_of_what_is_saved(
    bert: Path, tmp_path: Path
) -> None:
    encoder = opened(bert, "text")
    encoder.tune()
    encoder.learning_mode()
    step(encoder, encoder.tensors(SENTENCES))
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path)
    encoder.freeze()
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.encode(SENTENCES).tobytes() == encoder.encode(SENTENCES).tobytes()


def test_freezing_what_did_not_learn_changes_nothing(
    mobilenet: Path, images: list[Image.Image]
) -> None:
    encoder = opened(mobilenet)
    before, features = encoder.fingerprint, encoder.encode(images)
    encoder.tune()
    encoder.learning_mode()
    encoder.freeze()
    assert encoder.fingerprint == before
    assert encoder.encode(images).tobytes() == features.tobytes()


def test_weights_that_stayed_are_stored_in_half_precision(tmp_path: Path) -> None:
    encoder = opened(save_family("bert", tmp_path / "base"), "text")
    with torch.no_grad():
        for parameter in encoder.module.parameters():
            parameter.copy_(parameter.half())
    learning = {id(each) for each in encoder.tune("last:1")}
    names = {n for n, each in encoder.module.named_parameters() if id(each) in learning}
    encoder.learning_mode()
    step(encoder, encoder.tensors(SENTENCES))
    encoder.freeze()
    encoder.save(tmp_path / "saved")
    stored = load_file(tmp_path / "saved" / "weights.safetensors")
    kept = {n for n, array in stored.items() if array.dtype == np.float32}
    assert kept == names
    assert {array.dtype for array in stored.values()} == {np.dtype("f2"), np.dtype("f4")}
    loaded = load_encoder(tmp_path / "saved")
    assert isinstance(loaded, TrainableEncoder)
    for name, parameter in loaded.module.named_parameters():
        assert torch.equal(parameter, encoder.module.get_parameter(name))
    assert loaded.encode(SENTENCES).tobytes() == encoder.encode(SENTENCES).tobytes()


@pytest.mark.parametrize("name", ["mobilenet_v2", "vit", "bert"])
def test_half_precision_gives_float32_features_and_gradients(
    name: str, tmp_path: Path, images: list[Image.Image]
) -> None:
    text = name == "bert"
    encoder = opened(save_family(name, tmp_path), "text" if text else "image")
    inputs = encoder.tensors(SENTENCES) if text else pixels(encoder, images)
    with torch.no_grad():
        wanted = encoder.features(inputs)
    learning = encoder.tune()
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder.features(inputs)
    assert found.dtype == torch.float32
    assert 0 < (found - wanted).norm() < 0.1 * wanted.norm()
    found.square().sum().backward()
    assert {each.grad.dtype for each in learning if each.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", ["vit", "dinov2", "clip-image", "siglip-image", "convnext"])
def test_images_of_another_size_can_be_learned_from(
    name: str, tmp_path: Path, images: list[Image.Image]
) -> None:
    encoder = opened(save_family(name, tmp_path))
    assert isinstance(encoder, TransformersImageEncoder)
    assert encoder.image_size == (32, 32)
    own = pixels(encoder, images)["pixels"]
    encoder.tune()
    larger = nn.functional.interpolate(own, size=(48, 40), mode="bicubic")
    found = encoder.features({"pixels": larger})
    assert found.shape == (len(images), encoder.dim)
    found.square().sum().backward()
    places = [n for n, _ in encoder.module.named_parameters() if "position" in n]
    assert bool(places) == (name != "convnext")
    for place in places:
        gradient = encoder.module.get_parameter(place).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
    assert not torch.equal(found, encoder.features({"pixels": own}))


def test_a_size_that_the_network_refuses_is_said(
    tmp_path: Path, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = opened(save_family("vit", tmp_path))
    own = encoder.module.forward

    def without_interpolation(pixel_values: torch.Tensor) -> Any:
        return own(pixel_values)

    monkeypatch.setattr(encoder.module, "forward", without_interpolation)
    larger = nn.functional.interpolate(pixels(encoder, images)["pixels"], size=(48, 40))
    with pytest.raises(ModelError, match=r"no images of 48 x 40 pixels .* its own size of 32 x 32"):
        encoder.features({"pixels": larger})


def test_pixel_values_are_normalized_as_the_processor_does(
    mobilenet: Path, images: list[Image.Image]
) -> None:
    encoder = opened(mobilenet)
    batch = [encoder.prepare(image) for image in images]
    values = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float()
    wanted = encoder.tensors(batch)["pixels"]
    assert torch.equal(encoder.normalized(values), wanted)
    assert torch.equal(encoder.normalized(values.contiguous()), wanted)
    gradient = values.contiguous().requires_grad_()
    encoder.normalized(gradient).sum().backward()
    assert gradient.grad is not None


def test_texts_have_no_pixels(bert: Path) -> None:
    with pytest.raises(UsageError, match="transformers-text encodes texts, not pixels"):
        opened(bert, "text").normalized(torch.zeros(1, 3, 4, 4))


def test_large_values_are_normalized_to_their_own_precision(
    tmp_path: Path, images: list[Image.Image]
) -> None:
    encoder = opened(tiny_models.save_mobilenet(tmp_path, do_rescale=False))
    wanted = pixels(encoder, images)["pixels"]  # values of a thousand, by the processor itself
    plain = opened(tiny_models.save_mobilenet(tmp_path / "plain"))
    bytes_ = torch.from_numpy(np.stack([plain.prepare(image) for image in images]))
    found = encoder.normalized(bytes_.permute(0, 3, 1, 2).float())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("model", "modality"), [("mobilenet_v2_1.0_224", "image"), ("all-MiniLM-L6-v2", "text")]
)
def test_a_step_on_real_weights_lowers_a_loss_and_is_saved(
    model: str, modality: str, tmp_path: Path, images: list[Image.Image]
) -> None:
    encoder = opened(shared_path(f"models/{model}"), modality)
    batch = [encoder.prepare(s) for s in (images[:4] if modality == "image" else SENTENCES[:4])]
    inputs = encoder.tensors(batch)
    wanted = torch.tensor([0, 1, 0, 1])
    weights = torch.randn(encoder.dim, 2, generator=torch.Generator().manual_seed(0))
    losses = []
    optimizer = torch.optim.AdamW(encoder.tune("last:2"), 1e-4)
    encoder.learning_mode()
    for _ in range(3):
        torch.manual_seed(0)
        loss = nn.functional.cross_entropy(encoder.features(inputs) @ weights, wanted)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] > losses[1] > losses[2]
    encoder.freeze()
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, TrainableEncoder)
    assert loaded.fingerprint == encoder.fingerprint
    found, again = encoder.embed(batch), loaded.embed(batch)
    assert found.tobytes() == again.tobytes()
    assert np.array_equal(found > found.mean(axis=0), again > found.mean(axis=0))
