"""From a configuration to a run folder: the loop, its checkpoints, and what is written at the end.

`train` is the whole job; the rest is what a caller needs to ask for it.
"""

from proxyhash.training.config import TrainConfig, read_config
from proxyhash.training.history import EpochRecord
from proxyhash.training.run import RunResult, train
from proxyhash.training.sources import gather_values

__all__ = ["EpochRecord", "RunResult", "TrainConfig", "gather_values", "read_config", "train"]
