"""What every method of a suite had in common, and what each had otherwise."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxyhash.bench.results import Results

__all__ = ["Budget", "budget_of"]

_APART = ("data", "out", "method", "settings", "bits", "seed", "threads", "tensorboard")


@dataclass(frozen=True)
class Budget:
    """The configurations of a data set's runs.

    Attributes:
        common: keys of the training configuration with the value that most methods have.
        own: for each method, the keys that differ from it.
        settings: for each method, its objective and the settings of that.
    """

    common: dict[str, str]
    own: dict[str, dict[str, str]]
    settings: dict[str, tuple[str, dict[str, str]]]


def budget_of(results: Results, data: str) -> Budget:
    """Return what the finished cells of a data set were configured with."""
    configs: dict[str, dict[str, Any]] = {}
    for each in results.measured:
        if each.cell.data == data:
            configs.setdefault(each.cell.method, each.config)
    said = {
        method: {key: _shown(value) for key, value in config.items() if key not in _APART}
        for method, config in configs.items()
    }
    keys = list(dict.fromkeys(key for values in said.values() for key in values))
    common = {
        key: Counter(values.get(key, "-") for values in said.values()).most_common(1)[0][0]
        for key in keys
    }
    return Budget(
        common=common,
        own={
            method: {key: value for key, value in values.items() if value != common[key]}
            for method, values in said.items()
        },
        settings={
            method: (config["method"], {k: _shown(v) for k, v in config["settings"].items()})
            for method, config in configs.items()
        },
    )


def _shown(value: Any) -> str:
    """Return a value as text; a path without its folders, which are this machine's."""
    if isinstance(value, str):
        start, mark, path = value.rpartition(":")
        return f"{start}{mark}{Path(path).name}" if Path(path).is_absolute() else value
    return json.dumps(value, ensure_ascii=False)
