"""Honest retrieval figures: one protocol, stored with every number. Numpy and numba, no torch."""

from proxyhash.evaluation.bits import (
    BitStatistics,
    ProxyStatistics,
    bit_statistics,
    proxy_statistics,
)
from proxyhash.evaluation.direction import Direction, evaluate_direction
from proxyhash.evaluation.evaluator import DIRECTIONS, Evaluation, evaluate_codes
from proxyhash.evaluation.galleries import Evaluations, evaluate_both_galleries
from proxyhash.evaluation.mean import MAP, mean_average_precision
from proxyhash.evaluation.protocol import Protocol
from proxyhash.evaluation.ranking import Ranking, Tally
from proxyhash.evaluation.run import RunEvaluation, evaluate

__all__ = [
    "DIRECTIONS",
    "MAP",
    "BitStatistics",
    "Direction",
    "Evaluation",
    "Evaluations",
    "Protocol",
    "ProxyStatistics",
    "Ranking",
    "RunEvaluation",
    "Tally",
    "bit_statistics",
    "evaluate",
    "evaluate_both_galleries",
    "evaluate_codes",
    "evaluate_direction",
    "mean_average_precision",
    "proxy_statistics",
]
