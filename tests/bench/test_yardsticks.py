"""Suites with yardsticks: what is measured, what is kept, and where the figures are shown."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxyhash.bench import cells_of, fill_suite, read_suite, yardstick_cells
from proxyhash.bench import run as run_module
from proxyhash.bench.pool import Filler
from proxyhash.bench.report import write_report
from proxyhash.bench.results import read_results
from proxyhash.bench.yardsticks import measure
from proxyhash.encoders import FeatureCache
from proxyhash.errors import DivergedError, MissingExtraError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.progress import silent
from proxyhash.training.prepare import prepare
from tests.bench.test_suite import LEAST, suite_of
from tests.encoders import tiny_models

if TYPE_CHECKING:
    from pathlib import Path

SUITE = """
bits = [8, 16]
seeds = [0, 1]
ours = ["dchml"]
methods = [{{ name = "dchml", method = "dchml", hidden = [16], epochs = 1 }}, "cca-itq"]
[options]
query = 30
train = 110
validation = 20
[yardsticks]
outputs = ["dchml"]
{more}
[[data]]
name = "scenes"
path = "{data}"
{last}
"""


def suite_file(folder: Path, data: Path, *, more: str = "", last: str = "", own: str = "") -> Path:
    path = folder / "yard.toml"
    text = SUITE.format(data=data, more=more, last=last, own=own)
    path.write_text(text, encoding="utf-8")
    return path


def fill_here(cells, *, share, keep_models, stop, note):
    filler = Filler(threads=share.threads, keep_models=keep_models)
    yield from map(filler.try_to_fill, cells)


@pytest.fixture(scope="module")
def measured(scenes, tmp_path_factory):
    """The suite file and its folder, filled; do not write there."""
    folder = tmp_path_factory.mktemp("yardsticks")
    path, out = suite_file(folder, scenes.root), folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "fill_cells", fill_here)
        done = fill_suite(read_suite(path), out, processes=1)
    assert (done.trained, done.failed) == (8, ())
    return path, out


def figures_of(out, space, seed=0):
    text = (out / "yardsticks" / "scenes" / space / f"s{seed}" / "yardsticks.json").read_text()
    return {(each["name"], each["bytes"]): each["directions"] for each in json.loads(text)}


def slow_map(similarity, query_labels, gallery_labels):
    """Mean over queries of the mean precision at relevant items; no two items are as near."""
    values = []
    for row, labels in zip(similarity, query_labels, strict=True):
        hits, precisions = 0, []
        for place, item in enumerate(np.argsort(-row), start=1):
            if (labels & gallery_labels[item]).any():
                hits += 1
                precisions.append(hits / place)
        if precisions:
            values.append(sum(precisions) / hits)
    return sum(values) / len(values)


def slow_recall(similarity, n):
    ranks = [(row > row[place]).sum() for place, row in enumerate(similarity)]
    return float(np.mean([rank < n for rank in ranks]))


def prepared_of(cell):
    return prepare(cell.config, cache=FeatureCache())


def test_floats_of_outputs_are_ranked_as_a_slow_loop_ranks_them(measured):
    path, out = measured
    cell = next(c for c in yardstick_cells(read_suite(path), out) if c.yardsticks.source)
    prepared = prepared_of(cell)
    model = HashModel.load(out / "cells" / "scenes" / "dchml" / "16" / "s0" / "model")
    unit = {}
    for modality, given in prepared.features.items():
        outputs = np.tanh(model.logits(given.values, modality=modality)).astype(np.float64)
        unit[modality] = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
    split, labels = prepared.split, prepared.collection.labels
    found = figures_of(out, "dchml")["float32", 64]
    assert list(found) == ["image_to_text", "text_to_image"]
    for way, (asked, searched) in {
        "image_to_text": ("image", "text"),
        "text_to_image": ("text", "image"),
    }.items():
        query = unit[asked][split.query]
        for name, gallery in (("literature", split.gallery), ("strict", split.strict_gallery)):
            value = slow_map(
                query @ unit[searched][gallery].T, labels[split.query], labels[gallery]
            )
            assert found[way][name] == pytest.approx(value, abs=2e-3)  # near ties are ties here
        pairs = query @ unit[searched][split.query].T
        for n in (1, 5, 10):
            assert found[way]["recall_at"][str(n)] == pytest.approx(slow_recall(pairs, n), abs=0.05)


def test_canonical_directions_are_those_of_the_joint_eigenproblem(measured):
    path, out = measured
    cell = next(
        c for c in yardstick_cells(read_suite(path), out) if c.yardsticks.space == "canonical"
    )
    prepared = prepared_of(cell)
    split, labels = prepared.split, prepared.collection.labels
    views = [prepared.features[m].values.astype(np.float64) for m in ("image", "text")]
    views = [view - view[split.train].mean(axis=0) for view in views]
    one, two = (view[split.train] for view in views)
    count = len(one)
    covariances = [
        v.T @ v / count + np.trace(v.T @ v / count) / v.shape[1] * (1 + 1e-9) * np.eye(v.shape[1])
        for v in (one, two)
    ]
    cross = one.T @ two / count
    joint = np.linalg.solve(covariances[0], cross) @ np.linalg.solve(covariances[1], cross.T)
    values, first = np.linalg.eig(joint)
    best = np.argsort(-values.real)[:16]
    rho, first = np.sqrt(values.real[best]), first.real[:, best]
    first /= np.sqrt(np.einsum("ij,ik,kj->j", first, covariances[0], first))
    second = np.linalg.solve(covariances[1], cross.T @ first) / rho
    unit = []
    for view, directions in zip(views, (first, second), strict=True):
        vectors = view @ directions * rho**2
        unit.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    found = figures_of(out, "canonical")
    similarity = unit[0][split.query] @ unit[1][split.strict_gallery].T
    value = slow_map(similarity, labels[split.query], labels[split.strict_gallery])
    strict = found["float32", 64]["image_to_text"]["strict"]
    assert strict == pytest.approx(value, abs=2e-3)
    assert {name for name, _ in found} == {"sign", "ITQ", "RaBitQ", "int8", "float32"}
    assert {size for name, size in found if name == "sign"} == {1, 2}


def test_embeddings_of_unrelated_encoders_are_compared_within_a_modality(measured):
    path, out = measured
    cell = yardstick_cells(read_suite(path), out)[0]
    prepared = prepared_of(cell)
    found = figures_of(out, "embedding")
    for modality, given in prepared.features.items():
        way, width = f"{modality}_to_{modality}", given.values.shape[1]
        directions = found["sign", -(-width // 8)]
        assert way in directions
        assert "recall_at" not in directions[way]
        assert way in found["float32", 4 * width]
    split, labels = prepared.split, prepared.collection.labels
    values = prepared.features["text"].values.astype(np.float64)
    values -= values[split.train].mean(axis=0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    similarity = values[split.query] @ values[split.gallery].T
    # Texts of scenes repeat, and equal vectors are ties: the mean over many random orders.
    similarity = np.rint(similarity * 2**20)
    random = np.random.default_rng(0)
    noisy = [
        slow_map(similarity + random.random(similarity.shape), labels[split.query],
                 labels[split.gallery])
        for _ in range(30)
    ]  # fmt: skip
    figure = found["float32", 4 * values.shape[1]]["text_to_text"]["literature"]
    assert figure == pytest.approx(np.mean(noisy), abs=3e-3)


@pytest.mark.usefixtures("filled_here")
def test_only_what_changed_is_measured_again(measured, scenes, tmp_path):
    _, out = measured
    copy = tmp_path / "out"
    shutil.copytree(out, copy)
    path = suite_file(tmp_path, scenes.root)
    suite = read_suite(path)
    cells = yardstick_cells(suite, copy)
    assert [cell.state for cell in cells] == ["done"] * 6
    models = {
        cell.folder.parts[-3:]: (cell.folder / "model").is_dir() for cell in cells_of(suite, copy)
    }
    assert {parts for parts, there in models.items() if there} == {
        ("dchml", "16", "s0"), ("dchml", "16", "s1"),
    }  # fmt: skip

    shutil.rmtree(copy / "cells" / "scenes" / "dchml" / "16" / "s0" / "model")
    cells[0].record.unlink()  # as if it had been killed
    done = fill_suite(suite, copy, processes=1)
    assert (done.trained, done.failed) == (1, ())
    assert [cell.state for cell in yardstick_cells(suite, copy)] == ["done"] * 6

    path = suite_file(tmp_path, scenes.root, more="power = 1.0")
    with pytest.raises(UsageError, match=r"yardsticks, canonical, seed 0: power is 1.0, was 2.0"):
        fill_suite(read_suite(path), copy)
    assert fill_suite(read_suite(path), copy, rerun_changed=True, processes=1).trained == 0
    assert figures_of(copy, "canonical") != figures_of(out, "canonical")
    assert figures_of(copy, "embedding") == figures_of(out, "embedding")


@pytest.mark.usefixtures("filled_here")
def test_without_the_training_of_its_outputs_there_is_nothing_to_measure(
    scenes, tmp_path, monkeypatch
):
    def diverge(self, cell, prepared):
        raise DivergedError("training diverged")

    monkeypatch.setattr(Filler, "_train", diverge)
    path = suite_file(tmp_path, scenes.root)
    suite = read_suite(path).narrowed(methods=["dchml"], bits=[16], seeds=[0])
    done = fill_suite(suite, tmp_path / "out", processes=1)
    assert [each.cell.name for each in done.failed] == [
        "scenes, dchml, 16 bits, seed 0",
        "scenes, yardsticks, dchml, seed 0",
    ]
    assert done.failed[1].error == "the training of its outputs failed"


def test_figures_stand_in_tables_and_plots(measured, tmp_path):
    path, out = measured
    suite = read_suite(path)
    cells, yards = cells_of(suite, out), yardstick_cells(suite, out)
    written = write_report(read_results(suite, cells, (), yards), tmp_path)
    folder = tmp_path / "report" / "scenes"
    assert {folder / "bytes.png", folder / "bytes-within.png"} <= set(written)
    with (folder / "equal-bytes.csv").open(encoding="utf-8") as file:
        rows = {(row["method"], row["bytes"]): row for row in csv.DictReader(file)}
    figures = [figures_of(out, "canonical", s)["ITQ", 2]["image_to_text"] for s in (0, 1)]
    row = rows["ITQ of canonical directions", "2"]
    for name, key in (("strict", "strict"), ("literature", "literature")):
        mean = float(row[f"image_to_text_{name}_mean"])
        assert mean == pytest.approx(np.mean([each[key] for each in figures]))
    recalls = [each["recall_at"]["5"] for each in figures]
    assert float(row["image_to_text_r_at_5_mean"]) == pytest.approx(np.mean(recalls))
    metrics = [
        json.loads(
            (out / "cells" / "scenes" / "dchml" / "16" / f"s{s}" / "metrics.json").read_text()
        )
        for s in (0, 1)
    ]
    own = rows["dchml", "2"]
    assert float(own["text_to_image_strict_mean"]) == pytest.approx(
        np.mean([each["strict"]["map"]["text_to_image"] for each in metrics])
    )
    looked = rows["dchml, with int8", "18"]
    assert float(looked["text_to_image_strict_mean"]) == pytest.approx(
        np.mean([each["second_look"]["int8"]["strict"]["text_to_image"] for each in metrics])
    )
    assert ("float32 of the outputs of dchml", "64") in rows
    assert not any("embedding" in method for method, _ in rows)  # they share no space
    with (folder / "equal-bytes-within.csv").open(encoding="utf-8") as file:
        within = {row["method"] for row in csv.DictReader(file)}
    assert {"sign of embedding", "dchml", "cca-itq"} <= within
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "At equal bytes, within one modality" in page
    assert '<th class="n">bytes</th>' in page


def test_suites_without_yardsticks_have_none(filled):
    path, out, _ = filled
    assert yardstick_cells(read_suite(path), out) == []
    assert not (out / "yardsticks").exists()


@pytest.mark.usefixtures("filled_here")
def test_the_towers_of_one_model_share_a_space(scenes, tmp_path):
    clip = tiny_models.save_clip(tmp_path / "clip")
    encoders = f'encoders = {{ image = "{clip}", text = "{clip}" }}'
    path = suite_file(tmp_path, scenes.root, last=encoders)
    suite = read_suite(path).narrowed(methods=["cca-itq"], seeds=[0], bits=[8])
    done = fill_suite(suite, tmp_path / "out", processes=1)
    assert not done.failed
    found = figures_of(tmp_path / "out", "embedding")["float32", 48]
    assert set(found) == {"image_to_text", "text_to_image", "image_to_image", "text_to_text"}
    assert 0 <= found["image_to_text"]["recall_at"]["10"] <= 1


def test_queries_ask_after_their_own_prompt(scenes, tmp_path):
    model = tiny_models.save_bert(tmp_path / "bert")
    last = f'text_encoder = "{model}"\nquery_prompt = "dog: "'
    suite = read_suite(suite_file(tmp_path, scenes.root, last=last))
    cell = yardstick_cells(suite, tmp_path / "out")[0]
    prepared = prepared_of(cell)
    asking = prepared.query_features(cache=FeatureCache(), track=silent)
    split, labels = prepared.split, prepared.collection.labels
    mean = prepared.features["text"].values[split.train].mean(axis=0)
    found = {}
    for name, queries in (("prompt", asking), ("plain", {})):
        (whole,) = [
            each
            for each in measure(cell, prepared, queries)
            if each["name"] == "float32" and "text_to_text" in each["directions"]
        ]
        given = queries.get("text", prepared.features["text"]).values[split.query] - mean
        values = prepared.features["text"].values[split.strict_gallery] - mean
        query, gallery = (
            (each / np.linalg.norm(each, axis=1, keepdims=True)).astype(np.float64)
            for each in (given, values)
        )
        similarity = np.rint(query @ gallery.T * 2**20)  # texts repeat: the mean over orders
        noise = np.random.default_rng(0)
        slow = np.mean([
            slow_map(similarity + noise.random(similarity.shape), labels[split.query],
                     labels[split.strict_gallery])
            for _ in range(30)
        ])  # fmt: skip
        found[name] = whole["directions"]["text_to_text"]["strict"]
        assert found[name] == pytest.approx(slow, abs=3e-3)
    assert found["prompt"] != found["plain"]


def test_what_shares_a_space_can_be_said(scenes, tmp_path):
    path = suite_file(tmp_path, scenes.root, more="shared_space = true")
    cells = yardstick_cells(read_suite(path), tmp_path)
    assert [cell.yardsticks.shared_space for cell in cells] == [True] * 6
    one = suite_of(tmp_path, LEAST + 'text_encoder = "none"\n[yardsticks]\n')
    assert [c.yardsticks.space for c in yardstick_cells(one, tmp_path)] == ["embedding"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('outputs = ["dcmh"]', r"outputs of \[yardsticks\] is 'dcmh'; it must be one of dchml"),
        ("powers = 2", "did you mean 'power'"),
        ("power = -1", r"power of \[yardsticks\] is -1"),
        ('outputs = ["dchml", "dchml"]', r"the output of \[yardsticks\] 'dchml' twice"),
    ],
)
def test_mistakes_in_yardsticks_are_named(tmp_path, table, message):
    with pytest.raises(UsageError, match=message):
        suite_of(tmp_path, f"{LEAST}[yardsticks]\n{table}\n")


def test_a_method_may_not_be_called_as_a_space(tmp_path):
    text = LEAST.replace('"dchml"', '{ name = "canonical", method = "dchml" }')
    with pytest.raises(UsageError, match="is the name of a space"):
        suite_of(tmp_path, f'{text}[yardsticks]\noutputs = ["canonical"]\n')


def test_without_faiss_nothing_runs(measured, monkeypatch, tmp_path):
    path, _ = measured
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"proxyhash\[faiss\]"):
        fill_suite(read_suite(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
