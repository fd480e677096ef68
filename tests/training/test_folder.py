from __future__ import annotations

import pytest

from proxyhash.errors import UsageError
from proxyhash.training.folder import RunFolder


def test_a_new_folder_is_made(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "a")
    folder.check(overwrite=False)
    assert not folder.path.exists()
    folder.start()
    assert folder.path.is_dir()
    folder.check(overwrite=False)  # an empty one is fine


def test_a_taken_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    folder = RunFolder(tmp_path)
    with pytest.raises(UsageError, match="exists and is not empty; choose another --out"):
        folder.check(overwrite=False)
    with pytest.raises(UsageError, match=r"holds no run.*--overwrite leaves it alone"):
        folder.check(overwrite=True)
    folder.config.touch()
    with pytest.raises(UsageError, match="continue it with --resume, replace it with --overwrite"):
        folder.check(overwrite=False)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file; --out needs a folder"):
        RunFolder(tmp_path / "file").check(overwrite=True)


def test_overwriting_removes_the_run_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    folder.model.mkdir()
    for path in (folder.config, folder.history, folder.last, folder.model / "model.json"):
        path.touch()
    (tmp_path / "notes.txt").touch()
    folder.check(overwrite=True)
    assert folder.config.exists()
    folder.start()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
