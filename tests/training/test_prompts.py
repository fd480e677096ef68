"""Prompts of text encoders in a run: documents are learned from and indexed, queries ask."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

from proxyhash.catalog.build import build_index
from proxyhash.codes import CodeFile, distances
from proxyhash.data import read_collection
from proxyhash.encoders import make_encoder
from proxyhash.errors import UsageError
from proxyhash.evaluation import evaluate, mean_average_precision
from proxyhash.hashing import HashModel
from proxyhash.progress import silent
from proxyhash.search import Query, Searcher, open_searcher
from proxyhash.search.steps import encode
from proxyhash.training import train
from proxyhash.training.prepare import prepare
from proxyhash.training.split import choose_split
from tests.encoders.tiny_models import save_bert, save_steps
from tests.training.runs import config_of

PROMPTS = {"query": "two dogs run ", "document": "the sea "}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A text model with prompts of its own."""
    folder = tmp_path_factory.mktemp("prompted") / "text"
    files = {"config_sentence_transformers.json": {"prompts": PROMPTS}}
    return save_steps(save_bert(folder), files=files)


@pytest.fixture(scope="module")
def run(scenes, model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "prompted"
    encoders = {"image": "descriptor", "text": str(model_folder)}
    train(config_of(scenes.root, folder, encoders=encoders))
    return folder


def by_loop(folder, texts):
    """The mean over the tokens of one text after the other, in plain calls of transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.no_grad():
            rows.append(model(**tokens).last_hidden_state[0].mean(dim=0))
    return torch.stack(rows).numpy()


def test_queries_of_the_split_have_codes_as_queries(run, scenes, model_folder):
    codes = CodeFile.load(run / "codes.npz")
    model = HashModel.load(run / "model")
    split = json.loads((run / "split.json").read_text())
    texts = scenes.sources("text")
    asked = [row for row, id_ in enumerate(scenes.ids) if id_ in split["query"] and texts[row]]
    others = [row for row, text in enumerate(texts) if text and row not in asked][:12]
    for rows, prompt, found in (
        (asked, PROMPTS["query"], codes.as_queries("text")),
        (asked, PROMPTS["document"], codes.of("text")),
        (others, PROMPTS["document"], codes.of("text")),
        (others, PROMPTS["document"], codes.as_queries("text")),
    ):
        features = by_loop(model_folder, [prompt + texts[row] for row in rows])
        wanted = model.encode_features(features, modality="text")
        assert np.array_equal(found[rows], wanted)
    assert (codes.as_queries("text")[asked] != codes.of("text")[asked]).any()
    assert codes.as_queries("image") is codes.of("image")


def test_figures_are_of_queries_against_documents(run, scenes):
    codes = CodeFile.load(run / "codes.npz")
    figures = evaluate(run)
    assert json.loads((run / "metrics.json").read_text())["map"] == figures.metrics["map"]
    split = json.loads((run / "split.json").read_text())
    query = np.array([id_ in split["query"] for id_ in scenes.ids])
    has = {name: codes.has(name) for name in ("image", "text")}

    def mean(asking):
        rows, columns = query & has["text"], ~query & has["image"]
        return mean_average_precision(
            asking[rows], codes.of("image")[columns],
            scenes.labels[rows], scenes.labels[columns], bits=codes.bits,
        ).value  # fmt: skip

    assert figures.metrics["map"]["text_to_image"] == pytest.approx(mean(codes.as_queries("text")))
    assert mean(codes.as_queries("text")) != pytest.approx(mean(codes.of("text")))

    rows = query & has["image"] & has["text"]
    for direction, asking, searched in (
        ("text_to_image", codes.as_queries("text"), codes.of("image")),
        ("image_to_text", codes.of("image"), codes.of("text")),
    ):
        found = distances(asking[rows], searched[rows])
        hit = 0.0
        for row, own in enumerate(np.diag(found)):
            nearer, tied = (found[row] < own).sum(), (found[row] == own).sum()
            hit += min(max((5 - nearer) / tied, 0), 1)
        recall = figures.pairs.directions[direction].recall_at[5]
        assert recall == pytest.approx(hit / rows.sum())


def test_a_search_asks_as_a_query_and_an_index_holds_documents(run, scenes, tmp_path):
    model = HashModel.load(run / "model")
    text = "a bird in the sky"
    asked = model.encode_texts([text], role="query")[0]
    assert (asked != model.encode_texts([text])[0]).any()
    with pytest.raises(UsageError, match="role is 'passage'"):
        model.encode_texts([text], role="passage")
    with open_searcher(run) as searcher:
        (found,) = encode(searcher, [Query(text=text)])
        assert np.array_equal(found.code, asked)
    build_index(run / "model", scenes.root, tmp_path / "photos.index")
    with Searcher.open(tmp_path / "photos.index") as searcher:
        assert np.array_equal(searcher.search_text(text).query.code, asked)
        id_ = next(i for i, each in zip(scenes.ids, scenes.sources("text"), strict=True) if each)
        own = scenes.sources("text")[scenes.positions[id_]]
        stored = searcher.item(id_).codes["text"]
        assert np.array_equal(stored, model.encode_texts([own])[0])


def test_prompts_that_are_given_are_kept_in_the_model(scenes, model_folder, tmp_path):
    encoders = {"image": "descriptor", "text": str(model_folder)}
    config = config_of(
        scenes.root, tmp_path / "run", encoders=encoders, query_prompt="a bird ", epochs=1
    )
    train(config)
    encoder = HashModel.load(tmp_path / "run" / "model").encoder("text")
    assert encoder.for_role("query").prepare("x") == "a bird x"
    assert encoder.prepare("x") == "the sea x"
    with pytest.raises(UsageError, match="another query_prompt"):
        train(config.model_copy(update={"query_prompt": ""}), resume=True)


def test_without_prompts_there_are_no_codes_of_queries(scenes, model_folder, tmp_path):
    encoders = {"image": "descriptor", "text": str(model_folder)}
    none = {"query_prompt": "", "document_prompt": ""}
    train(config_of(scenes.root, tmp_path / "none", encoders=encoders, epochs=1, **none))
    bare = save_bert(tmp_path / "bare")
    encoders["text"] = str(bare)
    train(config_of(scenes.root, tmp_path / "plain", encoders=encoders, epochs=1))
    one, other = (CodeFile.load(tmp_path / name / "codes.npz") for name in ("none", "plain"))
    assert not one.queries
    assert not other.queries
    for modality in ("image", "text"):
        assert np.array_equal(one.of(modality), other.of(modality))


def test_tuned_texts_are_learned_after_the_prompt_of_documents(
    scenes, model_folder, tmp_path, monkeypatch
):
    from proxyhash.encoders import TransformersTextEncoder

    seen = set()
    tensors = TransformersTextEncoder.tensors

    def watched(self, prepared):
        if self.module.training:
            seen.update(prepared)
        return tensors(self, prepared)

    monkeypatch.setattr(TransformersTextEncoder, "tensors", watched)
    encoders = {"image": "descriptor", "text": str(model_folder)}
    tuning = {"tune": ["text"], "epochs": 2, "final_epochs": 1, "head_epochs": 0}
    train(config_of(scenes.root, tmp_path / "run", encoders=encoders, **tuning))
    assert seen
    assert all(text.startswith(PROMPTS["document"]) for text in seen)
    model = HashModel.load(tmp_path / "run" / "model")
    codes = CodeFile.load(tmp_path / "run" / "codes.npz")
    collection = read_collection(scenes.root)
    whole = model.encode_collection(collection)
    assert np.array_equal(whole.of("text"), codes.of("text"))
    assert not whole.queries
    assert (codes.as_queries("text") != codes.of("text")).any()


def test_a_run_that_an_earlier_version_began_goes_on_with_its_encoder(
    scenes, model_folder, tmp_path
):
    encoders = {"image": "descriptor", "text": str(model_folder)}
    config = config_of(scenes.root, tmp_path / "run", encoders=encoders)
    (former,) = make_encoder(str(model_folder), modality="text").formers()
    split = tmp_path / "split.json"
    choose_split(config, scenes).save(split, scenes)
    began = {"text encoder": former.fingerprint}
    found = prepare(config, collection=scenes, split_file=split, fingerprints=began)
    assert found.encoders["text"].fingerprint == former.fingerprint
    assert not found.query_features(cache=None, track=silent)
    text = next(text for text in scenes.sources("text") if text)
    row = scenes.sources("text").index(text)
    values = found.features["text"].values[row]
    np.testing.assert_allclose(values, by_loop(model_folder, [text])[0], rtol=1e-4, atol=1e-5)


def test_a_prompt_needs_an_encoder_that_takes_one(scenes, tmp_path):
    with pytest.raises(UsageError, match="'bow' takes no prompts, and a query prompt 'q: ' is"):
        train(config_of(scenes.root, tmp_path / "run", query_prompt="q: "))
    assert not (tmp_path / "run" / "config.json").exists()
