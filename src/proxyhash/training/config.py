"""What a run was asked to do: one flat, frozen, typed configuration; every default lives here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from proxyhash.data.protocols import get_protocol
from proxyhash.errors import UsageError
from proxyhash.methods.registry import get_method
from proxyhash.methods.shared.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.data.item import Modality

__all__ = ["NetworkOptions", "Precision", "TrainConfig", "read_config"]

Precision = Literal["float32", "bfloat16"]
"""What matrix products round their factors to."""


def _widths(value: Any) -> Any:
    """Accept "4096,1024", "linear" and a single number for a tuple of widths."""
    if isinstance(value, str):
        return () if value == "linear" else value.split(",")
    return (value,) if isinstance(value, int) else value


class NetworkOptions(Settings):
    """The layers of a hashing network; see `proxyhash.networks.hashing_network.HashingNetwork`."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_widths)] = (1024,)
    """Widths of the hidden layers, "4096,4096" for two; "linear" for none."""
    activation: str = "relu"
    """Activation of the hidden layers."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of hidden units dropped in training."""
    input_dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """Share of features dropped in training; none: half, of fewer than 1,024 features fewer."""
    batch_norm: bool = False
    """Batch normalization of the hidden layers."""
    output_batch_norm: bool = True
    """Batch normalization of the logits, which balances the bits."""
    standardize: bool = False
    """Bring each feature to mean 0 and deviation 1 over the train items."""
    center: bool = False
    """Bring each feature to mean 0 and all of them, by one factor, to mean square 1."""


class TrainConfig(NetworkOptions):
    """The configuration of one training run; each key is a command line option with dashes."""

    data: str
    """Manifest file or folder of the collection."""
    out: str
    """Run folder to write."""
    method: str = "dchml"
    """Training objective, a name from the method registry."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The method's own settings; what is not given has the method's published default."""
    bits: int = Field(default=64, ge=1, le=4096)
    """Code length K."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the split, the proxies, the weights and the order of items."""

    image_encoder: str = "descriptor"
    """Image encoder: "descriptor" or "patches" (no weights), a transformers folder or hub id, or
    "features:PATH"."""
    text_encoder: str = "bow"
    """Text encoder: "bow", a transformers folder or hub id, "features:PATH"."""
    bow_words: int = Field(default=2000, ge=1)
    """Most words in the bag of words."""
    on_bad_item: Literal["fail", "skip"] = "fail"
    """What a row or image that cannot be read does: stop the run, or be left out and counted."""

    query: int | None = Field(default=None, ge=1)
    """Items held out as queries; none: a tenth of the items, at most 1,000."""
    train: int | None = Field(default=None, ge=2)
    """Items whose labels may be used; none: four fifths of what remains, at most 50,000."""
    validation: int | None = Field(default=None, ge=0)
    """Train items that choose the epoch; none: a twentieth, at most 500; 0: last epoch."""
    split_file: str | None = None
    """A split.json to use instead of drawing one."""
    protocol: str | None = None
    """A named protocol of the literature, such as "dcmh-mirflickr", instead of query and train."""

    posterior: bool = False
    """Predict the classes on the way to the bits, as `dchml-plus` needs it."""
    text_network: dict[str, Any] = Field(default_factory=dict)
    """Options of the text network where they differ, for example {"hidden": [8192]}."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer of both networks; "sgd" has momentum."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of the image network, and of what the method itself learns."""
    text_learning_rate: float | None = Field(default=None, gt=0)
    """Learning rate of the text network, where it differs."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay: decoupled in "adamw", an L2 penalty in "adam" and "sgd"."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of "sgd"."""
    lr_schedule: Literal["constant", "cosine"] = "cosine"
    """Course of the learning rates over the run; "cosine" falls to zero at the end."""
    warmup: float = Field(default=0.0, ge=0)
    """Epochs over which the learning rates rise from zero."""
    clip: float = Field(default=0.0, ge=0)
    """Largest gradient norm of a step; 0 means no clipping."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the moving average of the weights that is evaluated and saved; 0: none."""

    epochs: int = Field(default=20, ge=1)
    """Rounds over the train items."""
    batch_size: int | None = Field(default=128, ge=2)
    """Most items a step; none: a 48th of the train items, at least 32 and at most 96."""
    patience: int = Field(default=0, ge=0)
    """Epochs without a better validation score after which the run ends early; 0: never."""

    device: str = "cpu"
    """Where the networks train: cpu, cuda, cuda:1, mps."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; none: what the libraries choose."""
    precision: Precision = "float32"
    """What matrix products round their factors to in training. "bfloat16" halves the time on
    processors with matrix instructions for it; weights and codes are made in float32."""
    tensorboard: bool = False
    """Write losses and scores for TensorBoard into the run folder (extra "tensorboard")."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup >= self.epochs:
            raise ValueError(
                f"warmup is {self.warmup:g} epochs of {self.epochs}; it must be shorter than the "
                "run"
            )
        if self.split_file and (self.query, self.train, self.validation) != (None, None, None):
            raise ValueError(
                "split_file fixes the whole split; leave out query, train and validation"
            )
        if self.protocol:
            get_protocol(self.protocol)
            if (self.query, self.train, self.split_file) != (None, None, None):
                raise ValueError(
                    f"protocol {self.protocol} fixes queries and train items; leave out query, "
                    "train and split_file"
                )
        if None not in (self.train, self.validation) and self.validation > self.train - 2:  # type: ignore[operator]
            raise ValueError(
                f"validation is {self.validation} of {self.train} train items; it must leave at "
                "least 2 to learn from"
            )
        return self

    def network_options(self, modality: Modality) -> dict[str, Any]:
        """Return the arguments of one modality's `HashingNetwork`.

        Raises:
            UsageError: an option of `text_network` is unknown or cannot be used.
        """
        options = self.model_dump(include=set(NetworkOptions.model_fields))
        if modality == "text":
            options |= self.text_network
        return read_settings(NetworkOptions, options, owner=f"the {modality} network").model_dump()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, every key present."""
        return self.model_dump(mode="json")


def read_config(values: Mapping[str, Any]) -> TrainConfig:
    """Return the checked configuration, with paths made absolute so that it holds anywhere.

    A key that is not given has the method's default where it names one, else that of `TrainConfig`.

    Raises:
        UsageError: a key is unknown ("unknown setting 'learning_rat'; did you mean
            'learning_rate'?"), missing, or has a value that cannot be used; or a linear method
            is given hidden layers.
    """
    method = values.get("method", TrainConfig.model_fields["method"].default)
    config = read_settings(TrainConfig, {**_method_defaults(method), **values})
    text_options = config.network_options("text")
    _check_linear(config, text_options)
    return config.model_copy(
        update={
            "data": _absolute(config.data),
            "out": _absolute(config.out),
            "split_file": config.split_file and _absolute(config.split_file),
            "image_encoder": _absolute_encoder(config.image_encoder),
            "text_network": {key: text_options[key] for key in config.text_network},
            "text_encoder": _absolute_encoder(config.text_encoder),
        }
    )


def _method_defaults(method: Any) -> Mapping[str, Any]:
    # Anything but a name is left to the check of all values.
    return get_method(method).defaults if isinstance(method, str) else {}


def _check_linear(config: TrainConfig, text_options: Mapping[str, Any]) -> None:
    hidden = config.hidden or text_options["hidden"]
    if hidden and not get_method(config.method).passes:
        raise UsageError(
            f"method {config.method} is linear: its weights are computed, not trained, so hidden "
            f"layers ({', '.join(map(str, hidden))}) cannot be used; leave out --hidden"
        )


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _absolute_encoder(spec: str) -> str:
    """Make the path inside an encoder spec absolute; names and hub ids stay as they are."""
    from proxyhash.encoders import ENCODERS

    name, _, argument = spec.partition(":")
    if name == "features":  # a relative path may also start at the manifest; see encoders
        path, mark, key = argument.partition("#")
        return f"features:{_absolute(path)}{mark}{key}" if Path(path).is_file() else spec
    if name in ENCODERS or not Path(spec).expanduser().is_dir():
        return spec
    return _absolute(spec)
