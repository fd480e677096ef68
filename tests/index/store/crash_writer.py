"""A program that forks writers, one after another, each to be killed in the middle of its work.

    python -m tests.index.store.crash_writer FOLDER

Forking skips the seconds that starting Python and loading the kernels takes. For every line
"SEED MILLISECONDS" on standard input it forks a writer, kills it that much later, and prints what
the writer had acknowledged, as JSON lines, then an empty line.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from proxyhash.index.store import Store

from .model import random_batch

IDS = [f"{letter}{number}" for letter in "aäz" for number in range(60)]


def operations(seed: int):
    """The changes a writer makes, the same for the same seed."""
    dice = random.Random(seed)
    while True:
        kind = dice.choice(("upsert", "upsert", "delete", "compact"))
        if kind == "compact" and dice.randrange(4):
            kind = "upsert"
        ids = dice.sample(IDS, dice.choice((1, 5, 60)))
        yield kind, ids, *random_batch(dice, ids)


def write(folder: str, seed: int, output: int) -> None:
    with Store.open(folder, write=True) as store:
        os.write(output, b"open\n")
        for number, (kind, ids, codes, payloads) in enumerate(operations(seed)):
            if kind == "delete":
                store.delete(ids)
            elif kind == "upsert":
                store.upsert(ids, codes, payloads=payloads)
            else:
                store.compact()
            os.write(output, f"{number}\n".encode())


def main(folder: str) -> None:
    for line in sys.stdin:
        seed, milliseconds = map(int, line.split())
        reading, output = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                write(folder, seed, output)
            finally:
                os._exit(1)
        os.close(output)
        with os.fdopen(reading) as acknowledged:
            begun = acknowledged.readline()
            time.sleep(milliseconds / 1000)
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            lines = acknowledged.read().split("\n")
        # A last number without its end of line was cut off while it was written.
        killed = begun == "open\n" and os.WIFSIGNALED(status)
        print(json.dumps({"killed": killed, "acknowledged": len(lines) - 1}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
