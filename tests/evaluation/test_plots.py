"""The plots exist, are images, say what they show, and survive an evaluation without figures."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from proxyhash.errors import MissingExtraError
from proxyhash.evaluation import Protocol, evaluate_codes, evaluate_pairs, plots
from tests.evaluation.runs import make_run, with_sound

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("strict", [True, False])
def test_plots_are_written(tmp_path: Path, strict: bool) -> None:
    run = make_run(tmp_path, strict=strict)
    for gallery, suffix in (("literature", ""), ("strict", "-strict")):  # without strict: empty
        evaluation = evaluate_codes(
            run.codes, run.collection.labels, run.split, protocol=Protocol(gallery=gallery)
        )
        paths = plots.draw_plots(evaluation, tmp_path / "plots", name="run")
        assert [path.name for path in paths] == [
            f"precision-recall{suffix}.png",
            f"distances{suffix}.png",
        ]
        for path in paths:
            with Image.open(path) as image:
                assert image.format == "PNG"
                assert min(image.size) > 600
                assert len(image.convert("RGB").getcolors(10**6) or range(300)) > 200


@pytest.mark.parametrize("modalities", [("text",), ("image", "text", "sound")])
def test_any_number_of_directions_is_plotted(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    run = make_run(tmp_path)
    codes = with_sound(run.codes)
    codes = replace(
        codes,
        codes={modality: codes.of(modality) for modality in modalities},
        present={modality: codes.has(modality) for modality in modalities},
    )
    evaluation = evaluate_codes(codes, run.collection.labels, run.split)
    assert len(evaluation.directions) == len(modalities) ** 2
    for path in plots.draw_plots(evaluation, tmp_path / "plots"):
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(10**6) or range(300)) > 100


def test_pairs_are_plotted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    pairs = evaluate_pairs(with_sound(run.codes), run.split.query, run.collection)
    assert pairs is not None
    path = plots.draw_pairs_plot(pairs, tmp_path / "plots", bits=16, name="run")
    with Image.open(path) as image:
        assert (image.format, path.name) == ("PNG", "pairs.png")
        assert len(image.convert("RGB").getcolors(10**6) or range(300)) > 200


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    evaluation = evaluate_codes(run.codes, run.collection.labels, run.split)
    known = importlib.import_module

    def import_module(name: str) -> object:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return known(name)

    monkeypatch.setattr("proxyhash.errors.import_module", import_module)
    with pytest.raises(MissingExtraError, match=r"pip install 'proxyhash\[plots\]'"):
        plots.draw_plots(evaluation, tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
