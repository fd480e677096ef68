"""Model folders: writing one completely or not at all, and reading one that may be damaged.

    model.json              format, bits, classes, method, network shapes, encoders, fingerprint
    networks.safetensors    weights of the hashing networks, "image.*", "text.*", ...
    proxies.safetensors     codes of the classes, where the method has any
    image_encoder/          per modality with an encoder; see `proxyhash.encoders`
    text_encoder/
    checksums.json          SHA-256 of every other file; folders of earlier versions have none

Nothing is pickled. Shapes are checked before memory is allocated for them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxyhash.data import Modality
from proxyhash.encoders import Encoder, load_encoder
from proxyhash.encoders.folder import read_settings
from proxyhash.errors import DataError, ModelError, UsageError
from proxyhash.files import holds, read_json, replace_folder, write_json
from proxyhash.hashing.checksums import MAX_JSON, RESTORE, write_checksums
from proxyhash.hashing.devices import check_device
from proxyhash.networks.base import Network, network_from
from proxyhash.networks.tensors import read_tensors, write_tensors
from proxyhash.proxies.proxies import Proxies

__all__ = [
    "FORMAT",
    "SavedEncoder",
    "SavedModel",
    "check_parts",
    "read_model",
    "write_model",
]

FORMAT = 1

MODALITY_NAME = re.compile("[a-z][a-z0-9_]*")
"""Names of modalities that can be part of file and tensor names."""

_RESERVED = ("bits", "classes", "fingerprint", "method", "pairs", "proxies")
"""Keys beside the modalities in fingerprints, summaries and metrics."""

_Name = Annotated[Modality, Field(pattern=f"^{MODALITY_NAME.pattern}$")]


class _Header(BaseModel):
    """Content of `model.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    bits: int = Field(ge=1)
    classes: list[str]
    method: str
    networks: dict[_Name, dict[str, Any]]
    encoders: dict[_Name, str]
    """Fingerprint of each saved encoder."""
    has_proxies: bool
    fingerprint: str


@dataclass(frozen=True)
class SavedEncoder:
    """Encoder in a model folder that has not been loaded."""

    folder: Path
    device: str
    kind: str
    dim: int
    fingerprint: str

    def load(self) -> Encoder:
        """Return the encoder.

        Raises:
            ModelError: its folder is damaged.
        """
        return load_encoder(self.folder, device=self.device)

    def save(self, folder: Path) -> None:
        """Copy the encoder's folder."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)


@dataclass(frozen=True)
class SavedModel:
    """Parts of a model, as a folder holds them."""

    bits: int
    classes: tuple[str, ...]
    method: str
    fingerprint: str
    networks: Mapping[Modality, Network]
    encoders: Mapping[Modality, Encoder | SavedEncoder]
    proxies: Proxies | None

    def check_fingerprint(self, found: str, folder: Path) -> None:
        """Check that the parts belong to one model.

        Raises:
            ModelError: they do not.
        """
        if found != self.fingerprint:
            raise ModelError(
                f"{folder / 'model.json'} does not have the fingerprint of the files next to it, "
                f"so they do not belong to one model; {RESTORE}"
            )


def check_parts(
    networks: Mapping[Modality, Network],
    encoders: Mapping[Modality, Encoder | SavedEncoder],
    proxies: Proxies | None,
    *,
    bits: int,
    classes: int,
) -> None:
    """Check that the parts of a model fit together.

    Raises:
        UsageError: they do not; names the two that do not fit.
    """
    if not networks:
        raise UsageError("networks is empty; a model needs the network of at least one modality")
    for modality, network in networks.items():
        if not MODALITY_NAME.fullmatch(modality) or modality in _RESERVED:
            raise UsageError(
                f"networks has the key {modality!r}; the name of a modality has lower-case "
                f"letters, digits and _, and is none of {', '.join(_RESERVED)}"
            )
        encoder = encoders.get(modality)
        if network.bits != bits:
            raise UsageError(f"the {modality} network has {network.bits} bits, the model {bits}")
        if encoder is not None and encoder.dim != network.dim_in:
            raise UsageError(
                f"the {modality} encoder returns {encoder.dim} features, its network takes "
                f"{network.dim_in}"
            )
    if proxies is not None and proxies.codes.shape != (classes, bits):
        raise UsageError(
            f"the proxies have shape {proxies.codes.shape}, but the model has {classes} classes "
            f"and {bits} bits"
        )


def write_model(model: SavedModel, folder: Path) -> None:
    """Write the folder, completely or not at all.

    Raises:
        UsageError: the folder exists and holds something other than a model.
    """
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not holds(folder, "model.json", keys=("format", "fingerprint")):
        raise UsageError(
            f"{folder} exists and holds something other than a model; give another folder"
        )
    tensors = {
        f"{modality}.{name}": tensor
        for modality, network in model.networks.items()
        for name, tensor in network.state_dict().items()
    }
    header = _Header(
        format=FORMAT,
        bits=model.bits,
        classes=list(model.classes),
        method=model.method,
        networks={modality: network.description for modality, network in model.networks.items()},
        encoders={modality: encoder.fingerprint for modality, encoder in model.encoders.items()},
        has_proxies=model.proxies is not None,
        fingerprint=model.fingerprint,
    )
    with replace_folder(folder) as new:
        write_tensors(new / "networks.safetensors", tensors, metadata={"kind": "networks"})
        if model.proxies is not None:
            model.proxies.save(new / "proxies.safetensors")
        for modality, encoder in model.encoders.items():
            encoder_folder = new / f"{modality}_encoder"
            encoder_folder.mkdir()
            encoder.save(encoder_folder)
        write_json(new / "model.json", header.model_dump())
        write_checksums(new)


def read_model(folder: Path, *, device: str) -> SavedModel:
    """Return the parts of the model in a folder.

    Raises:
        ModelError: a part is missing, damaged or from another version; names the file.
        UsageError: torch cannot compute on the device.
    """
    header = _read_header(folder / "model.json")
    check_device(device)
    networks = _read_networks(folder / "networks.safetensors", header)
    proxies = Proxies.load(folder / "proxies.safetensors") if header.has_proxies else None
    encoders: dict[Modality, Encoder | SavedEncoder] = {
        modality: _find_encoder(folder / f"{modality}_encoder", fingerprint, device=device)
        for modality, fingerprint in header.encoders.items()
    }
    return SavedModel(
        bits=header.bits,
        classes=tuple(header.classes),
        method=header.method,
        fingerprint=header.fingerprint,
        networks={modality: network.to(device) for modality, network in networks.items()},
        encoders=encoders,
        proxies=proxies,
    )


def _read_header(path: Path) -> _Header:
    if not path.is_file():
        raise ModelError(
            f"{path.parent} is not a model folder (it has no {path.name}); give the `model` folder "
            "of a run, or train a model first"
        )
    size = path.stat().st_size
    if size > MAX_JSON:
        raise ModelError(f"{path} takes {size:,} bytes, more than any model of ours; {RESTORE}")
    try:
        value = read_json(path)
    except DataError as error:
        raise ModelError(f"{error}; {RESTORE}") from error
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT:
        raise ModelError(
            f"{path} has format {found!r}, and this version reads format {FORMAT}; "
            "use the version of proxyhash that wrote it, or train the model again"
        )
    try:
        return _Header.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path}, key {where!r}: {first['msg']}; {RESTORE}") from error


def _read_networks(path: Path, header: _Header) -> dict[Modality, Network]:
    tensors, _ = read_tensors(path)
    networks: dict[Modality, Network] = {}
    for modality, described in header.networks.items():
        network = _empty_network(modality, described, path.with_name("model.json"))
        prefix = f"{modality}."
        state = {
            name.removeprefix(prefix): tensors.pop(name)
            for name in sorted(tensors)
            if name.startswith(prefix)
        }
        _check_state(state, network, path, modality)
        network.load_state_dict(state, assign=True)
        networks[modality] = network.eval()
    if tensors:
        raise ModelError(
            f"{path} holds {min(tensors)!r}, which belongs to no network of the model; {RESTORE}"
        )
    return networks


def _empty_network(modality: Modality, described: Mapping[str, Any], path: Path) -> Network:
    """Return a network on the meta device, so that no size in the file takes memory."""
    try:
        with torch.device("meta"):
            return network_from(described)
    except (TypeError, ValueError, RuntimeError, UsageError) as error:
        raise ModelError(
            f"{path}, key 'networks.{modality}' does not describe a network ({error}); {RESTORE}"
        ) from error


def _check_state(
    state: Mapping[str, torch.Tensor], network: Network, path: Path, modality: Modality
) -> None:
    expected = network.state_dict()
    if state.keys() != expected.keys():
        odd = min(state.keys() ^ expected.keys())
        what = "lacks" if odd in expected else "holds an unknown"
        raise ModelError(f"{path} {what} tensor '{modality}.{odd}'; {RESTORE}")
    for name, tensor in state.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ModelError(
                f"{path}, tensor '{modality}.{name}' is {tensor.dtype} {tuple(tensor.shape)} where "
                f"{wanted.dtype} {tuple(wanted.shape)} is expected; {RESTORE}"
            )
        if not tensor.isfinite().all():
            raise ModelError(
                f"{path}, tensor '{modality}.{name}' holds NaN or infinity: training diverged "
                "or the file is damaged; train the model again"
            )


def _find_encoder(folder: Path, fingerprint: str, *, device: str) -> SavedEncoder:
    settings = read_settings(folder)
    if settings.get("fingerprint") != fingerprint:
        raise ModelError(f"{folder} does not hold the encoder of this model; {RESTORE}")
    if not isinstance(settings.get("dim"), int):
        raise ModelError(f"{folder / 'encoder.json'} has no whole number 'dim'; {RESTORE}")
    return SavedEncoder(
        folder=folder,
        device=device,
        kind=settings["kind"],
        dim=settings["dim"],
        fingerprint=fingerprint,
    )
