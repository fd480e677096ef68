"""Several processes that work together: who they are, what they exchange, and how they end.

torchrun starts them, on one machine or several. In training, every process draws the whole batch
from the same seed and runs the networks, the method and the memory on it; the encoders, where
nearly all of the time goes, see a share of its rows. Their features are gathered with gradient, so
that N processes compute what one computes on the same batch. Process 0 alone writes and reports.

Messages between two steps (flags, errors, small values) go over gloo or the store of torchrun, also
where the tensors are on GPUs and go over nccl.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from socket import gethostname
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from proxyhash.errors import UsageError
from proxyhash.training.messages import GRACE_SECONDS, Messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


__all__ = ["SINGLE", "Processes", "open_processes"]

T = TypeVar("T")

TIMEOUT_SECONDS = 600.0
"""Seconds that a process waits inside a step for one that is alive and does not come."""


class Processes:
    """The processes of one run, seen from one of them.

    Attributes:
        rank: this one's number; process 0 writes and reports.
        world: how many there are.
        local_rank: this one's number on its machine, and that of its GPU.
    """

    def __init__(
        self, rank: int = 0, world: int = 1, local_rank: int = 0, messages: Messages | None = None
    ) -> None:
        self.rank, self.world, self.local_rank = rank, world, local_rank
        self._messages = messages

    @property
    def main(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    @property
    def silent(self) -> bool:
        """Whether another process of this machine says with which error all of them end."""
        return self._messages is not None and self._messages.silent

    @property
    def backend(self) -> str:
        """Return "gloo", or "nccl" where GPUs are used too; "" for a single process."""
        if self._messages is None:
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
        if self._messages is None:
            return own
        gathered: Tensor = _Gather.apply(own, self, rows)  # type: ignore[no-untyped-call]
        return gathered

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the processes.

        It is called once a step in every process, with one row at least. Weights, and before each
        step buffers such as moving statistics, become those of process 0.
        """
        return module if self._messages is None else nn.parallel.DistributedDataParallel(module)

    def same_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give parameters that every process computes in full the gradients of process 0.

        Processors of different kinds differ in the last digits, and weights would drift apart.
        """
        self.broadcast([each.grad for each in parameters if each.grad is not None])

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the tensors of process 0 into those of the others, in place."""
        if self._messages is None:
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
        if self._messages is not None:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process; a message that also notices the dead."""
        if self._messages is None:
            return flag
        flags = torch.tensor([int(flag)], dtype=torch.int32)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())

    def from_main(self, make: Callable[[], T]) -> T:
        """Return what `make` returns in process 0, a JSON value; it is called there alone.

        The others wait as long as it takes.
        """
        if self._messages is None:
            return make()
        key = self._messages.next_key("value")
        if self.main:
            self._messages.put(key, make())
        value: T = self._messages.wait(key)
        return value

    def counter(self) -> Callable[[], int]:
        """Return a function that gives 0, 1, 2, ...: each number to one of the processes only."""
        if self._messages is None:
            return count().__next__
        key, messages = self._messages.next_key("counter"), self._messages
        return lambda: messages.next_number(key)

    def wait(self) -> None:
        """Wait until every process is here, as long as it takes."""
        if self._messages is None:
            return
        key = self._messages.next_key("wait")
        self._messages.put(f"{key}/{self.rank}")
        for rank in range(self.world):
            self._messages.wait(f"{key}/{rank}")

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Run the block in process 0 first, then in one process per machine, then in the others.

        What the first one puts into a cache the others find there.
        """
        if self._messages is None:
            yield
            return
        key = self._messages.next_key("turn")
        machine = os.environ.get("GROUP_RANK", str(self.rank - self.local_rank))
        if self.local_rank:
            self._messages.wait(f"{key}/machine {machine}")
        elif not self.main:
            self._messages.wait(f"{key}/first")
        yield
        if self.main:
            self._messages.put(f"{key}/first")
        if not self.local_rank:
            self._messages.put(f"{key}/machine {machine}")

    def check_same(self, values: Mapping[str, str]) -> None:
        """Check that something is the same in all processes, such as fingerprints of the data.

        Raises:
            UsageError: "process 1 on HOST has another collection than process 0; ...".
        """
        expected = self.from_main(lambda: dict(values))
        for name, value in values.items():
            if expected.get(name) != value:
                place = f"process {self.rank} on {gethostname()}"
                raise UsageError(
                    f"{place} has another {name} than process 0; give all machines the same data, "
                    "models and version of proxyhash"
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
        store, _, together = next(rendezvous("env://"))
        opened = store.add(f"proxyhash opened by {rank}", 1)  # keys of an earlier block stay there
    except (KeyError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"WORLD_SIZE is {world}, but the processes cannot find each other ({error}); start "
            "them with: torchrun --nproc-per-node 2 -m proxyhash VERB ..."
        ) from error
    if torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    dist.init_process_group(
        _backend(),
        store=PrefixStore(f"proxyhash group {opened}", store),
        rank=rank,
        world_size=together,
        timeout=timedelta(seconds=timeout),
    )
    messages = Messages(
        PrefixStore(f"proxyhash {opened}", store), rank=rank, world=together, local_rank=local
    )
    processes = Processes(rank, together, local, messages)
    try:
        yield processes
        processes.wait()
    except BaseException as error:
        ended = messages.end(error, disconnect=_disconnect)
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
    closing.join(GRACE_SECONDS)
