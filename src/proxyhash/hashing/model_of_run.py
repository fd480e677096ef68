"""Finding the model of a run."""

from __future__ import annotations

from pathlib import Path

from proxyhash.errors import ModelError

__all__ = ["model_folder"]


def model_folder(folder: str | Path) -> Path:
    """Return the model's folder, given a run folder or the model's folder itself.

    Raises:
        ModelError: "FOLDER holds no trained model ...".
    """
    folder = Path(folder)
    for candidate in (folder / "model", folder):
        if (candidate / "model.json").is_file():
            return candidate
    what = "holds no trained model" if folder.is_dir() else "does not exist"
    raise ModelError(
        f"{folder} {what}; give the folder that `proxyhash train --out` wrote, once it has finished"
    )
