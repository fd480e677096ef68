"""Small rows and configurations for runs of the loop alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from proxyhash.training.build import build_state
from proxyhash.training.config import read_config
from proxyhash.training.folder import RunFolder
from proxyhash.training.loop import run_epochs
from proxyhash.training.state import load_state
from tests.methods.toy import make_toy

if TYPE_CHECKING:
    from proxyhash.methods import Rows

INPUTS = {"collection": "c", "image encoder": "i", "text encoder": "t"}


def make_rows(items: int = 60, *, seed: int = 0, incomplete: bool = False) -> Rows:
    toy = make_toy(items, seed=seed)
    if incomplete:
        toy.has_image[::4] = False
        toy.has_text[1::4] = False
    return toy.rows()


def config_of(folder: Path, **values: object):
    least = {
        "data": "data",
        "out": str(folder),
        "method": "dcmh",
        "bits": 16,
        "hidden": [32],
        "epochs": 4,
        "batch_size": 16,
        "dropout": 0.0,
        "output_batch_norm": False,
    }
    return read_config({**least, **values})


def run(config, rows: Rows, validation: Rows, *, resume: bool = False, stop=lambda: False):
    """Run the loop and return the state; records go to the history file."""
    folder = RunFolder(Path(config.out))
    folder.path.mkdir(parents=True, exist_ok=True)
    state = build_state(config, rows, inputs=INPUTS, resumed=resume)
    if resume:
        load_state(folder.last, state)
    run_epochs(
        state, rows, validation, config=config, folder=folder, report=lambda _: None, stop=stop
    )
    return state


def tensors(state) -> dict[str, torch.Tensor]:
    """Everything that a later epoch could depend on, and what is saved as the model."""
    found = dict(state.final_networks.state_dict())
    found |= {f"raw.{key}": value for key, value in state.networks.state_dict().items()}
    found |= {f"memory.{key}": value for key, value in state.memory.outputs.items()}
    return found


def assert_same(one, other) -> None:
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys()
    for key, value in left.items():
        assert torch.equal(value, right[key]), key
    assert (one.epoch, one.best) == (other.epoch, other.best)
