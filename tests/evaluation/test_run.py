"""A run folder's evaluation: what is read, what is refused, what is written back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from proxyhash.data.run_data import read_run
from proxyhash.errors import ModelError, UsageError
from proxyhash.evaluation.run import evaluate_run, read_proxies, save_metrics
from proxyhash.files import write_json
from tests.evaluation.runs import make_run

if TYPE_CHECKING:
    from pathlib import Path


def test_both_galleries_are_what_training_writes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    result = evaluate_run(read_run(run.folder))
    assert [each.protocol.gallery for each in result.evaluations] == ["literature", "strict"]
    assert result.metrics["strict"]["map"] == result.evaluations[1].map
    assert result.metrics["bit_statistics"]["proxies"]["count"] == 5


def test_one_gallery_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for gallery in ("literature", "strict"):
        result = evaluate_run(read_run(run.folder), gallery=gallery)
        (evaluation,) = result.evaluations
        assert evaluation.protocol.gallery == result.metrics["protocol"]["gallery"] == gallery
        assert "strict" not in result.metrics
        assert result.metrics["fingerprint"]["query"]["count"] == 20
    with pytest.raises(UsageError, match="gallery is 'all'; it must be one of"):
        evaluate_run(read_run(run.folder), gallery="all")


def test_a_run_without_a_strict_gallery(tmp_path: Path) -> None:
    run = make_run(tmp_path, strict=False)
    assert len(evaluate_run(read_run(run.folder)).evaluations) == 1
    with pytest.raises(UsageError, match="strict gallery is empty; use --gallery literature"):
        evaluate_run(read_run(run.folder), gallery="strict")


def test_a_model_may_have_no_proxies(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run.folder / "model" / "proxies.safetensors").unlink()
    assert read_proxies(run.folder, bits=16) is None
    assert evaluate_run(read_run(run.folder)).metrics["bit_statistics"]["proxies"] is None


def test_proxies_that_are_none_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = run.folder / "model" / "proxies.safetensors"
    with pytest.raises(ModelError, match=r"int8 of shape \(5, 16\), not proxies of 32 bits"):
        read_proxies(run.folder, bits=32)
    save_file({"codes": np.ones((5, 16), np.float32)}, path)
    with pytest.raises(ModelError, match="holds float32 of shape"):
        read_proxies(run.folder, bits=16)
    for damage in ({"other": np.ones(3)}, None):
        if damage is None:
            path.write_bytes(b"nonsense")
        else:
            save_file(damage, path)
        with pytest.raises(ModelError, match=r"proxies.safetensors is damaged"):
            read_proxies(run.folder, bits=16)


def test_saving_keeps_what_training_noted(tmp_path: Path) -> None:
    path = save_metrics(tmp_path, {"map": {}})
    assert json.loads(path.read_text()) == {"map": {}}
    write_json(path, {"map": {"old": 1}, "training": {"epochs": 7}, "strict": {}})
    save_metrics(tmp_path, {"map": {"new": 2}})
    assert json.loads(path.read_text()) == {"map": {"new": 2}, "training": {"epochs": 7}}
