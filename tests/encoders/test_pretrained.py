"""Pretrained encoders against features computed step by step with transformers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from proxyhash.encoders import (
    TransformersImageEncoder,
    TransformersTextEncoder,
    load_encoder,
    make_encoder,
)
from proxyhash.errors import ImageError, ModelError
from tests.encoders import tiny_models
from tests.encoders.tiny_models import SENTENCES
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def pixels_of(folder: Path, images: list[Image.Image]) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    found: torch.Tensor = processor(images, return_tensors="pt")["pixel_values"]
    return found


def mean_by_loop(folder: Path, texts: tuple[str, ...]) -> NDArray[np.float32]:
    """One text at a time, so without padding and mask: the plain mean of its token vectors."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        rows.append(sum(hidden[place] for place in range(len(hidden))) / len(hidden))
    return torch.stack(rows).numpy()


def test_mobilenet_features_are_the_pooled_output(
    mobilenet: Path, images: list[Image.Image]
) -> None:
    model = transformers.MobileNetV2Model.from_pretrained(mobilenet).eval()
    with torch.no_grad():
        wanted = model(pixels_of(mobilenet, images)).pooler_output.numpy()
    encoder = TransformersImageEncoder.from_source(mobilenet)
    assert encoder.dim == 1280
    np.testing.assert_allclose(encoder.encode(images), wanted, **TOLERANCE)


@pytest.mark.parametrize("pooler", [True, False])
def test_a_vision_transformer_without_pooler_gives_its_first_token(
    pooler: bool, images: list[Image.Image], tmp_path: Path
) -> None:
    tiny_models.save_vit(tmp_path, pooler=pooler)
    model = transformers.ViTModel.from_pretrained(tmp_path, add_pooling_layer=pooler).eval()
    with torch.no_grad():
        output = model(pixels_of(tmp_path, images))
    wanted = output.pooler_output if pooler else output.last_hidden_state[:, 0]
    encoder = TransformersImageEncoder.from_source(tmp_path)
    np.testing.assert_allclose(encoder.encode(images), wanted.numpy(), **TOLERANCE)
    again = TransformersImageEncoder.from_source(tmp_path)
    assert again.fingerprint == encoder.fingerprint  # nothing random is left in it
    encoder.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.encode(images).tobytes() == encoder.encode(images).tobytes()


def test_text_features_are_the_mean_over_the_tokens(bert: Path) -> None:
    encoder = TransformersTextEncoder.from_source(bert)
    np.testing.assert_allclose(
        encoder.encode(SENTENCES), mean_by_loop(bert, SENTENCES), **TOLERANCE
    )


def test_padding_does_not_change_a_text(bert: Path) -> None:
    encoder = TransformersTextEncoder.from_source(bert)
    alone = np.concatenate([encoder.encode([text]) for text in SENTENCES])
    np.testing.assert_allclose(encoder.encode(SENTENCES), alone, **TOLERANCE)


def test_long_texts_are_cut(bert: Path) -> None:
    encoder = TransformersTextEncoder.from_source(bert)
    long = encoder.encode([" ".join(["snow"] * 500), " ".join(["snow"] * 14)])
    np.testing.assert_allclose(long[0], long[1], **TOLERANCE)


@pytest.mark.parametrize("limit", [-5, "long", [16]])
def test_a_damaged_limit_of_the_tokenizer_is_named(bert: Path, tmp_path: Path, limit: Any) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": limit}))
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: model_max_length is .*expected"):
        TransformersTextEncoder.from_source(tmp_path)


def test_sentence_transformers_recipe(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    steps = [
        {"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling")
    ]
    (tmp_path / "modules.json").write_text(json.dumps(steps))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        first = model(**tokenizer("a dog runs", return_tensors="pt")).last_hidden_state[:, 0]
    encoder = TransformersTextEncoder.from_source(tmp_path)
    np.testing.assert_allclose(encoder.encode(["a dog runs"]), first.numpy(), **TOLERANCE)
    encoder.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.encode(SENTENCES).tobytes() == encoder.encode(SENTENCES).tobytes()

    (tmp_path / "modules.json").write_text(json.dumps([*steps, {"type": "x.Normalize"}]))
    unit = TransformersTextEncoder.from_source(tmp_path)
    np.testing.assert_allclose(np.linalg.norm(unit.encode(SENTENCES), axis=1), 1, rtol=1e-5)
    assert unit.fingerprint != encoder.fingerprint


def test_clip_goes_through_its_projections(clip: Path, images: list[Image.Image]) -> None:
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    with torch.no_grad():
        vision = model.vision_model(pixel_values=pixels_of(clip, images)).pooler_output
        expected = model.visual_projection(vision).numpy()
        tokens = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
        texts = model.text_projection(model.text_model(**tokens).pooler_output).numpy()
    image_encoder = make_encoder(str(clip), modality="image")
    text_encoder = make_encoder(str(clip), modality="text")
    assert image_encoder.dim == text_encoder.dim == 12
    np.testing.assert_allclose(image_encoder.encode(images), expected, **TOLERANCE)
    np.testing.assert_allclose(text_encoder.encode(SENTENCES), texts, **TOLERANCE)


def test_each_side_of_clip_keeps_its_own_weights_only(clip: Path, tmp_path: Path) -> None:
    sizes = {}
    for modality in ("image", "text"):
        encoder = make_encoder(str(clip), modality=modality)
        encoder.save(tmp_path / modality)
        sizes[modality] = {
            name.partition(".")[0]
            for name in encoder.module.state_dict()  # type: ignore[attr-defined]
        }
    assert sizes["image"] == {"logit_scale", "vision_model", "visual_projection"}
    assert sizes["text"] == {"logit_scale", "text_model", "text_projection"}


def test_the_fingerprint_changes_with_weights_and_with_preprocessing(tmp_path: Path) -> None:
    spec = {
        "same": {},
        "again": {},
        "weights": {"seed": 1},
        "preprocessing": {"resample": 3},
    }
    fingerprints = {
        name: TransformersImageEncoder.from_source(
            tiny_models.save_mobilenet(tmp_path / name, **options)
        ).fingerprint
        for name, options in spec.items()
    }
    assert fingerprints["same"] == fingerprints["again"]
    assert len(set(fingerprints.values())) == 3


def test_a_saved_encoder_needs_nothing_of_where_it_came_from(
    tmp_path: Path, images: list[Image.Image]
) -> None:
    source = tiny_models.save_mobilenet(tmp_path / "source")
    encoder = TransformersImageEncoder.from_source(source)
    shutil.rmtree(source)
    encoder.save(tmp_path / "saved")
    loaded = load_encoder(tmp_path / "saved")
    assert loaded.encode(images).tobytes() == encoder.encode(images).tobytes()


def test_a_bad_image_is_named(mobilenet: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff not really")
    encoder = TransformersImageEncoder.from_source(mobilenet)
    with pytest.raises(ImageError, match=str(bad)):
        encoder.encode([Image.new("RGB", (9, 9)), bad])


@pytest.mark.shared
def test_minilm_follows_its_documented_recipe() -> None:
    folder = shared_path("models/all-MiniLM-L6-v2")
    texts = ("a dog runs", "Two dogs run through the snow.", "sea")
    wanted = mean_by_loop(folder, texts)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    encoder = TransformersTextEncoder.from_source(folder)
    assert encoder.dim == 384
    found = encoder.encode(texts)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2]


@pytest.mark.shared
def test_mobilenet_knows_a_dog_from_a_boat() -> None:
    encoder = TransformersImageEncoder.from_source(shared_path("models/mobilenet_v2_1.0_224"))
    root = shared_path("data/flickr8k")
    wanted: dict[str, list[Path]] = {"dog": [], "boat": []}
    with (root / "items.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            item = json.loads(line)
            words = item["text"].lower().split()
            for name, found in wanted.items():
                if len(found) < 8 and name in words and name in item["labels"] + ["boat"]:
                    found.append(root / item["image"])
    dogs, boats = (encoder.encode(wanted[name]) for name in ("dog", "boat"))
    center = np.concatenate([dogs, boats]).mean(axis=0)
    dogs, boats = dogs - center, boats - center
    assert (dogs @ dogs.mean(axis=0) > dogs @ boats.mean(axis=0)).mean() > 0.8
    assert (boats @ boats.mean(axis=0) > boats @ dogs.mean(axis=0)).mean() > 0.8
