"""The model card shows what strangers wrote as it is: no markup, HTML, link or broken table."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from proxyhash.data import Collection, Item, Split
from proxyhash.errors import ModelError
from proxyhash.evaluation.report import markdown_code, markdown_text
from proxyhash.files import read_json
from proxyhash.training import read_config
from proxyhash.training.card import model_card, published_card

HOSTILE = [
    "<script>alert(1)</script>",
    "[free](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "a\n\n# heading\n---\ntitle: taken",
    "a | b",
    "`code` and ``more``",
    "**bold** _it_ ~~gone~~",
    "\u202egnp.exe",
    "\u2066hidden\u2069",
    "&lt;b&gt;",
    "https://evil.example",
    "www.evil.example",
    "\\[x](y)",
]
RAW = re.compile(r"<script|(?<!\\)\]\(|\n# heading|\u202e|\u2066|(?<!\\)\*\*|://|(?<!\\)~~")


@pytest.fixture(scope="module")
def card(finished):
    run, _, _ = finished
    metrics = read_json(run / "metrics.json")

    def make(labels, name, data, *, tuned=None, seconds=90.0, **keys):
        items = [
            Item(id=str(row), row=row + 1, sources={"text": "x"}, labels=(label,))
            for row, label in enumerate(labels)
        ]
        collection = Collection.of(run / "items.jsonl", items)
        split = Split.of(len(items), query=[0], train=[1], validation=[], seed=0, source="drawn")
        config = read_config({"data": str(run / data), "out": str(run.parent / name), **keys})
        if tuned is None:
            return model_card(config, collection, split, metrics)
        training = metrics["training"] | {"seconds": seconds, "items": 5000, "tuned": tuned} | {
            "device": "cuda", "hardware": "GPU | 3", "processes": 2, "precision": "bfloat16"
        }  # fmt: skip
        return model_card(config, collection, split, {**metrics, "training": training})

    return make


def test_hostile_labels_and_names_stay_text(card):
    text = card(HOSTILE, "run\u202e[x](y) `z`", "data | <b>`x`")
    (line,) = (each for each in text.splitlines() if each.startswith("Classes: "))
    assert not RAW.search(line)
    assert "&lt;script&gt;" in line
    (heading,) = (each for each in text.splitlines() if each.startswith("# "))
    assert "\u202e" not in text
    assert r"\[x\](y) \`z\`" in heading
    (data,) = (each for each in text.splitlines() if each.startswith("| data |"))
    assert data.count("|") == 3
    loaded = next(each for each in text.splitlines() if "HashModel.load(" in each)
    json.loads(loaded.partition("(")[2].rstrip(")"))
    assert "'run\ufffd[x](y) `z`'" in text  # quoted for the shell


def test_ordinary_labels_are_as_before(card):
    assert "Classes: crowd, sub:shirts, two dogs." in card(["crowd", "sub:shirts", "two dogs"],
                                                           "run", "photos")  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_rendered_markdown_is_the_text(text):
    markdown = pytest.importorskip("markdown_it")
    shown = markdown.MarkdownIt("commonmark").render(f"Classes: {markdown_text(text)}.")
    plain = re.sub("[\n\u202e\u2066\u2069]", "\ufffd", text)
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown == f"<p>Classes: {escaped.replace(chr(34), '&quot;')}.</p>\n"


def test_code_of_a_name_with_backticks():
    assert markdown_code("photos") == "`photos`"
    assert markdown_code("a``b") == "```a``b```"
    assert markdown_code("`x`") == "`` `x` ``"
    assert "|" not in markdown_code("a|b")


def test_a_card_of_frozen_encoders_says_so(card):
    text = card(["a", "b"], "run", "photos")
    assert "| image encoder | `descriptor`, frozen |" in text
    assert "- The encoders were not trained here: their licenses and biases apply." in text
    assert "| time |" not in text


def test_a_card_says_what_was_tuned_how_long_and_on_what(card):
    image = {"layers": "all", "parameters": 2223872, "learning_rate": 1e-4, "image_size": 160}
    text = card(
        ["a", "b"], "run", "photos", tune=["image"], image_encoder="some/model", head_epochs=2,
        tuned={"image": image | {"augment": ["crop", "flip"]}},
    )  # fmt: skip
    assert (
        "| image encoder | `some/model`, tuned: all layers, 2,223,872 parameters, learning rate "
        "0.0001, images of 160 pixels, augmentation: crop, flip |\n| text encoder | `bow`, frozen |"
    ) in text
    assert ", encoders from epoch 3 on; epoch" in text
    assert (
        "|\n| time | 1.5 minutes on 5,000 items; device cuda (GPU \\| 3), 2 processes, bfloat16 |\n"
        "\nClasses"
    ) in text
    assert "- The image encoder began with pretrained weights and learned here" in text
    assert "- The text encoder was not trained here: its license and biases apply." in text
    assert "The encoders were not trained here" not in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4 s"), (61, "1.0 minutes"), (9e3, "2.5 hours")]
)
def test_the_time_of_a_card_is_in_units_that_say_something(card, seconds, text):
    tuned = {"text": {"layers": "all", "parameters": 10, "learning_rate": 2e-5}}
    options = {"tune": ["text"], "text_encoder": "some/model"}
    shown = card(["a", "b"], "run", "photos", tuned=tuned, seconds=seconds, **options)
    assert f"| time | {text} on 5,000 items; device" in shown


def test_a_card_says_how_many_of_its_items_an_epoch_walks_over(card):
    some = card(["a", "b"], "run", "photos", tuned={}, epoch_items=1200)
    assert ", each epoch over 1,200 items; epoch" in some
    for every in (0, 5000):
        assert "each epoch over" not in card(
            ["a", "b"], "run", "photos", tuned={}, epoch_items=every
        )


def test_a_card_of_two_tuned_encoders(card):
    facts = {"layers": "last:2", "parameters": 10, "learning_rate": 2e-5}
    tuned = {"image": facts | {"image_size": 32, "augment": []}, "text": facts}
    text = card(["a", "b"], "run", "photos", tune=["image", "text"], tuned=tuned,
                image_encoder="some/model", text_encoder="other/model")  # fmt: skip
    assert "tuned: layers last:2, 10 parameters, learning rate 2e-05 |" in text
    assert "images of 32 pixels, augmentation: none |" in text
    assert "- The image encoder and text encoder began with pretrained weights" in text
    assert "not trained here" not in text


def front(text):
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("\n---\n")[0])


@pytest.mark.parametrize("name", ["run", "run: [x] # y", "- a", "'\"{}&*!|>%@`", "yes"])
def test_the_front_matter_is_yaml_whatever_the_names_are(card, name):
    text = card(HOSTILE, name, f"{name} data", image_encoder="some/model@v2")
    found = front(text)
    assert (found["library_name"], found["base_model"]) == ("proxyhash", ["some/model"])
    assert {"license", "language", "datasets"}.isdisjoint(found)
    (index,) = found["model-index"]
    assert index["name"] == name
    assert {each["dataset"]["name"] for each in index["results"]} == {f"{name} data"}
    kinds = {figure["type"] for each in index["results"] for figure in each["metrics"]}
    assert {"map", "recall_at_10"} <= kinds
    assert ModelCard(text).data.model_name == name
    heading = text.split("\n---\n", 1)[1].lstrip("\n")
    assert heading.startswith("# ")


def test_an_author_adds_license_language_and_data_sets(card):
    text = card(["a", "b"], "run", "photos")
    told = published_card(text, license="mit", language=["en", "de"], datasets=["ada/photos"])
    added = {"license": "mit", "language": ["en", "de"], "datasets": ["ada/photos"]}
    assert front(told) == front(text) | added
    assert told.split("\n---\n", 1)[1].strip() == text.split("\n---\n", 1)[1].strip()
    assert published_card("# mine\n", license="mit").endswith("# mine\n")
    with pytest.raises(ModelError, match=r"front matter of README.md cannot be read"):
        published_card("---\n{unfinished: [\n---\n# x\n", license="mit")
