"""The configuration of a training run: flat, frozen and typed, with every default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from proxyhash.data import MODALITIES, Modality
from proxyhash.data.protocols import get_protocol
from proxyhash.errors import UsageError, check_option
from proxyhash.methods import Settings, get_method, read_settings
from proxyhash.training.tuning import TuneOptions, ViewOptions, check_tuning, tuned_defaults

if TYPE_CHECKING:
    from proxyhash.encoders.recipe import Role

__all__ = [
    "BY_MODALITY",
    "NetworkOptions",
    "Precision",
    "TrainConfig",
    "current_keys",
    "read_config",
]

Precision = Literal["float32", "bfloat16", "float16"]
"""The precision of the factors of matrix products, and of activations in encoders that learn."""

BY_MODALITY = ("encoders", "networks", "learning_rates", "encoder_rates")
"""Keys that hold one value per modality."""

_SHORT_FORMS = {
    "encoder": "encoders",
    "network": "networks",
    "learning_rate": "learning_rates",
    "encoder_rate": "encoder_rates",
}
"""Endings of keys for one modality, such as `image_encoder`, and the keys they go into."""

_NO_ENCODER = "none"
"""The encoder of a modality that a run leaves out."""


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
    dropout_at: Literal["outputs", "inputs"] = "outputs"
    """Whether each hidden layer drops its own units, or those that it reads, features included."""
    initial_weights: Literal["uniform", "normal", "kaiming"] = "uniform"
    """Draw of the first weights: "uniform", torch's; "normal", N(0, .01^2); or "kaiming", with a
    variance of 2 / inputs, which plain SGD needs in deep networks."""
    input_dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """Share of features dropped in training; none: the method's choice for their number."""
    batch_norm: bool = False
    """Batch normalization of the hidden layers."""
    output_batch_norm: bool = True
    """Batch normalization of the logits, which balances the bits."""
    standardize: bool = False
    """Bring each feature to mean 0 and deviation 1 over the training items."""
    center: bool = False
    """Bring each feature to mean 0 and all of them, by one factor, to mean square 1."""


class TrainConfig(TuneOptions, ViewOptions, NetworkOptions):
    """The configuration of one training run; each key is a command line option with dashes."""

    data: str
    """Manifest file or folder of the collection."""
    out: str
    """Run folder to write."""
    method: str = "dchml"
    """Training method, a name from the method registry."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method; the rest have its defaults."""
    bits: int = Field(default=64, ge=1, le=4096)
    """Code length K."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the split, the proxies, the weights and the order of items."""

    encoders: dict[Modality, str] = Field(
        default_factory=lambda: {"image": "descriptor", "text": "bow"}
    )
    """The encoder of each modality: the name of one, a transformers folder or hub id, or
    "features:PATH"; "none" leaves the modality out."""
    bow_words: int = Field(default=2000, ge=1)
    """Vocabulary size of the bag of words."""
    query_prompt: str | None = Field(default=None, max_length=10_000)
    """Put before a text that is searched for, by a pretrained text encoder; none: what its folder
    names."""
    document_prompt: str | None = Field(default=None, max_length=10_000)
    """Put before any other text, by a pretrained text encoder; none: what its folder names."""
    on_bad_item: Literal["fail", "skip"] = "fail"
    """Whether a row or image that cannot be read stops the run, or is skipped and counted."""
    max_megapixels: float | None = Field(default=None, gt=0)
    """Images of more megapixels are refused; none: 250 for JPEG, which is decoded at a smaller size
    above 64, and 64 for other formats."""
    label_separator: str | None = Field(default=None, min_length=1)
    """What separates the labels in a cell of text; none: |, or ; in a cell without |."""

    query: int | None = Field(default=None, ge=1)
    """Number of queries, which are held out; none: a tenth of the items, at most 1,000."""
    train: int | None = Field(default=None, ge=2)
    """Training items, whose labels may be used; none: four fifths of the rest."""
    validation: int | None = Field(default=None, ge=0)
    """Training items for validation, which chooses the epoch that is kept; none: a twentieth, at
    most 500; 0: the last epoch is kept."""
    split_file: str | None = None
    """A split.json to use instead of drawing a split."""
    protocol: str | None = None
    """A named protocol of the literature, such as "dcmh-mirflickr", instead of query and train."""

    network_kind: str = "hashing"
    """Kind of the networks, a name from the registry; a method may bring a kind of its own."""
    networks: dict[Modality, dict[str, Any]] = Field(default_factory=dict)
    """Network options that differ for a modality, for example {"text": {"hidden": [8192]}}."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer of all networks."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of the networks, and of parameters of the method itself."""
    learning_rates: dict[Modality, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Learning rates that differ for the network of a modality, for example {"text": 0.01}."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay: decoupled in "adamw", an L2 penalty in "adam" and "sgd"."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of "sgd"; 0: plain SGD."""
    lr_schedule: Literal["constant", "cosine", "linear", "step"] = "cosine"
    """Learning-rate schedule, from the rate to its share `lr_end`: along half a "cosine", along a
    line, or in one "step" after five eighths of the epochs."""
    lr_end: float = Field(default=0.0, ge=0, le=1)
    """Share of the learning rate at the end of the run; "constant" ignores it."""
    warmup: float = Field(default=0.0, ge=0)
    """Epochs of linear learning-rate warmup."""
    clip: float = Field(default=0.0, ge=0)
    """Gradient norm to clip at; 0: no clipping."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the moving average of weights that is evaluated and saved; 0: none."""

    epochs: int = Field(default=20, ge=1)
    """Epochs: passes over the training items, or over `epoch_items` of them."""
    epoch_items: int = Field(default=50_000, ge=0)
    """Items of an epoch, at most; of more training items, epochs take one part after the other; 0:
    all of them."""
    batch_size: int | None = Field(default=128, ge=2)
    """Batch size; none: the method's choice for the number of training items."""
    patience: int = Field(default=0, ge=0)
    """Early stopping after this many epochs without a better validation score; 0: never."""
    validate_every: int | None = Field(default=None, ge=1)
    """Epochs from one validation to the next; the last epoch has one, too. None: 1; where encoders
    learn 5 with `patience` or without `final_epochs`, else none, and their last epoch is kept."""

    device: str = "cpu"
    """Device for training: cpu, cuda, cuda:1, mps."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; none: the libraries' default."""
    precision: Precision = "float32"
    """Precision of matrix products in training. "bfloat16" (mixed precision) rounds the factors of
    hidden layers, which takes half the time on processors with instructions for it, and is float32
    on those without. Encoders that learn compute in it altogether, also in "float16", which scales
    the loss. Weights, losses and codes stay float32."""
    features_in_memory: bool | None = None
    """Whether features are loaded into memory, or read from their files as they are needed. Results
    are equal, but for more than some hundred thousand items, whose order goes by blocks of the
    files. None: files below 4 GB are loaded."""
    tensorboard: bool = False
    """Write losses and scores for TensorBoard into the run folder (extra "tensorboard")."""
    wandb: bool = False
    """Log losses and scores to Weights & Biases (extra "wandb")."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that are learned."""
        return tuple(m for m, encoder in self.encoders.items() if encoder != _NO_ENCODER)

    @property
    def prompts(self) -> dict[Role, str]:
        """The prompts that are given, by role."""
        given: dict[Role, str | None]
        given = {"query": self.query_prompt, "document": self.document_prompt}
        return {role: prompt for role, prompt in given.items() if prompt is not None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in BY_MODALITY:
            for modality in getattr(self, key):
                _check_modality(modality, key)
        if not self.modalities:
            raise ValueError("encoders name no modality to learn from; name the encoder of one")
        if self.warmup >= self.epochs:
            raise ValueError(
                f"warmup is {self.warmup:g} epochs of {self.epochs}; it must be shorter than the "
                "run"
            )
        if self.lr_schedule == "step" and not self.lr_end:
            raise ValueError(
                "lr_schedule step falls to lr_end, which is 0, so that nothing is learned in the "
                "last three eighths of the epochs; give lr_end, for example 0.1"
            )
        check_tuning(self)
        if self.precision == "float16" and not self.tune:
            raise ValueError(
                "precision float16 is for encoders that learn, and none does; use bfloat16, or "
                "name encoders with tune"
            )
        if self.split_file and (self.query, self.train, self.validation) != (None, None, None):
            raise ValueError(
                "split_file fixes the whole split; leave out query, train and validation"
            )
        if self.protocol:
            get_protocol(self.protocol)
            if (self.query, self.train, self.split_file) != (None, None, None):
                raise ValueError(
                    f"protocol {self.protocol} fixes queries and training items; leave out query, "
                    "train and split_file"
                )
        if None not in (self.train, self.validation) and self.validation > self.train - 2:  # type: ignore[operator]
            raise ValueError(
                f"validation is {self.validation} of {self.train} training items; it must leave at "
                "least 2 to learn from"
            )
        return self

    def network_options(self, modality: Modality) -> dict[str, Any]:
        """Return the arguments of one modality's `HashingNetwork`.

        Raises:
            UsageError: an option in `networks` is unknown or cannot be used.
        """
        options = self.model_dump(include=set(NetworkOptions.model_fields))
        options |= self.networks.get(modality, {})
        return read_settings(NetworkOptions, options, owner=f"the {modality} network").model_dump()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form, every key present."""
        return self.model_dump(mode="json")


def read_config(values: Mapping[str, Any]) -> TrainConfig:
    """Return the checked configuration, with paths made absolute so that it holds anywhere.

    A key that is not given has the default of `TUNED_DEFAULTS` where encoders learn, else the
    method's if there is one, else that of `TrainConfig`; keys that hold one value per modality are
    filled up modality by modality, and settings, where encoders learn to the end, from
    `Objective.tuning_settings`. Short forms and former keys are read, see `current_keys`.

    Raises:
        UsageError: a key is unknown ("unknown setting 'learning_rat'; did you mean
            'learning_rate'?"), missing, or has a value that cannot be used; or a closed-form method
            is given hidden layers, views of images or encoders that learn.
    """
    given = current_keys(values)
    method = given.get("method", TrainConfig.model_fields["method"].default)
    # Anything but a name is left to the check of all values.
    defaults = dict(get_method(method).defaults) if isinstance(method, str) else {}
    encoders = TrainConfig.model_fields["encoders"].get_default(call_default_factory=True)
    defaults["encoders"] = {**encoders, **defaults.get("encoders", {})}
    epochs = defaults.get("epochs", TrainConfig.model_fields["epochs"].default)
    defaults |= tuned_defaults(given, epochs=epochs)
    merged = {**defaults, **given}
    for key in BY_MODALITY:
        parts = [part[key] for part in (defaults, given) if key in part]
        if parts and all(isinstance(part, Mapping) for part in parts):
            merged[key] = _in_order({name: value for part in parts for name, value in part.items()})
    config = read_settings(TrainConfig, merged)
    options = {modality: config.network_options(modality) for modality in config.networks}
    _check_closed_form(config, options)
    alone = config.tune and not config.final_epochs  # else `tuning_config` knows
    tuning = get_method(config.method).tuning_settings if alone else {}
    return config.model_copy(
        update={
            "settings": {**tuning, **config.settings},
            "data": _absolute(config.data),
            "out": _absolute(config.out),
            "split_file": config.split_file and _absolute(config.split_file),
            "encoders": {m: _absolute_encoder(spec) for m, spec in config.encoders.items()},
            "networks": {
                modality: {key: options[modality][key] for key in given_options}
                for modality, given_options in config.networks.items()
            },
        }
    )


def current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the keys of `TrainConfig`.

    Short forms for one modality, such as `image_encoder`, `text_network` and `text_learning_rate`,
    go into `encoders`, `networks` and `learning_rates`, and `posterior`, a key of version 0.1, is a
    `network_kind`.
    """
    current = dict(values)
    posterior = current.pop("posterior", None)
    if posterior is not None:
        current.setdefault("network_kind", "posterior" if _is_true(posterior) else "hashing")
    for modality in MODALITIES:
        for ending, key in _SHORT_FORMS.items():
            value, others = current.pop(f"{modality}_{ending}", None), current.get(key, {})
            if value is not None and isinstance(others, Mapping):
                if isinstance(value, Mapping) and isinstance(others.get(modality), Mapping):
                    value = {**value, **others[modality]}
                    others = {name: each for name, each in others.items() if name != modality}
                current[key] = {modality: value, **others}
    return current


def _is_true(posterior: Any) -> bool:
    try:
        return TypeAdapter(bool).validate_python(posterior)
    except ValidationError as error:
        raise UsageError(f"posterior is {posterior!r}; it must be true or false") from error


def _in_order(values: Mapping[Modality, Any]) -> dict[Modality, Any]:
    """Return the values in the order of the registry, unknown modalities last."""
    order = [*MODALITIES, *values]
    return {modality: values[modality] for modality in sorted(values, key=order.index)}


def _check_modality(modality: str, key: str) -> None:
    try:
        check_option(f"modality in {key}", modality, MODALITIES)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _check_closed_form(config: TrainConfig, options: Mapping[Modality, Mapping[str, Any]]) -> None:
    if not get_method(config.method).closed_form:
        return
    method = f"method {config.method}"
    if config.tune:
        raise UsageError(
            f"{method} is computed from features, not trained step by step, so no encoder can "
            f"learn with it; leave out --tune {','.join(config.tune)}, or choose a method that is "
            "trained, such as dchml-plus"
        )
    if config.views:
        raise UsageError(f"{method} is computed, so views would change nothing; leave out --views")
    hidden = config.hidden or next((o["hidden"] for o in options.values() if o["hidden"]), ())
    if hidden:
        raise UsageError(
            f"{method} is linear: its weights are computed, not trained, so hidden layers "
            f"({', '.join(map(str, hidden))}) cannot be used; leave out --hidden"
        )


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _absolute_encoder(spec: str) -> str:
    """Make the path inside an encoder spec absolute; names and hub ids stay as they are."""
    from proxyhash.encoders import ENCODERS
    from proxyhash.encoders.tokens import TOKENS, split_source

    name, _, argument = spec.partition(":")
    if name == "features":  # a relative path may also start at the manifest; see encoders
        path, mark, key = argument.partition("#")
        return f"features:{_absolute(path)}{mark}{key}" if Path(path).is_file() else spec
    if name == TOKENS:
        source, options = split_source(argument)
        found = _absolute(source) if source and Path(source).expanduser().is_dir() else source
        return f"{TOKENS}:{','.join(filter(None, (found, options)))}"
    if name in ENCODERS or not Path(spec).expanduser().is_dir():
        return spec
    return _absolute(spec)
