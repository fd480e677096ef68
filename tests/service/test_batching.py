"""Micro-batching, with work that the test holds back and lets go."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from proxyhash.errors import DataError
from proxyhash.service.batching import MicroBatcher
from proxyhash.service.errors import ApiError
from proxyhash.stopping import check_stop

if TYPE_CHECKING:
    from collections.abc import Sequence


class Work:
    """Doubles numbers; the first batch waits for `go`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.threads: set[int] = set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.threads.add(threading.get_ident())
        assert self.go.wait(10)
        if any(number < 0 for number in numbers):
            raise DataError(f"{min(numbers)} is negative")
        return [2 * number for number in numbers]


async def until_it_works(work: Work) -> None:
    while not work.batches:
        await asyncio.sleep(0.001)


def test_what_arrives_while_a_batch_is_encoded_goes_together() -> None:
    work = Work()
    sizes: list[int] = []

    async def main() -> list[int]:
        batcher = MicroBatcher(work, name="numbers", most=4, observe=sizes.append)
        first = asyncio.create_task(batcher.submit(0))
        await until_it_works(work)
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(1, 7)]
        await asyncio.sleep(0)
        assert batcher.waiting == 6
        work.go.set()
        results = await asyncio.gather(first, *rest)
        await batcher.close()
        return list(results)

    assert asyncio.run(main()) == [0, 2, 4, 6, 8, 10, 12]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert sizes == [1, 4, 2]
    assert len(work.threads) == 1


def test_workers_share_what_waits() -> None:
    work = Work()
    prepared: list[int] = []

    async def main() -> None:
        batcher = MicroBatcher(
            work, name="numbers", workers=2, prepare=lambda: prepared.append(threading.get_ident())
        )
        first = [asyncio.create_task(batcher.submit(number)) for number in (0, 1)]
        while len(work.batches) < 2:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(2, 10)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*first, *rest) == [2 * number for number in range(10)]
        await batcher.close()

    asyncio.run(main())
    assert sorted(work.batches[:2]) == [[0], [1]]
    assert work.batches[2] == [2, 3, 4, 5]
    assert sum(map(len, work.batches)) == 10
    assert set(prepared) == work.threads
    assert len(prepared) == 2


def test_what_comes_at_one_moment_goes_together_at_once() -> None:
    work = Work()
    work.go.set()

    async def main() -> list[int]:
        batcher = MicroBatcher(work, name="numbers", workers=3, share=False)
        results = await asyncio.gather(*(batcher.submit(number) for number in range(5)))
        await batcher.close()
        return list(results)

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]
    assert work.batches == [[0, 1, 2, 3, 4]]


def test_only_what_is_alike_goes_together_and_the_oldest_goes_first() -> None:
    work = Work()

    async def main() -> None:
        batcher = MicroBatcher(work, name="numbers", alike=lambda number: number % 3, most=3)
        first = asyncio.create_task(batcher.submit(0))
        await until_it_works(work)
        rest = [asyncio.create_task(batcher.submit(number)) for number in range(1, 13)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(first, *rest) == [2 * number for number in range(13)]
        await batcher.close()

    asyncio.run(main())
    assert work.batches == [[0], [1, 4, 7], [2, 5, 8], [3, 6, 9], [10], [11], [12]]


def test_another_worker_takes_what_is_not_alike_meanwhile() -> None:
    work = Work()

    async def main() -> None:
        batcher = MicroBatcher(
            work, name="numbers", workers=2, share=False, alike=lambda number: number % 2
        )
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(6)]
        while len(work.batches) < 2:  # both wait for `go`
            await asyncio.sleep(0.001)
        assert batcher.waiting == 0
        work.go.set()
        await asyncio.gather(*tasks)
        await batcher.close()

    asyncio.run(main())
    assert sorted(work.batches) == [[0, 2, 4], [1, 3, 5]]


def test_work_can_answer_one_of_several_with_an_error() -> None:
    async def main() -> list[object]:
        batcher: MicroBatcher[int, int] = MicroBatcher(
            lambda numbers: [n or KeyError("zero") for n in numbers], name="numbers"
        )
        tasks = [batcher.submit(number) for number in (1, 0, 2)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        return list(results)

    one, error, two = asyncio.run(main())
    assert (one, two) == (1, 2)
    assert isinstance(error, KeyError)


def test_a_full_queue_refuses_until_somebody_leaves() -> None:
    work = Work()

    async def main() -> None:
        batcher = MicroBatcher(work, name="numbers", waiting=2)
        first = asyncio.create_task(batcher.submit(0))
        await until_it_works(work)
        rest = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="overloaded: too many numbers are waiting") as refused:
            await batcher.submit(3)
        assert refused.value.status_code == 503
        assert refused.value.headers == {"Retry-After": "1"}
        rest[0].cancel()  # its client has gone
        await asyncio.sleep(0)
        last = asyncio.create_task(batcher.submit(4))
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(first, rest[1], last) == [0, 4, 8]
        await batcher.close()

    asyncio.run(main())
    assert work.batches == [[0], [2, 4]]


def test_a_bad_input_does_not_spoil_the_others() -> None:
    work = Work()

    async def main() -> list[object]:
        batcher = MicroBatcher(work, name="numbers")
        first = asyncio.create_task(batcher.submit(0))
        await until_it_works(work)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in (1, -2, 3)]
        await asyncio.sleep(0)
        work.go.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        await batcher.close()
        return list(results)

    zero, one, two, three = asyncio.run(main())
    assert work.batches[:2] == [[0], [1, -2, 3]]
    assert (zero, one, three) == (0, 2, 6)
    assert isinstance(two, DataError)
    assert str(two) == "-2 is negative"


def test_an_unexpected_error_reaches_everybody_and_the_queue_lives_on() -> None:
    begun, go = threading.Event(), threading.Event()

    def work(numbers: Sequence[int]) -> list[int]:
        begun.set()
        assert go.wait(10)
        return [10 // number for number in numbers]

    async def main() -> None:
        batcher = MicroBatcher(work, name="numbers")
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.to_thread(begun.wait)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in (0, 5)]
        await asyncio.sleep(0)
        go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [ZeroDivisionError, ZeroDivisionError]
        assert await first == 10
        assert await batcher.submit(2) == 5
        await batcher.close()

    asyncio.run(main())


def test_one_who_leaves_while_encoded_misses_nothing() -> None:
    work = Work()

    async def main() -> None:
        batcher = MicroBatcher(work, name="numbers")
        first = asyncio.create_task(batcher.submit(1))
        await until_it_works(work)
        first.cancel()
        second = asyncio.create_task(batcher.submit(2))
        work.go.set()
        assert await second == 4
        await batcher.close()

    asyncio.run(main())


def test_closing_finishes_what_came_a_moment_ago() -> None:
    work = Work()
    work.go.set()

    async def main() -> None:
        batcher = MicroBatcher(work, name="numbers", workers=2, alike=lambda number: number)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0)  # they wait, and no worker has looked yet
        await batcher.close()
        assert await asyncio.gather(*tasks) == [0, 2, 4]

    asyncio.run(main())


def test_work_that_nobody_waits_for_any_more_is_told_to_stop() -> None:
    begun, ended = threading.Event(), threading.Event()
    loops = 0

    def work(numbers: Sequence[int]) -> list[int]:
        nonlocal loops
        begun.set()
        try:
            end = time.monotonic() + (10 if len(numbers) == 2 else 0)
            while time.monotonic() < end:
                loops += 1
                check_stop()
                time.sleep(0.001)
        finally:
            ended.set()
        return list(numbers)

    async def main() -> float:
        batcher = MicroBatcher(work, name="numbers", most=4)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
        await asyncio.to_thread(begun.wait, 10)
        tasks[0].cancel()
        await asyncio.sleep(0.05)
        assert not ended.is_set()  # one still waits
        start = time.monotonic()
        tasks[1].cancel()
        await asyncio.to_thread(ended.wait, 10)
        seconds = time.monotonic() - start
        assert await batcher.submit(3) == 3
        await batcher.close()
        return seconds

    assert asyncio.run(main()) < 3
    assert loops > 1
