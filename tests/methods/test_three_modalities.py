"""Every method learns from three modalities, and from one, as from two, or says it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from proxyhash.data import MODALITIES, register_modality
from proxyhash.errors import UsageError
from proxyhash.methods import METHODS, Rows, get_method
from proxyhash.training import read_config
from tests.methods.test_contract import variants
from tests.training.toy import make_rows, run

NAMES = {"image", "text", "sound"}


@pytest.fixture(scope="module", autouse=True)
def _sound():
    register_modality("sound")
    yield
    MODALITIES.remove("sound")


def three(items: int) -> Rows:
    """Items with a third modality: a rotation of both others, missing for every fifth item."""
    rows = make_rows(items, incomplete=True)
    both = torch.cat(list(make_rows(items).features.values()), dim=1)
    there = torch.arange(items) % 5 != 4
    sound = both @ torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator())).Q
    return replace(
        rows,
        features={**rows.features, "sound": sound * there[:, None]},
        present={**rows.present, "sound": there},
    )


@pytest.mark.parametrize(("name", "settings"), variants(), ids=str)
def test_three_networks_learn(tmp_path, name, settings):
    if "data_proxies" in get_method(name).settings_type.model_fields:
        settings = settings | {"first_stage_epochs": 1}
    hidden = {} if get_method(name).closed_form or name == "low-rank" else {"hidden": [16]}
    options = {"bits": 16, "batch_size": 16, "encoders": {"sound": "x"}, "settings": settings}
    config = read_config(
        {"method": name, "data": "d", "out": str(tmp_path), "epochs": 2, **options, **hidden}
    )
    assert set(config.modalities) == NAMES
    if get_method(name).needs_pairs:
        with pytest.raises(UsageError, match=r"two modalities.*has 3 .*--encoder sound=none"):
            run(config, three(60), three(20))
        return
    state = run(config, three(60), three(20))
    directions = {f"{one}_to_{other}" for one in NAMES for other in NAMES if one != other}
    assert state.best.score is not None
    lines = (tmp_path / "history.jsonl").read_text()
    assert all(f'"{direction}"' in lines for direction in directions)
    assert set(state.memory.outputs) == (NAMES if state.objective.reads_memory else set())
    before = run(
        read_config({**config.to_dict(), "out": str(tmp_path / "one"), "epochs": 1}),
        three(60),
        three(0),
    )
    if get_method(name).closed_form:
        return
    for modality in NAMES:
        moved = [
            not torch.equal(one, other)
            for one, other in zip(
                state.networks[modality].parameters(),
                before.networks[modality].parameters(),
                strict=True,
            )
        ]
        assert all(moved), modality


@pytest.mark.parametrize(("name", "settings"), variants(), ids=str)
def test_one_network_learns(tmp_path, name, settings):
    if "data_proxies" in get_method(name).settings_type.model_fields:
        settings = settings | {"first_stage_epochs": 1}
    hidden = {} if get_method(name).closed_form or name == "low-rank" else {"hidden": [16]}
    config = read_config(
        {
            "method": name, "data": "d", "out": str(tmp_path), "epochs": 2, "bits": 16,
            "batch_size": 16, "encoders": {"text": "none"}, "settings": settings, **hidden,
        }
    )  # fmt: skip
    rows = [
        replace(
            rows,
            features={"image": rows.features["image"]},
            present={"image": rows.present["image"]},
        )
        for rows in (make_rows(60), make_rows(20))
    ]
    if get_method(name).needs_pairs:
        with pytest.raises(UsageError, match=r"one modality \(image\); use --method itq"):
            run(config, *rows)
        return
    state = run(config, *rows)
    assert '"image_to_image"' in (tmp_path / "history.jsonl").read_text()
    assert state.best.score > 0.3


def test_every_registered_method_is_tried():
    assert {name for name, _ in variants()} == set(METHODS)
