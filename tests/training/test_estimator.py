"""The scikit-learn estimator keeps scikit-learn's contract, and hashes as `train` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import proxyhash as ph
from proxyhash.errors import UsageError

OPTIONS = {"threads": 1, "hidden": [8]}


def hasher(**changes: Any) -> ph.CrossModalHasher:
    given = {"bits": 8, "epochs": 1, "random_state": 0, "options": OPTIONS}
    return ph.CrossModalHasher(**{**given, **changes})


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=60)
    X = np.eye(3)[y] @ rng.normal(size=(3, 10)) * 3 + rng.normal(size=(60, 10))
    return X, y


def checks() -> list[Any]:
    """All checks of scikit-learn, except that of other arrays than numpy's, which codes are."""
    found = list(estimator_checks_generator(hasher(), mark=None))
    names = {check.func.__name__ for _, check in found}
    assert len(found) > 40
    assert "check_array_api_input" in names
    return [
        pytest.param(*pair, id=f"{number}-{pair[1].func.__name__}")
        for number, pair in enumerate(found)
        if pair[1].func.__name__ != "check_array_api_input"
    ]


@pytest.mark.parametrize(("estimator", "check"), checks())
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_bits_are_those_of_the_model(data):
    X, y = data
    fitted = hasher(image_features=4).fit(X, y)
    bits = fitted.transform(X)
    assert bits.shape == (60, 16)
    assert set(np.unique(bits)) <= {0, 1}
    images = fitted.model_.encode_features(X[:, :4].astype(np.float32), modality="image")
    np.testing.assert_array_equal(np.packbits(bits[:, :8], axis=1), images)
    texts = fitted.encode(X[:, 4:], modality="text")
    np.testing.assert_array_equal(np.packbits(bits[:, 8:], axis=1), texts)
    names = fitted.get_feature_names_out()
    assert list(names[[0, 7, 8]]) == ["image_bit0", "image_bit7", "text_bit0"]


def test_labels_may_be_classes_or_multi_hot(data):
    X, y = data
    by_class = hasher().fit(X, np.array(["dog", "cat", "sky"])[y])
    assert list(by_class.classes_) == ["cat", "dog", "sky"]
    multi_hot = hasher().fit(X, np.eye(3, dtype=int)[y])
    assert list(multi_hot.classes_) == [0, 1, 2]
    same = hasher().fit(X, y)
    np.testing.assert_array_equal(multi_hot.transform(X), same.transform(X))


def test_a_seed_decides_everything(data):
    X, y = data
    first, again = (hasher().fit(X, y).model_.fingerprint for _ in range(2))
    assert first == again
    state = hasher(random_state=np.random.RandomState(0)).fit(X, y).model_.fingerprint
    assert state != first
    assert hasher(random_state=None).fit(X, y).model_.fingerprint != first


def test_it_learns_and_works_in_a_search(data):
    X, y = data
    steps = make_pipeline(
        StandardScaler(), hasher(epochs=15), KNeighborsClassifier(metric="hamming")
    )
    search = GridSearchCV(steps, {"crossmodalhasher__bits": [4, 16]}, cv=2)
    search.fit(X, y)
    assert search.best_score_ > 0.7


def test_parameters_are_checked_on_fit(data):
    X, y = data
    with pytest.raises(UsageError, match="image_features is 10 of 10 columns"):
        hasher(image_features=10).fit(X, y)
    with pytest.raises(UsageError, match="method is 'dchm'"):
        hasher(method="dchm").fit(X, y)
    with pytest.raises(ValueError, match="Unknown label type"):
        hasher().fit(X, X[:, 0])
    with pytest.raises(NotFittedError):
        hasher().encode(X[:, :5], modality="image")


def test_options_that_the_estimator_sets_are_refused():
    hasher = ph.CrossModalHasher(options={"bits": 8, "out": "run", "seed": 1})
    with pytest.raises(UsageError, match="options has bits, out, seed"):
        hasher.fit(np.ones((4, 4)), [0, 1, 0, 1])
