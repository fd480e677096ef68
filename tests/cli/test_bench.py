from __future__ import annotations

import csv
import os
import signal
import subprocess
import time

import pytest

from proxyhash.bench import cells_of, read_suite
from tests.bench.conftest import filled_here, write_suite
from tests.cli.conftest import PROXYHASH
from tests.training.runs import rewrite

__all__ = ["filled_here"]


@pytest.mark.usefixtures("filled_here")
def test_a_suite_is_filled_listed_and_reported(proxyhash_command, scenes, tmp_path):
    path, out = write_suite(tmp_path, scenes.root, epochs=1), tmp_path / "out"
    arguments = ("bench", path, "--out", out)
    part = (*arguments, "--methods", "dcmh, wide", "--seeds", "0", "--bits", "16")
    listed = proxyhash_command(*arguments, "--list", "--json").json
    assert [row["state"] for row in listed] == ["open"] * 4
    done = proxyhash_command(*part, "--processes", 1, "--memory", 8)
    assert done.code == 0, done.err
    assert "1 of 1 cells to fill, in 1 process" in done.err
    assert "scenes, mAP@all" in done.out
    assert "report.html" in done.err
    assert "4 cells: " in proxyhash_command(*arguments, "--list").err
    again = proxyhash_command(*arguments, "--report-only", "--json").json
    assert (again["finished"], again["cells"]) == (1, 4)
    assert again["tables"]["scenes"][0]["method"] == "dcmh, wide"


@pytest.mark.usefixtures("filled_here")
def test_without_labels_the_table_is_that_of_pairs(proxyhash_command, scenes, tmp_path):
    data = rewrite(scenes, tmp_path / "photos", lambda _, item: item.pop("labels"))
    path = tmp_path / "pairs.toml"
    path.write_text(
        'name = "p"\nbits = [16]\nseeds = [0]\nmethods = ["random-projection"]\n'
        f'[options]\nquery = 30\n[[data]]\nname = "photos"\npath = "{data}"\n'
        'encoders = { image = "descriptor" }\n'
    )
    done = proxyhash_command("bench", path, "--out", tmp_path / "out", "--processes", 1)
    assert done.code == 0, done.err
    assert "photos, no labels: own other half" in done.out
    assert "mAP@all" not in done.out
    row = next(line for line in done.out.splitlines() if "random-projection" in line).split()
    with (tmp_path / "out" / "report" / "photos" / "pairs.csv").open() as file:
        (measured,) = csv.DictReader(file)
    assert float(row[2]) == pytest.approx(float(measured["image_to_text_r_at_1_mean"]), abs=5e-4)
    told = proxyhash_command("bench", path, "--out", tmp_path / "out", "--report-only", "--json")
    (line,) = told.json["side_tables"]["photos"]["pairs"]
    assert line["method"] == "random-projection"
    assert str(line["image_to_text_r_at_1_mean"]) == measured["image_to_text_r_at_1_mean"]


def test_wrong_usage_is_told(proxyhash_command, scenes, tmp_path):
    path = write_suite(tmp_path, scenes.root)
    arguments = ("bench", path, "--out", tmp_path / "out")
    for options, code, message in (
        (("--report-only",), 2, "no finished cell"),
        (("--bits", "x"), 2, "is not a list of numbers"),
        (("--data", "scene"), 2, "did you mean 'scenes'"),
        (("--only", "scene"), 2, "did you mean 'scenes'"),
        (("--only=scene",), 2, "did you mean 'scenes'"),
        (("--methods", "dchml,dcm"), 2, "method is 'dcm'"),
    ):
        done = proxyhash_command(*arguments, *options)
        assert (done.code, message in done.err) == (code, True), done.err


@pytest.mark.usefixtures("filled_here")
def test_a_failing_cell_is_named_and_the_others_are_kept(proxyhash_command, scenes, tmp_path):
    path, out = write_suite(tmp_path, scenes.root, epochs=1), tmp_path / "out"
    taken = out / "cells" / "scenes" / "dcmh-wide" / "16" / "s0"
    taken.mkdir(parents=True)
    (taken / "notes.txt").write_text("of someone else")
    done = proxyhash_command("bench", path, "--out", out, "--seeds", "0", "--json")
    assert done.code == 1
    assert "1 of 2 cells failed" in done.err
    assert f"dcmh, wide, 16 bits, seed 0: {taken} exists and is not empty" in done.err
    assert (done.json["finished"], done.json["cells"]) == (1, 4)
    assert (taken / "notes.txt").exists()


def test_ctrl_c_ends_within_seconds_and_keeps_finished_cells(scenes, tmp_path):
    path = write_suite(tmp_path, scenes.root, epochs=400)
    path.write_text(path.read_text().replace("hidden = [24]", "epochs = 1"))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [
            PROXYHASH,
            "bench",
            path,
            "--out",
            out,
            "--processes",
            "1",
            "--methods",
            "dcmh, wide,dchml",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        short = out / "cells" / "scenes" / "dcmh-wide" / "16" / "s0" / "cell.json"
        deadline = time.monotonic() + 90
        while not short.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        time.sleep(0.5)  # into the next long cell
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        asked = time.monotonic()
        error = process.communicate(timeout=30)[1]
        assert time.monotonic() - asked < 15
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert "run the same command again to continue" in error
    states = [cell.state for cell in cells_of(read_suite(path), out)]
    assert "done" in states
    assert states.count("done") < 4
