"""Shards encoded by the workers of a Ray cluster, through `map_batches` of Ray Data.

Workers read the images themselves, so all machines see model and images under the same paths. Codes
come back to this process, which writes the shards. Ray starts a worker that died again, and sends
its shard to another.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyhash import errors
from proxyhash.errors import ProxyhashError, UsageError, require_extra
from proxyhash.hashing.encode import Encode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from proxyhash.encoding.shards import Shards

__all__ = ["RayOptions", "encode_over_ray", "open_ray"]

_CPUS = 4  # of a worker without a GPU, at most: its threads share one copy of the model
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class RayOptions:
    """Address of a Ray cluster, and the number of workers that encode there.

    Attributes:
        address: "auto" for a cluster that this machine belongs to, "HOST:PORT" or
            "ray://HOST:PORT" for another, "local" for one that is started here for this work.
            Where the caller has already connected with `ray.init`, that connection is used.
        workers: how many; default one per GPU, or one per 4 processor cores.
    """

    address: str = "auto"
    workers: int | None = None


@contextmanager
def open_ray(options: RayOptions) -> Iterator[Any]:
    """Yield the module `ray`, connected, and disconnect at the end if it was not before.

    Raises:
        MissingExtraError: "encoding on a Ray cluster needs ray: pip install 'proxyhash[ray]'".
        UsageError: there is no cluster at the address.
    """
    address = options.address
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"the number of Ray workers is {options.workers}; 1 or more is expected")
    ray = require_extra("ray", extra="ray", purpose="encoding on a Ray cluster")
    require_extra("ray.data", extra="ray", purpose="encoding on a Ray cluster")
    if ray.is_initialized():  # by the caller, who knows where the cluster is
        yield ray
        return
    if ":" in address:
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here reports nothing
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else a line about each actor's inside
    own = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(_nobody(address, error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def encode_over_ray(
    ray: Any,
    shards: Shards,
    numbers: Sequence[int],
    *,
    model: Path,
    workers: int | None,
    settings: Mapping[str, Any],
) -> Generator[None, None, None]:
    """Write shards that workers encode, and yield once per image, text and the like.

    Args:
        ray: the connected module.
        shards: where they are written.
        numbers: which of them.
        model: the model's folder, as all machines see it.
        workers: how many; None as of `RayOptions`.
        settings: further arguments of `Encode`.

    Raises:
        ProxyhashError: of the class that `Encode` raised in a worker; or Ray itself failed.
    """
    import pyarrow as pa

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.data").propagate = False
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    root = shards.collection.root.resolve()
    tables = []
    for number in numbers:
        batch = shards.batch(number, root=root)
        tables.append(pa.table({"shard": [number] * len(batch["id"]), **batch}))
    count, each = _workers(ray, settings["device"], workers, len(tables))
    dataset = ray.data.from_arrow(tables).map_batches(
        _Worker,
        fn_constructor_args=[str(model.resolve()), dict(settings)],
        batch_size=None,  # a table, and so a shard, is a batch
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=count),
        **each,
    )
    missing = set(numbers)
    try:
        for encoded in dataset.iter_batches(batch_size=None, batch_format="numpy"):
            (number,) = set(encoded.pop("shard").tolist())
            if "error" in encoded:
                raise _raised(str(encoded["error"][0]), str(encoded["text"][0]))
            if number not in missing:
                raise ProxyhashError(f"shard {number} came back twice; run the same command again")
            shards.put(number, encoded)
            missing.remove(number)
            yield from [None] * shards.sources_of(number)
    except ray.exceptions.RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise ProxyhashError(
            f"the Ray cluster failed ({reason}); {len(numbers) - len(missing):,} of "
            f"{len(numbers):,} shards are kept, the same command continues with the others"
        ) from error
    if missing:
        raise ProxyhashError(
            f"{len(missing):,} shards did not come back from the Ray cluster; the same command "
            "continues with them"
        )


class _Worker:
    """Encodes shards in a process of the cluster; errors go back as rows, with their class."""

    def __init__(self, model: str, settings: Mapping[str, Any]) -> None:
        self._encode = Encode(model, **settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._encode(batch)
        except ProxyhashError as error:
            place = f"a worker on {socket.gethostname()}"
            return {
                "shard": batch["shard"][:1],
                "error": [type(error).__name__],
                "text": [f"{error} (in {place})"],
            }


def _workers(ray: Any, device: str, wanted: int | None, shards: int) -> tuple[int, dict[str, Any]]:
    """Return the number of workers, and the share of a machine that each of them takes."""
    total = ray.cluster_resources()
    if device.startswith("cuda"):
        gpus = int(total.get("GPU", 0))
        if not gpus:
            raise UsageError(f"the Ray cluster has no GPU for --device {device}; use --device cpu")
        return min(wanted or gpus, shards), {"num_gpus": 1}
    machines = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    smallest = min((cpus for cpus in machines if cpus), default=1)
    cpus = max(1, min(_CPUS, smallest) if wanted is None else int(sum(machines) // wanted))
    cpus = min(cpus, smallest)
    count = sum(each // cpus for each in machines) if wanted is None else wanted
    return max(1, min(count, shards)), {"num_cpus": cpus}


def _raised(kind: str, text: str) -> ProxyhashError:
    found = getattr(errors, kind, ProxyhashError)
    known = isinstance(found, type) and issubclass(found, ProxyhashError)
    return found(text) if known else ProxyhashError(text)


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself waits for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(_nobody(address, error)) from error


def _nobody(address: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    return (
        f"there is no Ray cluster at {address!r} ({reason}); start one with `ray start --head`, "
        "give --ray HOST:PORT of one, or --ray local for one on this machine"
    )
