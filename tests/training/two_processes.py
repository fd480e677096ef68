"""Checks that two real processes make together; `test_processes.py` starts it under torchrun.

Each process writes what it found to FOLDER/RANK.pt; the last check kills process 1.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from proxyhash.errors import DataError, InterruptedRunError
from proxyhash.training.processes import open_processes

ROWS = (7, 6, 1)


def encoder() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(rows, 5, generator=generator) for rows in ROWS]


def loss_of(features: torch.Tensor, head: nn.Module) -> torch.Tensor:
    """A loss that compares every row with every other, and with their mean."""
    values = head(features)
    values = values - 0.5 * values.mean(dim=0)
    return (values @ values.T).exp().mean() + values.abs().sum()


def steps(processes=None):
    """Three steps; without processes on the whole batch, as one process does it."""
    whole, head = encoder(), nn.Linear(4, 4)
    module = processes.parallel(whole) if processes else whole
    weights = [*whole.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.01)
    for batch in batches():
        optimizer.zero_grad()
        if processes:
            own = batch[processes.share(len(batch))]
            features = module(own) if len(own) else module(batch[:1])[:0]
            features = processes.gather(features, len(batch))
        else:
            features = module(batch)
        features.retain_grad()
        loss_of(features, head).backward()
        if processes:
            processes.same_gradients(head.parameters())
        optimizer.step()
    gradients = [weight.grad.clone() for weight in weights]
    return [weight.detach().clone() for weight in weights], gradients, features.grad


def agree(processes, found):
    rank = processes.rank
    found["who"] = (rank, processes.world, processes.local_rank, processes.main, processes.backend)
    found["steps"] = steps(processes)
    found["any"] = [processes.any(False), processes.any(rank == 1), processes.any(True)]
    values = [torch.full((2, 3), float(rank)), torch.tensor([rank]), torch.tensor([rank == 0])]
    processes.broadcast(values)
    found["broadcast"] = values
    found["sum"] = processes.sum(torch.tensor([1.0, rank]))
    found["from main"] = processes.from_main(lambda: {"rank": rank, "text": "ä"})
    with processes.in_turn():
        found["turn"] = (time.time(), time.sleep(0.2), time.time())
    if processes.main:
        time.sleep(0.3)
    arrived = time.time()
    processes.wait()
    found["wait"] = (arrived, time.time())
    processes.check_same({"collection": "a"})
    drifting = nn.Linear(2, 2)
    drifting.weight.grad = torch.full((2, 2), float(rank + 1))
    processes.same_gradients(drifting.parameters())
    found["same gradients"] = drifting.weight.grad


def fails(found, name, act):
    """Note the error that `act` ends with in this process, and after how long."""
    started = time.monotonic()
    try:
        with open_processes() as processes:
            act(processes)
    except BaseException as error:
        seconds = time.monotonic() - started
        found[name] = (type(error).__name__, str(error), processes.silent, seconds)


def bad_row(processes):
    if processes.rank == 1:
        raise DataError("row 12 is bad")
    processes.any(False)


def bad_row_while_the_others_wait(processes):
    def prepare():
        time.sleep(0.2)
        raise DataError("row 3 is bad")

    processes.from_main(prepare)


def bug(processes):
    if processes.main:
        processes.gather(torch.zeros(1, 2), 2)
    else:
        raise RuntimeError("out of memory")


def all_alike(processes):
    if processes.any(processes.rank == 1):
        raise InterruptedRunError("stopped in epoch 3")


def other_data(processes):
    processes.check_same({"collection": f"of {processes.rank}"})


def killed(processes):
    processes.any(False)
    if processes.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.any(False)


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    rank, folder = os.environ["RANK"], Path(sys.argv[1])
    with open_processes() as processes:
        agree(processes, found)
    for act in (bad_row, bad_row_while_the_others_wait, bug, all_alike, other_data):
        fails(found, act.__name__, act)
    torch.save(found, folder / f"{rank}.pt")
    fails(found, "killed", killed)
    torch.save(found, folder / f"{rank}.pt")
    sys.exit(1)


if __name__ == "__main__":
    main()
