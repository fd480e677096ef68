"""Migrations that are killed at any moment leave the old index or the new one, and go on.

20 kills by the clock and one at every tenth step of the swap run by default, 60 and every third in
CI (PROXYHASH_THOROUGH=1), any number by PROXYHASH_KILLS, every step by PROXYHASH_SWAP_STEP=1.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxyhash.catalog.catalog import Catalog
from proxyhash.catalog.migrate import migrate_index
from proxyhash.catalog.migration import MigrationFolder
from proxyhash.errors import ProxyhashError
from proxyhash.hashing import HashModel
from proxyhash.index.store import Store
from tests.catalog.conftest import contents
from tests.catalog.migration_kit import Kit, make_kit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxyhash.data import Collection

THOROUGH = bool(os.environ.get("PROXYHASH_THOROUGH"))
KILLS = int(os.environ.get("PROXYHASH_KILLS", "60" if THOROUGH else "20"))
STEP = int(os.environ.get("PROXYHASH_SWAP_STEP", "3" if THOROUGH else "10"))


def count_done(index: Path, model: str) -> int:
    """How many items are encoded and recorded for a migration to a model, by its fingerprint."""
    place = MigrationFolder(index)
    if place.target.get("model") != model or not (place.path / "index" / "header.json").exists():
        return 0
    with place.open() as store:
        ids = [item.id for some in store.items() for item in some]
    return len(place.done.get_many(ids))


class Forks:
    """Migrations in processes of their own, that are killed.

    Attributes:
        milliseconds: how long one takes to its end.
    """

    def __init__(self, index: Path, models: list[Path]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalog.migrate_killed", index, *models],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        self.milliseconds = int(self._process.stdout.readline())

    def migrate(
        self, index: Path, model: Path, *, milliseconds: int = 120_000, event: int = 0
    ) -> Any:
        """Return the report of a migration, None where it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(index, model, milliseconds, event, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0
        self._process.stdout.close()


@pytest.fixture(scope="module")
def forks(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    index = tmp_path_factory.mktemp("warm") / "x.index"
    shutil.copytree(kit.indexes["old"], index)
    forks = Forks(index, [kit.models["new"], kit.models["short"]])
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def kit(scenes: Collection, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make_kit(tmp_path_factory.mktemp("killed"), scenes)


def check(kit: Kit, index: Path) -> str:
    """Return which model an index is of, after comparing all of it with what that model makes."""
    with Store.open(index) as store:
        name = next(name for name, own in kit.fingerprints.items() if own == store.model)
        assert store.verify() == []
    folder = Catalog(index)
    assert folder.model is not None
    assert HashModel.load(folder.model).fingerprint == kit.fingerprints[name]
    assert contents(index) == kit.contents[name]
    return name


@pytest.mark.slow
def test_kills_leave_one_whole_index_and_lose_no_work(
    kit: Kit, forks: Forks, tmp_path: Path
) -> None:
    index, dice = tmp_path / "x.index", random.Random(0)
    shutil.copytree(kit.indexes["old"], index)
    killed, done, inside = 0, 0, 0
    now, target = "old", "new"
    while killed < KILLS:
        patience = int(forks.milliseconds * dice.random() * dice.choice((0.3, 1.0, 1.4)))
        report = forks.migrate(index, kit.models[target], milliseconds=patience)
        name = check(kit, index)
        assert name in (now, target)
        if report is None:
            killed += 1
            inside += (index / "migration").exists()
            if name == now:
                still = count_done(index, kit.fingerprints[target])
                assert still >= done  # nothing is encoded twice
                done = still
        else:
            assert name == target
            if report["encoded"]:
                assert report["resumed"] >= done
                assert report["encoded"] <= 60 - done
            assert not (index / "migration").exists()
            now, target, done = target, "old" if target == "short" else "short", 0
    assert inside
    assert forks.migrate(index, kit.models[target])["model"] == kit.fingerprints[target]
    assert check(kit, index) == target


@pytest.mark.slow
def test_a_kill_at_every_step_of_the_swap(kit: Kit, forks: Forks, tmp_path: Path) -> None:
    ready = tmp_path / "ready.index"
    shutil.copytree(kit.indexes["old"], ready)
    with Store.open(ready, write=True), pytest.raises(ProxyhashError, match="is kept"):
        migrate_index(str(ready), kit.models["new"], wait=0)  # all is encoded, nothing is swapped
    found = []
    for event in range(1, 200, STEP):
        index = tmp_path / f"{event}.index"
        shutil.copytree(ready, index)
        report = forks.migrate(index, kit.models["new"], event=event)
        found.append(check(kit, index))
        if report is not None:
            break
        report = forks.migrate(index, kit.models["new"])
        assert (report["encoded"], check(kit, index)) == (0, "new")
        assert sorted(path.name for path in index.glob("m*")) == [
            "manifests.json",
            "migration.lock",
            "model",
        ]
        shutil.rmtree(index)
    assert {"old", "new"} == set(found)
    assert found == sorted(found, reverse=True)  # once it is the new one, it stays that
    assert len(found) > 3
