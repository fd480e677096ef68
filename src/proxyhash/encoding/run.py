"""From a collection to its code file, shard by shard, by whoever takes part."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyhash.codes import CodeFile
from proxyhash.encoding.over_ray import RayOptions, encode_over_ray, open_ray
from proxyhash.encoding.shards import SHARD_ITEMS, Shards
from proxyhash.errors import DataError, InterruptedRunError, UsageError
from proxyhash.files import streams
from proxyhash.hashing import HashModel, model_folder
from proxyhash.hashing.encode import Encode
from proxyhash.progress import Track, silent
from proxyhash.training.processes import SINGLE, Processes
from proxyhash.training.signals import listen_for_stop

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator

    from proxyhash.data import Collection
    from proxyhash.encoders import FeatureCache

__all__ = ["Encoded", "encode_to_file"]


@dataclass(frozen=True)
class Encoded:
    """Result of `encode_to_file`.

    Attributes:
        codes: the code file, as it was written.
        resumed: number of items that an earlier run, which did not end, had encoded.
        missed: number of images and the like that could not be read.
        kept: how many of these have the code that an earlier file had of them.
        without: number of items that could not be read at all and have no code.
    """

    codes: CodeFile
    resumed: int
    missed: int
    kept: int
    without: int


def encode_to_file(
    model: Path,
    collection: Collection,
    out: str | os.PathLike[str],
    *,
    device: str = "cpu",
    on_bad_item: str = "fail",
    max_megapixels: float | None = None,
    shard_items: int = SHARD_ITEMS,
    cache: FeatureCache | None = None,
    processes: Processes = SINGLE,
    ray: RayOptions | None = None,
    track: Track = silent,
) -> Encoded | None:
    """Write the code file of a collection, and return what was done; None in other processes.

    Shards are kept in `OUT.shards` until all are there; they are then merged, with a check that
    every item is there once. The same call continues after a kill.

    Args:
        model: run or model folder.
        collection: the items, the same in all processes.
        out: the file.
        device: where the model runs.
        on_bad_item: "fail" at a file that cannot be read, or "skip" it; an item then keeps the code
            that `out` has of it.
        max_megapixels: refuse larger images.
        shard_items: items per shard.
        cache: of features.
        processes: those of torchrun, which share the work.
        ray: the Ray cluster that does the work instead.
        track: progress callback, per image, text and the like.

    Raises:
        UsageError: the shards in `OUT.shards` are of another model or size, or `ray` and
            `processes` are combined.
        InterruptedRunError: Ctrl-C or SIGTERM; says how much is kept.
        FeatureError: precomputed features do not belong to the collection.
        ProxyhashError: as `Encode`; a process or worker failed; finished shards are kept.
    """
    if shard_items < 1:
        raise UsageError(f"--shard-items is {shard_items}; 1 or more is expected")
    if ray is not None and processes.world > 1:
        raise UsageError("--ray brings its own workers; run it without torchrun")
    folder = model_folder(model)
    settings: dict[str, Any] = {
        "device": processes.device(device),
        "on_bad_item": on_bad_item,
        "cache": cache,
        "max_megapixels": max_megapixels,
        "manifest": str(collection.path),
        "items": len(collection),
    }
    loaded = HashModel.load(folder, device=settings["device"] if ray is None else "cpu")
    loaded.check_features(collection)
    with _shard_folder(out, processes) as place:
        shards = Shards(
            place,
            collection,
            model=loaded.fingerprint,
            bits=loaded.bits,
            modalities=loaded.modalities,
            size=shard_items,
            skips=on_bad_item == "skip",
        )
        processes.check_same({"collection": collection.fingerprint, "model": loaded.fingerprint})
        with processes.in_turn():
            shards.open()
        done = shards.done() if processes.main else []
        total = sum(map(shards.sources_of, range(len(shards))))
        try:
            if ray is None:
                encode = Encode(loaded, root=collection.root, **settings)
                steps = _steps(encode, shards, processes)
            else:
                settings |= {
                    "root": str(collection.root.resolve()),
                    "fingerprint": loaded.fingerprint,
                }
                steps = _ray_steps(ray, shards, done, folder, settings)
            with listen_for_stop() if ray is None else nullcontext(lambda: False) as stopped:
                for _ in track(steps, "encoding", total):
                    if stopped():
                        raise KeyboardInterrupt  # noqa: TRY301
            processes.wait()
        except BaseException as error:
            if processes.world == 1 and shards.is_empty:
                shards.remove()
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedRunError(
                    f"stopped; {len(shards.done()):,} of {len(shards):,} shards are kept, and the "
                    "same command continues with the others"
                ) from error
            raise
        if not processes.main:
            return None
        result = _finished(shards.merged(), Path(out), sum(map(shards.items_of, done)))
        result.codes.save(out)
        shards.remove()
    return result


@contextmanager
def _shard_folder(out: str | os.PathLike[str], processes: Processes) -> Iterator[Path]:
    """Yield the folder of shards: beside the file, or a temporary one if that is a pipe."""
    if not streams(out):
        yield Path(f"{out}.shards")
        return
    if processes.world > 1:
        raise UsageError(f"several processes cannot write to {out}; give --out a file")
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) / "shards"


def _steps(encode: Encode, shards: Shards, processes: Processes) -> Generator[None, None, None]:
    """Encode shards one after the other, each in whatever process takes it next.

    Progress counts all shards up to the one that this process has.
    """
    seen, take = 0, processes.counter()
    while (number := take()) < len(shards):
        yield from [None] * sum(map(shards.sources_of, range(seen, number)))
        seen, said, expected = number + 1, 0, shards.sources_of(number)
        if not shards.is_done(number):
            steps = encode.steps(shards.batch(number))
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    shards.put(number, end.value)
                    break
                said += 1
                yield
        yield from [None] * (expected - said)
    yield from [None] * sum(map(shards.sources_of, range(seen, len(shards))))


def _ray_steps(
    ray: RayOptions, shards: Shards, done: list[int], model: Path, settings: dict[str, Any]
) -> Generator[None, None, None]:
    yield from [None] * sum(map(shards.sources_of, done))
    missing = sorted(set(range(len(shards))) - set(done))
    if not missing:
        return
    with open_ray(ray) as connected:
        yield from encode_over_ray(
            connected, shards, missing, model=model, workers=ray.workers, settings=settings
        )


def _finished(codes: CodeFile, out: Path, resumed: int) -> Encoded:
    """Return the result, with codes of an earlier file where something could not be read."""
    missed = sum(int(codes.missed(name).sum()) for name in codes.modalities)
    if missed and out.is_file():
        with suppress(DataError):  # another model's codes, or no code file: it is replaced
            codes = codes.filled_from(CodeFile.load(out))
    left = sum(int(codes.missed(name).sum()) for name in codes.modalities)
    has_any = np.any([codes.has(name) for name in codes.modalities], axis=0)
    named = np.any([codes.missed(name) for name in codes.modalities], axis=0)
    return Encoded(
        codes,
        resumed=resumed,
        missed=missed,
        kept=missed - left,
        without=int((named & ~has_any).sum()),
    )
