"""Files of a pretrained model: finding them, and those that are saved beside the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import ModelError
from proxyhash.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data.modalities import Modality

__all__ = ["ModelFiles", "TextRecipe", "find_model"]

_PREPROCESSING = {
    "image": ("preprocessor_config.json", "processor_config.json"),
    "text": (
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tokenizer.model",
    ),
}
"""Files of which a model of the modality has at least one."""

_DESCRIPTION = {
    "image": ("config.json", *_PREPROCESSING["image"]),
    "text": (
        "config.json",
        *_PREPROCESSING["text"],
        "special_tokens_map.json",
        "added_tokens.json",
        "merges.txt",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ),
}
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_POINTER = b"version https://git-lfs"
_MAX_BYTES = 64 * 2**20  # of one descriptive file; the largest known vocabulary is 17 MB


def find_model(source: str) -> Path:
    """Return the folder of a pretrained model, fetching a hub id ("NAME" or "NAME@REVISION").

    Only JSON, vocabularies and safetensors are fetched, into the hub's own cache; files that are
    already there are not fetched again.

    Raises:
        ModelError: "MODEL could not be fetched ...", or there are no safetensors weights.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        folder = _fetch(source)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{source} has no config.json; it is not a transformers model")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise ModelError(
            f"{source} has no model.safetensors; other formats can run arbitrary code and are "
            "not read: save the model again with save_pretrained"
        )
    for name in (_WEIGHTS[0], *_WEIGHTS[2:]):
        for weights in folder.glob(name):
            _check_weights(weights)
    return folder


def _fetch(source: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    wanted = sorted({*_DESCRIPTION["image"], *_DESCRIPTION["text"], *_WEIGHTS})
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=wanted))
    except Exception as error:  # each kind of connection failure raises another exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{source} is not a local folder, and could not be fetched from the Hugging Face hub "
            f"({reason}); check the name, or download it elsewhere and pass the folder"
        ) from error


@dataclass(frozen=True)
class ModelFiles:
    """Configuration, preprocessing and vocabulary of a model, byte for byte as published.

    Attributes:
        content: file name -> bytes.
    """

    content: Mapping[str, bytes]

    @classmethod
    def read(cls, folder: Path, modality: Modality) -> ModelFiles:
        """Return the files in `folder` that describe a model of this modality.

        Raises:
            ModelError: "FOLDER has no tokenizer, so it encodes no texts", or a file cannot be read,
                is larger than 64 MiB, or is not the JSON that it should be; names the file.
        """
        content: dict[str, bytes] = {}
        for name in _DESCRIPTION[modality]:
            path = folder / name
            if not path.is_file():
                continue
            if path.stat().st_size > _MAX_BYTES:
                raise ModelError(f"{path} has more than {_MAX_BYTES >> 20} MiB")
            try:
                content[name] = path.read_bytes()
            except OSError as error:
                raise ModelError(f"{path} cannot be read: {error}") from error
            if name.endswith(".json"):
                _check_json(path, content[name])
        if not content.keys() & set(_PREPROCESSING[modality]):
            needed = {"image": "image processor", "text": "tokenizer"}[modality]
            raise ModelError(f"{folder} has no {needed}, so it encodes no {modality}s")
        return cls(content)

    def write(self, folder: Path) -> None:
        """Write the files as they were read."""
        for name, content in self.content.items():
            with write_atomic(folder / name) as temporary:
                temporary.write_bytes(content)

    def json(self, name: str) -> Any:
        """Return the value in a JSON file, {} if there is none.

        Raises:
            ModelError: "NAME is not valid JSON".
        """
        try:
            return json.loads(self.content.get(name, b"{}"))
        except ValueError as error:
            raise ModelError(f"{name} of the model is not valid JSON: {error}") from error


def _check_json(path: Path, content: bytes) -> None:
    """Refuse a descriptive file of which transformers would say less.

    Raises:
        ModelError: "PATH is not valid JSON: ...", or it is not an object.
    """
    _check_pointer(path, content)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not valid JSON: {error}; copy the model again") from error
    steps = path.name == "modules.json"
    if steps and isinstance(value, list) and all(isinstance(step, dict) for step in value):
        return
    if steps or not isinstance(value, dict):
        what = "a list of objects" if steps else "an object"
        raise ModelError(f"{path} holds {value!r:.40} where {what} is expected")


def _check_pointer(path: Path, content: bytes) -> None:
    """Refuse what `git clone` leaves in place of a large file.

    Raises:
        ModelError: "PATH is a pointer of Git LFS ...".
    """
    if content.startswith(_POINTER):
        raise ModelError(
            f"{path} is a pointer of Git LFS, not the file itself; run `git lfs pull` in its "
            "folder, or download the file"
        )


def _check_weights(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as weights:
            _check_pointer(path, weights.read(len(_POINTER)))
        opened: Any = safe_open
        with opened(path, framework="numpy") as file:
            file.keys()
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; copy the model again") from error


@dataclass(frozen=True)
class TextRecipe:
    """Pooling of token vectors into one text vector.

    Attributes:
        pooling: "mean" over the attention mask, or "first" for the first token.
        normalize: whether the vector is divided by its Euclidean norm.
        max_tokens: longer texts are cut; None leaves it to the tokenizer.
    """

    pooling: str
    normalize: bool
    max_tokens: int | None

    @classmethod
    def of(cls, files: ModelFiles) -> TextRecipe:
        """Return the recipe of a sentence-transformers folder, else a plain mean.

        `modules.json` lists the steps after the model, `1_Pooling/config.json` the pooling and
        `sentence_bert_config.json` the length (sentence-transformers' own file format).

        Raises:
            ModelError: the folder asks for a pooling other than mean or first token.
        """
        modules = files.json("modules.json") or []
        steps = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
        unknown = sorted(set(steps) - {"Transformer", "Pooling", "Normalize"})
        if unknown:
            raise ModelError(
                f"the sentence encoder has a step {unknown[0]!r} after its pooling; only models "
                "with pooling and normalization can be used"
            )
        modes = files.json("1_Pooling/config.json")
        chosen = [mode for mode, on in modes.items() if mode.startswith("pooling_mode_") and on]
        if len(chosen) > 1 or not set(chosen) <= {
            "pooling_mode_mean_tokens",
            "pooling_mode_cls_token",
        }:
            raise ModelError(
                f"the sentence encoder pools by {', '.join(chosen)}; only the mean over tokens or "
                "the first token can be used"
            )
        length = files.json("sentence_bert_config.json").get("max_seq_length")
        return cls(
            pooling="first" if chosen == ["pooling_mode_cls_token"] else "mean",
            normalize="Normalize" in steps,
            max_tokens=int(length) if length else None,
        )
