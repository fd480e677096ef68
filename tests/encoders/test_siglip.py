"""SigLIP 2, of one image size and of any (NaFlex), against plain calls of transformers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from proxyhash.encoders import TransformersImageEncoder, load_encoder, make_encoder
from proxyhash.errors import ModelError
from tests.encoders.siglip_models import SAVE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from proxyhash.encoders import TrainableEncoder

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
LENGTH = 64
TEXTS = ["A Dog", "a dog", "zwei hunde", "ein HUND " * 30, "", "x"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(tmp_path_factory.mktemp("siglip") / name) for name, save in SAVE.items()}


@pytest.fixture(params=SAVE)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[str(request.param)]


def text_features(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """By hand: letters of the text in lower case, the end, and padding up to 64."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        ids = [vocabulary["▁" if letter == " " else letter] for letter in text.lower()]
        ids = [*ids[: LENGTH - 1], 1]
        row = torch.tensor([ids + [0] * (LENGTH - len(ids))])
        with torch.no_grad():
            rows.append(model.get_text_features(input_ids=row).pooler_output[0])
    return torch.stack(rows).numpy()


def test_texts_are_in_lower_case_and_of_full_length(folder: Path) -> None:
    encoder = make_encoder(str(folder), modality="text")
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found, text_features(folder, TEXTS), **TOLERANCE)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.01


def image_features(folder: Path, images: list[Image.Image]) -> NDArray[np.float32]:
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    rows = []
    for image in images:
        with torch.no_grad():
            output = model.get_image_features(**processor(image, return_tensors="pt"))
        rows.append(output.pooler_output[0])
    return torch.stack(rows).numpy()


def test_images_go_through_the_own_processor(folder: Path, images: list[Image.Image]) -> None:
    encoder = TransformersImageEncoder.from_source(folder)
    wanted = image_features(folder, images)
    np.testing.assert_allclose(encoder.encode(images, batch_size=7), wanted, **TOLERANCE)
    embedded = encoder.embed([encoder.prepare(image) for image in images])
    np.testing.assert_allclose(embedded, wanted, **TOLERANCE)


def test_patches_are_as_many_as_fit_and_keep_the_aspect(folders: dict[str, Path]) -> None:
    encoder = TransformersImageEncoder.from_source(folders["naflex"])
    wide = encoder.prepare(Image.new("RGB", (80, 20)))
    inputs = encoder.tensors([wide, encoder.prepare(Image.new("RGB", (30, 30)))])
    assert inputs["shapes"].tolist() == [[2, 8], [4, 4]]
    assert inputs["mask"].sum(dim=1).tolist() == [16, 16]
    assert inputs["pixels"].shape == (2, 20, 3 * 8 * 8)
    assert not inputs["pixels"][:, 16:].any()
    assert encoder.image_size == (32, 32)


def test_augmented_images_of_one_shape_are_cut_alike(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = TransformersImageEncoder.from_source(folders["naflex"])
    noise = np.random.default_rng(1).integers(0, 256, (2, 32, 24, 3), dtype=np.uint8)
    pixels = encoder.normalized(torch.from_numpy(noise).permute(0, 3, 1, 2).float())
    with torch.no_grad():
        found = encoder.features({"pixels": pixels}).numpy()
    processor = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=12)
    for path in folders["naflex"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    processor.save_pretrained(tmp_path)  # 12 patches of 8 x 8 are 32 x 24, so nothing is resized
    wanted = image_features(tmp_path, [Image.fromarray(each) for each in noise])
    np.testing.assert_allclose(found, wanted, **TOLERANCE)
    with pytest.raises(ModelError, match=r"no images of 32 x 30 pixels \(.* multiples of 8\)"):
        encoder.features({"pixels": torch.zeros(1, 3, 32, 30)})


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_both_towers_learn_and_are_saved_whole(
    folder: Path, modality: str, tuned: bool, images: list[Image.Image], tmp_path: Path
) -> None:
    encoder: TrainableEncoder = make_encoder(str(folder), modality=modality)  # type: ignore[assignment]
    inputs: list[Any] = TEXTS if modality == "text" else images[:5]
    before = encoder.encode(inputs)
    if tuned:
        step = torch.optim.SGD(encoder.tune(), 1e-3)
        encoder.learning_mode()
        prepared = [encoder.prepare(each) for each in inputs]
        encoder.features(encoder.tensors(prepared))[:, ::2].sum().backward()
        step.step()
        encoder.freeze()
        assert np.abs(encoder.encode(inputs) - before).max() > 1e-5
    encoder.save(tmp_path)
    loaded = load_encoder(tmp_path)
    assert loaded.fingerprint == encoder.fingerprint
    assert type(loaded) is type(encoder)
    assert loaded.encode(inputs).tobytes() == encoder.encode(inputs).tobytes()


@pytest.mark.parametrize(
    ("name", "value"), [("patch_size", 0), ("max_num_patches", 10**9), ("max_num_patches", "many")]
)
def test_a_processor_that_asks_for_anything_is_refused(
    folders: dict[str, Path], tmp_path: Path, name: str, value: Any
) -> None:
    for path in folders["naflex"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ModelError, match=str(tmp_path)):
        make_encoder(str(tmp_path), modality="image")
