"""Several processes that train one model: who they are, what they exchange, and how they end.

torchrun starts them, on one machine or several. Every process draws the whole batch from the same
seed and runs the networks, the method and the memory on it; the encoders, where nearly all of the
time goes, see a share of its rows. Their features are gathered with gradient, so that N processes
compute what one computes on the same batch. Process 0 alone writes and reports.

Messages between two steps (flags, errors, small values) go over gloo or the store of torchrun, also
where the tensors are on GPUs and go over nccl.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from proxyhash import errors
from proxyhash.errors import InterruptedRunError, ProxyhashError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch._C._distributed_c10d import Store

__all__ = ["SINGLE", "Processes", "open_processes"]

T = TypeVar("T")

TIMEOUT_SECONDS = 600.0
"""Seconds that a process waits inside a step for one that is alive and does not come."""
_GRACE_SECONDS = 3.0
"""Seconds that a process waits for the others' words before it names those that are silent."""
_POLL_SECONDS = 0.05
_FAILED = "failed"


class Processes:
    """The processes of one run, seen from one of them.

    Attributes:
        rank: this one's number; process 0 writes and reports.
        world: how many there are.
        local_rank: this one's number on its machine, and that of its GPU.
        silent: after an error: whether another process of this machine says what happened.
    """

    def __init__(
        self, rank: int = 0, world: int = 1, local_rank: int = 0, store: Store | None = None
    ) -> None:
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self.silent = False
        self._host = socket.gethostname()
        self._node = os.environ.get("GROUP_RANK", str(rank - local_rank))
        self._store = store
        self._calls = 0

    @property
    def main(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    @property
    def backend(self) -> str:
        """Return "gloo", or "nccl" where GPUs are used too; "" for a single process."""
        if self._store is None:
            return ""
        return "nccl" if "nccl" in _backend() else "gloo"

    def device(self, name: str) -> str:
        """Return the device of this process: "cuda" is the GPU of its number on the machine.

        Raises:
            UsageError: the name is one GPU of the machine, which only one process could use.
        """
        if self.world == 1 or name == "cpu":
            return name
        if name != "cuda":
            raise UsageError(
                f"device is {name!r}, and each of the {self.world} processes needs its own; use "
                "cuda (process 0 of a machine gets cuda:0, process 1 cuda:1) or cpu"
            )
        return f"cuda:{self.local_rank}"

    def share(self, rows: int) -> slice:
        """Return which of `rows` rows this process encodes; shares differ by one row at most."""
        each, more = divmod(rows, self.world)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def gather(self, own: Tensor, rows: int) -> Tensor:
        """Return the features of a whole batch, (rows, d), from those of every process, (b, d).

        The gradient of a process' own rows is multiplied by the number of processes, since
        DistributedDataParallel takes the mean of the processes where the sum is wanted.
        """
        if self._store is None:
            return own
        gathered: Tensor = _Gather.apply(own, self, rows)  # type: ignore[no-untyped-call]
        return gathered

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the processes.

        It is called once a step in every process, with one row at least. Weights, and before each
        step buffers such as moving statistics, become those of process 0.
        """
        return module if self._store is None else nn.parallel.DistributedDataParallel(module)

    def same_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give parameters that every process computes in full the gradients of process 0.

        Processors of different kinds differ in the last digits, and weights would drift apart.
        """
        self.broadcast([each.grad for each in parameters if each.grad is not None])

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the tensors of process 0 into those of the others, in place."""
        if self._store is None:
            return
        alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            alike.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        for group in alike.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.broadcast(flat.view(torch.uint8) if flat.dtype == torch.bool else flat, src=0)
            if not self.main:
                sizes = [tensor.numel() for tensor in group]
                for tensor, values in zip(group, torch.split(flat, sizes), strict=True):
                    tensor.copy_(values.view_as(tensor))

    @torch.no_grad()
    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor of all processes, in place; return it."""
        if self._store is not None:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; a message that also notices the dead."""
        if self._store is None:
            return flag
        flags = torch.tensor([int(flag)], dtype=torch.int32)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what `make` returns in process 0, a JSON value; it is called there alone.

        The others wait as long as it takes.
        """
        if self._store is None:
            return make()
        key = self._key("value")
        if self.main:
            self._store.set(key, json.dumps(make()))
        value: T = json.loads(self._wait(key))
        return value

    def wait(self) -> None:
        """Wait until every process is here, as long as it takes."""
        if self._store is None:
            return
        key = self._key("wait")
        self._store.set(f"{key}/{self.rank}", "")
        for rank in range(self.world):
            self._wait(f"{key}/{rank}")

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Run the block in process 0 first, then in one process per machine, then in the others.

        What the first one puts into a cache the others find there.
        """
        if self._store is None:
            yield
            return
        key = self._key("turn")
        if self.local_rank:
            self._wait(f"{key}/machine {self._node}")
        elif not self.main:
            self._wait(f"{key}/first")
        yield
        if self.main:
            self._store.set(f"{key}/first", "")
        if not self.local_rank:
            self._store.set(f"{key}/machine {self._node}", "")

    def check_same(self, values: Mapping[str, str]) -> None:
        """Check that something is the same in all processes, such as fingerprints of the data.

        Raises:
            UsageError: "process 1 on HOST has another collection than process 0; ...".
        """
        expected = self.from_main(lambda: dict(values))
        for name, value in values.items():
            if expected.get(name) != value:
                raise UsageError(
                    f"process {self.rank} on {self._host} has another {name} than process 0; give "
                    "all machines the same data, models and version of proxyhash"
                )

    def _key(self, kind: str) -> str:
        """Return the key of the next message, which is the same in all processes."""
        self._calls += 1
        return f"{kind} {self._calls}"

    def _wait(self, key: str) -> bytes:
        """Return what some process stores under `key`.

        Raises:
            ProxyhashError: one of them failed meanwhile.
        """
        assert self._store is not None
        while not self._store.check([key]):
            if found := self._failure():
                raise _rebuilt(found)
            time.sleep(_POLL_SECONDS)
        value: bytes = self._store.get(key)
        return value

    def _failure(self) -> dict[str, Any] | None:
        """Return what the first process that failed has said."""
        assert self._store is not None
        if not self._store.check([_FAILED]):
            return None
        found: dict[str, Any] = json.loads(self._store.get(_FAILED))
        return found

    def _publish(self, error: BaseException) -> dict[str, Any]:
        """Say why this process ends, and return what the first one that ended said."""
        assert self._store is not None
        known = isinstance(error, ProxyhashError)
        said = {
            "rank": self.rank,
            "host": self._host,
            "kind": type(error).__name__ if known else "ProxyhashError",
            "text": str(error) if known else f"unexpected {type(error).__name__}: {error}",
        }
        if isinstance(error, KeyboardInterrupt):
            said |= {"kind": InterruptedRunError.__name__, "text": "stopped by Ctrl-C"}
        first: dict[str, Any] = json.loads(self._store.compare_set(_FAILED, "", json.dumps(said)))
        return first

    def _end(self, error: BaseException) -> BaseException:
        """Tell the others that this process ends; return the error that all of them end with."""
        _ignore_termination()  # torchrun ends all processes when one has ended
        assert self._store is not None
        others = [f"left {rank}" for rank in range(self.world) if rank != self.rank]
        try:
            self._store.set(f"left {self.rank}", "")
            said = None if _is_lost(error) else self._publish(error)
            _disconnect()  # so that nobody waits inside a step for this process
            deadline = time.monotonic() + _GRACE_SECONDS
            while time.monotonic() < deadline and not self._store.check(others):
                if said is None and (said := self._failure()):
                    break
                time.sleep(_POLL_SECONDS)
            if said is None and (said := self._failure()) is None:
                error = self._lost([name for name in others if not self._store.check([name])])
                said = self._publish(error)
        except (RuntimeError, ValueError):  # the store has gone, and its process with it
            return self._lost([]) if _is_lost(error) else error
        if said["rank"] == self.rank:
            return error
        self.silent = said["host"] == self._host or self.local_rank > 0
        return _rebuilt(said, error)

    def _lost(self, silent: list[str]) -> ProxyhashError:
        """Return the error of a connection that broke, naming the processes that said nothing."""
        names = [name.removeprefix("left ") for name in silent]
        who = f"process {' and '.join(names)} of {self.world}" if names else "another process"
        return ProxyhashError(
            f"{who} ended without a word: it was killed, ran out of memory, or its machine "
            "cannot be reached. What was saved is kept; continue with --resume"
        )


SINGLE = Processes()
"""The processes of a run in one process."""


class _Gather(torch.autograd.Function):
    """All processes' rows, in order of the processes; the gradient of this process' own."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, processes: Processes, rows: int) -> Tensor:
        ctx.processes, ctx.rows = processes, rows
        largest = -(-rows // processes.world)
        padded = own.new_zeros(largest, *own.shape[1:])
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in range(processes.world)]
        dist.all_gather(parts, padded)
        each, more = divmod(rows, processes.world)
        return torch.cat([part[: each + (rank < more)] for rank, part in enumerate(parts)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own = gradients[0][ctx.processes.share(ctx.rows)]
        return own * ctx.processes.world, None, None


@contextmanager
def open_processes(*, timeout: float = TIMEOUT_SECONDS) -> Iterator[Processes]:
    """Connect the processes that torchrun started while a block runs; `SINGLE` without torchrun.

    All of them end together: an error in one is raised in all others, with the same message and
    exit code, and where one is killed the others raise an error that names it.

    Args:
        timeout: Seconds after which a process that does not come to a step counts as lost.

    Raises:
        UsageError: the variables of torchrun are there in part only.
        ProxyhashError: another process failed.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world == "1" or "RANK" not in os.environ:
        yield SINGLE
        return
    try:
        rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
        store, _, count = next(rendezvous("env://"))
        opened = store.add(f"proxyhash opened by {rank}", 1)  # keys of an earlier block stay there
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"WORLD_SIZE is {world}, but the processes cannot find each other ({error}); start "
            "them with: torchrun --nproc-per-node 2 -m proxyhash train ..."
        ) from error
    if torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    dist.init_process_group(
        _backend(),
        store=PrefixStore(f"proxyhash group {opened}", store),
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=timeout),
    )
    processes = Processes(rank, count, local, PrefixStore(f"proxyhash {opened}", store))
    try:
        yield processes
        processes.wait()
    except BaseException as error:
        ended = processes._end(error)
        if ended is error:
            raise
        raise ended from error
    finally:
        _disconnect()


def _backend() -> str:
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if nccl else "gloo"


def _disconnect() -> None:
    """Close the connections; a kernel of nccl that still waits is not waited for."""
    if not dist.is_initialized():
        return
    closing = threading.Thread(target=dist.destroy_process_group, daemon=True)
    closing.start()
    closing.join(_GRACE_SECONDS)


def _ignore_termination() -> None:
    with suppress(ValueError):  # outside the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _is_lost(error: BaseException) -> bool:
    """Whether an error says no more than that a connection to another process broke."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)


def _rebuilt(said: Mapping[str, Any], own: BaseException | None = None) -> BaseException:
    """Return the error that another process ended with, or `own` where that says the same."""
    if isinstance(own, ProxyhashError) and str(own).endswith(said["text"]):
        return own
    kind = getattr(errors, said["kind"], ProxyhashError)
    if not (isinstance(kind, type) and issubclass(kind, ProxyhashError)):
        kind = ProxyhashError
    if issubclass(kind, InterruptedRunError):
        return kind(said["text"])
    place = f"process {said['rank']} on {said['host']}"
    return kind(said["text"] if said["text"].startswith(place) else f"{place}: {said['text']}")
