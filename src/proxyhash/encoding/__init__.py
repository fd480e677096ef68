"""Codes of whole collections: shard by shard, in one process, under torchrun, or on a Ray cluster.

All three ways call the same `Encode` with the same batches, one per shard, so the bits are the
same. Shards are files beside the code file that is made of them; a run that was killed continues
with those that are missing.
"""

from proxyhash.encoding.over_ray import RayOptions
from proxyhash.encoding.run import Encoded, encode_to_file

__all__ = ["Encoded", "RayOptions", "encode_to_file"]
