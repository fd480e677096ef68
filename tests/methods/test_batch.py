"""Features that are read block by block."""

from __future__ import annotations

import torch

from proxyhash.methods.shared import batch
from proxyhash.methods.shared.batch import row_blocks


def test_blocks_cover_the_rows_in_order(monkeypatch):
    monkeypatch.setattr(batch, "BLOCK_ROWS", 4)
    features = torch.arange(20.0).view(10, 2)
    some = torch.tensor([True, False] * 5)
    for rows, expected in (
        (None, features),
        (torch.ones(10, dtype=torch.bool), features),
        (some, features[::2]),
        (torch.tensor([7, 1, 1, 0, 9]), features[[7, 1, 1, 0, 9]]),
        (torch.zeros(10, dtype=torch.bool), features[:0]),
    ):
        blocks = list(row_blocks(features, rows))
        assert all(len(block) <= 4 for _, block in blocks)
        assert all(torch.equal(features[which], block) for which, block in blocks)
        assert torch.equal(torch.cat([block for _, block in blocks]), expected)


def test_blocks_of_all_rows_are_not_copied():
    features = torch.zeros(10, 2)
    for rows in (None, torch.ones(10, dtype=torch.bool)):
        ((_, block),) = row_blocks(features, rows)
        assert block.data_ptr() == features.data_ptr()
