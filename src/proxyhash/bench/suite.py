"""A suite: the methods to compare, with bits, seeds and data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from proxyhash.errors import UsageError, check_option
from proxyhash.methods import Settings, get_method, read_settings
from proxyhash.registry import add_plugin_files
from proxyhash.training import TrainConfig
from proxyhash.training.config import current_keys
from proxyhash.training.sources import read_config_file
from proxyhash.training.tuning import TuneOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CANONICAL",
    "EMBEDDING",
    "DataSet",
    "SharedEncoders",
    "Suite",
    "Variant",
    "Yardsticks",
    "read_suite",
]

EMBEDDING, CANONICAL = "embedding", "canonical"
"""The spaces of yardsticks that need no training: the encoders' own, and canonical directions."""

FIXED = ("data", "out", "method", "bits", "seed", "threads", "tensorboard", "wandb")
"""Keys of a run's configuration that the suite itself decides, so that no option names them."""


@dataclass(frozen=True)
class Variant:
    """One row of the table: a method, and what it is run with.

    Attributes:
        name: what the tables call it.
        method: a name from the method registry.
        options: keys of the training configuration that are its own, `settings` among them.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SharedEncoders:
    """The training whose tuned encoders all methods then use, frozen: one per data set and seed.

    Attributes:
        method: which tunes them.
        bits: code length of that training.
        options: keys of the training configuration that are its own, `tune` among them.
    """

    method: str
    bits: int
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Yardsticks:
    """Quantizers of the same encoders that codes are measured against, at equal bytes.

    Attributes:
        bits: code lengths that yardsticks equal in bytes, all of the suite.
        variant: the first method, whose split and encoders count.
        outputs: methods whose real-valued outputs, of the longest codes, are quantized, too.
        power: of the canonical correlations that scale directions.
        shared_space: whether the encoders share one space; None: the towers of one model do.
    """

    bits: tuple[int, ...]
    variant: Variant
    outputs: tuple[str, ...]
    power: float
    shared_space: bool | None


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: what the tables call it.
        path: the collection; None for one that is made below the output folder.
        convert: the published files that `data convert` is run on first.
        generate: number of images to generate first.
        options: keys of the training configuration that are its own.
    """

    name: str
    path: Path | None
    convert: Path | None
    generate: int | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Suite:
    """Methods x bits x seeds x data sets.

    Attributes:
        name: what the report calls it.
        variants: the methods, in the order of the tables.
        bits: code lengths.
        seeds: each draws its own split and weights, the same for all methods.
        data: the data sets.
        options: keys of the training configuration for all runs.
        ours: names of the variants that are tested against the best of the others.
        shared: the training that tunes encoders for all cells; None: each cell has its own.
        yardsticks: what else is measured at equal bytes; None: nothing.
    """

    name: str
    variants: tuple[Variant, ...]
    bits: tuple[int, ...]
    seeds: tuple[int, ...]
    data: tuple[DataSet, ...]
    options: Mapping[str, Any]
    ours: tuple[str, ...]
    shared: SharedEncoders | None = None
    yardsticks: Yardsticks | None = None

    def narrowed(
        self,
        *,
        data: Iterable[str] = (),
        methods: Iterable[str] = (),
        bits: Iterable[int] = (),
        seeds: Iterable[int] = (),
    ) -> Suite:
        """Return the part of the suite that is named; what is not given stays whole.

        Raises:
            UsageError: a name is not in the suite.
        """
        methods, bits = tuple(methods), tuple(bits)
        chosen = set(methods) or {each.name for each in self.variants}
        yardsticks = self.yardsticks
        if yardsticks is not None:  # those of outputs need the longest codes
            whole = not bits or max(self.bits) in bits
            outputs = [name for name in yardsticks.outputs if whole and name in chosen]
            yardsticks = replace(yardsticks, outputs=tuple(outputs))
        return replace(
            self,
            variants=_chosen("method", self.variants, methods),
            bits=_numbers("bits", self.bits, bits),
            seeds=_numbers("seeds", self.seeds, seeds),
            data=_chosen("data set", self.data, data),
            ours=tuple(name for name in self.ours if name in chosen),
            yardsticks=yardsticks,
        )


class _DataTable(Settings):
    name: Annotated[str, Field(min_length=1)]
    path: str | None = None
    convert: str | None = None
    generate: Annotated[int, Field(ge=1)] | None = None


class _MethodTable(Settings):
    name: Annotated[str, Field(min_length=1)]
    method: str | None = None


class _SharedTable(Settings):
    method: str = "dchml-plus"
    bits: Annotated[int, Field(ge=1, le=4096)] = 64


class _YardsticksTable(Settings):
    outputs: list[str] = Field(default_factory=list)
    power: Annotated[float, Field(ge=0)] = 2.0
    shared_space: bool | None = None


class _SuiteFile(Settings):
    name: str = ""
    plugins: list[str] = Field(default_factory=list)
    bits: Annotated[list[Annotated[int, Field(ge=1, le=4096, strict=True)]], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]
    methods: Annotated[list[str | dict[str, Any]], Field(min_length=1)]
    ours: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    shared_encoders: dict[str, Any] = Field(default_factory=dict)
    yardsticks: dict[str, Any] | None = None
    data: Annotated[list[dict[str, Any]], Field(min_length=1)]


def read_suite(path: str | Path) -> Suite:
    """Read a suite from a TOML file; relative paths in it count from the file's folder.

    Its plug-ins, Python files with methods of somebody's own, are run first.

    Raises:
        UsageError: the file cannot be read, a key or method is unknown, a value cannot be used, or
            a name is there twice; or a plug-in cannot be run.
    """
    path = Path(path)
    file = read_settings(_SuiteFile, read_config_file(path), owner=f"suite {path}")
    folder = path.absolute().parent
    add_plugin_files(_absolute(each, folder) for each in file.plugins)
    variants = tuple(_variant(each) for each in file.methods)
    data = tuple(_data_set(each, folder) for each in file.data)
    names = [each.name for each in variants]
    for what, found in (
        ("method", [slug(name) for name in names]),
        ("data set", [slug(each.name) for each in data]),
        ("bits", file.bits),
        ("seed", file.seeds),
    ):
        _check_unique(what, found)
    for name in file.ours:
        check_option("ours", name, names)
    return Suite(
        name=file.name or path.stem,
        variants=variants,
        bits=tuple(file.bits),
        seeds=tuple(file.seeds),
        data=data,
        options=_located(_checked(file.options, "[options]"), folder),
        ours=tuple(file.ours),
        shared=_shared(file, variants, folder) if file.shared_encoders else None,
        yardsticks=_yardsticks(file, variants) if file.yardsticks is not None else None,
    )


def slug(name: str) -> str:
    """Return a name as a folder's: "dchml, PHNet" is "dchml-phnet"."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "x"


def _variant(given: str | dict[str, Any]) -> Variant:
    table = {"name": given} if isinstance(given, str) else given
    own, options = _parted(table, _MethodTable)
    read = read_settings(_MethodTable, own, owner="a method of the suite")
    method = read.method or read.name
    get_method(method)  # says which there are
    return Variant(read.name, method, _checked(options, f"method {read.name!r}"))


def _shared(file: _SuiteFile, variants: Sequence[Variant], folder: Path) -> SharedEncoders:
    own, options = _parted(file.shared_encoders, _SharedTable)
    read = read_settings(_SharedTable, own, owner="[shared_encoders]")
    if not any("tune" in each for each in (options, file.options, *file.data)):
        raise UsageError(
            "[shared_encoders] has no tune; name the modalities whose encoders learn there, for "
            'example tune = ["image"]'
        )
    get_method(read.method)
    for each in variants:
        if own_keys := sorted(each.options.keys() & TuneOptions.model_fields.keys()):
            raise UsageError(
                f"method {each.name!r} has {own_keys[0]}, and the suite has [shared_encoders], "
                "which are frozen for every method; leave out one of them"
            )
    return SharedEncoders(
        read.method, read.bits, _located(_checked(options, "[shared_encoders]"), folder)
    )


def _yardsticks(file: _SuiteFile, variants: Sequence[Variant]) -> Yardsticks:
    read = read_settings(_YardsticksTable, file.yardsticks or {}, owner="[yardsticks]")
    for name in read.outputs:
        check_option("outputs of [yardsticks]", name, [each.name for each in variants])
        if slug(name) in {EMBEDDING, CANONICAL}:
            raise UsageError(
                f"[yardsticks] names the outputs of {name!r}, which is the name of a space of its "
                "own; give the method another name"
            )
    _check_unique("output of [yardsticks]", read.outputs)
    return Yardsticks(
        bits=tuple(file.bits),
        variant=variants[0],
        outputs=tuple(read.outputs),
        power=read.power,
        shared_space=read.shared_space,
    )


def _data_set(table: dict[str, Any], folder: Path) -> DataSet:
    own, options = _parted(table, _DataTable)
    read = read_settings(_DataTable, own, owner="[[data]]")
    if read.convert is not None and read.generate is not None:
        raise UsageError(f"data set {read.name!r} names both convert and generate; give one")
    if read.path is None and read.convert is None and read.generate is None:
        raise UsageError(f"data set {read.name!r} needs a path, convert or generate")
    return DataSet(
        name=read.name,
        path=None if read.path is None else _absolute(read.path, folder),
        convert=None if read.convert is None else _absolute(read.convert, folder),
        generate=read.generate,
        options=_located(_checked(options, f"data set {read.name!r}"), folder),
    )


def _parted(
    table: Mapping[str, Any], kind: type[Settings]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys of a table that are `kind`'s own, and the others."""
    own = {key: value for key, value in table.items() if key in kind.model_fields}
    return own, {key: value for key, value in table.items() if key not in own}


def _checked(options: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Check the names of options; their values are checked when the runs are configured."""
    options = current_keys(options)
    for key in options:
        if key in FIXED:
            raise UsageError(f"{where} names {key!r}, which the suite itself decides")
        check_option(f"an option of {where}", key, set(TrainConfig.model_fields) - set(FIXED))
    return options


def _located(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make paths that count from the suite's folder absolute; names and hub ids stay."""
    found = dict(options)
    if isinstance(split := found.get("split_file"), str):
        found["split_file"] = str(_absolute(split, folder))
    if isinstance(encoders := found.get("encoders"), Mapping):
        found["encoders"] = {
            modality: str(_absolute(spec, folder))
            if isinstance(spec, str) and _is_path(spec, folder)
            else spec
            for modality, spec in encoders.items()
        }
    return found


def _is_path(spec: str, folder: Path) -> bool:
    return spec.startswith(("./", "../", "~", "/")) or (folder / spec).is_dir()


def _absolute(path: str, folder: Path) -> Path:
    return Path(path).expanduser() if path.startswith("~") else (folder / path).resolve()


def _check_unique(what: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"the suite has the {what} {value!r} twice")


def _chosen(what: str, every: tuple[Any, ...], names: Iterable[str]) -> tuple[Any, ...]:
    wanted = [check_option(what, name, [each.name for each in every]) for name in names]
    return tuple(each for each in every if each.name in wanted) if wanted else every


def _numbers(what: str, every: tuple[int, ...], chosen: Iterable[int]) -> tuple[int, ...]:
    wanted = tuple(chosen)
    for number in wanted:
        if number not in every:
            known = ", ".join(map(str, every))
            raise UsageError(f"{what} {number} is not in the suite; it has {known}")
    return tuple(number for number in every if number in wanted) if wanted else every
