"""Published figures, which the page shows apart from what was measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DATA_SETS", "FIGURES", "LENGTHS", "PROTOCOL", "Published"]

PROTOCOL = (
    "mAP@all as those papers state it; CLIP ViT-B/32, query 5,000, train 10,000; tie rule and "
    "split are theirs"
)
DATA_SETS = ("MIRFLICKR-25K", "NUS-WIDE", "MS COCO")
LENGTHS = (16, 32, 64)

_PRIMARY = "primary: table 1 of KDPH (2026)"
_SECOND = "second-hand: table 1 of KDPH (2026), which says that all have the same backbone"
_EITHER = "second-hand: named beside that table, from KDPH (2026) or the method's own paper"


@dataclass(frozen=True)
class Published:
    """The figures of one method in one direction, with where they were read."""

    method: str
    """With the year."""
    direction: str
    figures: tuple[tuple[float, float, float], ...]
    """One row per data set, one mAP per code length."""
    source: str
    """Primary or second-hand, and where."""


FIGURES = (
    Published(
        "DCHMT (2022)",
        "I→T",
        ((0.8263, 0.8272, 0.8441), (0.6799, 0.6992, 0.7038), (0.6447, 0.6757, 0.6915)),
        _SECOND,
    ),
    Published(
        "DCPH (2023), the method of this project",
        "I→T",
        ((0.7679, 0.7733, 0.7764), (0.6161, 0.6156, 0.6180), (0.5206, 0.5806, 0.5939)),
        _SECOND,
    ),
    Published(
        "DCPH (2023), the method of this project",
        "T→I",
        ((0.7992, 0.8046, 0.8061), (0.6187, 0.6292, 0.6394), (0.5981, 0.5879, 0.5745)),
        _SECOND,
    ),
    Published(
        "DSPH (2023)",
        "I→T",
        ((0.8129, 0.8482, 0.8541), (0.6830, 0.6979, 0.7162), (0.7044, 0.7510, 0.7694)),
        _SECOND,
    ),
    Published(
        "DNPH (TOMM 2024)",
        "I→T",
        ((0.811, 0.827, 0.823), (0.669, 0.681, 0.694), (0.644, 0.691, 0.729)),
        _EITHER,
    ),
    Published(
        "DNpH (TMM 2024)",
        "I→T",
        ((0.842, 0.855, 0.856), (0.692, 0.702, 0.707), (0.673, 0.690, 0.686)),
        _EITHER,
    ),
    Published(
        "DDBH (2025)",
        "I→T",
        ((0.8450, 0.8534, 0.8610), (0.7041, 0.7145, 0.7229), (0.7165, 0.7454, 0.7681)),
        _SECOND,
    ),
    Published(
        "KDPH (2026)",
        "I→T",
        ((0.8770, 0.8639, 0.8639), (0.7430, 0.7365, 0.7392), (0.7636, 0.7761, 0.7843)),
        _PRIMARY,
    ),
)
