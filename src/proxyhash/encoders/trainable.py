"""Encoders that learn: the interface that training uses, and what is the same for all of them."""

from __future__ import annotations

import re
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash.data.modalities import MODALITIES
from proxyhash.encoders.base import BatchEncoder
from proxyhash.encoders.batches import keep_freed_memory
from proxyhash.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["Block", "TrainableEncoder", "read_layers"]


@dataclass(frozen=True, eq=False)
class Block:
    """Parameters that stand at one depth of a network.

    Attributes:
        name: "input" for what comes before the first layer (embeddings, stem), the path of a layer
            such as "encoder.layer.3", "output" for what comes after the last one (norm, pooler,
            projection).
        parameters: those that features depend on; each is in one block only.
        is_layer: whether "last:N" counts it.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    is_layer: bool


class TrainableEncoder(BatchEncoder):
    """Encoder around a torch network whose weights can learn.

    It is frozen as long as nothing else is asked for. To train it: `tune`; then for each epoch
    `learning_mode`, `features` of batches with gradient, and `evaluation_mode` before the items
    are encoded; at the end `freeze`, after which it is an encoder like any other, with a
    fingerprint of its own.

    Weights are changed in place only (`copy_`, optimizer steps), so that whoever holds the network
    goes on seeing them. From `tune` to `freeze` the fingerprint is that of the weights before, so
    features are not cached (`cached` is False).

    A subclass sets `module` and `device` and writes `tensors`, `features`, `example` and
    `current_fingerprint`, beside `from_request`, `load` and `save`; for images that are augmented
    `normalized`, too.

    Attributes:
        module: the torch network; its parameters require gradients only between `tune` and
            `freeze`.
        device: where it is, such as "cpu" or "cuda:0".
    """

    module: nn.Module
    device: str
    _open: bool = False
    _blocks: tuple[Block, ...] | None = None

    @property
    def recipe(self) -> str:
        """Settings that decide what `prepare` makes of any image; "" where they are unknown.

        Where they are known and it gives uint8 arrays of one shape, training keeps them on disk
        instead of preparing the same images for each validation.
        """
        return ""

    @abstractmethod
    def tensors(self, prepared: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Return a batch of what `prepare` returned, as CPU tensors by name, each (b, ...)."""

    @abstractmethod
    def features(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return features, float32 (b, dim) on the network's device, from `tensors`.

        They have a gradient where parameters require one. In evaluation mode they are bit-identical
        to those of `embed` for the same batch.
        """

    @abstractmethod
    def example(self) -> Any:
        """Return any one source, as `prepare` takes it; blocks are found by encoding it."""

    @abstractmethod
    def current_fingerprint(self) -> str:
        """Return the fingerprint of the weights as they are now."""

    def embed(self, prepared: Sequence[Any]) -> NDArray[np.float32]:
        """Return the features of one batch, float32 (b, dim), in evaluation mode.

        Raises:
            RuntimeError: the encoder is in learning mode.
        """
        import torch

        self._check_evaluating()
        with torch.inference_mode():
            found: NDArray[np.float32] = self.features(self.tensors(prepared)).cpu().numpy()
        return found

    def normalized(self, images: torch.Tensor) -> torch.Tensor:  # noqa: ARG002 - for subclasses
        """Return what the network takes as "pixels", float32 (b, 3, h, w) on the images' device.

        Args:
            images: float (b, 3, h, w) with values from 0 to 255, such as augmented images.

        Raises:
            UsageError: "bert encodes texts, not pixels", or an encoder of images does not say how.
        """
        if self.modality == "image":
            raise UsageError(
                f"the encoder {self.kind} has no method `normalized`, so it cannot learn from "
                "augmented images; give --augment none without --image-size"
            )
        raise UsageError(f"{self.kind} encodes {MODALITIES[self.modality].plural}, not pixels")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the network gets, for encoders of images."""
        height, width = self.tensors([self.prepare(self.example())])["pixels"].shape[2:]
        return int(height), int(width)

    def blocks(self) -> list[Block]:
        """Return all parameters that features depend on, in blocks from the input to the output.

        Layers are the repeated parts of the network, in the order in which they run; any other
        parameter belongs to the first layer whose output depends on it ("input" for the first
        layer), or to "output". Parameters without influence, such as CLIP's temperature, are in
        none.
        """
        from proxyhash.encoders._blocks import find_blocks

        if self._blocks is None:
            inputs = self.tensors([self.prepare(self.example())])
            self._blocks = tuple(find_blocks(self.module, lambda: self.features(inputs)))
        return list(self._blocks)

    def tune(self, layers: str = "all") -> list[nn.Parameter]:
        """Let parameters learn, and return them from the input to the output.

        Args:
            layers: "all", or "last:N" for the last N layers and what comes after them.

        Raises:
            UsageError: "last:40 of the 12 layers of ...".
        """
        count = read_layers(layers)
        blocks = self.blocks()
        if count is not None:
            starts = [place for place, block in enumerate(blocks) if block.is_layer]
            if count > len(starts):
                raise UsageError(
                    f"{layers} of the {len(starts)} layers of the {self.modality} encoder; use "
                    f"all, or last:1 to last:{len(starts)}"
                )
            blocks = blocks[starts[-count] :]
        self.module.requires_grad_(requires_grad=False)
        learning = [parameter for block in blocks for parameter in block.parameters]
        for parameter in learning:
            parameter.requires_grad = True
        self._open, self.cached = True, False
        return learning

    @property
    def moving_statistics(self) -> tuple[str, ...]:
        """Names of the BatchNorm layers with running statistics; () where there are none."""
        from proxyhash.encoders._blocks import moving_norms

        return tuple(moving_norms(self.module))

    def learning_mode(self, *, batch_norm: bool = False) -> None:
        """Turn on what only learning has, such as dropout.

        Args:
            batch_norm: whether BatchNorm layers that learn normalize by their batch and move their
                statistics. By default they go on using the statistics that they came with: batches
                are small and of few classes, and the port of MobileNetV2 in transformers gives its
                layers a momentum of .997, with which the running statistics are those of the last
                batch. Trained in that mode, it fell from an mAP of .89 to .79.
        """
        from proxyhash.encoders._blocks import moving_norms

        if self.device == "cpu":
            keep_freed_memory()
        self.module.train()
        for norm in moving_norms(self.module).values():
            learns = any(parameter.requires_grad for parameter in norm.parameters())
            norm.train(batch_norm and learns)

    def evaluation_mode(self) -> None:
        """Turn off what only learning has; parameters can go on learning afterwards."""
        self.module.eval()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Go to evaluation mode for the block, and back to the mode before it afterwards."""
        modes = {part: part.training for part in self.module.modules()}
        self.evaluation_mode()
        try:
            yield
        finally:
            for part, training in modes.items():
                part.training = training

    def checkpoint_activations(self, on: bool) -> None:
        """Keep only each layer's inputs for the backward pass, which computes the rest again.

        Gradients stay the same; a step takes about a third longer and much less memory.
        """
        from proxyhash.encoders._blocks import WHOLE, checkpoint_layers

        names = [block.name for block in self.blocks() if block.is_layer]
        parts = [self.module.get_submodule("" if name == WHOLE else name) for name in names]
        checkpoint_layers(parts, on=on)

    def freeze(self) -> None:
        """End learning: evaluation mode, no gradients, the fingerprint of the weights as they are.

        On an encoder that did not learn, nothing changes.
        """
        self.evaluation_mode()
        if self._open:
            self.checkpoint_activations(on=False)
        self.module.requires_grad_(requires_grad=False)
        for parameter in self.module.parameters():
            parameter.grad = None
        self.fingerprint = self.current_fingerprint()
        self._open, self.cached = False, type(self).cached

    def _check_evaluating(self) -> None:
        if self.module.training:
            raise RuntimeError(
                "the encoder is in learning mode, in which features are random; call "
                "evaluation_mode() or freeze() before encoding"
            )


def read_layers(layers: str) -> int | None:
    """Return N of "last:N", or None for "all".

    Raises:
        UsageError: "layers to tune are ...; use all or last:N".
    """
    if layers == "all":
        return None
    found = re.fullmatch(r"last:([1-9][0-9]{0,5})", layers)
    if found is None:
        raise UsageError(f"layers to tune are {layers!r}; use all, or last:N such as last:2")
    return int(found[1])
