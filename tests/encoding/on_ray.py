"""Encodes on a Ray of its own with two workers, and writes what happened as JSON.

    python -m tests.encoding.on_ray RUN MANIFEST BAD_MANIFEST FOLDER

Ray opens sockets, which the tests themselves must not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


def workers_of(driver: int) -> list[int]:
    """Return the ids of the processes that encode, started by the Ray of this process."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            named = (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker")
            if folder.name.isdigit() and named and driver in ancestors(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ancestors(pid: int) -> list[int]:
    """Return the parent of a process, its parent, and so on."""
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def kill_a_worker(shards: Path, said: dict[str, Any]) -> None:
    """Kill one of two workers once some shards are there."""
    while len([*shards.glob("0*.npz")]) < 5:
        time.sleep(0.01)
    victims = workers_of(os.getpid())
    os.kill(victims[0], signal.SIGKILL)
    said |= {"workers": len(victims), "shards_at_the_kill": len([*shards.glob("0*.npz")])}


def main(run: Path, manifest: Path, bad: Path, folder: Path) -> None:
    """Encode four times."""
    import ray

    from proxyhash.data import read_collection
    from proxyhash.encoding import RayOptions, encode_to_file
    from proxyhash.errors import ProxyhashError

    said: dict[str, Any] = {}
    items, bad_items = read_collection(manifest), read_collection(bad)

    def encode(name: str, collection: Any, **options: Any) -> None:
        try:
            done = encode_to_file(run, collection, folder / name, **options)
            assert done is not None
            said[name] = {"resumed": done.resumed, "missed": done.missed}
        except ProxyhashError as error:
            said[name] = {"kind": type(error).__name__, "text": str(error)}

    ray.init(address="local", num_cpus=2, include_dashboard=False)
    options = {"ray": RayOptions("auto", workers=2), "shard_items": 2}
    killer = threading.Thread(target=kill_a_worker, args=(folder / "killed.npz.shards", said))
    killer.start()
    encode("killed.npz", items, **options)
    killer.join()
    encode("bad.npz", bad_items, **options)
    said["bad"] = said.pop("bad.npz")
    said["kept"] = len([*(folder / "bad.npz.shards").glob("0*.npz")])
    encode("bad.npz", bad_items, **options, on_bad_item="skip")
    encode("gpu.npz", items, ray=RayOptions("auto"), device="cuda")
    assert ray.is_initialized()  # whoever connected disconnects
    ray.shutdown()
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
