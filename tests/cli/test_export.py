"""`proxyhash export onnx`: what it writes and prints, and how it refuses."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import proxyhash as ph
from proxyhash.encoders import load_encoder
from proxyhash.hashing import HashModel

if TYPE_CHECKING:
    from pathlib import Path


ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'proxyhash[onnx]'")
Command = "Callable[..., CommandResult]"


def test_export_of_a_run(small_run: Path, proxyhash_command: Command, tmp_path: Path) -> None:
    done = proxyhash_command("export", "onnx", small_run, tmp_path / "out", "--samples", 20)
    assert done.code == 0, done.err
    assert "image.onnx" in done.out
    assert "100.00%" in done.out
    assert "the image encoder is not a network" in done.err
    bag = load_encoder(small_run / "model" / "text_encoder")
    texts = ["a dog in the snow", "two cats at night"]
    session = ort.InferenceSession(tmp_path / "out" / "text.onnx")
    (codes,) = session.run(["codes"], {"counts": bag.counts(texts)})  # type: ignore[attr-defined]
    model = HashModel.load(small_run / "model")
    assert np.array_equal(codes, model.encode_texts(texts, on_unknown="keep"))


def test_one_half_of_a_model_folder_as_json(
    small_run: Path, proxyhash_command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = proxyhash_command(
        "export", "onnx", small_run / "model", out, "--modality", "text", "--int8", "--json"
    )
    assert done.code == 0, done.err
    assert [each["precision"] for each in done.json["graphs"]] == ["float32", "int8"]
    assert "checking with generated images and texts" in done.err
    assert sorted(path.name for path in out.iterdir()) == [
        "text.int8.onnx", "text.json", "text.onnx",
    ]  # fmt: skip
    told = json.loads((out / "text.json").read_text())
    assert told["graphs"]["int8"]["share_of_bits"] >= 0.99


@pytest.mark.slow
def test_what_the_items_of_a_run_lack_is_generated(
    proxyhash_command: Command, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    images = random.normal(size=(80, 6)).astype(np.float32)
    texts = [["red house", "green tree", "blue sea", "gray road"][row % 4] for row in range(80)]
    labels = [row % 4 for row in range(80)]
    model = ph.train(
        images=images, texts=texts, labels=labels, bits=16, epochs=1, out=tmp_path / "run"
    )
    done = proxyhash_command("export", "onnx", tmp_path / "run", tmp_path / "out", "--samples", 20)
    assert done.code == 0, done.err
    assert "items.jsonl has too few images; checking with generated ones" in done.err
    session = ort.InferenceSession(tmp_path / "out" / "image.onnx")
    (codes,) = session.run(["codes"], {"features": images})
    assert np.array_equal(codes, model.encode_features(images, modality="image"))
    told = json.loads((tmp_path / "out" / "text.json").read_text())
    assert told["graphs"]["float32"]["checked_with"] == 20
    rows = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows))
    given = proxyhash_command(
        "export", "onnx", tmp_path / "run", tmp_path / "x", "--data", tmp_path / "texts.jsonl"
    )
    assert given.code == 3
    assert "texts.jsonl has 0 images, and 8 are needed" in given.err
    assert not (tmp_path / "x").exists()


def test_refusals(
    small_run: Path,
    proxyhash_command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    taken = proxyhash_command("export", "onnx", small_run, tmp_path)
    assert taken.code == 2
    assert "holds something other than exported graphs" in taken.err
    wrong = proxyhash_command("export", "onnx", small_run, tmp_path / "x", "--modality", "txt")
    assert wrong.code == 2
    assert "did you mean 'text'" in wrong.err
    assert proxyhash_command("export", "onnx", tmp_path, tmp_path / "x").code == 3
    monkeypatch.setitem(sys.modules, "onnx", None)
    missing = proxyhash_command("export", "onnx", small_run, tmp_path / "x")
    assert missing.code == 4
    assert "pip install 'proxyhash[onnx]'" in missing.err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
