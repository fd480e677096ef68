"""Recipes of text models, as the files of sentence-transformers tell them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.encoders.model_files import ModelFiles
from proxyhash.encoders.recipe import Dense, TextRecipe
from proxyhash.errors import ModelError
from tests.encoders.tiny_models import save_steps

if TYPE_CHECKING:
    from pathlib import Path


def files(**content: Any) -> ModelFiles:
    """Model files from JSON values, their names with __ for / and without .json; all are hints.

    Where there are modules, the file of their Pooling step is there, too.
    """
    if "modules" in content:
        content = {"1_Pooling__config": {}, **content}
    named = {f"{name.replace('__', '/')}.json": json.dumps(v) for name, v in content.items()}
    return ModelFiles({}, {name: text.encode() for name, text in named.items()})


def steps(*names: str) -> list[dict[str, str]]:
    return [
        {"type": f"sentence_transformers.models.{name}", "path": f"{place}_{name}" * bool(place)}
        for place, name in enumerate(names)
    ]


MEAN = TextRecipe()
LAYER = {"in_features": 8, "out_features": 4, "bias": False}


@pytest.mark.parametrize(
    ("content", "recipe"),
    [
        ({}, MEAN),
        (
            {
                "modules": steps("Transformer", "Pooling", "Normalize"),
                "1_Pooling__config": {"pooling_mode_mean_tokens": True},
                "sentence_bert_config": {"max_seq_length": 256},
            },
            replace(MEAN, normalize=True, max_tokens=256),
        ),
        (
            {
                "modules": steps("Transformer", "Pooling"),
                "1_Pooling__config": {
                    "word_embedding_dimension": 384,
                    "pooling_mode_cls_token": True,
                    "pooling_mode_mean_tokens": False,
                },
            },
            replace(MEAN, pooling="first"),
        ),
        (
            {
                "modules": steps("Transformer", "Pooling"),
                "1_Pooling__config": {"pooling_mode_lasttoken": True},
                "tokenizer_config": {"add_eos_token": True},
            },
            replace(MEAN, pooling="last", end=True),
        ),
        ({"tokenizer_config": {"add_eos_token": True}}, MEAN),  # of old, a mean without it
        ({"1_Pooling__config": {"pooling_mode": "cls"}}, replace(MEAN, pooling="first")),
        ({"1_Pooling__config": {"pooling_mode": ["lasttoken"]}}, replace(MEAN, pooling="last")),
        ({"1_Pooling__config": {"include_prompt": False}}, replace(MEAN, pool_prompt=False)),
        ({"sentence_bert_config": {"do_lower_case": True}}, replace(MEAN, lower=True)),
        (
            {
                "config": {"model_type": "siglip"},
                "tokenizer_config": {"tokenizer_class": "GemmaTokenizer"},
            },
            replace(MEAN, lower=True, max_tokens=64),
        ),
        (
            {
                "config": {"model_type": "siglip2", "text_config": {"max_position_embeddings": 9}},
                "tokenizer_config": {"tokenizer_class": "GemmaTokenizerFast"},
            },
            replace(MEAN, lower=True, max_tokens=9),
        ),
        (
            {
                "config": {"model_type": "siglip"},
                "tokenizer_config": {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True},
            },
            MEAN,
        ),
        (
            {
                "modules": steps("Transformer", "Pooling", "Dense", "Dense", "Normalize"),
                "2_Dense__config": {
                    **LAYER,
                    "activation_function": "torch.nn.modules.linear.Identity",
                },
                "3_Dense__config": {"in_features": 4, "out_features": 9},
            },
            replace(
                MEAN,
                normalize=True,
                dense=(
                    Dense(8, 4, bias=False, activation="Identity"),
                    Dense(4, 9, bias=True, activation="Tanh"),
                ),
            ),
        ),
    ],
)
def test_the_recipe_of_sentence_transformers_is_followed(
    content: dict[str, Any], recipe: TextRecipe
) -> None:
    assert TextRecipe.of(files(**content)) == recipe


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document"),
    [
        ({"query": "query: ", "passage": "passage: "}, None, "query: ", "passage: "),
        ({"query": "q", "document": "d", "passage": "p"}, None, "q", "d"),
        ({"query": "q", "corpus": "c"}, None, "q", "c"),
        ({"web_search_query": "w"}, None, "", ""),
        ({"web_search_query": "w", "document": "d"}, "web_search_query", "w", "d"),
        ({"query": "q"}, "query", "q", "q"),
        ({}, None, "", ""),
    ],
)
def test_prompts_go_by_the_names_of_sentence_transformers(
    prompts: dict[str, str], default: str | None, query: str, document: str
) -> None:
    config = {"prompts": prompts, "default_prompt_name": default}
    recipe = TextRecipe.of(files(config_sentence_transformers=config))
    assert (recipe.prompt("query"), recipe.prompt("document")) == (query, document)
    assert recipe.with_prompts({"query": "Q"}) == replace(recipe, query="Q")
    assert recipe.with_prompts({}) == recipe


DENSE = {"modules": steps("Transformer", "Pooling", "Dense")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"modules": steps("Transformer", "Pooling", "LSTM")}, r"modules\.json: .* a step 'LSTM'"),
        (
            {"modules": steps("Transformer", "Dense", "Pooling")},
            r"modules\.json: .* Transformer, Dense, Pooling; Dense steps can be used after Pooling",
        ),
        ({"modules": steps("Transformer", "Pooling", "Normalize", "Dense")}, "before Normalize"),
        (
            {"1_Pooling__config": {"pooling_mode_max_tokens": True}},
            r"1_Pooling/config\.json: .* pools by pooling_mode_max",
        ),
        (
            {
                "1_Pooling__config": {
                    "pooling_mode_cls_token": True,
                    "pooling_mode_mean_tokens": True,
                }
            },
            "only one of the mean over tokens, the first",
        ),
        ({"1_Pooling__config": {"pooling_mode": {"of": "max"}}}, "pools by {'of': 'max'}"),
        (
            {"sentence_bert_config": {"max_seq_length": "long"}},
            r"sentence_bert_config\.json: max_seq_length is 'long'",
        ),
        ({"sentence_bert_config": {"max_seq_length": -3}}, "max_seq_length is -3"),
        ({"sentence_bert_config": {"max_seq_length": [1]}}, "max_seq_length is .1."),
        (DENSE, r"2_Dense/config\.json is missing"),
        (
            {**DENSE, "2_Dense__config": {**LAYER, "activation_function": "os.system"}},
            r"2_Dense/config\.json: a Dense step ends with 'os\.system'; only Identity, Tanh",
        ),
        (
            {**DENSE, "2_Dense__config": {**LAYER, "activation_function": "torch.nn.Bilinear"}},
            "ends with 'Bilinear'",
        ),
        (
            {**DENSE, "2_Dense__config": {**LAYER, "activation_function": "torch.nnx.Tanh"}},
            r"ends with 'torch\.nnx\.Tanh'",
        ),
        ({**DENSE, "2_Dense__config": {**LAYER, "in_features": -8}}, "has -8 inputs"),
        ({**DENSE, "2_Dense__config": {**LAYER, "out_features": 1 << 40}}, "outputs"),
        ({**DENSE, "2_Dense__config": {**LAYER, "out_features": True}}, "has True outputs"),
        ({**DENSE, "2_Dense__config": {**LAYER, "bias": "no"}}, "bias of a Dense step is 'no'"),
        (
            {**DENSE, "2_Dense__config": {**LAYER, "module_input_name": "token_embeddings"}},
            "module_input_name is 'token_embeddings'",
        ),
        (
            {"config_sentence_transformers": {"prompts": ["query: "]}},
            r"config_sentence_transformers\.json: prompts are \['query: '\]",
        ),
        ({"config_sentence_transformers": {"prompts": {"query": 7}}}, "object of texts"),
        ({"config_sentence_transformers": {"prompts": {"query": "x" * 10_001}}}, "at most 10,000"),
        (
            {"config_sentence_transformers": {"prompts": {"a": ""}, "default_prompt_name": "b"}},
            "default_prompt_name is 'b', but the prompts are a",
        ),
    ],
)
def test_other_recipes_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        TextRecipe.of(files(**content))


@pytest.mark.parametrize("path", ["..", "../other", "/tmp", "a/b", ".hidden", "a\\b"])
def test_steps_outside_of_the_folder_are_refused(bert: Path, tmp_path: Path, path: str) -> None:
    ModelFiles.read(bert, "text").write(tmp_path)
    save_steps(tmp_path, "Dense")
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[2]["path"] = path
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"modules\.json: the step 'Dense' is in "):
        ModelFiles.read(tmp_path, "text")


def test_a_folder_without_the_file_of_its_pooling_is_refused(bert: Path, tmp_path: Path) -> None:
    ModelFiles.read(bert, "text").write(tmp_path)
    save_steps(tmp_path, "Normalize", pooling="cls_token")
    assert TextRecipe.of(ModelFiles.read(tmp_path, "text")).pooling == "first"
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json is missing.*copy the whole"):
        TextRecipe.of(ModelFiles.read(tmp_path, "text"))


FULL = TextRecipe(
    "last", normalize=True, max_tokens=9, dense=(Dense(3, 2, bias=True, activation="GELU"),),
    query="q: ", document="d: ", pool_prompt=False, lower=True, end=True,
)  # fmt: skip


@pytest.mark.parametrize("recipe", [MEAN, FULL])
def test_a_recipe_comes_back_from_json(recipe: TextRecipe) -> None:
    stored = json.loads(json.dumps(recipe.to_json()))
    assert TextRecipe.from_json(stored) == recipe
    assert "folder" not in json.dumps(stored)


@pytest.mark.parametrize(
    "damage",
    [
        {"pooling": "max"},
        {"pooling": []},
        {"normalize": 1},
        {"max_tokens": 0},
        {"max_tokens": "9"},
        {"query": None},
        {"document": "x" * 10_001},
        {"dense": {}},
        {"dense": [7]},
        {"dense": [{"inputs": 3}]},
        {"dense": [{"inputs": 3, "outputs": 2, "bias": True, "activation": "eval"}]},
        {"dense": [{"inputs": 3, "outputs": 10**12, "bias": True, "activation": "Tanh"}]},
        {"more": 1},
    ],
)
def test_a_damaged_recipe_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        TextRecipe.from_json({**FULL.to_json(), **damage})


@pytest.mark.parametrize("value", [None, [], "mean", {}, {"pooling": "mean"}])
def test_what_is_no_recipe_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="its recipe has not the keys pooling, normalize"):
        TextRecipe.from_json(value)


def test_folders_that_earlier_versions_saved_are_read_as_then() -> None:
    content = {
        "modules.json": steps("Transformer", "Pooling", "Normalize"),
        "1_Pooling/config.json": {"include_prompt": False, "pooling_mode": "cls"},
        "sentence_bert_config.json": {"max_seq_length": 8, "do_lower_case": True},
        "config_sentence_transformers.json": {"prompts": {"query": "q"}},
        "tokenizer_config.json": {"add_eos_token": True, "tokenizer_class": "GemmaTokenizer"},
        "config.json": {"model_type": "siglip"},
    }
    saved = ModelFiles({name: json.dumps(value).encode() for name, value in content.items()})
    assert TextRecipe.of(saved) == replace(MEAN, normalize=True, max_tokens=8)
