"""Sources of a configuration: a preset of the method, a file, options, and the run to resume."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from proxyhash.errors import ModelError, UsageError, check_option
from proxyhash.files import read_json
from proxyhash.methods import get_method, method_settings
from proxyhash.training.config import BY_MODALITY, TrainConfig, current_keys, read_config
from proxyhash.training.tuning import TuneOptions, ViewOptions, tuned_defaults

__all__ = [
    "FREE_KEYS",
    "check_stage",
    "gather_values",
    "merge_values",
    "parse_assignments",
    "read_config_file",
    "resume_config",
    "stored_config",
    "with_settings",
]

FREE_KEYS = frozenset(
    {
        *("data", "out", "device", "threads", "tensorboard", "wandb"),
        *("workers", "pixel_cache_gb", "micro_batch", "checkpointing", "features_in_memory"),
    }
)
"""Keys that a resumed run may change: where things lie, what computes them, in how much memory."""


_FORMS = {
    "--encoder": "MODALITY=SPEC, for example text=bow",
    "--network": "MODALITY.KEY=VALUE, for example text.hidden=8192",
    "--network-rate": "MODALITY=RATE, for example text=0.01",
    "--encoder-rates": "MODALITY=RATE, for example text=2e-5",
    "--text-network": "KEY=VALUE, for example hidden=8192",
}
"""What options other than --set expect."""


def gather_values(
    given: Mapping[str, Any], *, file: str | Path | None = None, preset: str | None = None
) -> dict[str, Any]:
    """Return the keys of a configuration: those of `given` over the file's over the preset's.

    Where no encoder learns, for example with `tune` given as "none", a preset's keys of encoders
    that learn are left out.

    Args:
        given: Options of the user.
        file: A TOML or JSON file with more keys.
        preset: A named configuration of the method, for example "reference".

    Raises:
        UsageError: the file cannot be used, or the method has no such preset.
    """
    values = merge_values(read_config_file(file) if file else {}, given)
    if preset is None:
        return values
    fields = TrainConfig.model_fields
    kind = get_method(values.get("method", fields["method"].default))
    if not kind.presets:
        raise UsageError(f"method {values.get('method')} has no presets; leave out --preset")
    bits = values.get("bits", fields["bits"].default)
    name = check_option("preset", preset, kind.presets)
    # Bits that are not a number are refused with all other values.
    chosen = kind.preset(name, bits=bits if isinstance(bits, int) else fields["bits"].default)
    if not tuned_defaults({**chosen, **values}, epochs=1):
        theirs = TuneOptions.model_fields.keys() | ViewOptions.model_fields.keys()
        chosen = {key: chosen[key] for key in chosen.keys() - theirs}
    return merge_values(chosen, values)


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Return the keys of a TOML or JSON configuration file, unchecked.

    Raises:
        UsageError: the file is missing, has another suffix, is not valid, or holds no table.
    """
    path = Path(path)
    readers = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise UsageError(
            f"{path} is not a configuration file; expected a name ending in .toml or .json"
        )
    try:
        values = readers[path.suffix](path.read_text(encoding="utf-8-sig"))
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
        UsageError: "--set 'gamma' is not KEY=VALUE".
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark or not key.strip():
            form = _FORMS.get(option, "KEY=VALUE, for example gamma=0.3")
            raise UsageError(f"{option} {text!r} is not {form}")
        try:
            values[key.strip()] = json.loads(value)
        except ValueError:
            values[key.strip()] = value.strip()
    return values


def merge_values(*levels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of all levels, later ones first; nested tables are merged key by key.

    Short forms are replaced, see `current_keys`.
    """
    values: dict[str, Any] = {}
    for level in map(current_keys, levels):
        for key, value in level.items():
            nested = key == "settings" or key in BY_MODALITY
            values[key] = _merged(values.get(key), value) if nested else value
    return values


def _merged(below: Any, above: Any) -> Any:
    """Return two tables as one, the tables in them too; anything else is replaced."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}


def resume_config(stored: Mapping[str, Any], given: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration of a resumed run: the stored one, with the keys of `given`.

    Args:
        stored: config.json of the run folder.
        given: Options of the user.

    Raises:
        UsageError: "the run cannot be resumed with another bits (32 instead of 64), ...; leave
            these options out, or train into a new folder".
    """
    before = with_settings(read_config(stored))
    after = with_settings(read_config(merge_values(before.to_dict(), given)))
    differing = [key for key in _differing(before, after) if not _may_change(key, before, after)]
    if differing:
        told = _told(differing, before, after)
        more = ""
        if "epochs" in differing:
            more = "; epochs may be raised only where lr_schedule is constant"
        raise UsageError(
            f"the run in {after.out} cannot be resumed with another {told}{more}; leave these "
            "options out, or train into a new folder"
        )
    return after


def stored_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a run folder, unchecked.

    Raises:
        ModelError: "RUN/config.json is not the configuration of a run ...".
        DataError: it cannot be read or is not JSON; names it.
    """
    path = folder / "config.json"
    values = read_json(path)
    if not isinstance(values, dict) or not {"data", "out"} <= values.keys():
        raise ModelError(
            f"{path} is not the configuration of a run (an object with the keys data and out), so "
            "the run cannot be resumed; train into a new folder"
        )
    return {"epoch_items": 0, **values}  # as runs of earlier versions have learned


def check_stage(config: TrainConfig, folder: Path, *, finished: bool) -> None:
    """Check that a run folder's folder `tuning` holds what its first stage left there.

    Args:
        config: The configuration of that stage.
        folder: The folder `tuning`.
        finished: Whether the stage is complete, and can have no more epochs.

    Raises:
        ModelError: it holds the stage of another run, or no encoder of this one.
        UsageError: there are more epochs than the stage had.
    """
    again = f"remove {folder} to tune again with --resume, or train into a new folder"
    if not (folder / "config.json").exists():
        raise ModelError(f"{folder / 'config.json'} is missing, which says what was tuned; {again}")
    before, after = with_settings(read_config(stored_config(folder))), with_settings(config)
    differing = [key for key in _differing(before, after) if not _may_change(key, before, after)]
    if differing:
        told = _told(differing, after, before)
        raise ModelError(f"{folder} was left by another run, with another {told}; {again}")
    if not finished:
        return
    if after.epochs != before.epochs:
        raise UsageError(
            f"the encoders in {folder} have learned for {before.epochs} epochs, and what follows "
            f"builds on them; leave out --epochs {after.epochs}, or train into a new folder"
        )
    for modality in config.tune:
        encoder = folder / "model" / f"{modality}_encoder"
        if not encoder.is_dir():
            raise ModelError(f"{encoder} is missing, the encoder that learned; {again}")


def _told(keys: Iterable[str], before: TrainConfig, after: TrainConfig) -> str:
    """Return "bits (32 instead of 64), seed (1 instead of 0)"."""
    return ", ".join(
        f"{key} ({getattr(after, key)!r} instead of {getattr(before, key)!r})" for key in keys
    )


def with_settings(config: TrainConfig) -> TrainConfig:
    """Return a configuration with every setting, also those that its method did not have then."""
    settings = method_settings(config.method, config.settings).model_dump(mode="json")
    return config.model_copy(update={"settings": settings})


def _differing(before: TrainConfig, after: TrainConfig) -> Iterable[str]:
    return [key for key in TrainConfig.model_fields if getattr(before, key) != getattr(after, key)]


def _may_change(key: str, before: TrainConfig, after: TrainConfig) -> bool:
    if key == "epochs":  # a cosine schedule depends on the end, a constant one does not
        return before.lr_schedule == "constant" and after.epochs > before.epochs
    return key in FREE_KEYS
