"""Image or text in, feature vector out: bag of words, pretrained models, features from files.

Importing a module here registers its encoder; none of them loads torch or scikit-learn before it
is used.
"""

from proxyhash.encoders.base import BatchEncoder, Encoder, EncoderRequest, Features
from proxyhash.encoders.bow import BagOfWords
from proxyhash.encoders.cache import FeatureCache, default_cache_folder
from proxyhash.encoders.collection import encode_collection
from proxyhash.encoders.descriptor import ImageDescriptor
from proxyhash.encoders.patches import PatchFeatures
from proxyhash.encoders.precomputed import PrecomputedFeatures
from proxyhash.encoders.pretrained import TransformersImageEncoder, TransformersTextEncoder
from proxyhash.encoders.registry import encoder_kinds, load_encoder, make_encoder, register_encoder

__all__ = [
    "BagOfWords",
    "BatchEncoder",
    "Encoder",
    "EncoderRequest",
    "FeatureCache",
    "Features",
    "ImageDescriptor",
    "PatchFeatures",
    "PrecomputedFeatures",
    "TransformersImageEncoder",
    "TransformersTextEncoder",
    "default_cache_folder",
    "encode_collection",
    "encoder_kinds",
    "load_encoder",
    "make_encoder",
    "register_encoder",
]
