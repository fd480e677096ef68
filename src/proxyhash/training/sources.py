"""Where a configuration comes from: a preset of the method, a file, and what the user named."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from proxyhash.errors import UsageError, check_option
from proxyhash.methods.registry import get_method
from proxyhash.training.config import TrainConfig

__all__ = ["gather_values", "parse_assignments", "read_config_file"]

_NESTED = ("settings", "text_network")


def gather_values(
    given: Mapping[str, Any], *, file: str | Path | None = None, preset: str | None = None
) -> dict[str, Any]:
    """Return the keys of a configuration: those of `given` over the file's over the preset's.

    `settings` and `text_network` are merged key by key.

    Args:
        given: What the user named.
        file: A TOML or JSON file with more keys.
        preset: A named configuration of the method, for example "reference".

    Raises:
        UsageError: the file cannot be used, or the method has no such preset.
    """
    values = _merged(read_config_file(file) if file else {}, given)
    if preset is None:
        return values
    method = values.get("method", TrainConfig.model_fields["method"].default)
    presets = get_method(method).presets
    if not presets:
        raise UsageError(f"method {method} has no presets; leave out --preset")
    return _merged(presets[check_option("preset", preset, presets)], values)


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Return the keys of a TOML or JSON configuration file, unchecked.

    Raises:
        UsageError: the file is missing, has another suffix, is not valid, or is no table of keys.
    """
    path = Path(path)
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise UsageError(
            f"{path} is no configuration file; expected a name ending in .toml or .json"
        )
    try:
        values = readers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # both formats' decode errors, and bad UTF-8
        raise UsageError(f"configuration file {path} is not valid: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"configuration file {path} must hold a table of keys")
    return values


def parse_assignments(texts: Iterable[str], *, option: str) -> dict[str, Any]:
    """Return {"gamma": 0.3} for ["gamma=0.3"]; values are JSON where they can be, else strings.

    Raises:
        UsageError: "--set 'gamma' is no KEY=VALUE".
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark or not key.strip():
            raise UsageError(f"{option} {text!r} is no KEY=VALUE, for example gamma=0.3")
        try:
            values[key.strip()] = json.loads(value)
        except ValueError:
            values[key.strip()] = value.strip()
    return values


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    values = {**below, **above}
    for key in _NESTED:
        parts = [part[key] for part in (below, above) if key in part]
        if parts and all(isinstance(part, Mapping) for part in parts):
            values[key] = {name: value for part in parts for name, value in part.items()}
    return values
