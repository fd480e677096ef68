from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxyhash.bench import cells_of, encoder_cells, read_suite
from proxyhash.errors import UsageError
from proxyhash.methods.shared.registry import METHODS
from proxyhash.registry import PLUGIN_FILES

LEAST = 'bits = [16]\nseeds = [0]\nmethods = ["dchml"]\n[[data]]\nname = "a"\npath = "here"\n'
RUNS = Path(__file__).parents[2] / "runs"


def suite_of(folder, text):
    path = folder / "some.toml"
    path.write_text(text, encoding="utf-8")
    return read_suite(path)


def test_relative_paths_count_from_the_suite(tmp_path):
    (tmp_path / "model").mkdir()
    options = 'image_encoder = "model"\ntext_encoder = "bow"\n'
    suite = suite_of(tmp_path, LEAST + options)
    assert suite.name == "some"
    config = cells_of(suite, tmp_path / "out")[0].config
    assert config.data == str(tmp_path / "here")
    assert config.encoders == {"image": str(tmp_path / "model"), "text": "bow"}


def test_nearer_options_win_and_settings_are_merged(tmp_path):
    text = """
bits = [16, 32]
seeds = [0, 1]
methods = ["dchml", { name = "own", method = "dchml", epochs = 3, settings = { eta = 0.5 } }]
[options]
epochs = 7
batch_size = 64
settings = { gamma = 0.9 }
[[data]]
name = "a"
path = "here"
batch_size = 32
"""
    cells = cells_of(suite_of(tmp_path, text), tmp_path / "out")
    assert len(cells) == 8
    assert len({cell.folder for cell in cells}) == 8
    plain, own = cells[:2]
    assert (plain.config.epochs, own.config.epochs) == (7, 3)
    assert (plain.config.batch_size, own.config.batch_size) == (32, 32)
    assert (own.config.settings["eta"], own.config.settings["gamma"]) == (0.5, 0.9)
    assert own.folder == tmp_path / "out" / "cells" / "a" / "own" / "16" / "s0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"dchml"', '"dchlm"'), "must be one of .*dchml"),
        (('"dchml"', '"dchml", "dchml"'), "the method 'dchml' twice"),
        (("[16]", "[16, 16]"), "the bits 16 twice"),
        (("[0]", "[3, 3]"), "the seed 3 twice"),
        (("seeds", "sedes"), "unknown setting 'sedes'"),
        (('"here"', '"here"\nepoch = 3'), "did you mean 'epochs'"),
        (('"here"', '"here"\nseed = 3'), "which the suite itself decides"),
        (('path = "here"', ""), "needs a path, convert or generate"),
        (('"here"', '"here"\ngenerate = 9\nconvert = "x"'), "both convert and generate"),
        (('"here"', '"here"\n[[data]]\nname = "A"\npath = "x"'), "the data set 'a' twice"),
        (("bits =", 'ours = ["x"]\nbits ='), "ours is 'x'"),
        (("bits =", "bits"), "is not valid"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        suite_of(tmp_path, LEAST.replace(*change))


def test_values_are_checked_before_anything_runs(tmp_path):
    suite = suite_of(tmp_path, LEAST + "epochs = 0\n")
    with pytest.raises(UsageError, match="data set 'a', method 'dchml': setting epochs is 0"):
        cells_of(suite, tmp_path)
    settings = LEAST.replace('"dchml"', '{ name = "dchml", settings = { etta = 1 } }')
    with pytest.raises(UsageError, match="did you mean 'eta'"):
        cells_of(suite_of(tmp_path, settings), tmp_path)


def test_a_suite_can_be_narrowed(tmp_path):
    text = LEAST.replace('"dchml"', '"dchml", "dcmh"').replace("[16]", "[16, 32]")
    suite = suite_of(tmp_path, 'ours = ["dchml"]\n' + text)
    part = suite.narrowed(methods=["dcmh"], bits=[32])
    assert [each.name for each in part.variants] == ["dcmh"]
    assert (part.bits, part.seeds, part.ours) == ((32,), (0,), ())
    with pytest.raises(UsageError, match="bits 64 is not in the suite; it has 16, 32"):
        suite.narrowed(bits=[64])
    with pytest.raises(UsageError, match="did you mean 'dcmh'"):
        suite.narrowed(methods=["dcm"])


def test_the_demo_suite_can_be_read():
    suite = read_suite(RUNS / "demo.toml")
    assert len(cells_of(suite, Path("out"))) == 24


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_suites_of_the_repository_can_be_read(path: Path):
    suite = read_suite(path)
    assert suite.name == path.stem
    assert cells_of(suite, Path("out"))


@pytest.mark.parametrize(
    "change", [("bits = [", "bits = [true, "), ("seeds = [", "seeds = [true, ")]
)
def test_true_is_not_a_number(tmp_path, change):
    with pytest.raises(UsageError, match=r"setting (bits|seeds) of suite .*integer"):
        suite_of(tmp_path, LEAST.replace(*change))


SHARED = """
bits = [16, 32]
seeds = [0, 1]
methods = ["dchml", "psldh"]
[options]
query = 10
[shared_encoders]
bits = 48
tune = ["image"]
image_encoder = "model"
encoder_rate = 3e-4
[[data]]
name = "a"
path = "here"
crop_min = 0.7
"""


def test_shared_encoders_are_one_training_per_data_set_and_seed(tmp_path):
    (tmp_path / "model").mkdir()
    suite = suite_of(tmp_path, SHARED)
    out = tmp_path / "out"
    tuning = encoder_cells(suite, out)
    assert [(cell.seed, cell.bits, cell.config.method) for cell in tuning] == [
        (0, 48, "dchml-plus"),
        (1, 48, "dchml-plus"),
    ]
    first = tuning[0].config
    assert (first.tune, first.encoder_rate, first.query) == (("image",), 3e-4, 10)
    assert (first.crop_min, first.optimizer) == (0.7, "adamw")
    assert first.encoders == {"image": str(tmp_path / "model"), "text": "bow"}
    for cell in cells_of(suite, out):
        model = out / "encoders" / "a" / f"s{cell.seed}" / "model"
        assert (cell.config.tune, cell.config.crop_min) == ((), 0.35)
        assert (cell.config.optimizer, cell.config.epochs) == ("adam", 20)
        assert cell.config.encoders == {"image": str(model / "image_encoder"), "text": "bow"}
        assert cell.shared == ("image",)
    assert encoder_cells(suite_of(tmp_path, LEAST), out) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('tune = ["image"]\n', ""), r"\[shared_encoders\] has no tune; .* tune = \[.image.\]"),
        (('"psldh"', '{ name = "psldh", tune = ["image"] }'), "method 'psldh' has tune"),
        (("bits = 48", "bitts = 48"), "did you mean 'bits'|bitts"),
        (("bits = 48", "seed = 4"), "which the suite itself decides"),
        (("bits = 48", 'method = "dchlm"'), "did you mean|must be one of"),
        (('tune = ["image"]', 'tune = ["audio"]'), "data set 'a', method 'encoders by dchml-plus'"),
    ],
)
def test_mistakes_in_shared_encoders_are_named(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        cells_of(suite_of(tmp_path, SHARED.replace(*change)), tmp_path / "out")


def test_shared_encoders_that_do_not_learn_are_refused(tmp_path):
    suite = suite_of(tmp_path, f"{LEAST}[shared_encoders]\nbits = 16\ntune = []\n")
    with pytest.raises(UsageError, match=r"data set 'a': .* names no encoder that learns"):
        cells_of(suite, tmp_path / "out")


def test_a_suite_names_methods_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.delenv(PLUGIN_FILES, raising=False)
    (tmp_path / "mine.py").write_text(
        "import proxyhash as ph\n"
        "from proxyhash.methods.dchml import Dchml\n"
        "@ph.register_method('of-the-suite')\n"
        "class Mine(Dchml):\n"
        "    pass\n",
        encoding="utf-8",
    )
    named = LEAST.replace('"dchml"', '"of-the-suite"')
    with pytest.raises(UsageError, match="must be one of"):
        suite_of(tmp_path, named)
    suite = suite_of(tmp_path, 'plugins = ["mine.py"]\n' + named)
    assert suite.variants[0].method == "of-the-suite"
    assert os.environ[PLUGIN_FILES] == str(tmp_path / "mine.py")  # so that workers see it
    METHODS.remove("of-the-suite")
    with pytest.raises(UsageError, match=r"plug-in .*gone\.py: no such Python file"):
        suite_of(tmp_path, 'plugins = ["gone.py"]\n' + LEAST)
