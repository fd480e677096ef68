"""A scikit-learn estimator: hashing of two blocks of features, for pipelines and grid searches."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from proxyhash.codes import unpack
from proxyhash.errors import UsageError
from proxyhash.files import write_json
from proxyhash.training.arrays import train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from proxyhash.codes import Codes
    from proxyhash.data import Modality
    from proxyhash.hashing import HashModel

__all__ = ["CrossModalHasher"]

_OWN = frozenset(
    ("images", "texts", "labels", "ids", "bits", "method", "epochs", "seed", "split_file", "out")
)
"""Arguments of `train` that are not for `options`."""


class CrossModalHasher(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
    """Transformer from features to bits; X is a block of image features, then one of text features.

    It trains as `proxyhash.train` does, on all rows and without holding out queries.

    Args:
        bits: code length K.
        method: training objective, such as "dchml-plus"; see docs/methods.md.
        image_features: how many leading columns of X are image features; the rest are text
            features. None: the first half, rounded down.
        epochs: epochs of training.
        random_state: seed, a `numpy.random.RandomState`, or None for a new seed in each `fit`.
        options: further keys of `proxyhash.training.TrainConfig`, such as `learning_rate`.

    Attributes:
        model_: the `HashModel`.
        classes_: the C class names or numbers that `y` has, in the order of its columns if
            multi-hot.
        image_features_: how many columns are image features.
        n_features_in_: how many columns there are.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(3, size=60)
        >>> X = np.eye(3)[y] @ rng.normal(size=(3, 10)) + rng.normal(size=(60, 10))
        >>> CrossModalHasher(bits=8, epochs=1).fit(X, y).transform(X).shape
        (60, 16)
    """

    def __init__(
        self,
        *,
        bits: int = 64,
        method: str = "dchml",
        image_features: int | None = None,
        epochs: int = 20,
        random_state: int | np.random.RandomState | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.bits = bits
        self.method = method
        self.image_features = image_features
        self.epochs = epochs
        self.random_state = random_state
        self.options = options

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on all rows and return the estimator itself.

        Args:
            X: features, finite (n, d), images first.
            y: the class of each row (n,), or multi-hot (n, C).

        Raises:
            ValueError: X or y cannot be used, as scikit-learn says it.
            UsageError: a parameter cannot be used.
        """
        x, y_ = validate_data(
            self, X, y, dtype=np.float32, multi_output=True,
            ensure_min_features=2, ensure_min_samples=2,
        )  # fmt: skip
        check_classification_targets(y_)
        if y_.ndim == 1:
            self.classes_, columns = np.unique(y_, return_inverse=True)
            labels = np.eye(len(self.classes_), dtype=np.bool_)[columns]
        else:
            self.classes_, labels = np.arange(y_.shape[1]), y_
        images = x.shape[1] // 2 if self.image_features is None else self.image_features
        if not 0 < images < x.shape[1]:
            raise UsageError(
                f"image_features is {images} of {x.shape[1]} columns; both images and texts need "
                "at least one"
            )
        self.image_features_ = images
        options = dict(self.options or {})
        if own := sorted(_OWN.intersection(options)):
            raise UsageError(
                f"options has {', '.join(own)}, which the estimator sets itself; its parameters "
                "are bits, method, image_features, epochs and random_state"
            )
        with tempfile.TemporaryDirectory(prefix="proxyhash-") as scratch:
            split = Path(scratch) / "split.json"
            ids = [str(row) for row in range(len(x))]
            write_json(split, {"query": [], "train": ids})
            self.model_: HashModel = train(
                images=x[:, :images],
                texts=x[:, images:],
                labels=labels,
                ids=ids,
                bits=self.bits,
                method=self.method,
                epochs=self.epochs,
                seed=self._seed(),
                split_file=str(split),
                **options,
            )
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.uint8]:
        """Return the bits, 0 or 1, uint8 (n, 2 K): those of the images, then those of the texts.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: X has another number of columns than in `fit`, or is not finite.
        """
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float32, reset=False)
        codes = (
            self.encode(x[:, : self.image_features_], modality="image"),
            self.encode(x[:, self.image_features_ :], modality="text"),
        )
        bits = [unpack(each, bits=self.bits) for each in codes]
        return np.concatenate(bits, axis=1).astype(np.uint8)

    def encode(self, features: ArrayLike, *, modality: Modality) -> Codes:
        """Return the packed codes, uint8 (n, ceil(K / 8)), of one block of features.

        Args:
            features: image features (n, image_features_), or text features.
            modality: "image" or "text".
        """
        check_is_fitted(self)
        values = np.ascontiguousarray(features, dtype=np.float32)
        return self.model_.encode_features(values, modality=modality)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return "image_bit0" and so on: the names of the columns that `transform` returns."""
        check_is_fitted(self)
        del input_features
        names = [f"{each}_bit{bit}" for each in ("image", "text") for bit in range(self.bits)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """Return the tags: labels are required, and may be multi-hot."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))
