"""Atomic writes where there is no room, in a process whose files may not grow."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxyhash.files import naming_full_disk

if TYPE_CHECKING:
    from pathlib import Path

LIMITED = """
import resource, sys
import numpy as np, torch
from pathlib import Path
from proxyhash.encoders.folder import write_arrays
from proxyhash.files import write_bytes
from proxyhash.networks.tensors import write_tensors

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
WRITE = {
    "bytes": lambda path: write_bytes(path, bytes(5000)),
    "tensors": lambda path: write_tensors(path, {"a": torch.rand(5000)}, metadata={}),
    "arrays": lambda path: write_arrays(path, {"a": np.random.rand(5000)}),
}
for path in sys.argv[1:]:
    try:
        WRITE[Path(path).parent.name](Path(path))
    except OSError as error:
        print(error)
    else:
        print("written")
"""


def test_without_room_the_old_file_stays_and_the_error_says_what_to_do(tmp_path):
    paths = [tmp_path / what / "kept.safetensors" for what in ("bytes", "tensors", "arrays")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        assert "free some space and rerun; the previous file is unchanged" in line
        assert str(path) in line
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        assert path.read_bytes() == b"old"


def test_lack_of_room_names_the_file_and_other_errors_pass(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    expected = pytest.raises(OSError, match=r"free some space and rerun.*image\.jpg")
    with expected, naming_full_disk(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError, match="denied"), naming_full_disk(path):
        raise PermissionError(errno.EACCES, "denied")
