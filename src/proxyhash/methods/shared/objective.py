"""The base class of methods: an objective over the outputs of one network per modality.

The training loop owns data, networks and optimizers; a method owns the loss and everything else
that is its own. One epoch walks over the training items once per entry of `Objective.passes`, and
in each pass only the networks named there learn: all of them together (joint training), or one at
a time (alternating training, as in DCMH and DCHML). Before the first epoch, `Objective.begin_run`
sees the networks and the training features: first stages happen there, and closed-form methods do
all their work there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor, nn

from proxyhash.data import Modality
from proxyhash.methods.shared.settings import Settings
from proxyhash.networks import NETWORKS
from proxyhash.progress import Track, silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.methods.shared.batch import Batch, Memory, Rows
    from proxyhash.networks import Network
    from proxyhash.proxies.proxies import Proxies

__all__ = ["Context", "MethodCard", "Objective", "Passes", "alternating", "joint"]

Passes = tuple[tuple[Modality, ...], ...]


def joint(modalities: tuple[Modality, ...]) -> Passes:
    """Return one pass in which all networks learn."""
    return (modalities,)


def alternating(modalities: tuple[Modality, ...]) -> Passes:
    """Return one pass per network."""
    return tuple((modality,) for modality in modalities)


@dataclass(frozen=True)
class Context:
    """Everything an objective may know before training starts."""

    labels: Tensor
    """(n, C) bool or float32 in {0, 1}, or probabilities: the labels of the training items."""
    bits: int
    """Code length K."""
    seed: int
    """Seed of everything the objective draws."""
    modalities: tuple[Modality, ...]
    """The modalities of the run."""
    track: Track = silent
    """Reports the progress of long work."""

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.labels.shape[1]


@dataclass(frozen=True)
class MethodCard:
    """One row of the table in docs/methods.md, as Markdown."""

    idea: str
    """The idea of the method, in a few words."""
    loss: str
    """The loss in one line."""
    source: str
    """Paper and year."""
    differs: str = ""
    """Differences from the common budget of networks, epochs and batches."""


class Objective(nn.Module, ABC):
    """A method's loss, with the parameters of its own if it has any.

    Subclasses are registered with `@register_method("name")` and take `(context, settings)`. State
    that a resumed run needs belongs into buffers or parameters, as the checkpoint keeps
    `state_dict()`.
    """

    settings_type: ClassVar[type[Settings]] = Settings
    """The settings class, which says where a default is not the method's published one."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named training configurations, for example "reference": the optimizer of the paper."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Keys of the training configuration that the method sets unless the user does."""
    tuning_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that are others, unless the user gives them, while encoders learn."""
    final_settings: ClassVar[Mapping[str, Any]] = {}
    """Settings that are others, unless the user gives them, where the networks learn from encoders
    that have learned from the same items before: the last stage of runs that tune encoders."""
    needs_labels: ClassVar[bool] = True
    """Whether items without a label are of no use to the method; else it learns from every item."""
    reads_labels: ClassVar[bool] = True
    """Whether labels are read at all; as `needs_labels`, unless a class says otherwise."""
    supervised: ClassVar[bool] = True
    """The earlier name of `needs_labels`; a class sets either, and has both."""
    needs_pairs: ClassVar[bool] = False
    """Whether the method learns from items that have two modalities, so that one is not enough."""
    across: ClassVar[bool] = False
    """Whether items are compared across modalities alone, so that a single one learns little."""
    reads_memory: bool = True
    """Whether outputs of earlier steps are read, see `Memory`: of ten million items and 64 bits
    they take 2.6 GB per modality."""
    closed_form: ClassVar[bool] = False
    """Whether `begin_run` computes linear networks completely, so that no pass is needed."""
    validated_by: ClassVar[Literal["mAP", "MRR"]] = "mAP"
    """The figure of validation items that chooses the epoch: "MRR" of an item's other half
    among them, for methods that must not know labels."""
    card: ClassVar[MethodCard | None] = None
    """The method's row in docs/methods.md."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep `needs_labels` and its earlier name the same."""
        super().__init_subclass__(**kwargs)
        for name in ("supervised", "needs_labels"):
            if name in cls.__dict__:
                cls.supervised = cls.needs_labels = cls.__dict__[name]
                cls.reads_labels = cls.__dict__.get("reads_labels", cls.needs_labels)

    def __init__(self, context: Context, settings: Settings) -> None:
        super().__init__()
        self.bits = context.bits
        self.seed = context.seed
        self.classes = context.classes
        self.modalities = context.modalities
        self.settings = settings

    @classmethod
    def preset(cls, name: str, *, bits: int) -> Mapping[str, Any]:  # noqa: ARG003 - for subclasses
        """Return one of `presets`, for codes of `bits` bits where it depends on them."""
        return cls.presets[name]

    @property
    def passes(self) -> Passes:
        """The networks that learn together, pass by pass."""
        return joint(self.modalities)

    @property
    def proxies(self) -> Proxies | None:
        """The codes of the classes that training aims at, if the method has any."""
        return None

    @staticmethod
    def batch_size(items: int) -> int:
        """Return the batch size for a number of training items, where the configuration has none.

        Few items make few steps per epoch, so this is what makes about 48, from 32 to 96.
        """
        return min(96, max(32, items // 48))

    @staticmethod
    def input_dropout(width: int) -> float:
        """Return the share of `width` features to drop, where the configuration has none.

        Half of 1,024 features and more; of few features every one is needed.
        """
        return 0.5 * min(1.0, width / 1024)

    def make_network(
        self,
        modality: Modality,  # noqa: ARG002
        kind: str,
        dim_in: int,
        *,
        seed: int,
        options: Mapping[str, Any],
    ) -> Network:
        """Return the untrained network of one modality; those of a run may share parts later.

        Args:
            modality: The network's modality.
            kind: A name from the registry of network kinds; the configuration's `network_kind`.
            dim_in: Width of the features.
            seed: Determines the initial weights.
            options: The configuration's network options for this modality.

        Raises:
            UsageError: there is no such kind, or an option is out of its range.
        """
        return NETWORKS[kind].make(dim_in, self.bits, classes=self.classes, seed=seed, **options)

    def begin_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Prepare a new run; a resumed one has its state from the checkpoint instead.

        Called once, before the optimizer and the memory are made, with torch's generators seeded.

        Args:
            networks: The networks with their initial weights, on the device of the run; they may be
                changed in place.
            train: Features and labels of the training items, on the same device.
            track: Reports the progress of long work.
        """

    def begin_epoch(self, memory: Memory) -> None:
        """Prepare an epoch, for example refresh a unified code."""

    def labels_of(self, train: Rows, index: Tensor) -> Tensor:
        """Return the labels of the training items at `index`, (b, C), as they are learned."""
        return train.labels[index].float()

    def run_network(
        self,
        modality: Modality,  # noqa: ARG002
        network: Network,
        features: Tensor,
        labels: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return the (b, K) outputs of a network that learns in this step.

        For methods that change the features or need more than the outputs; anything they keep for
        the loss belongs to this step alone.

        Args:
            modality: The network's modality.
            network: The network, in training mode.
            features: (b, d) features of the items that have the modality.
            labels: (b, C) their labels.
        """
        outputs: Tensor = network(features)
        return outputs

    def end_run(
        self, networks: Mapping[Modality, Network], train: Rows, *, track: Track = silent
    ) -> None:
        """Complete the networks of the best epoch before they are evaluated and saved.

        Called once, after the last epoch, with torch's generators seeded; see `begin_run`.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalar terms, already weighted; the loop minimizes their sum."""
