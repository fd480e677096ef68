from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxyhash.errors import ModelError
from proxyhash.training.history import EpochRecord, append_record, cut_history, read_history

RECORD = EpochRecord(
    epoch=3,
    epochs=20,
    loss=2.13,
    terms={"margin": 1.9, "quantization": 0.23},
    validation={"image_to_text": 0.6, "text_to_image": 0.62, "mean": 0.61},
    best_epoch=2,
    best_score=0.613,
    learning_rate=0.001,
    seconds=1.25,
)


def write(path, epochs):
    for epoch in epochs:
        append_record(path, replace(RECORD, epoch=epoch))


def test_one_json_line_per_epoch(tmp_path):
    path = tmp_path / "history.jsonl"
    write(path, [1, 2])
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2]
    assert read_history(path)[0] == replace(RECORD, epoch=1)


def test_cutting_drops_later_epochs(tmp_path):
    path = tmp_path / "history.jsonl"
    write(path, [1, 2, 3])
    cut_history(path, epoch=2)
    assert [record.epoch for record in read_history(path)] == [1, 2]
    cut_history(path, epoch=0)
    assert path.read_text() == ""


def test_a_line_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    write(path, [1, 2])
    path.write_text(path.read_text()[:-20])
    assert [record.epoch for record in read_history(path)] == [1]
    cut_history(path, epoch=1)
    write(path, [2])
    assert [record.epoch for record in read_history(path)] == [1, 2]


def test_damage_in_the_middle_is_told(tmp_path):
    path = tmp_path / "history.jsonl"
    write(path, [1])
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(ModelError, match=r"history.jsonl, line 1 is damaged"):
        read_history(path)


def test_no_file_is_no_history(tmp_path):
    assert read_history(tmp_path / "history.jsonl") == []


def test_summary_in_words():
    assert RECORD.summary() == (
        "epoch 3/20, loss 2.130 (margin 1.900, quantization 0.230), "
        "validation mAP 0.6100 (best 0.6130 in epoch 2), 1.2 s"
    )
    assert RECORD.brief() == "loss 2.13, mAP 0.610"
    without = replace(RECORD, validation={}, best_score=None)
    assert without.summary() == "epoch 3/20, loss 2.130 (margin 1.900, quantization 0.230), 1.2 s"
    assert without.brief() == "loss 2.13"
