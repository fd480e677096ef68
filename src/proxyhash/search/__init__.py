"""Answering searches: over a run's gallery or an index, and as a page to look at."""

from proxyhash.search.answer import Answer, Query
from proxyhash.search.index_searcher import IndexSearcher
from proxyhash.search.run_searcher import RunSearcher
from proxyhash.search.searcher import Searcher

__all__ = ["Answer", "IndexSearcher", "Query", "RunSearcher", "Searcher"]
