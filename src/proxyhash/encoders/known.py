"""Pretrained models that are worth using, and those of them that this machine already has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxyhash.data.modalities import Modality

__all__ = [
    "KNOWN_MODELS",
    "KnownModel",
    "find_known_model",
    "known_spec",
    "models_folder",
    "models_on_disk",
]


@dataclass(frozen=True)
class KnownModel:
    """A pretrained model on the Hugging Face hub.

    Attributes:
        name: short name that `--image-encoder` or `--text-encoder` takes.
        hub_id: which they take as well.
        size: of the weights that are fetched.
        license: as its model card states it.
        purpose: what it is good for.
    """

    name: str
    hub_id: str
    size: str
    license: str
    purpose: str

    def __str__(self) -> str:
        return f"{self.hub_id} ({self.size}, {self.license}; {self.purpose})"


KNOWN_MODELS: dict[Modality, tuple[KnownModel, ...]] = {
    "image": (
        KnownModel(
            "siglip2",
            "google/siglip2-base-patch16-224",
            "1.5 GB",
            "Apache-2.0",
            "images and texts of many languages, slow without a GPU",
        ),
        KnownModel(
            "siglip",
            "google/siglip-base-patch16-224",
            "813 MB",
            "Apache-2.0",
            "images and English texts, slow without a GPU",
        ),
        KnownModel(
            "dinov2", "facebook/dinov2-small", "88 MB", "Apache-2.0", "images that look alike"
        ),
        KnownModel(
            "mobilenet", "google/mobilenet_v2_1.0_224", "14 MB", "Apache-2.0", "quick without a GPU"
        ),
    ),
    "text": (
        KnownModel(
            "minilm",
            "sentence-transformers/all-MiniLM-L6-v2",
            "91 MB",
            "Apache-2.0",
            "English sentences",
        ),
        KnownModel(
            "multilingual-minilm",
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            "471 MB",
            "Apache-2.0",
            "sentences of 50 languages, beside any image encoder",
        ),
        KnownModel(
            "multilingual-clip",
            "sentence-transformers/clip-ViT-B-32-multilingual-v1",
            "541 MB",
            "Apache-2.0",
            "sentences of 50 languages in the space of CLIP ViT-B/32",
        ),
        KnownModel(
            "siglip2",
            "google/siglip2-base-patch16-224",
            "1.5 GB",
            "Apache-2.0",
            "texts of many languages in the space of its images",
        ),
        KnownModel(
            "qwen3",
            "Qwen/Qwen3-Embedding-0.6B",
            "1.2 GB",
            "Apache-2.0",
            "long texts of 100 languages, with a prompt for queries; needs a GPU",
        ),
    ),
}
"""By modality, the models that are chosen or named where no encoder is given, best first."""

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def models_folder() -> Path | None:
    """Return the folder of the environment variable PROXYHASH_MODELS, or None without it.

    It holds transformers models, each in a folder named like the last part of its hub id.
    """
    given = os.environ.get("PROXYHASH_MODELS")
    return Path(given).expanduser() if given else None


def find_known_model(modality: Modality) -> tuple[KnownModel, str] | None:
    """Return the first known model that is on this machine, and the spec that loads it.

    Looks into `models_folder` and into the Hugging Face hub's cache, and nowhere on the network.
    """
    for model in KNOWN_MODELS.get(modality, ()):
        if (own := _own_copy(model)) is not None:
            return model, own
        revisions = hub_cache() / f"models--{model.hub_id.replace('/', '--')}" / "snapshots"
        if any(map(_is_complete, _folders(revisions))):
            return model, model.hub_id
    return None


def known_spec(name: str, modality: Modality) -> str | None:
    """Return the folder or hub id of a known model by its short name; None for other names."""
    for model in KNOWN_MODELS.get(modality, ()):
        if model.name == name:
            return _own_copy(model) or model.hub_id
    return None


def _own_copy(model: KnownModel) -> str | None:
    folder, name = models_folder(), model.hub_id.rpartition("/")[2]
    return str(folder / name) if folder is not None and _is_complete(folder / name) else None


def models_on_disk() -> dict[str, int]:
    """Return the models that this machine has, by spec, each with the bytes of its newest revision.

    Looks where `find_known_model` does; what is there in part is left out.
    """
    own = models_folder()
    specs = {str(path): path for path in _folders(own)} if own is not None else {}
    for path in _folders(hub_cache()):
        kind, _, name = path.name.partition("--")
        if kind == "models":
            revisions = [each for each in _folders(path / "snapshots") if _is_complete(each)]
            specs |= {name.replace("--", "/", 1): revisions[-1]} if revisions else {}
    return {spec: _bytes(path) for spec, path in specs.items() if _is_complete(path)}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_complete(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file() and any(
            (folder / name).is_file() for name in _WEIGHTS
        )
    except OSError:  # a folder that may not be read
        return False


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:  # there is none, or it may not be read
        return []


def hub_cache() -> Path:
    """Return the folder of the Hugging Face hub's cache, by the hub's own environment variables."""
    if given := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(given).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"
