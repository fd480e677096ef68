"""Trained models: per modality an encoder and a hashing network, with proxies, in one folder.

Importing this package does not load torch; the first use of `HashModel` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from proxyhash.hashing.model import HashModel

__all__ = ["HashModel", "model_folder"]


def model_folder(folder: str | Path) -> Path:
    """Return the model's folder, given a run folder or the model's folder itself.

    Raises:
        ModelError: "FOLDER holds no trained model ...".
    """
    folder = Path(folder)
    for candidate in (folder / "model", folder):
        if (candidate / "model.json").is_file():
            return candidate
    problem = "holds no trained model" if folder.is_dir() else "does not exist"
    raise ModelError(
        f"{folder} {problem}; give the folder that `proxyhash train --out` wrote, once training "
        "has finished"
    )


def __getattr__(name: str) -> Any:
    if name == "HashModel":
        from proxyhash.hashing.model import HashModel

        return HashModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
