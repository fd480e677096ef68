"""Files of a pretrained model: finding them, and those that are saved beside the weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import ModelError
from proxyhash.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxyhash.data.modalities import Modality

__all__ = ["ModelFiles", "check_pointer", "core_folder", "find_model"]

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
_PROMPTS = "config_sentence_transformers.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""A folder of a step of `modules.json`."""
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
    core = core_folder(folder)
    if not (core / "config.json").is_file():
        raise ModelError(f"{source} has no config.json; it is not a transformers model")
    if not any((core / name).is_file() for name in _WEIGHTS):
        raise ModelError(
            f"{source} has no model.safetensors; other formats can run arbitrary code and are "
            "not read: save the model again with save_pretrained"
        )
    for name in (_WEIGHTS[0], *_WEIGHTS[2:]):
        for weights in core.glob(name):
            _check_weights(weights)
    return folder


def core_folder(folder: Path) -> Path:
    """Return where the network and its tokenizer are: the folder itself, or one of its steps.

    Folders of sentence-transformers can have them in the folder of the first step, such as
    `0_CLIPModel`.

    Raises:
        ModelError: `modules.json` is not what it should be.
    """
    if (folder / "config.json").is_file() or not (folder / "modules.json").is_file():
        return folder
    first = next((path for _, path in _modules(folder / "modules.json")), "")
    return folder / first


def _fetch(source: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    named = {*_DESCRIPTION["image"], *_DESCRIPTION["text"], *_WEIGHTS, _PROMPTS}
    steps = {f"[0-9]_*/{name}" for name in named if "/" not in name}
    wanted = sorted(named | steps)
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
        hints: further files that a recipe is read from, and that are not saved, as the recipe is;
            None for a saved encoder.
        folder: where they are from, for messages.
    """

    content: Mapping[str, bytes]
    hints: Mapping[str, bytes] | None = None
    folder: Path = field(default=Path(), compare=False)

    @classmethod
    def read(cls, folder: Path, modality: Modality, *, saved: bool = False) -> ModelFiles:
        """Return the files in `folder` that describe a model of this modality.

        Args:
            folder: as `find_model` returns it, or of a saved encoder.
            modality: that it is to encode.
            saved: whether it is a saved encoder, which needs no hints.

        Raises:
            ModelError: "FOLDER has no tokenizer, so it encodes no texts", or a file cannot be read,
                is larger than 64 MiB, or is not the JSON that it should be; names the file.
        """
        core = folder if saved else core_folder(folder)
        content = _read_all(core, _DESCRIPTION[modality])
        if not content.keys() & set(_PREPROCESSING[modality]):
            needed = {"image": "image processor", "text": "tokenizer"}[modality]
            raise ModelError(f"{folder} has no {needed}, so it encodes no {modality}s")
        if saved or modality != "text":
            return cls(content, None, folder)
        hints = _read_all(folder, ("modules.json", _PROMPTS))
        if hints:
            steps = [path for _, path in _modules(folder / "modules.json") if path]
            hints |= _read_all(folder, [f"{path}/config.json" for path in steps])
        return cls(content, hints, folder)

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
            return json.loads({**self.content, **(self.hints or {})}.get(name, b"{}"))
        except ValueError as error:
            raise ModelError(f"{name} of the model is not valid JSON: {error}") from error

    def modules(self) -> list[tuple[str, str]]:
        """Return the steps of a sentence encoder: kind and folder of each; () where it has none."""
        return [_step(module) for module in self.json("modules.json") or []]

    def path(self, name: str) -> str:
        """Return what a message calls a file."""
        return str(self.folder / name)


def _read_all(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the content of those of the files that are there."""
    content: dict[str, bytes] = {}
    for name in names:
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
    return content


def _modules(path: Path) -> list[tuple[str, str]]:
    """Return kind and folder of each step that a file `modules.json` names; [] without the file.

    Raises:
        ModelError: "PATH: the step 'Dense' is in '../..' ...".
    """
    content = _read_all(path.parent, [path.name])
    steps = [_step(module) for module in (json.loads(content[path.name]) if content else [])]
    for kind, folder in steps:
        if folder and not _STEP.fullmatch(folder):
            raise ModelError(
                f"{path}: the step {kind!r} is in {folder!r:.40}; the name of a folder beside the "
                "file is expected"
            )
    return steps


def _step(module: Mapping[str, Any]) -> tuple[str, str]:
    return str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))


def _check_json(path: Path, content: bytes) -> None:
    """Refuse a descriptive file of which transformers would say less.

    Raises:
        ModelError: "PATH is not valid JSON: ...", or it is not an object.
    """
    check_pointer(path, content)
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


def check_pointer(path: Path, content: bytes) -> None:
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
            check_pointer(path, weights.read(len(_POINTER)))
        opened: Any = safe_open
        with opened(path, framework="numpy") as file:
            file.keys()
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; copy the model again") from error
