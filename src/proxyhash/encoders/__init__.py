"""Encoders turn images, texts and other sources into feature vectors, one kind per file.

A new file beside these that registers its class is found automatically. Importing this package
loads neither torch nor transformers nor scikit-learn: encoders load them when they are used.
"""

from proxyhash.encoders.base import (
    ENCODERS,
    BatchEncoder,
    Encoder,
    EncoderRequest,
    Features,
    register_encoder,
)
from proxyhash.encoders.bow import BagOfWords
from proxyhash.encoders.cache import FeatureCache, default_cache_folder
from proxyhash.encoders.collection import encode_collection
from proxyhash.encoders.descriptor import ImageDescriptor
from proxyhash.encoders.make import load_encoder, make_encoder
from proxyhash.encoders.patches import PatchFeatures
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.encoders.pretrained import TransformersImageEncoder
from proxyhash.encoders.pretrained_text import TransformersTextEncoder
from proxyhash.encoders.tokens import TokensImageEncoder, TokensTextEncoder
from proxyhash.encoders.trainable import Block, TrainableEncoder

__all__ = [
    "ENCODERS",
    "BagOfWords",
    "BatchEncoder",
    "Block",
    "Encoder",
    "EncoderRequest",
    "FeatureCache",
    "Features",
    "ImageDescriptor",
    "PatchFeatures",
    "PrecomputedFeatures",
    "TokensImageEncoder",
    "TokensTextEncoder",
    "TrainableEncoder",
    "TransformersImageEncoder",
    "TransformersTextEncoder",
    "default_cache_folder",
    "encode_collection",
    "load_encoder",
    "make_encoder",
    "register_encoder",
]
