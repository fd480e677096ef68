"""Answering searches: over a run's gallery or an index, and as a page to look at."""

from proxyhash.serving.answer import Answer, Query
from proxyhash.serving.index_searcher import IndexSearcher
from proxyhash.serving.run_searcher import RunSearcher
from proxyhash.serving.searcher import Searcher

__all__ = ["Answer", "IndexSearcher", "Query", "RunSearcher", "Searcher"]
