"""Finding and reading the parts of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxyhash.errors import ModelError
from proxyhash.files import read_json

if TYPE_CHECKING:
    from proxyhash.data import Collection

__all__ = ["model_folder", "read_run_collection"]


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


def read_run_collection(run: Path, *, data: str | Path | None = None) -> Collection:
    """Return the collection that a run was trained on.

    Args:
        run: the run folder.
        data: where the collection lies now, if it was moved since.

    Raises:
        ModelError: the run folder has no usable `config.json`.
        ManifestError: the manifest is gone or bad; says how to name another place.
    """
    from proxyhash.data import read_collection

    if not (run / "config.json").is_file():
        what = "is no run folder (it has no config.json)" if run.is_dir() else "does not exist"
        raise ModelError(f"{run} {what}; give the folder that `proxyhash train --out` wrote")
    config = read_json(run / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("data"), str):
        raise ModelError(f"{run / 'config.json'} has no key 'data'; was it edited?")
    path = Path(data or config["data"])
    if data is None and not path.exists():
        raise ModelError(
            f"the collection of {run} is no longer at {path}; say where it is now with --data"
        )
    return read_collection(path, on_bad_item=config.get("on_bad_item", "fail"))
