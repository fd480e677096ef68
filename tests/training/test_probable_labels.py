"""Labels that are probabilities in a whole run: what is learned, validated and said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from proxyhash.data import read_collection
from proxyhash.errors import DataError
from proxyhash.evaluation.run import evaluate, given_labels
from proxyhash.methods import METHODS
from proxyhash.training import train
from proxyhash.training.prepare import prepare
from tests.training.runs import assert_same_run, config_of, rewrite


def probable(value):
    def change(_, item):
        item["labels"] = dict.fromkeys(item["labels"], value)

    return change


@pytest.fixture(scope="module")
def manifests(scenes, tmp_path_factory):
    """The scenes with their labels as they are, and as probabilities of 1 and .75."""
    folder = tmp_path_factory.mktemp("probable")
    return {
        "given": scenes.root,
        "one": rewrite(scenes, folder / "one", probable(1)),
        "likely": rewrite(scenes, folder / "likely", probable(0.75)),
    }


OURS = [
    name
    for name, method in METHODS.items()
    if method.needs_labels and method.__module__.startswith("proxyhash.")
]
SHORT = {"dchml-plus": {"refit": 5}, "daph": {"first_stage_epochs": 1}}
"""Settings that keep a run of a few epochs short."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dchml", "dchml-plus"])
def test_probabilities_of_1_train_what_given_labels_train(manifests, tmp_path, method):
    runs = []
    for name in ("given", "one"):
        config = config_of(
            manifests[name],
            tmp_path / name,
            method=method,
            epochs=1,
            settings=SHORT.get(method, {}),
        )
        train(config)
        runs.append(tmp_path / name)
    codes = [np.load(run / "codes.npz") for run in runs]
    for key in ("image_codes", "text_codes"):
        assert np.array_equal(codes[0][key], codes[1][key])
    networks = [(run / "model/networks.safetensors").read_bytes() for run in runs]
    assert networks[0] == networks[1]
    lines = [(run / "history.jsonl").read_text().splitlines() for run in runs]
    values = [[{**json.loads(line), "seconds": 0} for line in each] for each in lines]
    assert values[0] == values[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", OURS)
def test_every_method_takes_probabilities(manifests, tmp_path, method):
    config = config_of(
        manifests["likely"],
        tmp_path / "run",
        method=method,
        epochs=1,
        settings=SHORT.get(method, {}),
    )
    result = train(config)
    kinds = {each["kind"] for each in result.metrics["warnings"]}
    assert "found_labels" in kinds
    assert all(np.isfinite(value) for value in result.metrics["map"].values())


def test_the_same_command_gives_the_same_run(manifests, tmp_path):
    for name in ("a", "b"):
        train(config_of(manifests["likely"], tmp_path / name, method="dchml", epochs=1))
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_what_is_learned_are_the_probabilities_and_what_counts_is_one_half(scenes, tmp_path):
    def change(row, item):
        item["labels"] = dict.fromkeys(item["labels"], 0.9 if row % 2 else 0.3)

    data = rewrite(scenes, tmp_path / "data", change)
    prepared = prepare(config_of(data, tmp_path / "run", train=60, query=10))
    rows = prepared.rows(prepared.split.train, device="cpu")
    assert set(np.unique(rows.labels.numpy())) == {np.float32(0), np.float32(0.9)}
    assert all(prepared.collection.items[each].row % 2 == 0 for each in prepared.split.train)


def test_figures_are_marked_unless_labels_are_given(manifests, scenes, tmp_path):
    run = tmp_path / "run"
    train(config_of(manifests["likely"], run, method="dchml", epochs=1))
    own = evaluate(run)
    assert own.metrics["warnings"][0]["kind"] == "found_labels"
    assert "200 items are probabilities" in own.metrics["warnings"][0]["message"]
    assert "found and not given" in (run / "README.md").read_text()
    true = evaluate(run, given=read_collection(scenes.root))
    assert "found_labels" not in {each["kind"] for each in true.metrics["warnings"]}
    assert true.metrics["map"] == own.metrics["map"]  # .75 of the same labels
    assert true.metrics["fingerprint"]["labels"]["path"] == str(scenes.path)


def test_given_labels_are_matched_by_id(scenes, tmp_path):
    def change(row, item):
        item["id"] = item["id"] if row < 50 else f"other-{row}"

    other = read_collection(rewrite(scenes, tmp_path / "data", change))
    given = given_labels(scenes, other)
    assert given[:50].tolist() == other.labels[:50].tolist()
    assert not given[50:].any()

    def elsewhere(_, item):
        item["id"] += "x"

    with pytest.raises(DataError, match=r"has no item of .* give the manifest"):
        given_labels(scenes, read_collection(rewrite(scenes, tmp_path / "no", elsewhere)))
