"""Values that a configuration leaves to the method: batch size and input dropout."""

from __future__ import annotations

import pytest

from proxyhash.methods import get_method
from proxyhash.training import read_config
from tests.training.toy import make_rows, run


@pytest.mark.parametrize(
    ("width", "share"), [(1, 0.5 / 1024), (128, 1 / 16), (1024, 0.5), (4096, 0.5)]
)
def test_of_few_features_few_are_dropped(width: int, share: float) -> None:
    assert get_method("dchml-plus").input_dropout(width) == pytest.approx(share)


@pytest.mark.parametrize(("items", "size"), [(2, 32), (1956, 40), (4750, 96), (10**6, 96)])
def test_few_items_make_small_batches(items: int, size: int) -> None:
    assert get_method("dchml-plus").batch_size(items) == size
    config = read_config({"method": "dchml-plus", "data": "d", "out": "o", "bits": 16})
    assert config.batch_size is None


def test_a_batch_size_that_is_given_stays() -> None:
    config = read_config(
        {"method": "dchml-plus", "data": "d", "out": "o", "bits": 16, "batch_size": 7}
    )
    assert config.batch_size == 7


@pytest.mark.parametrize(("given", "largest"), [(None, 32), (7, 7)])
def test_the_loop_asks_the_method(tmp_path, monkeypatch, given, largest) -> None:
    method = get_method("dchml-plus")
    seen = []

    def loss(self, batch):
        seen.append(len(batch.index))
        return original(self, batch)

    original = method.loss
    monkeypatch.setattr(method, "loss", loss)
    config = read_config(
        {"method": "dchml-plus", "data": "d", "out": str(tmp_path), "bits": 16, "hidden": [8]}
        | {"epochs": 1, "batch_size": given, "settings": {"refit": 0}}
    )
    run(config, make_rows(64), make_rows(0))
    assert max(seen) == largest
