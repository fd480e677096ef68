from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.training.folder import RunFolder

CONFIG = '{"method": "dchml", "bits": 16}'


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
    folder.config.write_text('{"name": "a web page", "scripts": {}}')  # another program's
    with pytest.raises(UsageError, match=r"holds no run.*--overwrite leaves it alone"):
        folder.check(overwrite=True)
    folder.config.write_text(CONFIG)
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
    for path in (folder.history, folder.last, folder.model / "model.json"):
        path.touch()
    folder.config.write_text(CONFIG)
    (tmp_path / "notes.txt").touch()
    folder.check(overwrite=True)
    assert folder.config.exists()
    folder.start()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_kill_while_an_earlier_run_is_removed_leaves_what_can_be_overwritten(
    tmp_path, monkeypatch
):
    folder, remaining = RunFolder(tmp_path / "run"), 0
    for steps in range(20):
        folder.path.mkdir(exist_ok=True)
        for path in (folder.last, folder.model / "model.json", folder.tuning / "config.json"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
        for path in (folder.history, folder.metrics, folder.split):
            path.touch()
        folder.config.write_text(CONFIG)
        remaining = steps

        def counted(original):
            def run(*args, **kwargs):
                nonlocal remaining
                if remaining == 0:
                    raise KeyboardInterrupt
                remaining -= 1
                return original(*args, **kwargs)

            return run

        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.unlink", counted(Path.unlink))
            patch.setattr("shutil.rmtree", counted(shutil.rmtree))
            try:
                folder.start()
            except KeyboardInterrupt:
                folder.check(overwrite=True)
            else:
                break
    assert steps == 11  # every file and folder of a run
    assert not folder.entries


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "a")
    with folder.hold():
        with (
            pytest.raises(DataError, match=rf"pid {os.getpid()}\) is writing to the run folder"),
            folder.hold(),
        ):
            pass
        folder.check(overwrite=False)  # the lock alone leaves the folder free
        folder.config.touch()
    folder.lock.write_text("12345\n")  # of a process that was killed
    with folder.hold():
        assert folder.lock.read_text() == f"{os.getpid()}\n"
    assert set(folder.path.iterdir()) == {folder.config}


def test_a_folder_made_for_the_lock_alone_goes_when_the_run_cannot_start(tmp_path):
    folder = RunFolder(tmp_path / "a")
    with pytest.raises(UsageError, match="mistyped"), folder.hold():
        raise UsageError("mistyped")
    assert not folder.path.exists()
    folder.path.mkdir()
    with pytest.raises(UsageError, match="mistyped"), folder.hold():
        raise UsageError("mistyped")
    assert folder.path.exists()


def test_a_folder_of_someone_else_gets_no_lock(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="exists and is not empty"), RunFolder(tmp_path).hold():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.lock.symlink_to(tmp_path / "precious")
    with pytest.raises(DataError, match="symbolic link"), folder.hold():
        pass
    assert (tmp_path / "precious").read_text() == "precious"
