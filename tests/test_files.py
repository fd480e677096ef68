"""Atomic writes where there is no room, in a process whose files may not grow."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxyhash.errors import DataError, UsageError
from proxyhash.files import (
    check_output,
    hold_lock,
    holds,
    naming_full_disk,
    open_regular,
    read_json,
    replace_folder,
    write_atomic,
    write_output,
    write_text,
)

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


def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_bytes('{"query": ["ü"]}\r\n'.encode("utf-8-sig"))
    assert read_json(path) == {"query": ["ü"]}


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


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.with_name("outside").write_bytes(b"outside")
    path.symlink_to(path.with_name("outside"))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("mode", ["rb", "r", "r+b", "wb", "ab"])
@pytest.mark.parametrize(
    ("make", "word"),
    [(_pipe, "pipe"), (_link, "symbolic link"), (_socket, "socket"), (Path.mkdir, "folder")],
)
def test_files_of_our_folders_are_regular_or_named(make, word, mode, tmp_path):
    make(tmp_path / "file")
    with pytest.raises(DataError, match=f"file is a {word}, not a regular file"):
        open_regular(tmp_path / "file", mode)
    if make is _link:
        assert (tmp_path / "outside").read_bytes() == b"outside"


def test_a_regular_file_is_opened_as_ever_and_a_folder_by_its_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with open_regular(tmp_path / "link" / "file", "w") as file:
        file.write("long content")
    with open_regular(tmp_path / "link" / "file", "w") as file:
        file.write("é")
    with open_regular(tmp_path / "link" / "file", "r") as file:
        assert file.read() == "é"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
    with pytest.raises(DataError, match="/dev/null is a device"):
        open_regular("/dev/null")


HOLD = """
import sys
from proxyhash.files import hold_lock
with hold_lock(sys.argv[1], "the run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_by_one_process_and_names_it(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(DataError, match=rf"process \(pid {other.pid}\) is writing to the run"),
            hold_lock(path, "the run"),
        ):
            pass
        other.kill()
    with hold_lock(path, "the run"):
        assert path.read_text() == f"{os.getpid()}\n"
    path.unlink()
    (tmp_path / "outside").write_text("outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="lock is a symbolic link"), hold_lock(path, "the run"):
        pass
    assert (tmp_path / "outside").read_text() == "outside"


def test_atomic_writes_refuse_what_is_no_file_and_leave_it(tmp_path):
    for make in (_pipe, _socket, Path.mkdir):
        path = tmp_path / f"file{make.__name__}"
        make(path)
        before = path.lstat().st_mode
        with pytest.raises(UsageError, match="give the name of a file"):
            write_text(path, "text")
        assert path.lstat().st_mode == before
    _link(tmp_path / "file")
    write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
    assert (tmp_path / "outside").read_text() == "outside"


def test_only_folders_are_replaced_by_folders(tmp_path):
    for make in (_pipe, _socket, _link, Path.touch):
        path = tmp_path / f"there{make.__name__}"
        make(path)
        before = path.lstat().st_mode
        with pytest.raises(UsageError, match="not a folder"), replace_folder(path):
            pass
        assert path.lstat().st_mode == before
    (tmp_path / "folder").mkdir()
    with replace_folder(tmp_path / "folder") as new:
        (new / "file").touch()
    assert (tmp_path / "folder" / "file").exists()


def test_below_a_file_nothing_is_written_and_the_file_is_named(tmp_path):
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(UsageError, match="file is a file, not a folder"):
            write_text(path, "text")
        with pytest.raises(UsageError, match="file is a file, not a folder"), replace_folder(path):
            pass
    assert (tmp_path / "file").read_text() == "kept"


def test_outputs_stream_into_pipes_and_devices(tmp_path, monkeypatch):
    content = bytes(range(256)) * 1000
    write_output("/dev/null", content)
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cp", tmp_path / "pipe", tmp_path / "read"]):
        write_output(tmp_path / "pipe", content)
    assert (tmp_path / "read").read_bytes() == content
    command = "from proxyhash.files import write_output; write_output('/dev/stdout', bytes(70000))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert done.stdout == bytes(70000)
    with (tmp_path / "redirected").open("wb") as file:
        subprocess.run([sys.executable, "-c", command], stdout=file, check=True)
        assert (tmp_path / "redirected").read_bytes() == bytes(70000)
    monkeypatch.setattr("proxyhash.files._PATIENCE", 0.1)
    with pytest.raises(UsageError, match="nobody reads from the pipe"):
        write_output(tmp_path / "pipe", content)
    write_output(tmp_path / "plain", content)
    assert (tmp_path / "plain").read_bytes() == content


def test_what_is_something_else_is_not_written_over_unless_asked(tmp_path):
    path = tmp_path / "file"

    def check(**options: bool) -> None:
        check_output(path, "a page", ours=lambda head: head.startswith(b"<page"), **options)

    check()
    for content, refused in ((b"", False), (b"<page>", False), (b"id,text", True)):
        path.write_bytes(content)
        if refused:
            with pytest.raises(UsageError, match=r"file exists and is not a page; .*--overwrite"):
                check()
            check(overwrite=True)
        else:
            check()
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match="is a folder; give the name of a file"):
        check(overwrite=True)
    path.rmdir()
    os.mkfifo(path)
    check()
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    check()


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        ('{"bits": 8, "method": "x", "more": 1}', True),
        ('{"name": "someone\'s web page", "bits": 1}', False),
        ("[]", False),
        ("{", False),
        (None, False),
    ],
)
def test_a_folder_is_ours_by_what_its_file_says(content, ours, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert holds(tmp_path, "config.json", keys=("bits", "method")) is ours


def test_a_folder_that_cannot_be_written_into_names_the_file_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".codes-xjucodag.npz"))

    monkeypatch.setattr("tempfile.mkstemp", read_only)
    with (
        pytest.raises(OSError, match=r"Read-only file system: '.*/codes\.npz'"),
        write_atomic(tmp_path / "codes.npz"),
    ):
        raise AssertionError
