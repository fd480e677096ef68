"""A converted set goes through training and its own split with its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.io import savemat

from proxyhash.datasets.convert import convert_data_set
from proxyhash.training.config import read_config
from proxyhash.training.run import train

if TYPE_CHECKING:
    from pathlib import Path


def test_convert_and_train(tmp_path: Path) -> None:
    """Two clusters in either modality: codes that follow them rank well."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 2
    rows = {"I": random.normal(size=(120, 8)), "T": random.normal(size=(120, 6))}
    for values in rows.values():
        values[:, 0] += 6 * (labels - 0.5)
    variables = {}
    for part, positions in {"te": slice(20), "tr": slice(20, 80), "db": slice(20, 120)}.items():
        variables |= {f"{name}_{part}": values[positions] for name, values in rows.items()}
        variables[f"L_{part}"] = np.eye(2)[labels[positions]]
    savemat(tmp_path / "set.mat", variables, do_compression=True)

    conversion = convert_data_set(tmp_path / "set.mat", tmp_path / "data")
    config = {
        "data": str(tmp_path / "data"),
        "out": str(tmp_path / "run"),
        "validation": 10,
        "bits": 8,
        "hidden": [16],
        "epochs": 5,
        "batch_size": 10,
        "threads": 1,
    }
    for modality, file in conversion.features.items():
        config[f"{modality}_encoder"] = f"features:{file}"
    metrics = train(read_config(config)).metrics

    sizes = {part: metrics["fingerprint"][part]["count"] for part in ("query", "gallery", "train")}
    assert sizes == {"query": 20, "gallery": 100, "train": 50}
    assert metrics["map"]["image_to_text"] > 0.75  # 0.5 by chance
    assert metrics["map"]["text_to_image"] > 0.75
