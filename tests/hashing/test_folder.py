"""The model's folder: written whole or not at all, and read with care."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from proxyhash.encoders import BagOfWords
from proxyhash.errors import ModelError, UsageError
from proxyhash.files import write_json
from proxyhash.hashing import HashModel, model_folder
from proxyhash.hashing.checksums import find_damage
from proxyhash.proxies import Proxies
from tests.hashing.tiny_encoder import TinyPixels, build_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyhash.data import Collection


@pytest.fixture(scope="module")
def original(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    build_model(scenes).save(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of a saved model, to be damaged."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def _edit_header(folder: Path, **changes: Any) -> None:
    header = json.loads((folder / "model.json").read_text())
    write_json(folder / "model.json", header | changes)


def _edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "networks.safetensors")
    edit(tensors)
    save_file(tensors, folder / "networks.safetensors")


def test_what_lies_in_the_folder(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "checksums.json",
        "model.json",
        "networks.safetensors",
        "proxies.safetensors",
        "image_encoder/encoder.json",
        "text_encoder/encoder.json",
    }
    with safe_open(folder / "networks.safetensors", framework="pt") as file:
        assert "image.layers.0.weight" in file.keys()  # noqa: SIM118


@pytest.mark.parametrize("name", ["text_encoder/encoder.json", "networks.safetensors"])
def test_damage_of_any_file_is_found(folder: Path, name: str) -> None:
    assert find_damage(folder) == []
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    (problem,) = find_damage(folder)
    assert f"{name}: the checksum does not match; copy the whole folder again" in problem
    (folder / name).unlink()
    (problem,) = find_damage(folder)
    assert f"{name} cannot be read" in problem


@pytest.mark.parametrize("name", ["../outside", "/dev/zero", "a/../../b", "a\0b", ""])
def test_checksums_name_nothing_outside(folder: Path, name: str) -> None:
    write_json(folder / "checksums.json", {name: "0" * 64})
    (problem,) = find_damage(folder)
    assert "which is not in the folder" in problem


def test_a_folder_without_checksums_is_read(folder: Path) -> None:
    (folder / "checksums.json").unlink()
    assert find_damage(folder) == []
    assert HashModel.load(folder).bits == 20
    for content in ("[]", "{", "[" * 9999):
        (folder / "checksums.json").write_text(content)
        assert len(find_damage(folder)) == 1


def test_saving_over_a_model_replaces_it(folder: Path, scenes: Collection, tmp_path: Path) -> None:
    (folder / "leftover").write_text("of the old model")
    model = build_model(scenes, seed=9)
    model.save(folder)
    assert HashModel.load(folder).fingerprint == model.fingerprint
    assert not (folder / "leftover").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_loaded_model_can_be_saved_over_itself_and_elsewhere(
    folder: Path, tmp_path: Path, scenes: Collection
) -> None:
    model = HashModel.load(folder)
    model.save(folder)
    model.save(tmp_path / "deeper" / "copy")
    for place in (folder, tmp_path / "deeper" / "copy"):
        again = HashModel.load(place)
        assert again.fingerprint == model.fingerprint
        assert again.encode_texts(["a red circle"]).shape == (1, 3)


def test_a_failing_save_leaves_the_old_model(
    folder: Path, scenes: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = HashModel.load(folder).fingerprint
    model = build_model(scenes, seed=9)

    def fail(self: BagOfWords, folder: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(BagOfWords, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        model.save(folder)
    monkeypatch.undo()
    assert HashModel.load(folder).fingerprint == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failing_rename_puts_the_old_model_back(
    folder: Path, scenes: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = HashModel.load(folder).fingerprint
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("disk gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk gone"):
        build_model(scenes, seed=9).save(folder)
    monkeypatch.undo()
    assert HashModel.load(folder).fingerprint == before


def test_other_folders_are_not_overwritten(scenes: Collection, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "model.json").write_text('{"class_name": "Sequential"}')  # another program's
    with pytest.raises(UsageError, match="holds something other than a model"):
        build_model(scenes).save(tmp_path)
    with pytest.raises(UsageError, match="holds something other than a model"):
        build_model(scenes).save(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    build_model(scenes).save(tmp_path / "empty")
    assert HashModel.load(tmp_path / "empty").bits == 20


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("model.json", r"is not a model folder \(it has no model\.json\)"),
        ("networks.safetensors", r"networks\.safetensors is missing; copy"),
        ("proxies.safetensors", r"proxies\.safetensors is missing; copy"),
        ("text_encoder/encoder.json", r"text_encoder is not a saved encoder"),
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str, sentence: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=sentence):
        HashModel.load(folder)


@pytest.mark.parametrize("name", ["networks.safetensors", "proxies.safetensors", "model.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_named(folder: Path, name: str, share: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        HashModel.load(folder)


def test_a_flipped_bit_is_noticed_or_harmless(folder: Path) -> None:
    before = HashModel.load(folder).fingerprint
    rng = np.random.default_rng(0)
    for name in ("networks.safetensors", "proxies.safetensors", "model.json"):
        content = (folder / name).read_bytes()
        for position in rng.integers(len(content), size=60):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(damaged)
            try:
                found = HashModel.load(folder).fingerprint
            except ModelError:
                continue
            assert found == before  # a letter of a name that decides no code
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": 2}, "has format 2, and this version reads format 1"),
        ({"format": None}, "has format None"),
        ({"bits": "many"}, "key 'bits'"),
        ({"bits": 24}, "the image network has 20 bits, the model 24"),
        ({"surprise": 1}, "key 'surprise'"),
        ({"classes": ["one", "two"]}, "the proxies have shape"),
        ({"method": 3}, "key 'method'"),
        ({"networks": {}, "encoders": {}}, "which belongs to no network of the model"),
        ({"networks": {"sound": {}}}, "key 'networks.sound"),
        ({"networks": {"image": {"dim": 3}}}, "'networks.image' does not describe a network"),
        ({"networks": {"image": {"dim_in": "x", "bits": 20}}}, "does not describe a network"),
        ({"networks": {"../image": {}}}, "key 'networks"),
        ({"encoders": {"../../image": "0" * 64}}, "key 'encoders"),
        ({"fingerprint": "0" * 64}, "does not have the fingerprint of the files next to it"),
        (
            {"encoders": {"image": "0" * 64}},
            "does not hold the encoder of this model",
        ),
    ],
)
def test_a_wrong_header_is_explained(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    _edit_header(folder, **changes)
    with pytest.raises(ModelError, match=sentence):
        HashModel.load(folder)


def test_a_header_that_is_no_object(folder: Path) -> None:
    write_json(folder / "model.json", [1, 2])
    with pytest.raises(ModelError, match="has format None"):
        HashModel.load(folder)


def test_a_header_may_not_ask_for_memory_that_the_weights_do_not_fill(folder: Path) -> None:
    header = json.loads((folder / "model.json").read_text())
    header["networks"]["image"]["hidden"] = [10**12]
    write_json(folder / "model.json", header)
    with pytest.raises(ModelError, match=r"tensor 'image\.layers\.0\.bias' is torch\.float32"):
        HashModel.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["text.layers.0.weight"][2, 1] = value

    _edit_tensors(folder, spoil)
    with pytest.raises(ModelError, match=r"'text\.layers\.0\.weight' holds NaN or infinity"):
        HashModel.load(folder)


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["image.layers.2.bias"]


def _add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["image.layers.9.bias"] = torch.zeros(1)


def _stray(tensors: dict[str, torch.Tensor]) -> None:
    tensors["sound.bias"] = torch.zeros(1)


def _reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["image.mean"] = torch.zeros(4)


def _retype(tensors: dict[str, torch.Tensor]) -> None:
    tensors["image.mean"] = tensors["image.mean"].double()


def _change(tensors: dict[str, torch.Tensor]) -> None:
    tensors["image.mean"][0] += 1


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (_drop, r"lacks tensor 'image\.layers\.2\.bias'"),
        (_add, r"holds an unknown tensor 'image\.layers\.9\.bias'"),
        (_stray, r"holds 'sound\.bias', which belongs to no network"),
        (_reshape, r"'image\.mean' is torch\.float32 \(4,\) where torch\.float32 \(27,\)"),
        (_retype, r"'image\.mean' is torch\.float64"),
        (_change, "does not have the fingerprint of the files next to it"),
    ],
)
def test_wrong_weights_are_explained(
    folder: Path, edit: Callable[[dict[str, torch.Tensor]], None], sentence: str
) -> None:
    _edit_tensors(folder, edit)
    with pytest.raises(ModelError, match=sentence):
        HashModel.load(folder)


def test_proxies_of_another_model_are_noticed(folder: Path) -> None:
    proxies = Proxies.load(folder / "proxies.safetensors")
    Proxies(codes=-proxies.codes, origin="test").save(folder / "proxies.safetensors")
    with pytest.raises(ModelError, match="do not belong to one model"):
        HashModel.load(folder)


def test_an_encoder_of_another_width_is_noticed(folder: Path) -> None:
    other = TinyPixels(side=2)
    other.save(folder / "image_encoder")
    header = json.loads((folder / "model.json").read_text())
    header["encoders"]["image"] = other.fingerprint
    write_json(folder / "model.json", header)
    with pytest.raises(ModelError, match="parts of different models: the image encoder returns 12"):
        HashModel.load(folder)


def test_an_encoder_file_without_width(folder: Path) -> None:
    path = folder / "image_encoder" / "encoder.json"
    write_json(path, json.loads(path.read_text()) | {"dim": "wide"})
    with pytest.raises(ModelError, match="has no whole number 'dim'"):
        HashModel.load(folder)


def test_encoders_are_read_when_they_are_used(folder: Path) -> None:
    model = HashModel.load(folder)
    shutil.rmtree(folder / "image_encoder")
    assert model.encode_texts(["a red circle"]).shape == (1, 3)
    with pytest.raises(ModelError, match="image_encoder is not a saved encoder"):
        model.encode_images([b""])


def test_the_model_folder_is_found_from_either_side(tmp_path: Path) -> None:
    write_json(tmp_path / "run" / "model" / "model.json", {})
    assert model_folder(tmp_path / "run") == tmp_path / "run" / "model"
    assert model_folder(tmp_path / "run" / "model") == tmp_path / "run" / "model"
    with pytest.raises(ModelError, match="holds no trained model"):
        model_folder(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        model_folder(tmp_path / "nowhere")


def test_nothing_is_pickled(folder: Path) -> None:
    (folder / "networks.safetensors").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ModelError, match=r"networks\.safetensors is damaged"):
        HashModel.load(folder)
