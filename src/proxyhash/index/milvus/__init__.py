"""An index in Milvus: a local file, a server or a cluster, by URI."""

from proxyhash.index.milvus.index import MilvusIndex

__all__ = ["MilvusIndex"]
