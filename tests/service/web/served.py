"""A real `proxyhash serve` in a process of its own, over a collection that it indexes first."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["build", "serve"]

_SECONDS = 120


def build(data: Path, folder: Path, *, epochs: int = 12, **training: Any) -> Path:
    """Train on a collection, index all of it with thumbnails, and return the index."""
    from proxyhash.catalog.build import build_index
    from proxyhash.training.config import read_config
    from proxyhash.training.run import train

    settings = {
        "data": str(data),
        "out": str(folder / "run"),
        "hidden": [256],
        "batch_size": 32,
        "epochs": epochs,
        "optimizer": "adamw",
        "weight_decay": 0.3,
        "dropout": 0.2,
        "standardize": True,
        "text_network": {"standardize": False},
        "image_encoder": "patches",
        "threads": 1,
    }
    train(read_config(settings | training))
    index = folder / "index"
    build_index(folder / "run", data, index, thumbnails=True)
    return index


@contextmanager
def serve(index: Path, *options: str) -> Iterator[str]:
    """Serve an index on a free port; yields the address."""
    program = "import sys; from proxyhash.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", str(index), "--port", "0", *options]
    log = index.parent / "service.log"
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            said = next((line for line in lines if " at http://" in line), None)
            assert said is not None, log.read_text(encoding="utf-8")
            yield said.rsplit(" at ", 1)[1].strip()
        finally:
            process.terminate()
            process.wait(_SECONDS)
