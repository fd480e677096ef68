"""Parts that the "reference" presets of several methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["END_TO_END", "TEXTS_OF_THE_PORT"]

END_TO_END: Mapping[str, Any] = {
    "tune": ["image"],
    "augment": [],
    "head_epochs": 0,
    "final_epochs": 0,
    "ema": 0.0,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 1e-5,
    "hidden": [4096, 4096],
    "dropout": 0.5,
    "output_batch_norm": False,
}
"""Images from pixels without augmentation, plain SGD, two hidden layers of 4,096 with dropout: what
the public port of DCPH and the releases of PSLDH and DAPH have in common."""

TEXTS_OF_THE_PORT: Mapping[str, Any] = {
    "hidden": [8192],
    "dropout": 0.0,
    "initial_weights": "normal",
}
"""The text network of DCPH's public port: 8,192 units, all weights first from N(0, .01^2)."""
