"""Encoders with token vectors against vectors computed by hand with transformers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch.nn.functional import adaptive_avg_pool2d

from proxyhash.encoders import (
    FeatureCache,
    TokensImageEncoder,
    TokensTextEncoder,
    encode_collection,
    load_encoder,
    make_encoder,
)
from proxyhash.encoders.tokens import split_source
from proxyhash.errors import ModelError, UsageError
from proxyhash.training.config import read_config
from tests.encoders.families import save_family
from tests.encoders.siglip_models import save_fixed, save_naflex
from tests.encoders.test_pretrained import pixels_of
from tests.encoders.tiny_models import SENTENCES, save_clip, save_mobilenet, save_steps, save_vit
from tests.shared_data import shared_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from proxyhash.data import Collection

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
TEXTS = [*SENTENCES, "", "snow " * 20, "zzz snow"]


def parts_of(spec: str, inputs: Any, *, modality: str, count: int) -> Any:
    """Return pooled features (n, d) and vectors (n, count, d), the first as of no tokens."""
    encoder: Any = make_encoder(f"tokens:{spec},count={count}", modality=modality)
    rows = encoder.encode(inputs, batch_size=3)
    assert rows.shape == (len(inputs), encoder.dim)
    assert (encoder.count, encoder.width * (1 + count)) == (count, encoder.dim)
    rows = rows.reshape(len(inputs), 1 + count, -1)
    plain = make_encoder(spec, modality=modality).encode(inputs, batch_size=3)
    np.testing.assert_array_equal(rows[:, 0], plain)
    return plain, rows[:, 1:]


def averages_by_loop(patches: torch.Tensor, side: int) -> NDArray[np.float32]:
    """Average the cells of a square grid of patches (b, n, d) one at a time."""
    count = round(patches.shape[1] ** 0.5)
    grid = patches.reshape(len(patches), count, count, -1)
    pooled = adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), side)
    cells = [pooled[:, :, row, column] for row in range(side) for column in range(side)]
    return torch.stack(cells, dim=1).numpy()


def patches_by_hand(name: str, folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    """Return the patches of an image tower, as the pooled vector has them."""
    model: Any = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        if name == "clip":
            hidden = model.vision_model(pixel_values=pixels).last_hidden_state[:, 1:]
            rows = [
                [model.visual_projection(model.vision_model.post_layernorm(patch)) for patch in row]
                for row in hidden
            ]
            return torch.stack([torch.stack(row) for row in rows])
        if name == "siglip":
            found: torch.Tensor = model.vision_model(pixel_values=pixels).last_hidden_state
            return found
        found = model(pixel_values=pixels).last_hidden_state
        return found.flatten(2).transpose(1, 2) if found.ndim == 4 else found[:, 1:]


IMAGE_MODELS = {
    "vit": save_vit,
    "clip": save_clip,
    "siglip": save_fixed,
    "dinov2": lambda folder: save_family("dinov2", folder),
    "resnet": lambda folder: save_family("resnet", folder),
}


@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_patches_are_averaged_over_a_grid_row_by_row(
    name: str, count: int, images: list[Image.Image], tmp_path: Path
) -> None:
    folder = IMAGE_MODELS[name](tmp_path / "model")
    wanted = averages_by_loop(
        patches_by_hand(name, folder, pixels_of(folder, images)), round(count**0.5)
    )
    _, found = parts_of(str(folder), images, modality="image", count=count)
    np.testing.assert_allclose(found, wanted, **TOLERANCE)


def test_register_tokens_are_left_out(images: list[Image.Image], tmp_path: Path) -> None:
    torch.manual_seed(6)
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    model = transformers.Dinov2WithRegistersModel(config).eval()
    shutil.copytree(save_vit(tmp_path / "vit"), tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        hidden = model(pixel_values=pixels_of(tmp_path / "model", images)).last_hidden_state
    assert hidden.shape[1] == 1 + 4 + 16
    _, found = parts_of(str(tmp_path / "model"), images, modality="image", count=16)
    np.testing.assert_allclose(found, hidden[:, 5:].numpy(), **TOLERANCE)


@pytest.mark.shared
def test_tokens_of_the_real_mobilenet(images: list[Image.Image]) -> None:
    folder = shared_path("models/mobilenet_v2_1.0_224")
    model: Any = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        maps = model(pixel_values=pixels_of(folder, images)).last_hidden_state
    assert maps.shape[1:] == (1280, 7, 7)
    pooled, found = parts_of(str(folder), images, modality="image", count=16)
    cell = maps[:, :, 1:4, 5:7]  # the second row of four, the last column
    np.testing.assert_allclose(found[:, 7], cell.mean(dim=(2, 3)), atol=1e-4)
    wanted = adaptive_avg_pool2d(maps, 4).flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    _, one = parts_of(str(folder), images[:2], modality="image", count=1)
    np.testing.assert_allclose(one[:, 0], pooled[:2], atol=1e-4)


def hidden_by_hand(folder: Path, text: str, *, limit: int, head: Any = None) -> list[Any]:
    """Return the vectors of the tokens between the first one and the last one of a text."""
    model: Any = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)
    tower = getattr(model, "text_model", model)
    with torch.no_grad():
        hidden = tower(**tokens).last_hidden_state[0]
        return [head(model)(each) if head else each for each in hidden[1:-1]]


def padded(rows: list[list[Any]], count: int) -> NDArray[np.float32]:
    width = max(len(row[0]) for row in rows if row)
    found = np.zeros((len(rows), count, width), dtype=np.float32)
    for place, row in enumerate(rows):
        for number, vector in enumerate(row[:count]):
            found[place, number] = vector
    return found


@pytest.mark.parametrize("count", [1, 5, 20])
def test_the_first_tokens_of_texts(bert: Path, count: int) -> None:
    wanted = padded([hidden_by_hand(bert, text, limit=16) for text in TEXTS], count)
    _, found = parts_of(str(bert), TEXTS, modality="text", count=count)
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    assert not found[TEXTS.index("")].any()
    words = [min(len(text.split()), 14, count) for text in TEXTS]
    assert np.any(found, axis=2).sum(axis=1).tolist() == words
    assert all(row[:number].any(axis=1).all() for row, number in zip(found, words, strict=True))


def test_texts_of_clip_go_through_the_projection(clip: Path) -> None:
    wanted = [
        hidden_by_hand(clip, text, limit=16, head=lambda model: model.text_projection)
        for text in TEXTS
    ]
    _, found = parts_of(str(clip), TEXTS, modality="text", count=6)
    np.testing.assert_allclose(found, padded(wanted, 6), **TOLERANCE)


@pytest.mark.parametrize("save", [save_fixed, save_naflex])
def test_texts_of_siglip_go_through_its_head(save: Any, tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    model: Any = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows: list[list[Any]] = []
    texts = ["a dog", "x", ""]
    for text in texts:
        ids = [vocabulary["▁" if letter == " " else letter] for letter in text]
        whole = torch.tensor([[*ids, 1, *[0] * (63 - len(ids))]])
        with torch.no_grad():
            hidden = model.text_model(input_ids=whole).last_hidden_state[0, : len(ids)]
            rows.append([model.text_model.head(each) for each in hidden])
    _, found = parts_of(str(folder), texts, modality="text", count=4)
    np.testing.assert_allclose(found, padded(rows, 4), **TOLERANCE)


@pytest.mark.shared
def test_tokens_of_the_real_minilm() -> None:
    folder = shared_path("models/all-MiniLM-L6-v2")
    texts = ["a dog runs", "Two dogs run through the snow.", "", "snowmobile " * 300]
    wanted = padded([hidden_by_hand(folder, text, limit=256) for text in texts], 16)
    pooled, found = parts_of(str(folder), texts, modality="text", count=16)
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-5)
    assert np.any(found, axis=2).sum(axis=1).tolist() == [3, 7, 0, 16]
    assert np.linalg.norm(found[0, 0]) > 2


def test_tokens_go_through_dense_steps_and_keep_their_length(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    layer = {"in_features": 20, "out_features": 6, "bias": True}
    layer["activation_function"] = "torch.nn.modules.activation.Tanh"
    save_steps(tmp_path, "Dense", "Normalize", files={"2_Dense/config.json": layer})
    torch.manual_seed(9)
    linear = torch.nn.Linear(20, 6)
    weights = {f"linear.{name}": tensor.detach() for name, tensor in linear.named_parameters()}
    save_file(weights, tmp_path / "2_Dense" / "model.safetensors")
    rows = [hidden_by_hand(bert, text, limit=16) for text in TEXTS]
    with torch.no_grad():
        wanted = padded([[torch.tanh(linear(each)) for each in row] for row in rows], 8)
    pooled, found = parts_of(str(tmp_path), TEXTS, modality="text", count=8)
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-5)
    assert not found[TEXTS.index("")].any()  # no bias in place of a token


def test_prompts_are_tokens_unless_the_mean_leaves_them_out(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    wanted = padded([hidden_by_hand(bert, "the dog runs", limit=16)], 4)
    for include, first in ((True, 0), (False, 1)):
        pooling = {"pooling_mode_mean_tokens": True, "include_prompt": include}
        save_steps(tmp_path, files={"1_Pooling/config.json": pooling})
        encoder = make_encoder(
            f"tokens:{tmp_path},count=4", modality="text", prompts={"query": "the "}
        ).for_role("query")
        found = encoder.encode(["dog runs"]).reshape(5, -1)[1:]
        np.testing.assert_allclose(found[: 3 - first], wanted[0, first:3], **TOLERANCE)
        assert not found[3 - first :].any()


def test_sixteen_tokens_where_no_count_is_given(bert: Path, mobilenet: Path) -> None:
    assert isinstance(made := make_encoder(f"tokens:{bert}", modality="text"), TokensTextEncoder)
    assert (made.count, made.width, made.dim) == (16, 20, 17 * 20)
    image = make_encoder(f"tokens:{mobilenet}", modality="image")
    assert isinstance(image, TokensImageEncoder)
    assert (image.count, image.width, image.dim) == (16, 1280, 17 * 1280)
    assert image.tower is None


def test_short_names_of_known_models(mobilenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYHASH_MODELS", str(mobilenet.parent))
    (mobilenet.parent / "mobilenet_v2_1.0_224").symlink_to(mobilenet)
    found = make_encoder("tokens:mobilenet,count=4", modality="image")
    wanted = make_encoder(f"tokens:{mobilenet},count=4", modality="image")
    assert found.fingerprint == wanted.fingerprint


@pytest.mark.parametrize(
    ("argument", "modality", "message"),
    [
        ("", "text", "has no model; write tokens:MODEL,count=16"),
        (",count=4", "text", "has no model"),
        ("{bert},count=0", "text", "tokens:count is 0; a number from 1 to 4,096 is expected"),
        ("{bert},count=9999", "text", "tokens:count is 9999"),
        ("{bert},count=few", "text", "tokens:count is 'few'; an integer is expected"),
        ("{bert},count", "text", "the option count has no value"),
        ("{bert},cuont=3", "text", "count"),
        ("{mobilenet},count=15", "image", "count is 15; .* give a square number"),
    ],
)
def test_wrong_specs_are_usage_errors(
    argument: str, modality: str, message: str, bert: Path, mobilenet: Path
) -> None:
    spec = f"tokens:{argument.format(bert=bert, mobilenet=mobilenet)}"
    with pytest.raises(UsageError, match=message):
        make_encoder(spec, modality=modality)


def test_models_without_such_tokens_are_refused(tmp_path: Path) -> None:
    save_naflex(tmp_path / "naflex")
    with pytest.raises(ModelError, match=r"naflex: a model for images of any shape \(NaFlex\)"):
        make_encoder(f"tokens:{tmp_path / 'naflex'}", modality="image")
    clip = save_clip(tmp_path / "clip")
    text = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    vision = transformers.CLIPConfig.from_pretrained(clip).vision_config
    both = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text)
    transformers.VisionTextDualEncoderModel(both).save_pretrained(clip)
    for modality in ("image", "text"):
        with pytest.raises(ModelError, match=r"clip: .* type 'vision-text-dual-encoder' to the"):
            make_encoder(f"tokens:{clip},count=4", modality=modality)


def test_tokens_that_form_no_grid_or_have_another_width_are_refused(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "wide")
    config = transformers.ViTConfig.from_pretrained(folder)
    config.pooler_output_size = 10
    transformers.ViTModel(config).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"wide does not fit .* 24 values and .* features 10"):
        make_encoder(f"tokens:{folder},count=4", modality="image")
    torch.manual_seed(1)
    swin = save_vit(tmp_path / "swin")
    shape = {"image_size": 32, "patch_size": 4, "window_size": 4, "embed_dim": 8}
    config = transformers.SwinConfig(**shape, depths=[1, 1], num_heads=[2, 2])
    transformers.SwinModel(config).save_pretrained(swin)
    with pytest.raises(ModelError, match="16 tokens do not form a grid of 8 x 8 patches"):
        make_encoder(f"tokens:{swin},count=4", modality="image")


def test_a_damaged_count_of_a_saved_encoder(mobilenet: Path, tmp_path: Path) -> None:
    make_encoder(f"tokens:{mobilenet},count=4", modality="image").save(tmp_path)
    manifest = tmp_path / "encoder.json"
    settings = json.loads(manifest.read_text())
    assert settings["count"] == 4
    for count in (5, "4", True, None, 9):
        manifest.write_text(json.dumps({**settings, "count": count}))
        with pytest.raises(ModelError, match=str(tmp_path)):
            load_encoder(tmp_path)


def test_fingerprints_tell_tokens_and_their_number(bert: Path, clip: Path) -> None:
    for folder, modality in ((bert, "text"), (clip, "text"), (clip, "image")):
        specs = [str(folder), f"tokens:{folder},count=4", f"tokens:{folder},count=9"]
        found = {make_encoder(spec, modality=modality).fingerprint for spec in specs}
        assert len(found) == 3


def test_features_come_back_from_the_cache(
    scenes: Collection, mobilenet: Path, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    encoder = make_encoder(f"tokens:{mobilenet},count=4", modality="image")
    first = encode_collection(encoder, scenes, cache=cache)
    plain = make_encoder(str(mobilenet), modality="image")
    other = encode_collection(plain, scenes, cache=cache)
    assert other.values.shape[1] * 5 == first.values.shape[1]

    def embed(prepared: Any) -> Any:
        raise AssertionError("encoded again")

    encoder.embed = embed  # type: ignore[method-assign]
    again = encode_collection(encoder, scenes, cache=cache)
    assert again.values.tobytes() == first.values.tobytes()


@pytest.mark.parametrize(("modality", "layers"), [("image", "last:1"), ("text", "all")])
def test_tokens_alone_teach_the_network(
    modality: str, layers: str, clip: Path, images: list[Image.Image], tmp_path: Path
) -> None:
    encoder: Any = make_encoder(f"tokens:{clip},count=4", modality=modality)
    inputs: Any = images[:2] if modality == "image" else list(SENTENCES)
    before, mark = encoder.encode(inputs), encoder.fingerprint
    learning = encoder.tune(layers)
    tensors = encoder.tensors([encoder.prepare(each) for each in inputs])
    features = encoder.features(tensors)
    wanted = encoder.embed([encoder.prepare(each) for each in inputs])
    assert features.detach().numpy().tobytes() == wanted.tobytes()
    features[:, encoder.width :].square().sum().backward()
    moved = [parameter for parameter in learning if parameter.grad is not None]
    assert any(parameter.grad.abs().max() > 0 for parameter in moved)
    torch.optim.SGD(learning, 1e-6).step()
    encoder.freeze()
    after = encoder.encode(inputs)
    assert (after[:, encoder.width :] ** 2).sum() < (before[:, encoder.width :] ** 2).sum()
    assert encoder.fingerprint != mark
    encoder.save(tmp_path / "saved")
    assert load_encoder(tmp_path / "saved").encode(inputs).tobytes() == after.tobytes()


def test_images_of_another_size_have_the_same_number_of_tokens(clip: Path) -> None:
    encoder: Any = make_encoder(f"tokens:{clip},count=4", modality="image")
    pixels = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = encoder.features({"pixels": pixels}).reshape(2, 5, -1)
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        hidden = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)
        patches = model.visual_projection(
            model.vision_model.post_layernorm(hidden.last_hidden_state[:, 1:])
        )
    grid = patches.reshape(2, 6, 5, -1)
    for place, (row, column) in enumerate([(0, 0), (0, 2), (3, 0), (3, 2)]):
        wanted = grid[:, row : row + 3, column : column + 3].mean(dim=(1, 2))
        np.testing.assert_allclose(found[:, 1 + place], wanted, **TOLERANCE)


def test_many_images_are_recorded_to_the_same_bits(
    images: list[Image.Image], tmp_path: Path
) -> None:
    encoder = make_encoder(f"tokens:{save_mobilenet(tmp_path)},count=4", modality="image")
    first = encoder.encode(images)
    encoder.encode(images * 4)
    assert encoder._network._program is not None  # type: ignore[attr-defined]
    assert encoder.encode(images).tobytes() == first.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "modality"), [("clip", "image"), ("mobilenet", "image"), ("bert", "text")]
)
def test_tokens_are_part_of_an_exported_graph(
    name: str, modality: str, request: pytest.FixtureRequest, images: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnx", reason="needs the extra onnx")
    from proxyhash.hashing.onnx_export import export_onnx
    from tests.hashing.test_onnx_export import model_of

    folder = request.getfixturevalue(name)
    model = model_of(make_encoder(f"tokens:{folder},count=9", modality=modality))
    inputs = images if modality == "image" else [*TEXTS, "a bird"]
    (made,) = export_onnx(model, tmp_path / "out", samples={modality: inputs})
    assert made.bits >= 0.999


def test_paths_in_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    assert split_source("a,b,count=4") == ("a,b", "count=4")
    assert split_source("a,count=4") == ("a", "count=4")
    assert split_source("org/name@main") == ("org/name@main", "")
    specs = {"image_encoder": "tokens:a,b,count=4", "text_encoder": "tokens:org/name"}
    config = read_config({"data": "photos", "out": "runs/a", **specs})
    assert config.encoders["image"] == f"tokens:{tmp_path / 'a,b'},count=4"
    assert config.encoders["text"] == "tokens:org/name"
