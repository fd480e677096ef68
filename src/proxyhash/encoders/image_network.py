"""The forward pass of an image backbone, without the interpreter where that changes nothing."""

from __future__ import annotations

import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from proxyhash.encoders.transformers_adapter import image_features, quiet

if TYPE_CHECKING:
    from proxyhash.encoders.transformers_adapter import Backbone

__all__ = ["ImageNetwork"]

_LOG = logging.getLogger(__name__)
_IMAGES_BEFORE_RECORDING = 32  # recording takes as long as some thirty images


class ImageNetwork:
    """The forward pass of an image backbone: pixels (b, 3, h, w) -> pooled features (b, d).

    Encoding in several threads, they wait for each other's turn in the interpreter between any two
    layers. So on a CPU, once images come in numbers, the layers are recorded as one TorchScript
    program, which runs without the interpreter. It is used where it gives bit-identical features,
    and for pixels of the recorded height and width; everything else goes layer by layer.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._seen = 0
        self._recording = threading.Lock()
        self._program: Any = None
        self._size: torch.Size | None = None

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the features; from any thread."""
        self._seen += len(pixels)
        if (
            self._seen > _IMAGES_BEFORE_RECORDING
            and pixels.device.type == "cpu"
            and self._recording.acquire(blocking=False)  # for good: it is tried once
        ):
            self._program = _record(self._backbone, pixels)
            self._size = pixels.shape[1:]
        if self._size == pixels.shape[1:] and self._program is not None:
            features: torch.Tensor = self._program(pixels)
            return features
        return image_features(self._backbone, pixels)


def _record(backbone: Backbone, pixels: torch.Tensor) -> Any:
    """Return the forward pass as a TorchScript program, None where that is not the same."""

    class Forward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = backbone.module

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return image_features(backbone, pixels)

    one = pixels[:1]
    trials = pixels, torch.cat([one, one.flip(-1), one.flip(-2)])
    try:
        with quiet(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, with nothing in its place
            trace: Any = torch.jit.trace
            program = trace(Forward().eval(), one, check_trace=False)
        same = all(torch.equal(program(each), image_features(backbone, each)) for each in trials)
    except Exception as error:  # what cannot be recorded raises nearly any type
        _LOG.debug("the network cannot be recorded: %s", error)
        return None
    return program if same else None
