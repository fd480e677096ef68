"""What a method is: an objective over the outputs of two networks, and the passes it asks for.

The training loop owns data, networks and optimizers; a method owns the loss. One *round* (epoch)
walks over the train items once per entry of `Objective.passes`, and in each pass only the
networks named there learn. `(("image", "text"),)` is joint training, `(("image",), ("text",))`
alternates as in DCMH and DCHML. Before the first round, `Objective.begin_run` sees the networks and
the train features: first stages happen there, and all of a closed-form method, which has no passes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from proxyhash.data.item import Modality
from proxyhash.methods.shared.settings import Settings
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.methods.shared.rows import Rows
    from proxyhash.networks.hashing_network import HashingNetwork
    from proxyhash.proxies.proxies import Proxies

__all__ = [
    "ALTERNATING",
    "JOINT",
    "Batch",
    "Context",
    "Memory",
    "Objective",
    "Passes",
    "other",
    "sign",
]

Passes = tuple[tuple[Modality, ...], ...]

JOINT: Passes = (("image", "text"),)
ALTERNATING: Passes = (("image",), ("text",))


@dataclass(frozen=True)
class Context:
    """What an objective may know before training starts."""

    labels: Tensor
    """(n, C) float32 in {0, 1}: the labels of the train items."""
    bits: int
    """Code length K."""
    seed: int
    """Seed of everything the objective draws."""

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.labels.shape[1]


@dataclass
class Memory:
    """The latest output of each network for every train item, without gradient.

    The loop writes a batch's outputs back after its loss, so rows are at most one round old. Rows
    of a missing modality stay zero.
    """

    image: Tensor
    """(n, K) float32 in (-1, 1)."""
    text: Tensor
    """(n, K) float32 in (-1, 1)."""
    has_image: Tensor
    """(n,) bool."""
    has_text: Tensor
    """(n,) bool."""

    def of(self, modality: Modality) -> Tensor:
        """Return the (n, K) outputs of one modality."""
        return self.image if modality == "image" else self.text

    def has(self, modality: Modality) -> Tensor:
        """Return (n,) bool: which train items have the modality."""
        return self.has_image if modality == "image" else self.has_text

    def unified(self) -> Tensor:
        """Return B = sign(H_image + H_text), (n, K) in {-1, +1}; zero counts as -1, as in codes."""
        return sign(self.image + self.text)


@dataclass
class Batch:
    """One step's data: labels, and outputs of the networks that the pass or the loop computed."""

    index: Tensor
    """(b,) int64 positions among the train items."""
    labels: Tensor
    """(b, C) float32 in {0, 1}."""
    image: Tensor | None
    """(b, K) outputs with gradient, or None when the image network does not learn in this pass."""
    text: Tensor | None
    """(b, K) outputs with gradient, or None when the text network does not learn in this pass."""
    has_image: Tensor
    """(b,) bool; rows without are zero in `image`."""
    has_text: Tensor
    """(b,) bool; rows without are zero in `text`."""
    memory: Memory
    """Latest outputs of all train items."""

    def learning(self) -> tuple[Modality, ...]:
        """Return the modalities whose outputs carry gradient."""
        modalities: tuple[Modality, ...] = ("image", "text")
        return tuple(m for m in modalities if self.outputs(m) is not None)

    def outputs(self, modality: Modality) -> Tensor | None:
        """Return the outputs with gradient of one modality."""
        return self.image if modality == "image" else self.text

    def need(self, modality: Modality) -> Tensor:
        """Return the outputs of a modality that learns in this pass."""
        outputs = self.outputs(modality)
        assert outputs is not None, f"the {modality} network does not learn in this pass"
        return outputs

    def latest(self, modality: Modality) -> Tensor:
        """Return (b, K) outputs without gradient: this step's where there are, else memory's."""
        outputs = self.outputs(modality)
        return self.memory.of(modality)[self.index] if outputs is None else outputs.detach()

    def has(self, modality: Modality) -> Tensor:
        """Return (b,) bool: which items have the modality."""
        return self.has_image if modality == "image" else self.has_text

    def supervised(self, modality: Modality) -> Tensor:
        """Return (b,) bool: items that have the modality and at least one label.

        Items without labels carry no supervision, so every term of every method is taken over
        these only.
        """
        return self.has(modality) & self.labels.bool().any(dim=1)

    def labels_of(self, modality: Modality) -> Tensor:
        """Return (b, C) labels with zero rows for items without the modality.

        The losses leave rows without labels out, so this is how they skip missing modalities.
        """
        return self.labels * self.has(modality)[:, None]


class Objective(nn.Module, ABC):
    """A method's loss, with the parameters of its own if it has any.

    Subclasses are registered with `@register_method("name")`, take `(context, settings)` and set
    `passes`. What must survive a resume lives in buffers or
    parameters, for the checkpoint keeps `state_dict()`.
    """

    settings_type: ClassVar[type[Settings]] = Settings
    """The settings class; its defaults are the method's published ones."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named training configurations, for example "reference": the optimizer of the paper."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Keys of the training configuration that the method sets unless the user does."""
    supervised: ClassVar[bool] = True
    """Whether labels teach; the model card says so where they do not."""

    passes: Passes = JOINT
    """Which networks learn together, pass by pass; none for a closed form, whose networks are
    linear and whole after `begin_run`."""

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__()
        self.bits = context.bits
        self.seed = context.seed
        self.settings = settings

    @property
    def proxies(self) -> Proxies | None:
        """The codes of the classes that training aims at; none for methods without."""
        return None

    def begin_run(
        self, networks: Mapping[Modality, HashingNetwork], train: Rows, *, track: Track = silent
    ) -> None:
        """Prepare a new run; a resumed one has its state from the checkpoint instead.

        Called once, before the optimizer and the memory are made, with torch's generators seeded.

        Args:
            networks: The image and the text network with their first weights, on the device of the
                run; they may be changed in place.
            train: Features and labels of the train items, on the same device.
            track: Told about work that takes long.
        """

    def begin_round(self, memory: Memory) -> None:
        """Prepare a round, for example refresh a unified code; called before every epoch."""

    def run_network(
        self,
        modality: Modality,  # noqa: ARG002
        network: HashingNetwork,
        features: Tensor,
        labels: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the (b, K) outputs of a network that learns in this step.

        For methods that change the features on the way or need more than the outputs; what they
        keep for the loss belongs to this step alone.

        Args:
            modality: Which network it is.
            network: The network, in training mode.
            features: (b, d) features of the items that have the modality.
            labels: (b, C) their labels.
        """
        outputs: Tensor = network(features)
        return outputs

    def end_run(
        self, networks: Mapping[Modality, HashingNetwork], train: Rows, *, track: Track = silent
    ) -> None:
        """Complete the networks of the best epoch before they are evaluated and saved.

        Called once, after the last epoch, with torch's generators seeded; see `begin_run`.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar terms, already weighted; the loop minimizes their sum."""


def other(modality: Modality) -> Modality:
    """Return the other modality."""
    return "text" if modality == "image" else "image"


def sign(values: Tensor) -> Tensor:
    """Return -1 or +1 of the same dtype; zero gives -1, as bit 1 means greater than zero."""
    return torch.where(values > 0, 1.0, -1.0).to(values.dtype)
