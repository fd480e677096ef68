"""A code file in one process and in two, stopped, killed and continued: always the same bits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxyhash.codes import CodeFile
from proxyhash.encoding import RayOptions, encode_to_file
from proxyhash.errors import DataError, InterruptedRunError, UsageError
from proxyhash.hashing import HashModel
from proxyhash.training.processes import Processes
from tests.training.torchrun import start_two, workers


@pytest.fixture(scope="module")
def expected(small_run, scenes):
    """Codes of the whole collection at once."""
    return HashModel.load(small_run / "model").encode_collection(scenes)


def assert_same(found: CodeFile, wanted: CodeFile) -> None:
    assert found.ids == wanted.ids
    assert (found.bits, found.model) == (wanted.bits, wanted.model)
    for name in wanted.modalities:
        assert (found.has(name) == wanted.has(name)).all()
        assert found.of(name).tobytes() == wanted.of(name).tobytes()


def stopping(after):
    """A progress report that stops the work after some steps, as Ctrl-C does."""

    def track(steps, description, total=None, /):
        for done, step in enumerate(steps):
            if done == after:
                raise KeyboardInterrupt
            yield step

    return track


def test_shards_give_the_codes_of_the_whole_collection(small_run, scenes, expected, tmp_path):
    out, seen = tmp_path / "codes.npz", []

    def track(steps, description, total=None, /):
        seen.append([description, total, 0])
        for step in steps:
            seen[-1][2] += 1
            yield step

    done = encode_to_file(small_run, scenes, out, shard_items=30, track=track)
    assert seen == [["encoding", 400, 400]]
    assert_same(CodeFile.load(out), expected)
    assert (done.resumed, done.missed, done.kept, done.without) == (0, 0, 0, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_a_stopped_run_continues_where_it_was(small_run, scenes, expected, tmp_path):
    out, folder = tmp_path / "codes.npz", tmp_path / "codes.npz.shards"
    with pytest.raises(InterruptedRunError, match="stopped; 3 of 7 shards are kept, and the same"):
        encode_to_file(small_run, scenes, out, shard_items=30, track=stopping(200))
    shards = sorted(folder.glob("0*.npz"))
    times = [path.stat().st_mtime_ns for path in shards]
    assert len(shards) == 3  # 200 sources are 3 shards of 60, and a part
    assert not out.exists()
    with pytest.raises(UsageError, match="continue it with --shard-items 30"):
        encode_to_file(small_run, scenes, out)
    with pytest.raises(InterruptedRunError):
        encode_to_file(small_run, scenes, out, shard_items=30, track=stopping(399))
    assert [path.stat().st_mtime_ns for path in shards] == times
    done = encode_to_file(small_run, scenes, out, shard_items=30)
    assert done.resumed == 180
    assert_same(CodeFile.load(out), expected)
    assert not folder.exists()


def test_a_run_that_fails_at_once_leaves_nothing(small_run, scenes, tmp_path):
    with pytest.raises(InterruptedRunError):
        encode_to_file(small_run, scenes, tmp_path / "codes.npz", track=stopping(5))
    assert [*tmp_path.iterdir()] == []


def test_into_a_pipe(small_run, scenes, expected, tmp_path):
    program = Path(sys.executable).parent / "proxyhash"
    command = [program, "encode", small_run, scenes.root, "--out", "/dev/stdout", "--json"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, check=True)
    content = done.stdout[: done.stdout.rindex(b'{\n  "out"')]
    (tmp_path / "codes.npz").write_bytes(content)
    assert_same(CodeFile.load(tmp_path / "codes.npz"), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npz"]


def test_wrong_settings(small_run, scenes, tmp_path):
    out = tmp_path / "codes.npz"
    with pytest.raises(UsageError, match="--shard-items is 0"):
        encode_to_file(small_run, scenes, out, shard_items=0)
    with pytest.raises(UsageError, match="--ray brings its own workers"):
        encode_to_file(small_run, scenes, out, ray=RayOptions(), processes=Processes(0, 2, 0))


def test_two_runs_share_the_work_by_a_counter():
    take = Processes().counter()
    assert [take() for _ in range(3)] == [0, 1, 2]


def ended(run):
    out, errors = run.communicate(timeout=300)
    return run.returncode, out, errors


@pytest.mark.slow
def test_two_processes_of_torchrun(small_run, scenes, expected, tmp_path, monkeypatch):
    """The second is killed half-way; the same command continues, and the bits are the same."""
    monkeypatch.setenv("PROXYHASH_CACHE", str(tmp_path / "cache"))  # every feature is computed
    out, folder = tmp_path / "codes.npz", tmp_path / "codes.npz.shards"
    command = ["proxyhash", "encode", small_run, scenes.root, "--out", out, "--shard-items", 2]
    run = start_two(*command, "--json")
    until = time.monotonic() + 120
    while len([*folder.glob("0*.npz")]) < 8:
        assert time.monotonic() < until
        assert run.poll() is None
        time.sleep(0.01)
    os.kill(workers(run)[1], signal.SIGKILL)
    code, said, errors = ended(run)
    assert (code, said) == (1, "")
    assert "Signal 9 (SIGKILL)" in errors  # torchrun says so, and ends the other process
    assert "shards are kept, and the same command continues with the others" in errors
    there = len([*folder.glob("0*.npz")])
    assert 8 <= there < 100
    assert not out.exists()
    code, said, errors = ended(start_two(*command, "--json"))
    assert code == 0, errors
    result = json.loads(said)  # one of the two speaks
    assert (result["items"], result["resumed"]) == (200, 2 * there)
    assert_same(CodeFile.load(out), expected)
    assert not folder.exists()


@pytest.mark.slow
def test_torchrun_ends_with_the_error_of_a_process(small_run, scenes, tmp_path):
    rows = [
        {"id": str(row), "image": str(path)} for row, path in enumerate(scenes.sources("image"))
    ]
    rows[150]["image"] = "gone.jpg"
    manifest = tmp_path / "items.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "codes.npz"
    command = ["proxyhash", "encode", small_run, manifest, "--out", out, "--shard-items", 10]
    code, said, errors = ended(start_two(*command))
    assert (code, said) == (1, "")  # torchrun's own code
    assert len(re.findall(r"row 151, item '150': .*gone\.jpg: no such file", errors)) >= 1
    code, said, errors = ended(start_two(*command, "--on-bad-item", "skip"))
    assert "item of" in errors
    assert CodeFile.load(out).missed("image").tolist() == [row == 150 for row in range(200)]


def test_a_code_file_that_lacks_a_shard_is_not_written(small_run, scenes, tmp_path, monkeypatch):
    from proxyhash.encoding.shards import Shards

    put = Shards.put
    monkeypatch.setattr(Shards, "put", lambda self, n, codes: put(self, n, codes) if n != 2 else 0)
    with pytest.raises(DataError, match=r"shard 2 of 7 is not in .*all machines share"):
        encode_to_file(small_run, scenes, tmp_path / "codes.npz", shard_items=30)
    assert not (tmp_path / "codes.npz").exists()
