"""Every method trains encoders, joint and alternating; those in closed form refuse to."""

from __future__ import annotations

import json

import pytest
import torch

from proxyhash.encoders import make_encoder
from proxyhash.errors import UsageError
from proxyhash.methods import METHODS, Rows, get_method
from proxyhash.training.build import build_state, complete_networks
from proxyhash.training.config import read_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.inputs import SourceInputs
from proxyhash.training.loop import run_epochs
from proxyhash.training.tuned import TunedEncoder, TunedFeatures
from tests.methods.test_contract import variants
from tests.training.toy import INPUTS

ITEMS, CLASSES = 18, 4
FAST: dict[str, dict[str, object]] = {"dchml-plus": {"refit": 5}, "daph": {"first_stage_epochs": 1}}
"""Settings that shorten what surrounds the epochs, where a method has them."""


@pytest.fixture(scope="module")
def encoders(tiny_image, tiny_text):
    made = {
        "image": make_encoder(str(tiny_image), modality="image"),
        "text": make_encoder(str(tiny_text), modality="text"),
    }
    before = {
        modality: {name: value.clone() for name, value in encoder.module.state_dict().items()}
        for modality, encoder in made.items()
    }
    return made, before


@pytest.fixture
def fresh(encoders):
    made, before = encoders
    yield made
    for modality, encoder in made.items():
        encoder.module.load_state_dict(before[modality])
        encoder.freeze()


def rows_of(tuned, scenes, *, incomplete):
    sources = {modality: scenes.sources(modality)[:ITEMS] for modality in tuned}
    present = {modality: torch.ones(ITEMS, dtype=torch.bool) for modality in sources}
    if incomplete:
        present["image"][::3] = False
        present["text"][1::3] = False
    features = {}
    for modality, encoder in tuned.items():
        values = torch.from_numpy(encoder.encoder.encode(sources[modality]))
        features[modality] = TunedFeatures(
            encoder,
            inputs := SourceInputs(encoder.encoder, sources[modality]),
            sources=inputs,
            values=values * present[modality][:, None],
            present=present[modality],
        )
    labels = torch.eye(CLASSES)[torch.arange(ITEMS) % CLASSES]
    labels[3, 1] = 1
    return Rows(features, present, labels)


@pytest.mark.parametrize("incomplete", [False, True], ids=["complete", "incomplete"])
@pytest.mark.parametrize(
    "variant",
    [
        each
        for each in variants()
        if not get_method(each[0]).closed_form
        and get_method(each[0]).__module__.startswith("proxyhash.")
    ],
    ids=lambda variant: "-".join([variant[0], *map(str, variant[1].values())]),
)
def test_a_method_trains_encoders_and_does_not_know(variant, incomplete, fresh, scenes, tmp_path):
    name, settings = variant
    known = get_method(name).settings_type.model_fields
    settings = {**settings, **{k: v for k, v in FAST.get(name, {}).items() if k in known}}
    config = read_config(
        {
            "data": "d",
            "out": str(tmp_path),
            "method": name,
            "settings": settings,
            "bits": 16,
            "hidden": [16],
            "epochs": 2,
            "head_epochs": 1,
            "batch_size": 9,
            "tune": "image,text",
            "final_epochs": 0,
            "encoder_rate": 1e-3,
            "augment": "none",
            "dropout": 0.0,
        }
    )
    tuned = {modality: TunedEncoder(encoder, config) for modality, encoder in fresh.items()}
    train = rows_of(tuned, scenes, incomplete=incomplete)
    before = {m: {n: w.clone() for n, w in t.weights.items()} for m, t in tuned.items()}
    state = build_state(config, train, inputs=INPUTS, encoders=tuned)
    run_epochs(
        state, train, rows_of(tuned, scenes, incomplete=False), config=config,
        folder=RunFolder(tmp_path), report=lambda _: None, stop=lambda: False,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [bool(line["validation"]) for line in lines] == [False, True]
    for modality, encoder in tuned.items():
        assert encoder.steps == 2
        weights = encoder.weights
        assert all(bool(w.isfinite().all()) for w in weights.values())
        assert any(not torch.equal(w, before[modality][n]) for n, w in weights.items())
        missing = ~train.present[modality]
        if state.objective.reads_memory:
            assert (state.memory.outputs[modality][missing] == 0).all()
        assert (train.features[modality][:][missing] == 0).all()
    complete_networks(
        config, state, train, state.final_networks, track=lambda steps, *_: iter(steps)
    )


@pytest.mark.parametrize("name", [name for name, each in METHODS.items() if each.closed_form])
def test_methods_in_closed_form_say_that_encoders_cannot_learn(name):
    with pytest.raises(UsageError) as caught:
        read_config({"data": "d", "out": "o", "method": name, "hidden": [], "tune": "image"})
    assert f"method {name} is computed from features, not trained step by step" in str(caught.value)
    assert "leave out --tune image, or choose a method that is trained" in str(caught.value)
