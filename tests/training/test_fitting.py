"""Settings that a configuration leaves to the data."""

from __future__ import annotations

import pytest

from proxyhash.training.config import read_config
from proxyhash.training.fitting import batch_size, input_dropout


@pytest.mark.parametrize(
    ("width", "share"), [(1, 0.5 / 1024), (128, 1 / 16), (1024, 0.5), (4096, 0.5)]
)
def test_of_few_features_few_are_dropped(width: int, share: float) -> None:
    assert input_dropout(width) == pytest.approx(share)


@pytest.mark.parametrize(("items", "size"), [(2, 32), (1956, 40), (4750, 96), (10**6, 96)])
def test_few_items_make_small_batches(items: int, size: int) -> None:
    config = read_config({"method": "dchml-plus", "data": "d", "out": "o", "bits": 16})
    assert batch_size(config, items) == size


def test_a_batch_size_that_is_given_stays() -> None:
    config = read_config(
        {"method": "dchml-plus", "data": "d", "out": "o", "bits": 16, "batch_size": 7}
    )
    assert batch_size(config, 10**6) == 7
