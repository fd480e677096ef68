"""Losses as pure functions of outputs, logits, proxies and labels, each in a file of its name.

Notation, as in the DCHML paper (arXiv 2011.03451): K bits, C classes, outputs h in (-1, 1)^K,
proxies p_c in {-1, +1}^K, logits o_c = h . p_c. Every loss is a mean over the items that carry
supervision, and is 0 with a graph behind it when there are none, so `backward` always works.
"""

from __future__ import annotations

from proxyhash.losses.bit_balance import bit_balance
from proxyhash.losses.bit_cross_entropy import bit_cross_entropy
from proxyhash.losses.bit_uncertainty import bit_uncertainty
from proxyhash.losses.boundary_likelihood import boundary_likelihood
from proxyhash.losses.consistency_penalty import consistency_penalty
from proxyhash.losses.contrastive import contrastive
from proxyhash.losses.cosine_quantization import cosine_quantization
from proxyhash.losses.cosine_softmax import cosine_softmax
from proxyhash.losses.cross_modal_ranking import cross_modal_ranking
from proxyhash.losses.cross_modal_softmax import cross_modal_softmax
from proxyhash.losses.data_softmax import data_softmax
from proxyhash.losses.irrelevant_pairs import irrelevant_pairs
from proxyhash.losses.label_posterior import label_posterior
from proxyhash.losses.log_cosh_quantization import log_cosh_quantization
from proxyhash.losses.margin_dynamic_softmax import margin_dynamic_softmax
from proxyhash.losses.nearest_codes import nearest_codes
from proxyhash.losses.paired_contrastive import paired_contrastive
from proxyhash.losses.pairwise_likelihood import pairwise_likelihood
from proxyhash.losses.partial_softmax import partial_softmax
from proxyhash.losses.proxy_hinge import proxy_hinge
from proxyhash.losses.proxy_separation import proxy_separation
from proxyhash.losses.proxy_variance import proxy_variance
from proxyhash.losses.quadratic_information import quadratic_information
from proxyhash.losses.quantization import quantization
from proxyhash.losses.relevance import (
    probable_similarity,
    relative_relevance,
    relevance,
    relevance_likelihood,
    share_a_label,
)
from proxyhash.losses.score_hinge import score_hinge
from proxyhash.losses.similarity_hinge import similarity_hinge
from proxyhash.losses.soft_contrastive import soft_contrastive
from proxyhash.losses.supervision import certain
from proxyhash.losses.weighted_triplets import weighted_triplets

__all__ = [
    "bit_balance",
    "bit_cross_entropy",
    "bit_uncertainty",
    "boundary_likelihood",
    "certain",
    "consistency_penalty",
    "contrastive",
    "cosine_quantization",
    "cosine_softmax",
    "cross_modal_ranking",
    "cross_modal_softmax",
    "data_softmax",
    "irrelevant_pairs",
    "label_posterior",
    "log_cosh_quantization",
    "margin_dynamic_softmax",
    "nearest_codes",
    "paired_contrastive",
    "pairwise_likelihood",
    "partial_softmax",
    "probable_similarity",
    "proxy_hinge",
    "proxy_separation",
    "proxy_variance",
    "quadratic_information",
    "quantization",
    "relative_relevance",
    "relevance",
    "relevance_likelihood",
    "score_hinge",
    "share_a_label",
    "similarity_hinge",
    "soft_contrastive",
    "weighted_triplets",
]
