from __future__ import annotations

import re
import shutil
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest

from proxyhash.encoders import make_encoder, model_files
from proxyhash.encoders.model_files import ModelFiles, find_model
from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hub_id_without_network_says_what_to_do() -> None:
    with pytest.raises(
        ModelError, match=r"is not a local folder, and could not be fetched .*hub \("
    ):
        find_model("someone/some-model")
    with pytest.raises(ModelError, match=r"download it elsewhere and pass the folder"):
        make_encoder("someone/some-model@v2", modality="text")


def test_only_safe_files_are_fetched(monkeypatch: pytest.MonkeyPatch, bert: Path) -> None:
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(bert)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert find_model("someone/some-model@v2") == bert
    assert (asked["name"], asked["revision"]) == ("someone/some-model", "v2")
    suffixes = {name.rpartition(".")[2] for name in asked["allow_patterns"]}
    assert suffixes == {"json", "txt", "model", "safetensors"}
    wanted = ("2_Dense/model.safetensors", "1_Pooling/config.json", "0_CLIPModel/vocab.json")
    for name in (*wanted, "config_sentence_transformers.json", "modules.json"):
        assert any(fnmatch(name, pattern) for pattern in asked["allow_patterns"])
    for name in ("2_Dense/pytorch_model.bin", "onnx/model.onnx", "modeling.py"):
        assert not any(fnmatch(name, pattern) for pattern in asked["allow_patterns"])
    find_model("someone/some-model")
    assert asked["revision"] is None


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(
        ModelError, match=r"no model\.safetensors; other formats can run arbitrary code"
    ):
        find_model(str(tmp_path))


def test_files_come_back_as_they_were(bert: Path, tmp_path: Path) -> None:
    found = ModelFiles.read(bert, "text")
    assert set(found.content) == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    found.write(tmp_path)
    assert ModelFiles.read(tmp_path, "text") == found
    assert found.json("config.json")["model_type"] == "bert"
    assert found.json("modules.json") == {}


def test_the_wrong_kind_of_model_is_named(bert: Path, mobilenet: Path) -> None:
    with pytest.raises(ModelError, match="no image processor, so it encodes no images"):
        ModelFiles.read(bert, "image")
    with pytest.raises(ModelError, match="no tokenizer, so it encodes no texts"):
        ModelFiles.read(mobilenet, "text")


def test_huge_and_broken_files_are_refused(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"config\.json of the model is not valid JSON"):
        ModelFiles({"config.json": b"{"}).json("config.json")
    ModelFiles.read(bert, "text").write(tmp_path)
    monkeypatch.setattr(model_files, "_MAX_BYTES", 100)
    with pytest.raises(ModelError, match=r"tokenizer\.json has more than|config\.json has more"):
        ModelFiles.read(tmp_path, "text")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_pointer_of_git_lfs_is_called_one(bert: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 14206660\n"
    (folder / name).write_text(pointer)
    message = re.escape(f"{folder / name} is a pointer of Git LFS")
    with pytest.raises(ModelError, match=rf"{message}.*`git lfs pull`"):
        make_encoder(str(folder), modality="text")


def test_a_pointer_among_several_files_of_weights_is_found(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model-00002-of-00002.safetensors").write_text("version https://git-lfs\n")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is a pointer"):
        find_model(str(folder))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"[1, 2]", b"null", b"7"])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_a_broken_file_of_a_model_is_named(
    bert: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(str(folder / name))):
        make_encoder(str(folder), modality="text")
