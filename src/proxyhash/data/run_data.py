"""Data of a finished run: its collection, split and codes, checked to belong together."""

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
        split: its query, gallery, train and validation items.
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
        data: the collection's location now, if it was moved.

    Raises:
        ModelError: the folder is not a finished run, or its parts do not belong together.
        DataError: the collection, the split or the codes cannot be read.
    """
    run = Path(run)
    collection = read_run_collection(run, data=data)
    for name in ("split.json", "codes.npz"):
        if not (run / name).is_file():
            raise ModelError(
                f"{run} has no {name}; the training did not finish, resume it with "
                "`proxyhash train --resume`"
            )
    codes = CodeFile.load(run / "codes.npz")
    if codes.ids != collection.ids:
        raise ModelError(
            f"{run / 'codes.npz'} holds the codes of other items than {collection.path} has "
            "now; use the manifest that the run was trained on, or rerun the training"
        )
    config = read_run_config(run)
    if codes.bits != config.get("bits", codes.bits):
        raise ModelError(
            f"{run / 'codes.npz'} holds codes of {codes.bits} bits, but the run has "
            f"{config['bits']}; they are from another model, rerun the training"
        )
    header = run / "model" / "model.json"
    model = read_json(header).get("fingerprint", "") if header.is_file() else ""
    if codes.model and model and codes.model != model:
        raise ModelError(
            f"{run / 'codes.npz'} was made by another model than {run / 'model'}, so the "
            "distances are meaningless; rerun the training"
        )
    split = Split.load(run / "split.json", collection)
    return RunData(run, config, collection, split, codes)


def read_run_config(run: str | Path) -> dict[str, Any]:
    """Return the resolved configuration of a run folder, as plain JSON.

    Raises:
        ModelError: "RUN is not a run folder (it has no config.json); ...", or it is damaged.
    """
    run = Path(run)
    if not (run / "config.json").is_file():
        what = "is not a run folder (it has no config.json)" if run.is_dir() else "does not exist"
        raise ModelError(f"{run} {what}; give the folder that `proxyhash train --out` wrote")
    config = read_json(run / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("data"), str):
        raise ModelError(f"{run / 'config.json'} has no key 'data'; was it edited?")
    return config


def read_run_collection(run: str | Path, *, data: str | Path | None = None) -> Collection:
    """Return the collection that a run was trained on.

    Args:
        run: the run folder.
        data: the collection's location now, if it was moved.

    Raises:
        ModelError: the run folder has no usable `config.json`, or the collection has moved; says
            how to give its new location.
        ManifestError: the manifest is bad.
    """
    config = read_run_config(run)
    path = Path(data or config["data"])
    if data is None and not path.exists() and path == Path(config.get("out", "")) / "inputs":
        path = Path(run, "inputs")  # a run on arrays, which was moved with them
    if data is None and not path.exists():
        raise ModelError(
            f"the collection of {run} is no longer at {path}; give its new location with --data"
        )
    return read_collection(
        path,
        on_bad_item=config.get("on_bad_item", "fail"),
        label_separator=config.get("label_separator"),
        drop_unstorable=True,  # versions before this rule trained on such manifests
    )
