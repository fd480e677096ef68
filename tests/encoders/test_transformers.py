"""The adapter against transformers' own results on the same inputs."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from proxyhash.encoders._backbone import _projected
from proxyhash.encoders._transformers import (
    ImageProcessor,
    Tokenizer,
    load_backbone,
    restore_backbone,
)
from proxyhash.errors import ModelError
from tests.encoders import tiny_models
from tests.encoders.tiny_models import SENTENCES
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path

PROCESSORS: dict[str, dict[str, Any]] = {
    "crop": {},
    "square": {"size": {"height": 24, "width": 32}, "do_center_crop": False, "resample": 3},
    "half": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    "bytes": {"do_rescale": False},
    "unit": {"do_normalize": False},
    "raw": {"do_rescale": False, "do_normalize": False},
    "no resize": {"do_resize": False},
}


def own_result(folder: Path, images: list[Image.Image]) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    found: torch.Tensor = processor(images, return_tensors="pt")["pixel_values"]
    return found.float()


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_the_models_own_processor(
    name: str, images: list[Image.Image], tmp_path: Path
) -> None:
    tiny_models.image_processor(**PROCESSORS[name]).save_pretrained(tmp_path)
    processor = ImageProcessor(tmp_path)
    # Values of a thousand cannot be promised to within 1e-6, so that processor is left to itself.
    assert processor.batched == (name != "bytes")
    found = processor.pixels([processor.prepare(image) for image in images])
    assert found.dtype == torch.float32
    wanted = own_result(tmp_path, images)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


class PaddingProcessor(transformers.MobileNetV2ImageProcessorPil):
    """Turns every image into a frame of zeros: no multiplication of each pixel does that."""

    def normalize(self, image: Any, mean: Any, std: Any, **options: Any) -> Any:
        image = super().normalize(image, mean, std, **options)
        image[:, :2] = 0
        return image


class PlainProcessor:
    """Normalizes without saying with what, and knows no switches."""

    do_normalize = True

    def __call__(self, images: Any, return_tensors: str | None = None) -> dict[str, Any]:
        several = images if isinstance(images, list) else [images]
        values = [
            np.asarray(image.resize((8, 6))).transpose(2, 0, 1) / 100 - 1 for image in several
        ]
        stacked = np.stack(values).astype(np.float32)
        return {"pixel_values": torch.from_numpy(stacked) if return_tensors else list(stacked)}


@pytest.mark.parametrize("plain", [False, True])
def test_a_processor_that_does_otherwise_is_left_to_itself(
    plain: bool, images: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_models.image_processor().save_pretrained(tmp_path)
    own = PlainProcessor() if plain else PaddingProcessor.from_pretrained(tmp_path)
    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", lambda *_, **__: own)
    processor = ImageProcessor(tmp_path)
    assert not processor.batched
    found = processor.pixels([processor.prepare(image) for image in images])
    assert torch.equal(found, own(images, return_tensors="pt")["pixel_values"])


def test_images_that_come_out_in_different_sizes_are_refused(
    images: list[Image.Image], tmp_path: Path
) -> None:
    tiny_models.image_processor(do_center_crop=False).save_pretrained(tmp_path)
    processor = ImageProcessor(tmp_path)
    with pytest.raises(ModelError, match="images of different sizes"):
        processor.pixels([processor.prepare(image) for image in images])


@pytest.mark.shared
def test_mobilenet_processor_gives_the_same_pixels_on_photos() -> None:
    photos = sorted(shared_path("data/flickr8k/images").iterdir())[:6]
    folder = shared_path("models/mobilenet_v2_1.0_224")
    opened = [Image.open(photo).convert("RGB") for photo in photos]
    processor = ImageProcessor(folder)
    assert processor.batched
    found = processor.pixels([processor.prepare(image) for image in opened])
    torch.testing.assert_close(found, own_result(folder, opened), rtol=0, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_half_precision_weights_are_run_in_single_precision(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    save_file({name: t.half() for name, t in load_file(weights).items()}, weights, {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    backbone = load_backbone(tmp_path, modality="text")
    assert {parameter.dtype for parameter in backbone.module.parameters()} == {torch.float32}
    state = backbone.state()
    again = restore_backbone(tmp_path, state, pooling="mean", dropped=["pooler"])
    assert {parameter.dtype for parameter in again.module.parameters()} == {torch.float32}


def test_weights_from_a_file_lie_where_those_of_a_saved_encoder_do(
    bert: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    for length in range(1, 9):  # the header's length moves what comes after it
        save_file(load_file(bert / weights.name), weights, {"format": "pt", "x": "-" * 8 * length})
        backbone = load_backbone(tmp_path, modality="text")
        assert {each.data_ptr() % 64 for each in backbone.module.parameters()} == {0}


def test_models_are_frozen_and_in_evaluation_mode(mobilenet: Path) -> None:
    module = load_backbone(mobilenet, modality="image").module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_loading_leaves_the_random_state_and_the_log_level(bert: Path) -> None:
    state, level = torch.get_rng_state(), transformers.logging.get_verbosity()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    backbone = load_backbone(bert, modality="text")
    restore_backbone(bert, backbone.state(), pooling="mean", dropped=["pooler"])
    assert torch.equal(torch.get_rng_state(), state)
    assert transformers.logging.get_verbosity() == level
    assert transformers.utils.logging.is_progress_bar_enabled() == bars


def test_missing_weights_are_refused(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in weights if "attention" in name)
    save_file(
        {name: tensor for name, tensor in weights.items() if name != gone},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ModelError, match=f"the weights lack .*{gone.rpartition('encoder.')[2]}"):
        load_backbone(tmp_path, modality="text")


@pytest.mark.parametrize("damage", ["no model", "no weights", "own code", "decoder"])
def test_models_that_cannot_be_used_are_named(bert: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    config: dict[str, Any] = json.loads((tmp_path / "config.json").read_text())
    if damage == "no model":
        config["model_type"] = "of another age"
    if damage == "own code":
        config = {"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}
        (tmp_path / "code.py").write_text("raise SystemExit('this must not run')")
    if damage == "no weights":
        (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    if damage == "decoder":
        tiny = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 20}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        model = transformers.BartModel(transformers.BartConfig(**tiny, **heads))
        model.save_pretrained(tmp_path)
    else:
        (tmp_path / "config.json").write_text(json.dumps(config))
    expected = "a decoder are not supported" if damage == "decoder" else "cannot be used by"
    with pytest.raises(ModelError, match=f"{tmp_path}.*{expected}"):
        load_backbone(tmp_path, modality="text")


def test_tokens_are_cut_and_padded(bert: Path) -> None:
    tokens = Tokenizer(bert, max_tokens=5)(SENTENCES)
    assert tokens["input_ids"].shape == (len(SENTENCES), 5)
    assert tokens["attention_mask"].sum(dim=1).tolist() == [5, 5, 4, 5, 3]
    assert Tokenizer(bert, max_tokens=None).max_tokens == 16
    assert Tokenizer(bert, max_tokens=256).max_tokens == 16


def test_a_tokenizer_without_padding_token_pads_with_the_end_token(
    bert: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    own = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bert / "tokenizer.json"), eos_token="[SEP]"
    )
    own.save_pretrained(tmp_path)
    tokens = Tokenizer(tmp_path, max_tokens=None)(["snow", "a dog runs"])
    assert tokens["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]


def test_one_tokenizer_serves_several_threads(bert: Path) -> None:
    tokenizer = Tokenizer(bert, max_tokens=None)
    wanted = [tokenizer(SENTENCES[:count])["input_ids"] for count in (1, 2, 3, 5)] * 50
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: tokenizer(SENTENCES[:n])["input_ids"], [1, 2, 3, 5] * 50))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_both_forms_of_projected_features_are_read() -> None:
    features = torch.arange(6.0).view(2, 3)
    output = transformers.modeling_outputs.BaseModelOutputWithPooling(pooler_output=features)
    assert torch.equal(_projected(features), features)
    assert torch.equal(_projected(output), features)


def test_restored_models_give_the_same_state(clip: Path) -> None:
    first = load_backbone(clip, modality="text")
    again = restore_backbone(clip, first.state(), pooling=first.pooling, dropped=first.dropped)
    for name, array in first.state().items():
        np.testing.assert_array_equal(again.state()[name], array)
    state = {name: array for name, array in first.state().items() if "text_projection" not in name}
    with pytest.raises(ModelError, match="cannot be used by transformers"):
        restore_backbone(clip, state, pooling=first.pooling, dropped=first.dropped)
