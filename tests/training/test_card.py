"""The model card shows what strangers wrote as it is: no markup, HTML, link or broken table."""

from __future__ import annotations

import json
import re

import pytest

from proxyhash.data import Collection, Item, Split
from proxyhash.evaluation.report import markdown_code, markdown_text
from proxyhash.files import read_json
from proxyhash.training import read_config
from proxyhash.training.card import model_card

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

    def make(labels, name, data):
        items = [
            Item(id=str(row), row=row + 1, sources={"text": "x"}, labels=(label,))
            for row, label in enumerate(labels)
        ]
        collection = Collection.of(run / "items.jsonl", items)
        split = Split.of(len(items), query=[0], train=[1], validation=[], seed=0, source="drawn")
        config = read_config({"data": str(run / data), "out": str(run.parent / name)})
        return model_card(config, collection, split, metrics)

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
