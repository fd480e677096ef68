"""Pretrained models that are worth using, and those of them that this machine already has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxyhash.data.modalities import Modality

__all__ = ["KNOWN_MODELS", "KnownModel", "find_known_model", "models_folder", "models_on_disk"]


@dataclass(frozen=True)
class KnownModel:
    """A pretrained model on the Hugging Face hub.

    Attributes:
        hub_id: what `--image-encoder` or `--text-encoder` takes.
        size: of the weights that are fetched.
        license: as its model card states it.
        purpose: what it is good for.
    """

    hub_id: str
    size: str
    license: str
    purpose: str

    def __str__(self) -> str:
        return f"{self.hub_id} ({self.size}, {self.license}; {self.purpose})"


KNOWN_MODELS: dict[Modality, tuple[KnownModel, ...]] = {
    "image": (
        KnownModel(
            "google/siglip-base-patch16-224",
            "813 MB",
            "Apache-2.0",
            "images and English texts, slow without a GPU",
        ),
        KnownModel("facebook/dinov2-small", "88 MB", "Apache-2.0", "images that look alike"),
        KnownModel("google/mobilenet_v2_1.0_224", "14 MB", "Apache-2.0", "quick without a GPU"),
    ),
    "text": (
        KnownModel(
            "sentence-transformers/all-MiniLM-L6-v2", "91 MB", "Apache-2.0", "English sentences"
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
        own, name = models_folder(), model.hub_id.rpartition("/")[2]
        if own is not None and _is_complete(own / name):
            return model, str(own / name)
        revisions = hub_cache() / f"models--{model.hub_id.replace('/', '--')}" / "snapshots"
        if any(map(_is_complete, _folders(revisions))):
            return model, model.hub_id
    return None


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
