"""Answering searches: over a run's gallery, and as a page to look at."""

from proxyhash.serving.answer import Answer, Query
from proxyhash.serving.searcher import RunSearcher

__all__ = ["Answer", "Query", "RunSearcher"]
