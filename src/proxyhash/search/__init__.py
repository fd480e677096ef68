"""Searching: one implementation for Python, the command line, the HTTP service and its client.

A `Query` (a text, an image, a stored item, a code, a vector) is asked of a `Searcher` (an index or
a run's gallery with its model) and gives an `Answer`; see `search_many`.
"""

from proxyhash.search.answer import Answer
from proxyhash.search.notes import Note
from proxyhash.search.open import open_searcher
from proxyhash.search.query import EncodedQuery, Query, SearchOptions
from proxyhash.search.run import RunSearcher
from proxyhash.search.searcher import Searcher, search_many

__all__ = [
    "Answer",
    "EncodedQuery",
    "Note",
    "Query",
    "RunSearcher",
    "SearchOptions",
    "Searcher",
    "open_searcher",
    "search_many",
]
