"""Checks of the installation, each with the next step if it fails."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from proxyhash import __version__
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Check", "Status", "run_checks"]

Status = Literal["ok", "warning", "failed"]

_HIDDEN_EXTRAS = {"all", "dev"}
_LOW_DISK_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: the thing checked.
        status: `failed` means that proxyhash does not work; `warning` that a part does not.
        detail: the finding.
        hint: the next step, "" if there is none.
    """

    name: str
    status: Status
    detail: str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the check, ready for JSON."""
        return asdict(self)


def run_checks(*, track: Track = silent) -> list[Check]:
    """Run every check and return the results; a check that raises counts as failed."""
    results: list[Check] = []
    for name, check in track(list(_CHECKS.items()), "checking"):
        try:
            results += check()
        except Exception as error:
            # Broken installations fail in every way there is: ImportError, OSError on a missing
            # library, RuntimeError from a mismatched extension.
            results.append(Check(name, "failed", f"{type(error).__name__}: {error}", _REINSTALL))
    return results


_REINSTALL = "install again: pip install --force-reinstall proxyhash"


def _versions() -> list[Check]:
    python = platform.python_version()
    found = [Check("proxyhash", "ok", f"{__version__} on Python {python}, {platform.platform()}")]
    for package, extra in _requirements():
        if extra is None:
            found.append(_package(package))
    return found


def _package(package: str) -> Check:
    version = _version(package)
    if version is None:
        return Check(package, "failed", "not installed", f"pip install {package}")
    return Check(package, "ok", version)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> list[Check]:
    wanted: dict[str, list[str]] = {}
    for package, extra in _requirements():
        if extra is not None and extra not in _HIDDEN_EXTRAS:
            wanted.setdefault(extra, []).append(package)
    return [_extra(extra, packages) for extra, packages in sorted(wanted.items())]


def _extra(extra: str, packages: list[str]) -> Check:
    name = f"extra {extra}"
    versions = {package: _version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        command = f"pip install 'proxyhash[{extra}]'"
        return Check(name, "warning", f"not installed: {', '.join(missing)}", command)
    return Check(name, "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _requirements() -> list[tuple[str, str | None]]:
    """The package's own requirements as (package, extra or None), as its metadata has them."""
    pairs = []
    for line in metadata.requires("proxyhash") or []:
        package = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if package:
            pairs.append((package[0], extra[1] if extra else None))
    return pairs


def _devices() -> list[Check]:
    import torch

    names = [f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"]
    names += [
        f"cuda:{index} ({torch.cuda.get_device_name(index)})"
        for index in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        names.append("mps")
    return [Check("devices", "ok", ", ".join(names))]


def _tuning() -> list[Check]:
    """Return what encoders can be tuned with: GPUs, bfloat16, and several processes."""
    import torch

    gpus = [torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())]
    if gpus:
        half = sum(major >= _BFLOAT16_CAPABILITY for major, _ in gpus)
        count = f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
        found = f"{count}, {half if half < len(gpus) else 'all'} with bfloat16"
    else:
        found = f"no GPU; the processor has {_processor_bfloat16()}"
    if not torch.distributed.is_available():
        return [Check("tuning encoders", "ok", f"{found}; this torch has no torchrun")]
    backends = [
        name for name in ("nccl", "gloo") if getattr(torch.distributed, f"is_{name}_available")()
    ]
    detail = f"{found}; several processes by torchrun ({', '.join(backends) or 'no backend'})"
    hint = ""
    if len(gpus) > 1:
        hint = (
            f"to train on all GPUs: torchrun --nproc-per-node {len(gpus)} -m proxyhash train ... "
            "--tune image --device cuda"
        )
    return [Check("tuning encoders", "ok", detail, hint)]


_BFLOAT16_CAPABILITY = 8
"""Major compute capability from which GPUs have bfloat16: Ampere."""


def _processor_bfloat16() -> str:
    """Return which instructions for bfloat16 the processor has, as Linux says it."""
    from proxyhash.training.devices import processor_bfloat16

    there = processor_bfloat16()
    if there is None:
        return "bfloat16 or not: this system does not say"
    return f"bfloat16 ({there})" if there else "no bfloat16"


def _torchvision() -> list[Check]:
    """A torchvision of another torch build breaks transformers, which imports it when it can."""
    if find_spec("torchvision") is None:
        return []
    try:
        import torchvision  # type: ignore[import-not-found,unused-ignore]
    except Exception as error:
        return [
            Check(
                "torchvision",
                "warning",
                f"does not import beside this torch ({error}); transformers fails with it",
                "proxyhash does not need it: pip uninstall torchvision",
            )
        ]
    return [Check("torchvision", "ok", str(torchvision.__version__))]


def _cache() -> list[Check]:
    from proxyhash.encoders.cache import default_cache_folder
    from proxyhash.errors import UsageError
    from proxyhash.files import write_atomic

    try:
        folder = default_cache_folder()
    except UsageError as error:
        return [Check("feature cache", "failed", str(error))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomic(folder / "doctor.txt") as probe:
            probe.write_text("written by proxyhash doctor\n", encoding="utf-8")
        (folder / "doctor.txt").unlink()
    except OSError as error:
        hint = "set PROXYHASH_CACHE to a folder that can be written"
        return [Check("feature cache", "failed", f"{folder}: {error.strerror}", hint)]
    free = shutil.disk_usage(folder).free
    detail = f"{folder}, {_size(_folder_bytes(folder))} used, {_size(free)} free"
    if free < _LOW_DISK_BYTES:
        hint = "free some space, or set PROXYHASH_CACHE to a folder elsewhere"
        return [Check("feature cache", "warning", detail, hint)]
    return [Check("feature cache", "ok", detail)]


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _models() -> list[Check]:
    """Models in the cache of the Hugging Face hub and in the folder of PROXYHASH_MODELS."""
    from proxyhash.encoders.known import KNOWN_MODELS, models_on_disk

    found = models_on_disk()
    if found:
        shown = ", ".join(f"{name} ({_size(size)})" for name, size in found.items())
        return [Check("pretrained models", "ok", f"{shown}")]
    known = "; ".join(str(model) for models in KNOWN_MODELS.values() for model in models)
    hint = f"--image-encoder and --text-encoder fetch one from the hub once, such as {known}"
    return [Check("pretrained models", "warning", "none on this machine", hint)]


def _plugins() -> list[Check]:
    """Members of other packages, and files of `--plugin`, that cannot be loaded."""
    from proxyhash.data import MODALITIES
    from proxyhash.data.readers import READERS
    from proxyhash.encoders import ENCODERS
    from proxyhash.index.engines import ENGINES
    from proxyhash.index.open import INDEXES
    from proxyhash.methods import METHODS
    from proxyhash.networks.base import NETWORKS

    registries = (METHODS, ENCODERS, NETWORKS, MODALITIES, READERS, ENGINES, INDEXES)
    hint = "mend or uninstall the package; everything else works without it"
    return [
        Check(f"plug-in {name}", "warning", sentence, hint)
        for registry in registries
        for name, sentence in registry.broken.items()
    ]


def _search_works() -> list[Check]:
    """Compiled search against counting bits by hand."""
    import numpy as np

    from proxyhash.codes import pack, top_k, unpack

    bits = np.random.default_rng(0).random((50, 20)) < 0.5
    codes = pack(bits)
    distances = (bits[:1] != bits).sum(axis=1)
    order = np.argsort(distances, kind="stable")[:10]
    found = top_k(codes[:1], codes, k=10)
    right = (
        (unpack(codes, bits=20) == bits).all()
        and (found.positions[0] == order).all()
        and (found.distances[0] == distances[order]).all()
    )
    if right:
        return [Check("self-test: codes and search", "ok", "compiled kernels agree with counting")]
    return [Check("self-test: codes and search", "failed", "wrong distances", _REINSTALL)]


def _training_works() -> list[Check]:
    """One loss against its value by hand, and its gradient against a difference."""
    import math

    import torch

    from proxyhash.losses import margin_dynamic_softmax

    logits = torch.tensor([[2.0, -1.0]], requires_grad=True)
    loss = margin_dynamic_softmax(logits, torch.tensor([[1.0, 0.0]]), sigma=1.0, gamma=0.5)
    loss.backward()  # type: ignore[no-untyped-call]
    # a = 0.5 (2 - 1) against 0.5 * -1: softplus(-0.5 - 0.5), whose slope is -0.5 sigmoid(-1).
    wanted = math.log1p(math.exp(-1.0))
    slope = -0.5 / (1.0 + math.exp(1.0))
    right = math.isclose(loss.item(), wanted, rel_tol=1e-5) and math.isclose(
        float(logits.grad[0, 0]) if logits.grad is not None else math.nan, slope, rel_tol=1e-5
    )
    if right:
        return [Check("self-test: loss and gradient", "ok", "agree with the formula")]
    return [Check("self-test: loss and gradient", "failed", "wrong values", _REINSTALL)]


_CHECKS: dict[str, Callable[[], list[Check]]] = {
    "versions": _versions,
    "extras": _extras,
    "devices": _devices,
    "tuning encoders": _tuning,
    "torchvision": _torchvision,
    "feature cache": _cache,
    "pretrained models": _models,
    "plug-ins": _plugins,
    "self-test: codes and search": _search_works,
    "self-test: loss and gradient": _training_works,
}
