"""Trainings that two processes do together, started as torchrun does.

    python -m tests.training.two_trainings FOLDER

The two are forked after one has loaded the libraries, which takes longer than the trainings.
FOLDER/trainings.json names the configurations. Beside the run folders, each process leaves what it
has in memory at the end of a training, and the items of its steps, in FOLDER/NAME-RANK.pt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from proxyhash.encoders import make_encoder
from proxyhash.training import loop, read_config, stage, train
from proxyhash.training.processes import SINGLE, Processes, open_processes

__all__ = ["train_and_note"]


def train_and_note(values: dict[str, object], note: Path, processes: Processes = SINGLE) -> None:
    """Train, and write the state after the last step and the items of each step to a file."""
    found: dict[str, object] = {"steps": []}

    def remember(state, batch):
        found["steps"].append((batch.learning, batch.index.tolist()))
        original_remember(state, batch)

    def epochs(state, *given, **options):
        found["start"] = weights_of(state)
        original_epochs(state, *given, **options)
        found["weights"] = weights_of(state)
        found["memory"] = dict(state.memory.outputs)

    original_remember, original_epochs = loop._remember, stage.run_epochs
    with patch.object(loop, "_remember", remember), patch.object(stage, "run_epochs", epochs):
        result = train(read_config(values), resume=True, processes=processes)
    found["metrics"] = result.metrics
    torch.save(found, note)


def weights_of(state):
    found = {name: value.clone() for name, value in state.networks.state_dict().items()}
    for modality, tuned in state.encoders.items():
        found |= {f"{modality} encoder.{name}": w.clone() for name, w in tuned.weights.items()}
    return found


def train_all(folder: Path, trainings: dict[str, dict[str, object]]) -> None:
    with open_processes() as processes:
        for name, values in trainings.items():
            train_and_note(values, folder / f"{name}-{processes.rank}.pt", processes)


def main() -> None:
    folder = Path(sys.argv[1])
    trainings = json.loads((folder / "trainings.json").read_text())
    torch.set_num_threads(1)  # threads of a parent are not there after a fork
    for values in trainings.values():
        for modality in ("image", "text"):
            if spec := values.get(f"{modality}_encoder"):
                make_encoder(str(spec), modality=modality)
    rendezvous = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": folder.name}
    config = LaunchConfig(1, 1, 2, start_method="fork", monitor_interval=0.1, **rendezvous)
    elastic_launch(config, train_all)(folder, trainings)


if __name__ == "__main__":
    main()
