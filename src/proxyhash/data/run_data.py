"""The collection that a run was made from, as its `config.json` names it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.data.manifest import read_collection
from proxyhash.errors import ModelError
from proxyhash.files import read_json

if TYPE_CHECKING:
    from proxyhash.data.collection import Collection

__all__ = ["read_run_collection", "read_run_config"]


def read_run_config(run: str | Path) -> dict[str, Any]:
    """Return the resolved configuration of a run folder, as plain JSON.

    Raises:
        ModelError: "RUN is no run folder (it has no config.json); ...", or the file is damaged.
    """
    run = Path(run)
    if not (run / "config.json").is_file():
        what = "is no run folder (it has no config.json)" if run.is_dir() else "does not exist"
        raise ModelError(f"{run} {what}; give the folder that `proxyhash train --out` wrote")
    config = read_json(run / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("data"), str):
        raise ModelError(f"{run / 'config.json'} has no key 'data'; was it edited?")
    return config


def read_run_collection(run: str | Path, *, data: str | Path | None = None) -> Collection:
    """Return the collection that a run was trained on.

    Args:
        run: the run folder.
        data: where the collection lies now, if it was moved since.

    Raises:
        ModelError: the run folder has no usable `config.json`, or the collection is gone; says
            how to name another place.
        ManifestError: the manifest is bad.
    """
    config = read_run_config(run)
    path = Path(data or config["data"])
    if data is None and not path.exists():
        raise ModelError(
            f"the collection of {run} is no longer at {path}; say where it is now with --data"
        )
    return read_collection(path, on_bad_item=config.get("on_bad_item", "fail"))
