"""Recipe of a text model: what happens to a text before the network, and to token vectors after it.

Folders of sentence-transformers say so themselves, in files of its own format: `modules.json` lists
the steps, each with a folder that configures it; `sentence_bert_config.json` has the length, and
`config_sentence_transformers.json` the prompts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from proxyhash.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxyhash.encoders.model_files import ModelFiles

__all__ = ["ACTIVATIONS", "Dense", "Role", "TextRecipe", "is_prompt"]

Role = Literal["query", "document"]
"""What a text is in a search: what is searched for, or what is indexed and learned from."""

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
"""Classes of torch.nn that a Dense step can end with; any other name is refused, never imported."""

_POOLINGS = {"mean": "mean", "cls": "first", "lasttoken": "last"}
_PROMPT_NAMES: dict[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
_STEPS = ("Transformer", "Pooling", "Dense", "Normalize")
_MAX_PROMPT = 10_000  # characters
_MAX_COUNT = 1 << 24  # of tokens, and of features


@dataclass(frozen=True)
class Dense:
    """A linear layer after the pooling.

    Attributes:
        inputs: its width before.
        outputs: its width after.
        bias: whether it has one.
        activation: one of `ACTIVATIONS`, applied to its output.
        folder: where its weights are, relative to the model; not part of the recipe.
    """

    inputs: int
    outputs: int
    bias: bool
    activation: str
    folder: str = field(default="", compare=False)


@dataclass(frozen=True)
class TextRecipe:
    """Recipe of a text model.

    Attributes:
        pooling: "mean" over the attention mask, "first" or "last" for the first or last token.
        normalize: whether the vector is divided by its Euclidean norm, after the last Dense step.
        max_tokens: longer texts are cut; None leaves it to the tokenizer.
        dense: layers that the pooled vector goes through, in this order.
        query: prompt that is put before a text that is searched for; "" for none.
        document: prompt before any other text.
        pool_prompt: whether the mean is taken over the tokens of the prompt, too.
        lower: whether texts are put into lower case.
        end: whether the end-of-text token is added where the tokenizer leaves it out.
    """

    pooling: str = "mean"
    normalize: bool = False
    max_tokens: int | None = None
    dense: tuple[Dense, ...] = ()
    query: str = ""
    document: str = ""
    pool_prompt: bool = True
    lower: bool = False
    end: bool = False

    def prompt(self, role: Role) -> str:
        """Return what is put before a text in this role."""
        return self.query if role == "query" else self.document

    def with_prompts(self, prompts: Mapping[Role, str]) -> TextRecipe:
        """Return the same with other prompts; a role that is not named keeps its own."""
        query, document = (prompts.get(role, self.prompt(role)) for role in _PROMPT_NAMES)
        return replace(self, query=query, document=document)

    @classmethod
    def of(cls, files: ModelFiles) -> TextRecipe:
        """Return the recipe of a model, a plain mean where its files say nothing.

        Without hints it is the recipe that earlier versions read from the same files.

        Raises:
            ModelError: "FOLDER/1_Pooling/config.json: ...", or a step is none of those known.
        """
        modules = files.modules()
        _check_steps([kind for kind, _ in modules], files.path("modules.json"))
        pooling = next((path for kind, path in modules if kind == "Pooling" and path), "1_Pooling")
        if files.hints is not None:
            _check_pooling(files, modules)
        plain = cls(
            pooling=_pooling(files, f"{pooling}/config.json"),
            normalize=any(kind == "Normalize" for kind, _ in modules),
            max_tokens=_length(files, "sentence_bert_config.json"),
            dense=tuple(_dense(files, path) for kind, path in modules if kind == "Dense"),
        )
        if files.hints is None:
            return plain
        tokenizer, siglip2 = files.json("tokenizer_config.json"), _siglip2_length(files)
        lower = files.json("sentence_bert_config.json").get("do_lower_case") is True
        return replace(
            plain,
            pool_prompt=files.json(f"{pooling}/config.json").get("include_prompt") is not False,
            lower=lower or siglip2 is not None,
            max_tokens=plain.max_tokens or siglip2,
            end=plain.pooling == "last" and tokenizer.get("add_eos_token") is True,
        ).with_prompts(_prompts(files, "config_sentence_transformers.json"))

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        found = asdict(self)
        for layer in found["dense"]:
            del layer["folder"]
        return {**found, "dense": list(found["dense"])}

    @classmethod
    def from_json(cls, value: Any) -> TextRecipe:
        """Return the recipe that `to_json` wrote.

        Raises:
            ValueError: it did not; names the key.
        """
        wanted = cls().to_json()
        if not isinstance(value, dict) or value.keys() != wanted.keys():
            raise ValueError(f"its recipe has not the keys {', '.join(wanted)}")
        for name in ("normalize", "pool_prompt", "lower", "end"):
            if type(value[name]) is not bool:
                raise ValueError(f"{name} of its recipe is {value[name]!r:.40}, not true or false")
        for name in ("query", "document"):
            if not is_prompt(value[name]):
                raise ValueError(f"{name} of its recipe is {value[name]!r:.40}, not a prompt")
        if value["pooling"] not in _POOLINGS.values():
            raise ValueError(f"it pools by {value['pooling']!r:.40}")
        if value["max_tokens"] is not None and not _is_count(value["max_tokens"]):
            raise ValueError(f"max_tokens of its recipe is {value['max_tokens']!r:.40}")
        layers = value["dense"]
        if not isinstance(layers, list) or not all(isinstance(each, dict) for each in layers):
            raise ValueError("dense of its recipe is not a list of layers")
        return cls(**{**value, "dense": tuple(_layer(each) for each in layers)})


def _check_steps(kinds: list[str], path: str) -> None:
    """Refuse steps that are unknown, or in another order than the known ones can have."""
    unknown = sorted(set(kinds) - {*_STEPS, "CLIPModel"})
    if unknown:
        raise ModelError(
            f"{path}: the sentence encoder has a step {unknown[0]!r}; only models with the steps "
            f"{', '.join(_STEPS)} can be used"
        )
    places = [_STEPS.index(kind) for kind in kinds if kind in _STEPS]
    if "Dense" in kinds and (places != sorted(places) or "Pooling" not in kinds):
        raise ModelError(
            f"{path}: the steps of the sentence encoder are {', '.join(kinds)}; Dense steps can be "
            "used after Pooling and before Normalize only"
        )


def _check_pooling(files: ModelFiles, modules: list[tuple[str, str]]) -> None:
    """Refuse a folder that was copied in part: without its file, another pooling would be used."""
    for kind, path in modules:
        if kind == "Pooling" and path and f"{path}/config.json" not in (files.hints or {}):
            raise ModelError(
                f"{files.path(f'{path}/config.json')} is missing, which describes the Pooling step "
                "of the model; copy the whole folder of the model"
            )


def _pooling(files: ModelFiles, name: str) -> str:
    config = files.json(name)
    on = [mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on]
    chosen = [mode.removeprefix("pooling_mode_").removesuffix("_tokens") for mode in on]
    chosen = [mode.removesuffix("_token") for mode in chosen]
    if files.hints is not None and "pooling_mode" in config:  # newer folders name it
        named = config["pooling_mode"]
        chosen = on = [str(each) for each in (named if isinstance(named, list) else [named])]
    if len(chosen) > 1 or not set(chosen) <= _POOLINGS.keys():
        raise ModelError(
            f"{files.path(name)}: the sentence encoder pools by {', '.join(on)}; only one of the "
            "mean over tokens, the first token and the last token can be used"
        )
    return _POOLINGS[chosen[0]] if chosen else "mean"


def _length(files: ModelFiles, name: str) -> int | None:
    length = files.json(name).get("max_seq_length")
    if not length:
        return None
    try:
        count = int(length)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise ModelError(
            f"{files.path(name)}: max_seq_length is {length!r:.40}; a number of tokens, 1 or more, "
            "is expected"
        )
    return count


def _dense(files: ModelFiles, folder: str) -> Dense:
    name = f"{folder}/config.json"
    config, where = files.json(name), files.path(name)
    if not config:
        raise ModelError(f"{where} is missing, which describes a Dense step of the model")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key, "sentence_embedding") not in ("sentence_embedding", None):
            raise ModelError(
                f"{where}: {key} is {config[key]!r:.40}; only Dense steps from one sentence "
                "embedding to the next can be used"
            )
    layer = {
        "inputs": config.get("in_features"),
        "outputs": config.get("out_features"),
        "bias": config.get("bias", True),
        "activation": config.get("activation_function", "torch.nn.modules.activation.Tanh"),
    }
    place, _, layer["activation"] = str(layer["activation"]).rpartition(".")
    if place and not f"{place}.".startswith("torch.nn."):
        layer["activation"] = f"{place}.{layer['activation']}"
    try:
        return replace(_layer(layer), folder=folder)
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from error


def _layer(value: Mapping[str, Any]) -> Dense:
    """Return the layer that JSON values describe.

    Raises:
        ValueError: they describe none; names the key.
    """
    layer = Dense(**value)
    for name in ("inputs", "outputs"):
        if not _is_count(getattr(layer, name)):
            raise ValueError(f"a Dense step has {getattr(layer, name)!r:.40} {name}")
    if type(layer.bias) is not bool:
        raise ValueError(f"bias of a Dense step is {layer.bias!r:.40}; true or false is expected")
    if layer.activation not in ACTIVATIONS:
        raise ValueError(
            f"a Dense step ends with {layer.activation!r:.80}; only {', '.join(ACTIVATIONS)} of "
            "torch.nn can be used"
        )
    return layer


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_COUNT


def _siglip2_length(files: ModelFiles) -> int | None:
    """Return the length that SigLIP 2 reads of any text; None for other models.

    It was trained on texts in lower case, padded to 64 tokens (arXiv 2502.14786, section 2). Its
    folders name the tokenizer of Gemma, which keeps the case and knows no length.
    """
    config = files.json("config.json")
    named = str(files.json("tokenizer_config.json").get("tokenizer_class"))
    if not (str(config.get("model_type")).startswith("siglip") and named.startswith("Gemma")):
        return None
    text = config.get("text_config")
    length = text.get("max_position_embeddings") if isinstance(text, dict) else None
    return length if _is_count(length) else 64


def _prompts(files: ModelFiles, name: str) -> dict[Role, str]:
    """Return the prompts of both roles, by the names that sentence-transformers looks for."""
    config, where = files.json(name), files.path(name)
    prompts, default = config.get("prompts") or {}, config.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(map(is_prompt, prompts.values())):
        raise ModelError(
            f"{where}: prompts are {prompts!r:.60}; an object of texts, each of at most "
            f"{_MAX_PROMPT:,} characters, is expected"
        )
    if default is not None and default not in prompts:
        raise ModelError(
            f"{where}: default_prompt_name is {default!r:.40}, but the prompts are "
            f"{', '.join(prompts) or 'none'}"
        )
    found: dict[Role, str] = {}
    for role, names in _PROMPT_NAMES.items():
        chosen = next((each for each in names if each in prompts), default)
        found[role] = "" if chosen is None else prompts[chosen]
    return found


def is_prompt(value: Any) -> bool:
    """Return whether a value can be put before a text: a string of at most 10,000 characters."""
    return isinstance(value, str) and len(value) <= _MAX_PROMPT
