"""Encoders that learn and the machine of a training: figures for metrics.json, and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxyhash.data import MODALITIES
from proxyhash.encoders import TrainableEncoder
from proxyhash.methods import get_method
from proxyhash.training.devices import hardware_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data import Modality
    from proxyhash.encoders import Encoder
    from proxyhash.training.config import TrainConfig

__all__ = ["start_sentences", "tuned_encoders", "where_it_ran"]


def tuned_encoders(
    config: TrainConfig, encoders: Mapping[Modality, Encoder]
) -> dict[Modality, dict[str, Any]]:
    """Return what is to be known about the encoders that learn, {} where none does.

    Per modality: "layers" that learn, the number of their "parameters", their "learning_rate", and
    for images the "image_size" in pixels and the kinds of "augment".

    Args:
        config: The run's configuration.
        encoders: The encoders of the run, whose weights that learn require gradients by now.
    """
    found: dict[Modality, dict[str, Any]] = {}
    for modality in config.tune:
        encoder = encoders[modality]
        assert isinstance(encoder, TrainableEncoder)
        weights = [each for each in encoder.module.parameters() if each.requires_grad]
        found[modality] = {
            "layers": config.tune_layers,
            "parameters": sum(each.numel() for each in weights),
            "learning_rate": config.encoder_rates.get(modality, config.encoder_rate),
        }
        if modality == "image":
            found[modality] |= {
                "image_size": config.image_size or max(encoder.image_size),
                "augment": list(config.augment),
            }
    return found


def where_it_ran(config: TrainConfig, *, processes: int) -> dict[str, Any]:
    """Return device, hardware, processes and precision, as metrics.json has them."""
    return {
        "device": config.device,
        "hardware": hardware_name(config.device),
        "processes": processes,
        "precision": config.precision,
    }


def start_sentences(
    config: TrainConfig, tuned: Mapping[Modality, Mapping[str, Any]], *, items: int
) -> list[str]:
    """Return what learns, for the user who waits: a sentence per encoder, then about epochs.

    Args:
        config: The run's configuration.
        tuned: The result of `tuned_encoders`.
        items: Training items.
    """
    found: list[str] = []
    if len(config.modalities) == 1 and get_method(config.method).across:
        found.append(
            f"method {config.method} compares items of one modality with those of others, and "
            f"this run has {config.modalities[0]} alone, which it learns little from; others, "
            "such as dchml-plus, learn from one modality as well"
        )
    epoch = min(items, config.epoch_items or items)
    for modality, facts in tuned.items():
        layers = "all layers" if facts["layers"] == "all" else f"its layers {facts['layers']}"
        images = ""
        if "image_size" in facts:
            changes = ", ".join(facts["augment"]) or "none"
            images = f", images of {facts['image_size']} pixels (augmentation: {changes})"
        found.append(
            f"the {modality} encoder learns: {layers}, {facts['parameters']:,} parameters at rate "
            f"{facts['learning_rate']:g}{images}"
        )
    if tuned:
        head = "one" if config.head_epochs == 1 else config.head_epochs
        alone = f"; the networks learn alone in the first {head}" if config.head_epochs else ""
        names = " and ".join(MODALITIES[modality].plural for modality in config.modalities)
        found.append(f"{config.epochs} epochs of {epoch:,} items ({names}){alone}")
    if epoch < items:
        found.append(
            f"an epoch walks over {epoch:,} of {items:,} training items, the next one over others "
            "(--epoch-items 0: all in each epoch)"
        )
    return found
