"""Configuration of encoders that learn: its keys, and the defaults that differ with it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from proxyhash.data import Modality  # noqa: TC001 - pydantic reads it
from proxyhash.encoders.trainable import read_layers
from proxyhash.errors import UsageError
from proxyhash.methods import Settings
from proxyhash.training.augment import CROP_MIN, check_augmentations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxyhash.training.config import TrainConfig

__all__ = [
    "TUNED_DEFAULTS",
    "TuneOptions",
    "ViewOptions",
    "check_tuning",
    "tuned_defaults",
]

TUNED_DEFAULTS: Mapping[str, Any] = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "ema": 0.998,
    "batch_size": 64,
}
"""Defaults of runs whose encoders learn, where they differ from those of other runs."""

_HEAD_EPOCHS, _HEAD_SHARE, _FINAL_EPOCHS = 3, 4, 20


def _names(value: Any) -> Any:
    """Accept "image,text" and "none" for a tuple of names."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if isinstance(value, (list, tuple)) and list(value) in (["none"], [""]):
        return ()
    return value


class ViewOptions(Settings):
    """Random changes of training images, while their encoder learns and where it does not."""

    views: int = Field(default=0, ge=0, le=64)
    """Random views of each training image, made once, that networks learn from beside the image
    itself, where its encoder does not learn; where it does, those of the last stage."""
    augment: Annotated[tuple[str, ...], BeforeValidator(_names)] = ("crop", "flip", "color")
    """Random changes of training images: crop, flip, color, rand; "none" for whole images."""
    crop_min: float = Field(default=CROP_MIN, gt=0, le=1)
    """Least share of an image's area that "crop" keeps."""


class TuneOptions(Settings):
    """Choice of the encoders that learn, and how; none does without `tune`."""

    tune: Annotated[tuple[Modality, ...], BeforeValidator(_names)] = ()
    """Modalities whose encoders learn together with the networks, such as "image,text"; "none"
    leaves all of them as they are."""
    tune_layers: str = "all"
    """The layers of an encoder that learn: "all", or "last:2" for the last two and what follows."""
    encoder_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of encoders that learn."""
    encoder_rates: dict[Modality, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Learning rates that differ for the encoder of a modality, for example {"text": 2e-5}."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of an encoder's learning rate from each layer to the one below it."""
    head_epochs: int = Field(default=_HEAD_EPOCHS, ge=0)
    """Epochs at the start in which the networks alone learn and encoders do not; by default a
    quarter of the epochs, at most 3."""
    final_epochs: int = Field(default=_FINAL_EPOCHS, ge=0)
    """Epochs at the end in which new networks learn from the features of encoders that learned, as
    in a run of frozen ones; by default those of the method. 0 keeps the networks that learned
    together with the encoders."""
    tune_batch_norm: bool = False
    """Let batch normalization of an encoder follow the statistics of each batch. Pretrained ones
    are kept otherwise, as moving averages of few images are poor ones."""
    image_size: int | None = Field(default=None, ge=16, le=4096)
    """Side of training images in pixels; none: that of the encoder."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that decode training images; none: one per core, at most 8."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Items that go through an encoder at once, whose activations are computed again in the
    backward pass: less memory, more time, the same gradients."""
    checkpointing: bool = False
    """Compute activations inside encoders again in the backward pass: less memory, more time."""
    pixel_cache_gb: float = Field(default=20.0, ge=0)
    """Disk space for decoded training images, in GB."""


def tuned_defaults(given: Mapping[str, Any], *, epochs: int) -> dict[str, Any]:
    """Return the defaults of a run whose encoders learn; none where they do not.

    Args:
        given: Keys of the configuration, unchecked.
        epochs: Epochs of a run that does not give them.
    """
    if not _names(given.get("tune")):
        return {}
    final = epochs
    with suppress(ValueError, TypeError):  # which the check of all values will say
        epochs = int(given.get("epochs", epochs))
    head = min(_HEAD_EPOCHS, epochs // _HEAD_SHARE)
    return {**TUNED_DEFAULTS, "head_epochs": head, "final_epochs": final}


def check_tuning(config: TrainConfig) -> None:
    """Check the keys of encoders that learn, and of changes of images, against the rest of a run.

    Raises:
        ValueError: one of them cannot be used, or is given though nothing needs it.
    """
    for modality in config.tune:
        if modality not in config.modalities:
            raise ValueError(
                f"tune names {modality!r}, which the run does not learn; it learns "
                f"{', '.join(config.modalities)}"
            )
    if len(set(config.tune)) < len(config.tune):
        raise ValueError(f"tune names {', '.join(config.tune)}; name each modality once")
    try:
        read_layers(config.tune_layers)
        check_augmentations(config.augment)
    except UsageError as error:
        raise ValueError(str(error)) from error
    if not config.tune:
        if changed := _changed(config, TuneOptions.model_fields):
            raise ValueError(
                f"{changed}: for encoders that learn, and none does; name them with "
                "tune, for example --tune image"
            )
    elif config.head_epochs >= config.epochs:
        raise ValueError(
            f"head_epochs is {config.head_epochs} of {config.epochs} epochs, so the encoders would "
            "never learn; give more epochs, or fewer head_epochs"
        )
    _check_views(config)


def _check_views(config: TrainConfig) -> None:
    if config.views and "image" not in config.modalities:
        raise ValueError(
            f"views is {config.views}, and the run learns no images but "
            f"{', '.join(config.modalities)}; leave out views"
        )
    if config.views and "image" in config.tune and not config.final_epochs:
        raise ValueError(
            f"views is {config.views}, which are for the last stage of a run whose image encoder "
            "learns, and final_epochs 0 leaves that out; leave out one of them"
        )
    changed = _changed(config, {"augment", "crop_min"})
    if changed and not config.views and not config.tune:
        raise ValueError(
            f"{changed}: for encoders that learn, and none does, or views of images; give tune, "
            "for example --tune image, or views, for example --views 4"
        )


def _changed(config: TrainConfig, keys: Iterable[str]) -> str:
    """Return which of some keys differ from their defaults."""
    fields = type(config).model_fields
    return ", ".join(
        key
        for key in fields
        if key in keys
        and getattr(config, key) != fields[key].get_default(call_default_factory=True)
    )
