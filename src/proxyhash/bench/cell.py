"""A cell: one method at one code length with one seed on one data set, and its folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from proxyhash.bench.suite import CANONICAL, EMBEDDING, Variant, slug
from proxyhash.encoders.folder import read_settings
from proxyhash.errors import DataError, UsageError
from proxyhash.files import read_json
from proxyhash.methods import method_settings
from proxyhash.training import TrainConfig, read_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.sources import FREE_KEYS, merge_values
from proxyhash.training.tuning import TuneOptions, ViewOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.bench.suite import DataSet, Suite
    from proxyhash.data import Modality

__all__ = ["Cell", "Measuring", "cells_of", "collection_path", "encoder_cells", "yardstick_cells"]


@dataclass(frozen=True)
class Measuring:
    """Job of a cell that measures yardsticks and trains nothing.

    Attributes:
        space: "embedding", "canonical", or the method whose outputs are quantized.
        bits: code lengths that yardsticks equal in bytes.
        power: of the canonical correlations that scale directions.
        shared_space: whether the encoders share one space; None: the towers of one model do.
        source: the run folder whose model has the outputs; None where there are none.
    """

    space: str
    bits: tuple[int, ...]
    power: float
    shared_space: bool | None
    source: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the figures, as JSON values."""
        decisive: dict[str, Any] = {"space": self.space, "bits": list(self.bits)}
        if self.space == CANONICAL:
            decisive["power"] = self.power
        if self.space == EMBEDDING:
            decisive["shared_space"] = self.shared_space
        if self.source is not None and (metrics := self.source / "metrics.json").is_file():
            decisive["model"] = read_json(metrics)["fingerprint"]["model"]
        return decisive


@dataclass(frozen=True)
class Cell:
    """One training run of a suite, or one measuring of yardsticks.

    Attributes:
        data: name of the data set.
        method: name of the variant.
        bits: code length.
        seed: of split, weights and order.
        config: the run's configuration, with every setting of its method.
        shared: the modalities whose encoder was tuned in another cell, see `encoder_cells`.
        keeps_model: whether the model stays, as yardsticks need its outputs.
        yardsticks: what is measured, where nothing is trained.
    """

    data: str
    method: str
    bits: int
    seed: int
    config: TrainConfig
    shared: tuple[Modality, ...] = ()
    keeps_model: bool = False
    yardsticks: Measuring | None = None

    @property
    def name(self) -> str:
        """Name in messages: "flickr8k, dchml, 64 bits, seed 0"."""
        if self.yardsticks is not None:
            return f"{self.data}, {self.method}, seed {self.seed}"
        return f"{self.data}, {self.method}, {self.bits} bits, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.config.out)

    @property
    def record(self) -> Path:
        """Record of time and memory; written last, so a cell that has it is finished."""
        return self.folder / "cell.json"

    @property
    def average_precision(self) -> Path:
        """The average precision of every query."""
        return self.folder / "average_precision.npz"

    @property
    def finished(self) -> bool:
        """Whether the cell is filled."""
        has_model = not self.keeps_model or RunFolder(self.folder).model.is_dir()
        return self.record.is_file() and has_model

    @property
    def figures(self) -> Path:
        """The figures of yardsticks."""
        return self.folder / "yardsticks.json"

    @property
    def shared_fingerprints(self) -> dict[str, str]:
        """Fingerprints of the shared encoders, by modality; those that are there."""
        folders = {modality: Path(self.config.encoders[modality]) for modality in self.shared}
        return {
            modality: read_settings(folder)["fingerprint"]
            for modality, folder in folders.items()
            if folder.is_dir()
        }

    @cached_property
    def changes(self) -> tuple[str, ...]:
        """Differences between the suite and the settings of a finished cell, in words."""
        if not self.finished:
            return ()
        try:
            stored = _resolved(read_json(self.folder / "config.json")).to_dict()
            record = read_json(self.record)
            used = record.get("shared_encoders", {})
            current = self.shared_fingerprints
            measuring = self.yardsticks.to_dict() if self.yardsticks else {}
        except (DataError, UsageError) as error:
            return (f"its files cannot be used ({error})",)
        wanted = self.config.to_dict()
        for modality in self.shared:  # where they lie may change, as the whole output folder can
            own = stored["encoders"].get(modality, "")
            if Path(own).parts[-5:] == Path(wanted["encoders"][modality]).parts[-5:]:
                stored["encoders"][modality] = wanted["encoders"][modality]
        again = [
            f"the shared {modality} encoder was trained again"
            for modality, fingerprint in current.items()
            if used.get(modality) != fingerprint
        ]
        measured = _differences(record.get("yardsticks", {}), measuring)
        return (*_differences(stored, wanted), *again, *measured)

    @property
    def state(self) -> str:
        """One of "done", "changed", "unfinished" and "open"."""
        if self.finished:
            return "changed" if self.changes else "done"
        return "unfinished" if self.folder.exists() else "open"

    def clear(self) -> None:
        """Remove what an earlier run left; its lock stays, which the caller holds.

        Raises:
            UsageError: the folder is not a run folder.
        """
        folder = RunFolder(self.folder)
        if not (self.folder.exists() and folder.entries):
            return
        known = {"config.json", "split.json", "history.jsonl", "metrics.json", "codes.npz"}
        if not any((self.folder / name).is_file() for name in known):
            raise UsageError(
                f"{self.folder} is not a run folder, so it is not removed; move it away"
            )
        self.record.unlink(missing_ok=True)  # first, so that no half removed cell looks finished
        for entry in folder.entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def cells_of(suite: Suite, out: Path) -> list[Cell]:
    """Return every cell, those that learn from the same items one after the other.

    Raises:
        UsageError: an option or setting cannot be used; names the data set and method.
    """
    tuned = {(cell.data, cell.seed): cell for cell in encoder_cells(suite, out)}
    return [
        _cell(
            suite, out, data=data, variant=variant, bits=bits, seed=seed,
            tuned=tuned.get((data.name, seed)),
        )
        for data in suite.data
        for seed in suite.seeds
        for bits in suite.bits
        for variant in suite.variants
    ]  # fmt: skip


def yardstick_cells(suite: Suite, out: Path) -> list[Cell]:
    """Return the cells that measure yardsticks, one per data set, seed and space, or none.

    The split and the encoders are those of the first method.

    Raises:
        UsageError: an option or setting cannot be used; names the data set and method.
    """
    if suite.yardsticks is None:
        return []
    yardsticks, longest = suite.yardsticks, max(suite.yardsticks.bits)
    variants = {each.name: each for each in suite.variants}
    tuned = {(cell.data, cell.seed): cell for cell in encoder_cells(suite, out)}
    cells = []
    for data in suite.data:
        for seed in suite.seeds:
            for space in (EMBEDDING, CANONICAL, *yardsticks.outputs):
                variant = variants.get(space, yardsticks.variant)
                cell = _cell(
                    suite, out, data=data, variant=variant, bits=longest, seed=seed,
                    tuned=tuned.get((data.name, seed)),
                )  # fmt: skip
                if space == CANONICAL and len(cell.config.modalities) != 2:
                    continue
                folder = out / "yardsticks" / slug(data.name) / slug(space) / f"s{seed}"
                job = Measuring(
                    space=space,
                    bits=yardsticks.bits,
                    power=yardsticks.power,
                    shared_space=yardsticks.shared_space,
                    source=cell.folder if space in yardsticks.outputs else None,
                )
                cells.append(
                    replace(
                        cell,
                        method=f"yardsticks, {space}",
                        config=cell.config.model_copy(update={"out": str(folder)}),
                        keeps_model=False,
                        yardsticks=job,
                    )
                )
    return cells


def encoder_cells(suite: Suite, out: Path) -> list[Cell]:
    """Return the cells that tune the encoders of the others: one per data set and seed, or none.

    Raises:
        UsageError: an option cannot be used; names the data set.
    """
    if suite.shared is None:
        return []
    shared = suite.shared
    variant = Variant(f"encoders by {shared.method}", shared.method, shared.options)
    cells = [
        _configured(
            suite, out, data=data, variant=variant, bits=shared.bits, seed=seed,
            folder=out / "encoders" / slug(data.name) / f"s{seed}", more={"views": None},
        )
        for data in suite.data
        for seed in suite.seeds
    ]  # fmt: skip
    for cell in cells:
        if not cell.config.tune:
            raise UsageError(
                f"data set {cell.data!r}: [shared_encoders] names no encoder that learns; give it "
                'tune, for example tune = ["image"]'
            )
    return cells


def collection_path(data: DataSet, out: Path) -> Path:
    """Return the path of a data set's collection, which may not be made yet."""
    return data.path or out / "data" / slug(data.name)


def _cell(
    suite: Suite,
    out: Path,
    *,
    data: DataSet,
    variant: Variant,
    bits: int,
    seed: int,
    tuned: Cell | None,
) -> Cell:
    folder = out / "cells" / slug(data.name) / slug(variant.name) / str(bits) / f"s{seed}"
    configured = partial(
        _configured, suite, out, data=data, variant=variant, bits=bits, seed=seed, folder=folder
    )
    kept = suite.yardsticks is not None and (
        variant.name in suite.yardsticks.outputs and bits == max(suite.yardsticks.bits)
    )
    if tuned is None:
        return replace(configured(), keeps_model=kept)
    model = RunFolder(tuned.folder).model.absolute()
    encoders = {modality: str(model / f"{modality}_encoder") for modality in tuned.config.tune}
    frozen = dict.fromkeys(TuneOptions.model_fields)  # these are for the training of the encoders
    if not merge_values(suite.options, data.options, variant.options).get("views"):
        frozen |= dict.fromkeys(ViewOptions.model_fields)
    cell = configured(more={"encoders": encoders, **frozen})
    return replace(cell, shared=tuple(encoders), keeps_model=kept)


def _configured(
    suite: Suite,
    out: Path,
    *,
    data: DataSet,
    variant: Variant,
    bits: int,
    seed: int,
    folder: Path,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Cell:
    """Return a cell, with the keys of `more` over those of the suite; None leaves a key out."""
    fixed = {
        "data": str(collection_path(data, out)),
        "out": str(folder),
        "method": variant.method,
        "bits": bits,
        "seed": seed,
    }
    values = merge_values(suite.options, data.options, variant.options, more, fixed)
    try:
        config = _resolved({key: value for key, value in values.items() if value is not None})
    except UsageError as error:
        raise UsageError(f"data set {data.name!r}, method {variant.name!r}: {error}") from error
    return Cell(data=data.name, method=variant.name, bits=bits, seed=seed, config=config)


def _resolved(values: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration with every setting of its method, as training writes it."""
    config = read_config(values)
    settings = method_settings(config.method, config.settings).model_dump(mode="json")
    return config.model_copy(update={"settings": settings})


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for key, value in wanted.items():
        if key in FREE_KEYS or stored.get(key) == value:
            continue
        if key == "settings":
            found += _differences(stored[key], value)
        else:
            found.append(f"{key} is {value!r}, was {stored.get(key)!r}")
    return found
