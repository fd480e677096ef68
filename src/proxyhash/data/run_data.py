"""What a finished run is about: its collection, its split and its codes, which fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyhash.codes import CodeFile
from proxyhash.data.manifest import read_collection
from proxyhash.data.split import Split
from proxyhash.errors import ModelError
from proxyhash.files import read_json

if TYPE_CHECKING:
    from proxyhash.data.collection import Collection

__all__ = ["RunData", "read_run", "read_run_collection", "read_run_config"]


@dataclass(frozen=True)
class RunData:
    """The data of one run.

    Attributes:
        folder: the run folder.
        config: the resolved configuration, as plain JSON.
        collection: the items the run was made from.
        split: its queries, gallery, train and validation items.
        codes: the codes of the whole collection, in its order.
    """

    folder: Path
    config: dict[str, Any]
    collection: Collection
    split: Split
    codes: CodeFile


def read_run(run: str | Path, *, data: str | Path | None = None) -> RunData:
    """Return the data of a finished run, checked to belong together.

    Args:
        run: the run folder.
        data: where the collection lies now, if it was moved since.

    Raises:
        ModelError: the folder is no finished run, or its parts do not belong together.
        DataError: the collection, the split or the codes cannot be read.
    """
    run = Path(run)
    collection = read_run_collection(run, data=data)
    for name in ("split.json", "codes.npz"):
        if not (run / name).is_file():
            raise ModelError(
                f"{run} has no {name}; the training did not finish, go on with "
                "`proxyhash train --resume`"
            )
    codes = CodeFile.load(run / "codes.npz")
    if codes.ids != collection.ids:
        raise ModelError(
            f"{run / 'codes.npz'} holds the codes of other items than {collection.path} has "
            "now; use the manifest the run was trained on, or train again"
        )
    config = read_run_config(run)
    if codes.bits != config.get("bits", codes.bits):
        raise ModelError(
            f"{run / 'codes.npz'} holds codes of {codes.bits} bits, but the run has "
            f"{config['bits']}; they are of another model, train the run again"
        )
    header = run / "model" / "model.json"
    model = read_json(header).get("fingerprint", "") if header.is_file() else ""
    if codes.model and model and codes.model != model:
        raise ModelError(
            f"{run / 'codes.npz'} was made by another model than {run / 'model'}, so their "
            "distances mean nothing; train the run again"
        )
    split = Split.load(run / "split.json", collection)
    return RunData(run, config, collection, split, codes)


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
