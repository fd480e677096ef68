"""Published figures, which the page shows apart from what was measured."""

from __future__ import annotations

__all__ = ["DATA_SETS", "FIGURES", "LENGTHS", "PROTOCOL"]

PROTOCOL = (
    "mAP@all as those papers state it, image → text; CLIP ViT-B/32, query 5,000, train 10,000; "
    "tie rule and split are theirs"
)
DATA_SETS = ("MIRFLICKR-25K", "NUS-WIDE", "MS COCO")
LENGTHS = (16, 32, 64)

FIGURES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "DCHMT (2022)": ((0.8263, 0.8272, 0.8441), (0.6799, 0.6992, 0.7038), (0.6447, 0.6757, 0.6915)),
    "DSPH (2023)": ((0.8129, 0.8482, 0.8541), (0.6830, 0.6979, 0.7162), (0.7044, 0.7510, 0.7694)),
    "DDBH (2025)": ((0.8450, 0.8534, 0.8610), (0.7041, 0.7145, 0.7229), (0.7165, 0.7454, 0.7681)),
    "KDPH (2026)": ((0.8770, 0.8639, 0.8639), (0.7430, 0.7365, 0.7392), (0.7636, 0.7761, 0.7843)),
}
"""By method: one row per data set, one figure per code length."""
