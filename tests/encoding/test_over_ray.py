"""Encoding on a Ray cluster: nothing lost, nothing twice, whoever is killed; and no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxyhash.codes import CodeFile
from proxyhash.encoding.over_ray import RayOptions, open_ray
from proxyhash.errors import MissingExtraError, UsageError
from proxyhash.hashing import HashModel
from tests.encoding.test_run import assert_same


@pytest.fixture(scope="module")
def bad(scenes, tmp_path_factory):
    """The same images, of which one is not there."""
    rows = [
        {"id": str(row), "image": str(path)} for row, path in enumerate(scenes.sources("image"))
    ]
    rows[150]["image"] = "gone.jpg"
    path = tmp_path_factory.mktemp("bad") / "items.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def folder(small_run, scenes, bad, tmp_path_factory):
    """What `on_ray` wrote."""
    folder = tmp_path_factory.mktemp("ray")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.encoding.on_ray",
            *map(str, (small_run, scenes.path, bad, folder)),
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PROXYHASH_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def said(folder):
    return json.loads((folder / "said.json").read_text())


@pytest.mark.slow
def test_a_worker_that_is_killed_half_way_loses_nothing(folder, said, small_run, scenes):
    assert said["workers"] == 2
    assert 5 <= said["shards_at_the_kill"] < 100
    assert said["killed.npz"] == {"resumed": 0, "missed": 0}
    expected = HashModel.load(small_run / "model").encode_collection(scenes)
    assert_same(CodeFile.load(folder / "killed.npz"), expected)
    assert not (folder / "killed.npz.shards").exists()


@pytest.mark.slow
def test_an_image_that_a_worker_cannot_read_is_named(folder, said, bad):
    """The first of two runs ended with it, the second kept its shards and went on without it."""
    assert said["bad"]["kind"] == "ImageError"
    assert said["bad"]["text"].startswith(f"{bad}, row 151, item '150': ")
    assert "gone.jpg: no such file" in said["bad"]["text"]
    assert "(in a worker on " in said["bad"]["text"]
    assert said["bad.npz"] == {"resumed": 2 * said["kept"], "missed": 1}
    assert CodeFile.load(folder / "bad.npz").missed("image").tolist() == [
        row == 150 for row in range(200)
    ]


@pytest.mark.slow
def test_a_cluster_without_a_gpu_is_said_to_have_none(said):
    assert said["gpu.npz"]["kind"] == "UsageError"
    assert "has no GPU for --device cuda" in said["gpu.npz"]["text"]


@pytest.mark.slow
def test_no_cluster_at_the_address(small_run, scenes, tmp_path):
    program = Path(sys.executable).parent / "proxyhash"
    command = [program, "encode", small_run, scenes.root, "--out", tmp_path / "codes.npz", "--ray"]
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        result = subprocess.run([*command, address], capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert f"no Ray cluster at '{address}' (Connection refused)" in result.stderr
        assert "`ray start --head`" in result.stderr
        assert "Traceback" not in result.stderr
    assert [*tmp_path.iterdir()] == []


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    sentence = r"needs ray: pip install 'proxyhash\[ray\]'"
    with pytest.raises(MissingExtraError, match=sentence), open_ray(RayOptions()):
        pass


def test_workers_without_a_cluster(proxyhash_command, small_run, scenes, tmp_path):
    result = proxyhash_command(
        "encode", small_run, scenes.root, "--out", tmp_path / "c.npz", "--ray-workers", 2
    )
    assert result.code == 2
    assert "--ray-workers goes with --ray" in result.err
    with (
        pytest.raises(UsageError, match="number of Ray workers is 0"),
        open_ray(RayOptions("a", 0)),
    ):
        pass
