"""Short binary codes for images and texts, with proxy hash codes (DCHML).

    import proxyhash as ph

    model = ph.train(images=paths, texts=captions, labels=tags, bits=64)
    model.encode_texts(["two dogs in the snow"])
    with ph.open_searcher("photos.index") as searcher:
        searcher.search_text("two dogs in the snow", k=5)

Every public name below is loaded when it is first used: importing `proxyhash` loads neither torch
nor numpy. Errors derive from `ProxyhashError`; see `proxyhash.errors`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` would take as long as all else here

if TYPE_CHECKING:
    from typing import Any

    from proxyhash.client import Client
    from proxyhash.codes import CodeFile, binarize, pack, top_k, unpack
    from proxyhash.data import Collection, Split, read_collection, register_modality
    from proxyhash.data.readers import register_reader
    from proxyhash.encoders import register_encoder
    from proxyhash.errors import ProxyhashError
    from proxyhash.evaluation import Protocol, evaluate, mean_average_precision
    from proxyhash.hashing import HashModel
    from proxyhash.hashing.encode import Encode
    from proxyhash.index import (
        Hit,
        Index,
        MemoryIndex,
        create_index,
        open_index,
        parse_filter_text,
        register_index,
    )
    from proxyhash.index.engines import register_engine
    from proxyhash.methods import register_method
    from proxyhash.proxies.make_proxies import make_proxies
    from proxyhash.search import Answer, Query, Searcher, SearchOptions, open_searcher, search_many
    from proxyhash.training.arrays import train
    from proxyhash.training.estimator import CrossModalHasher

__all__ = [
    "Answer",
    "Client",
    "CodeFile",
    "Collection",
    "CrossModalHasher",
    "Encode",
    "HashModel",
    "Hit",
    "Index",
    "MemoryIndex",
    "Protocol",
    "ProxyhashError",
    "Query",
    "SearchOptions",
    "Searcher",
    "Split",
    "__version__",
    "binarize",
    "create_index",
    "evaluate",
    "make_proxies",
    "mean_average_precision",
    "open_index",
    "open_searcher",
    "pack",
    "parse_filter_text",
    "read_collection",
    "register_encoder",
    "register_engine",
    "register_index",
    "register_method",
    "register_modality",
    "register_reader",
    "search_many",
    "top_k",
    "train",
    "unpack",
]

__version__ = "0.1.0"

_HOMES = {
    "Answer": "search",
    "Client": "client",
    "CodeFile": "codes",
    "Collection": "data",
    "CrossModalHasher": "training.estimator",
    "Encode": "hashing.encode",
    "HashModel": "hashing",
    "Hit": "index",
    "Index": "index",
    "MemoryIndex": "index",
    "Protocol": "evaluation",
    "ProxyhashError": "errors",
    "Query": "search",
    "SearchOptions": "search",
    "Searcher": "search",
    "Split": "data",
    "binarize": "codes",
    "create_index": "index",
    "evaluate": "evaluation",
    "make_proxies": "proxies.make_proxies",
    "mean_average_precision": "evaluation",
    "open_index": "index",
    "open_searcher": "search",
    "pack": "codes",
    "parse_filter_text": "index",
    "read_collection": "data",
    "register_encoder": "encoders",
    "register_engine": "index.engines",
    "register_index": "index",
    "register_method": "methods",
    "register_modality": "data",
    "register_reader": "data.readers",
    "search_many": "search",
    "top_k": "codes",
    "train": "training.arrays",
    "unpack": "codes",
}
"""The module of each public name, below this package."""


def __getattr__(name: str) -> Any:
    """Return a public name, loading its module at the first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not, and what the module holds besides."""
    return sorted({*globals(), *__all__})
