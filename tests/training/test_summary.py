"""What is said of encoders that learn, against counts by hand."""

from __future__ import annotations

import pytest
import torch

from proxyhash.encoders import TransformersImageEncoder, TransformersTextEncoder
from proxyhash.training import read_config
from proxyhash.training.devices import hardware_name, processor_name
from proxyhash.training.summary import start_sentences, tuned_encoders, where_it_ran
from tests.encoders import tiny_models


def config_of(**keys):
    return read_config({"data": "d", "out": "o", "image_encoder": "m", "text_encoder": "n", **keys})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    image = TransformersImageEncoder.from_source(tiny_models.save_mobilenet(folder / "image"))
    text = TransformersTextEncoder.from_source(tiny_models.save_bert(folder / "text"))
    return {"image": image, "text": text}


def learning(encoder, layers):
    learns = {id(each) for each in encoder.tune(layers)}
    return sum(each.numel() for each in encoder.module.parameters() if id(each) in learns)


def test_what_learns_is_counted(encoders):
    wanted = learning(encoders["image"], "all")
    found = tuned_encoders(config_of(tune="image"), encoders)
    assert found == {
        "image": {
            "layers": "all",
            "parameters": wanted,
            "learning_rate": 1e-4,
            "image_size": 32,  # of the tiny model's own preprocessing
            "augment": ["crop", "flip", "color"],
        }
    }
    few = learning(encoders["image"], "last:1")
    config = config_of(tune="image", tune_layers="last:1", image_size=48, augment="none")
    found = tuned_encoders(config, encoders)["image"]
    assert 0 < found["parameters"] == few < wanted
    assert (found["image_size"], found["augment"], found["layers"]) == (48, [], "last:1")


def test_rates_are_those_of_each_modality(encoders):
    learning(encoders["text"], "all")
    config = config_of(tune="image,text", encoder_rates={"text": 2e-5})
    found = tuned_encoders(config, encoders)
    assert (found["image"]["learning_rate"], found["text"]["learning_rate"]) == (1e-4, 2e-5)
    assert set(found["text"]) == {"layers", "parameters", "learning_rate"}
    assert tuned_encoders(config_of(), encoders) == {}


def test_the_sentences_at_the_start():
    image = {"layers": "all", "parameters": 2223872, "learning_rate": 1e-4, "image_size": 160}
    tuned = {
        "image": image | {"augment": ["crop", "flip"]},
        "text": {"layers": "last:2", "parameters": 1000, "learning_rate": 2e-5},
    }
    assert start_sentences(config_of(tune="image,text", epochs=12), tuned, items=5000) == [
        "the image encoder learns: all layers, 2,223,872 parameters at rate 0.0001, images of 160 "
        "pixels (augmentation: crop, flip)",
        "the text encoder learns: its layers last:2, 1,000 parameters at rate 2e-05",
        "12 epochs of 5,000 items (images and texts); the networks learn alone in the first 3",
    ]
    short = start_sentences(config_of(tune="image", epochs=6), tuned, items=9)
    assert short[-1].endswith("the networks learn alone in the first one")
    assert start_sentences(config_of(), {}, items=50_000) == []
    assert start_sentences(config_of(epoch_items=0), {}, items=60_000) == []
    assert start_sentences(config_of(), {}, items=60_000) == [
        "an epoch walks over 50,000 of 60,000 training items, the next one over others "
        "(--epoch-items 0: all in each epoch)"
    ]


def test_a_method_that_compares_across_modalities_says_that_it_has_one():
    alone = {"method": "dcmh", "text_encoder": "none"}
    (told,) = start_sentences(config_of(**alone), {}, items=500)
    assert told.startswith("method dcmh compares items of one modality with those of others")
    assert "this run has image alone" in told
    assert start_sentences(config_of(method="dcmh"), {}, items=500) == []
    assert start_sentences(config_of(text_encoder="none"), {}, items=500) == []


def test_where_it_ran(monkeypatch):
    config = config_of(tune="image", precision="bfloat16")
    assert where_it_ran(config, processes=2) == {
        "device": "cpu",
        "hardware": processor_name(),
        "processes": 2,
        "precision": "bfloat16",
    }
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    assert hardware_name("cuda:1") == "card cuda:1"
