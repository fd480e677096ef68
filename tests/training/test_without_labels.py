"""Collections without labels, or without one of the modalities: a whole run, and what is chosen."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

import proxyhash as ph
from proxyhash.encoders.known import KNOWN_MODELS
from proxyhash.errors import DataError, InterruptedRunError, ModelError, UsageError
from proxyhash.files import read_json, write_text
from proxyhash.hashing import HashModel
from proxyhash.methods import get_method
from proxyhash.training import read_config, train
from proxyhash.training.choose import choose
from tests.training.runs import rewrite


def without(*keys):
    def change(_, item):
        for key in keys:
            item.pop(key, None)

    return change


def chosen_of(data, **values):
    return choose({"data": str(data), "out": "o", **values})


@pytest.fixture(autouse=True)
def _no_models(monkeypatch, tmp_path):
    monkeypatch.delenv("PROXYHASH_MODELS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("missing", "method", "modalities", "told"),
    [
        (["labels"], "cca-itq", ("image", "text"), "200 pairs of image and text, no labels: cca-i"),
        (["labels", "text"], "itq", ("image",), "200 images, no labels: itq learns from the image"),
        (["labels", "image"], "itq", ("text",), "200 texts, no labels: itq learns from the texts"),
        (["text"], "dchml", ("image",), "200 images, no texts: dchml learns from the images alone"),
        (["image"], "dchml", ("text",), "200 texts, no images: dchml learns from the texts alone"),
    ],
)
def test_the_method_follows_from_what_there_is(scenes, tmp_path, missing, method, modalities, told):
    data = rewrite(scenes, tmp_path / "data", without(*missing))
    chosen = chosen_of(data)
    assert chosen.notes[0].startswith(told)
    assert ("mAP needs labels" in chosen.notes[0]) == ("labels" in missing)
    config = read_config(
        chosen.values | {"out": str(tmp_path / "run"), "bits": 16, "epochs": 1, "hidden": ()}
    )
    assert (config.method, config.modalities) == (method, modalities)
    result = train(config, collection=chosen.collection)
    expected = {f"{one}_to_{other}" for one in modalities for other in modalities}
    assert result.metrics["map"].keys() == expected
    assert all((value is None) == ("labels" in missing) for value in result.metrics["map"].values())
    names = {"config.json", "split.json", "codes.npz", "metrics.json", "README.md", "model"}
    assert names <= {path.name for path in (tmp_path / "run").iterdir()}
    assert HashModel.load(tmp_path / "run" / "model").modalities == modalities


def test_enough_pairs_teach_more_and_validation_needs_no_labels(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("proxyhash.training.choose.ENOUGH_PAIRS", 200)
    data = rewrite(scenes, tmp_path / "data", without("labels"))
    chosen = chosen_of(data, out=str(tmp_path / "run"), bits=16, epochs=3, hidden=(32,))
    assert chosen.notes[0].startswith("200 pairs of image and text, no labels: learning from pairs")
    assert "recall of the other half" in chosen.notes[0]
    assert "text encoder: bow, which counts words" in chosen.notes[1]
    config = read_config(chosen.values)
    assert config.method == "pairs"
    result = train(config, collection=chosen.collection)
    split = read_json(tmp_path / "run" / "split.json")
    assert len(split["validation"]) == 7  # a twentieth of 144 training items
    training = result.metrics["training"]
    assert training["validation_map"] is None
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    scores = [json.loads(line)["validation"]["mean"] for line in lines]
    assert training["validation_mrr"] == max(scores)
    assert result.metrics["pairs"]["directions"].keys() == {"image_to_text", "text_to_image"}
    card = (tmp_path / "run" / "README.md").read_text()
    assert "which of them belong together; no label was read" in card
    assert "mAP needs labels, and none of the queries has one." in card
    assert "| mAP |" not in card
    again = train(read_config({**chosen.values, "epochs": 4}), collection=chosen.collection,
                  overwrite=True)  # fmt: skip
    assert again.epochs == 4


def test_a_run_on_pairs_that_was_stopped_goes_on_exactly(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", without("labels"))

    def config(name, epochs):
        values = {"method": "pairs", "bits": 16, "epochs": epochs, "hidden": (16,)}
        return read_config({"data": str(data), "out": str(tmp_path / name), **values})

    whole = train(config("whole", 4))

    def interrupt(record):
        if record.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="2 of 4 epochs are saved"):
        train(config("parts", 4), report=interrupt)
    parts = train(config("parts", 4), resume=True)
    assert HashModel.load(parts.folder / "model").fingerprint == (
        HashModel.load(whole.folder / "model").fingerprint
    )


def test_with_labels_and_pairs_nothing_is_chosen_but_the_encoder(scenes):
    chosen = chosen_of(scenes.root)
    assert not chosen.notes
    assert chosen.values["method"] == "dchml"
    assert chosen.values["encoders"] == {"image": "descriptor", "text": "bow"}
    (warning,) = chosen.warnings
    assert all(model.hub_id in warning for model in KNOWN_MODELS["image"])
    assert not chosen_of(scenes.root, image_encoder="descriptor").warnings


def test_a_known_model_on_this_machine_comes_before_the_descriptor(scenes, tmp_path, monkeypatch):
    mobilenet = "google/mobilenet_v2_1.0_224"
    snapshot = tmp_path / "hub" / "models--google--mobilenet_v2_1.0_224" / "snapshots" / "abc"
    write_text(snapshot / "config.json", "{}")
    assert chosen_of(scenes.root).values["encoders"]["image"] == "descriptor"  # no weights yet
    write_text(snapshot / "model.safetensors", "")
    chosen = chosen_of(scenes.root)
    assert chosen.values["encoders"]["image"] == mobilenet
    assert mobilenet in chosen.notes[0]
    assert not chosen.warnings
    write_text(tmp_path / "own" / "dinov2-small" / "config.json", "{}")
    write_text(tmp_path / "own" / "dinov2-small" / "model.safetensors", "")
    monkeypatch.setenv("PROXYHASH_MODELS", str(tmp_path / "own"))
    assert chosen_of(scenes.root).values["encoders"]["image"].endswith("own/dinov2-small")
    assert chosen.values["encoders"]["text"] == "bow"  # labels tell what words mean
    write_text(tmp_path / "own" / "all-MiniLM-L6-v2" / "config.json", "{}")
    write_text(tmp_path / "own" / "all-MiniLM-L6-v2" / "model.safetensors", "")
    for method, text in (("pairs", str(tmp_path / "own" / "all-MiniLM-L6-v2")), ("dchml", "bow")):
        assert chosen_of(scenes.root, method=method).values["encoders"]["text"] == text
    named = chosen_of(scenes.root, method="pairs", text_encoder="bow").values["encoders"]
    assert named["text"] == "bow"
    given = chosen_of(scenes.root, image_encoder="patches").values["encoders"]
    assert given["image"] == "patches"


def test_few_labels_are_said(scenes, tmp_path):
    def first(count):
        return lambda position, item: item.update(labels=item["labels"] if position < count else [])

    few = chosen_of(rewrite(scenes, tmp_path / "few", first(15)), image_encoder="patches")
    assert few.values["method"] == "dchml"
    assert "15 with labels: dchml learns from the labeled items alone" in few.warnings[0]
    assert "--method cca-itq learns from all items without labels" in few.warnings[0]
    fewer = chosen_of(rewrite(scenes, tmp_path / "fewer", first(4)), image_encoder="patches")
    assert fewer.values["method"] == "cca-itq"
    assert "4 with labels (at least 10 are needed" in fewer.notes[0]


def test_few_labels_beside_enough_pairs_are_learned_with_them(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("proxyhash.training.choose.ENOUGH_PAIRS", 200)

    def few(position, item):
        if position % 10:
            item["labels"] = []

    data = rewrite(scenes, tmp_path / "data", few)
    chosen = chosen_of(data, out=str(tmp_path / "run"), bits=16, epochs=4, hidden=(32,),
                       settings={"refit": 20})  # fmt: skip
    assert "20 with labels: learning from labels and pairs, with method" in chosen.notes[0]
    config = read_config(chosen.values)
    assert config.method == "dchml-pairs"

    def interrupt(record):
        if record.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="2 of 4 epochs are saved"):
        train(config, report=interrupt)
    result = train(config, resume=True)
    split = read_json(tmp_path / "run" / "split.json")
    labels = {item.id: item.labels for item in chosen.collection.items}
    assert any(not labels[each] for each in split["train"])
    assert result.metrics["training"]["items"] == len(split["train"])
    assert result.metrics["training"]["validation_mrr"] is not None
    card = (tmp_path / "run" / "README.md").read_text()
    assert "the classes of the others were predicted" in card
    model = HashModel.load(tmp_path / "run" / "model")
    whole = train(config.model_copy(update={"out": str(tmp_path / "whole")}))
    assert HashModel.load(whole.folder / "model").fingerprint == model.fingerprint
    named = chosen_of(data, method="dchml").warnings[0]
    assert "--method dchml-pairs learns from all items with the labels that there are" in named
    bare = rewrite(scenes, tmp_path / "bare", without("labels"))
    with pytest.raises(UsageError, match="needs at least 10 for method dchml-pairs") as caught:
        train(config.model_copy(update={"data": str(bare), "out": str(tmp_path / "no")}))
    assert "pairs" in str(caught.value).partition("read no labels: ")[2]


def test_few_texts_leave_the_images(scenes, tmp_path):
    def change(position, item):
        item.pop("labels")
        if position >= 5:
            item.pop("text")

    chosen = chosen_of(rewrite(scenes, tmp_path / "data", change), image_encoder="patches")
    assert (chosen.values["method"], chosen.values["encoders"]["text"]) == ("itq", "none")
    assert "200 items (200 images, 5 texts, 5 with all of these), no labels" in chosen.notes[0]


def test_a_method_that_reads_labels_says_which_read_none(scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "data", without("labels"))
    chosen = chosen_of(data, method="psldh", out=str(tmp_path / "run"))
    with pytest.raises(UsageError, match=r"0 items with labels.*labels: cca-itq, itq, pairs"):
        train(read_config(chosen.values), collection=chosen.collection)
    assert not (tmp_path / "run").exists()


def test_unlabeled_items_teach_methods_without_labels_where_few_have_any(scenes, tmp_path):
    def change(position, item):
        item.update(labels=item["labels"] if position < 40 else [])

    data = rewrite(scenes, tmp_path / "data", change)
    sizes = {}
    for method in ("dchml", "cca-itq"):
        config = read_config(
            {
                "data": str(data), "out": str(tmp_path / method), "method": method,
                "bits": 16, "epochs": 1, "hidden": (),
            }
        )  # fmt: skip
        train(config)
        split = read_json(tmp_path / method / "split.json")
        sizes[method] = len(split["train"]) + len(split["validation"])
        sizes[f"{method} queries"] = split["query"]
    assert sizes["dchml"] == 28
    assert sizes["cca-itq"] == 156
    assert sizes["dchml queries"] == sizes["cca-itq queries"]


def test_arrays_without_labels(tmp_path):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(60, 4))
    images, texts = shared @ rng.normal(size=(4, 12)), shared @ rng.normal(size=(4, 9))
    pairs = ph.train(images=images, texts=texts, bits=8, out=tmp_path / "pairs")
    assert pairs.method == "cca-itq"
    codes = [
        pairs.encode_features(values.astype(np.float32), modality=modality)
        for values, modality in ((images, "image"), (texts, "text"))
    ]
    agree = (np.unpackbits(codes[0]) == np.unpackbits(codes[1])).mean()
    assert agree > 0.9
    alone = ph.train(texts=["a red cat", "two dogs", "a blue bird"] * 10, bits=8)
    assert (alone.method, alone.modalities) == ("itq", ("text",))
    again = ph.train(images=images, texts=texts, bits=8, out=tmp_path / "pairs", resume=True)
    assert again.fingerprint == pairs.fingerprint
    config = json.loads((tmp_path / "pairs" / "config.json").read_text())
    assert config["method"] == "cca-itq"


def test_arrays_of_one_modality_with_labels():
    labels = np.eye(3, dtype=bool)[np.arange(60) % 3]
    model = ph.train(images=labels @ np.random.default_rng(0).normal(size=(3, 8)), labels=labels,
                     bits=8, epochs=2)  # fmt: skip
    assert (model.method, model.modalities) == ("dchml", ("image",))


def test_errors_of_arrays_name_the_arrays_and_count_rightly(tmp_path):
    for options in ({}, {"out": tmp_path / "run"}):
        with pytest.raises(UsageError, match=r"^the arrays have 1 item; training needs at least"):
            ph.train(texts=["a"], labels=[["x"]], bits=8, **options)
        with pytest.raises(DataError, match=r"^the arrays, row 1, item '00': /nope.jpg: no such"):
            ph.train(images=["/nope.jpg"] * 20, bits=8, overwrite=True, **options)


def test_a_config_that_is_none_is_said_to_be(tmp_path, proxyhash_command):
    write_text(tmp_path / "run" / "config.json", "[]")
    for arguments in ((), (tmp_path,)):
        result = proxyhash_command("train", *arguments, "--resume", "--out", tmp_path / "run")
        assert result.code == 3
        assert "config.json is not the configuration of a run" in result.err
        assert "train into a new folder" in result.err
    with pytest.raises(ModelError, match="is not the configuration of a run"):
        train(read_config({"data": "d", "out": str(tmp_path / "run")}), resume=True)


@pytest.mark.parametrize(
    ("written", "meant"), [("dchlm", "dchml"), ("dhcml-plus", "dchml-plus"), ("cca_itq", "cca-itq")]
)
def test_swapped_letters_are_seen(written, meant):
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        get_method(written)


def test_evaluate_shows_pairs_and_no_empty_table_or_plot(scenes, tmp_path, proxyhash_command):
    data = rewrite(scenes, tmp_path / "photos", without("labels"))
    run = tmp_path / "run"
    plain = ("--method", "cca-itq", "--bits", 16, "--image-encoder", "descriptor")
    assert proxyhash_command("train", data, "--out", run, *plain).code == 0
    result = proxyhash_command("evaluate", run, "--plots")
    assert result.code == 0
    assert "run: cca-itq, 16 bits\nwarning: no item of the gallery has a label" in result.out
    assert "own other half" in result.out
    assert "mAP@all" not in result.out
    assert [path.name for path in (run / "plots").iterdir()] == ["pairs.png"]


def test_the_next_command_is_index_build(scenes, tmp_path, proxyhash_command, monkeypatch):
    data = rewrite(scenes, tmp_path / "photos", without("labels", "text"))
    monkeypatch.chdir(tmp_path)
    result = proxyhash_command("train", data, "--out", "run", "--bits", 16)
    assert result.code == 0
    assert "proxyhash index build run photos --out photos.index" in result.err
    assert "proxyhash search run --image " in result.err
    assert "warning: no item of the gallery has a label" in result.out
    built = proxyhash_command("index", "build", "run", "photos", "--out", "photos.index")
    assert built.code == 0, built.err
    image = next((data / "images").iterdir())
    found = proxyhash_command("search", "photos.index", "--image", image, "-k", 1, "--json").json
    assert found["hits"][0]["distance"] == 0
