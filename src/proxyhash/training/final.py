"""The last stage of a run whose encoders learn: new networks, from what the encoders became."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.errors import ModelError
from proxyhash.files import read_json
from proxyhash.methods import get_method, method_settings
from proxyhash.training.config import TrainConfig, read_config
from proxyhash.training.tuning import TUNED_DEFAULTS, TuneOptions, ViewOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["final_config", "final_sentence", "keeps_last_tuned", "tuning_config", "tuning_facts"]


def tuning_config(config: TrainConfig) -> TrainConfig:
    """Return the configuration of the stage before the last one, in which encoders learn.

    Settings that are the method's defaults are those of `Objective.tuning_settings`.
    """
    settings = _settings(config, get_method(config.method).tuning_settings)
    return config.model_copy(update={"final_epochs": 0, "views": 0, "settings": settings})


def final_config(config: TrainConfig, *, encoders: Path) -> TrainConfig:
    """Return the configuration of the last stage: that of a run on frozen encoders.

    Where the run has a default for tuning (`TUNED_DEFAULTS`), this stage has the method's own;
    and where the method has settings for it (`Objective.final_settings`), those. Whatever was given
    otherwise holds for both stages, but for the number of epochs.

    Args:
        config: The run's configuration, with `final_epochs` above 0.
        encoders: The model folder that the encoders that learned are in.

    Raises:
        UsageError: a value cannot be used with that number of epochs.
    """
    values = config.to_dict()
    usual = read_config({"data": config.data, "out": config.out, "method": config.method})
    for key, value in TUNED_DEFAULTS.items():
        if getattr(config, key) == value:
            values[key] = getattr(usual, key)
    method = get_method(config.method)
    values["settings"] = _settings(config, method.final_settings)
    for key in TuneOptions.model_fields:
        del values[key]
    if not config.views:  # then no image is changed in this stage
        for key in ViewOptions.model_fields:
            del values[key]
    learned = {modality: str(encoders / f"{modality}_encoder") for modality in config.tune}
    values |= {"epochs": config.final_epochs, "encoders": {**config.encoders, **learned}}
    if config.precision == "float16":
        values["precision"] = "float32"
    return read_config(values)


def _settings(config: TrainConfig, differing: Mapping[str, Any]) -> dict[str, Any]:
    """Return every setting; those that are the method's defaults are others where they differ."""
    own = method_settings(config.method, {}).model_dump(mode="json")
    given = method_settings(config.method, config.settings).model_dump(mode="json")
    return given | {key: value for key, value in differing.items() if given[key] == own[key]}


def keeps_last_tuned(config: TrainConfig) -> bool:
    """Whether the stage before is not validated, and ends with the encoders of its last epoch.

    That is the default, as the epochs of this stage are chosen from. `validate_every` or `patience`
    ask for validations.
    """
    asked = config.validate_every is not None or config.patience > 0
    return bool(config.tune) and config.final_epochs > 0 and not asked


def final_sentence(config: TrainConfig) -> str:
    """Return what begins with the last stage, for the user who waits."""
    return (
        f"the encoders have learned; now new networks learn from their features, "
        f"{config.epochs} epochs (--final-epochs 0 would keep those that learned with the encoders)"
    )


def tuning_facts(config: TrainConfig, path: Path) -> dict[str, Any]:
    """Return what metrics.json of the whole run says about the stage that tuned its encoders.

    Args:
        config: The run's configuration.
        path: metrics.json of that stage.

    Raises:
        ModelError: it is not what such a stage writes.
        DataError: it cannot be read or is not JSON.
    """
    metrics = read_json(path)
    kept = ("epochs", "batch_size", "best_epoch", "validation_map", "seconds", "items")
    where = ("device", "hardware", "processes", "precision")
    try:
        training = metrics["training"]
        facts = {key: training[key] for key in (*kept, *where)}
        facts |= {"map": metrics["map"], "strict_map": (metrics.get("strict") or {}).get("map")}
        tuned = training["tuned"]
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} does not hold the metrics of a stage that tuned encoders, so the run cannot "
            "be resumed; train again with --overwrite"
        ) from error
    facts |= {key: getattr(config, key) for key in ("optimizer", "learning_rate", "head_epochs")}
    return {"tuned": tuned, "tuning": facts}
