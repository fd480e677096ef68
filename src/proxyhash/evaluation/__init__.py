"""Retrieval metrics under a protocol that is stored with every figure; without torch."""

from proxyhash.evaluation.average_precision import MAP, mean_average_precision
from proxyhash.evaluation.bits import (
    BitStatistics,
    ProxyStatistics,
    bit_statistics,
    proxy_statistics,
)
from proxyhash.evaluation.caveats import Caveat
from proxyhash.evaluation.direction import Direction, directions_of, evaluate_direction
from proxyhash.evaluation.evaluator import Evaluation, evaluate_codes
from proxyhash.evaluation.pairs import PairDirection, PairEvaluation, evaluate_pairs
from proxyhash.evaluation.protocol import Protocol
from proxyhash.evaluation.ranking import Ranking, Tally
from proxyhash.evaluation.run import (
    Evaluations,
    RunEvaluation,
    evaluate,
    evaluate_both_galleries,
)

__all__ = [
    "MAP",
    "BitStatistics",
    "Caveat",
    "Direction",
    "Evaluation",
    "Evaluations",
    "PairDirection",
    "PairEvaluation",
    "Protocol",
    "ProxyStatistics",
    "Ranking",
    "RunEvaluation",
    "Tally",
    "bit_statistics",
    "directions_of",
    "evaluate",
    "evaluate_both_galleries",
    "evaluate_codes",
    "evaluate_direction",
    "evaluate_pairs",
    "mean_average_precision",
    "proxy_statistics",
]
