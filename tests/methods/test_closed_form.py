"""CCA, ITQ and random projections against other libraries, brute force and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA

from proxyhash.errors import UsageError
from proxyhash.methods.cca_itq import canonical_directions, itq_rotation, quantization_error
from proxyhash.methods.itq import principal_directions
from proxyhash.networks.hashing_network import HashingNetwork
from proxyhash.training.config import read_config
from tests.methods.toy import BITS, begun, make_toy, networks

CLOSED = ["cca-itq", "itq", "random-projection"]


def views(items: int = 200, *, seed: int = 0):
    """Two centered views of three shared signals, with noise."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shared = noise(items, 3) * torch.tensor([3.0, 1.0, 0.5])
    first, second = shared @ noise(3, 7) + noise(items, 7), shared @ noise(3, 5) + noise(items, 5)
    return first - first.mean(dim=0), second - second.mean(dim=0)


def columns_correlate(one, other):
    return [np.corrcoef(one[:, i], other[:, i])[0, 1] for i in range(one.shape[1])]


def test_canonical_correlations_are_those_of_scikit_learn():
    first, second = views()
    found = canonical_directions(first, second, count=4)
    other = CCA(n_components=4, max_iter=5000, tol=1e-12).fit(first.numpy(), second.numpy())
    theirs = columns_correlate(*other.transform(first.numpy(), second.numpy()))
    assert found.correlations.tolist() == pytest.approx(theirs, abs=1e-6)
    mine = columns_correlate((first @ found.first).numpy(), (second @ found.second).numpy())
    assert mine == pytest.approx(theirs, abs=1e-6)


def test_canonical_projections_are_white():
    first, second = views()
    found = canonical_directions(first, second, count=5)
    for view, directions in ((first, found.first), (second, found.second)):
        projected = view @ directions
        torch.testing.assert_close(
            projected.T @ projected / len(view), torch.eye(5).double(), atol=1e-6, rtol=0
        )


def test_regularization_solves_the_generalized_eigenproblem():
    from scipy.linalg import eigh

    first, second = (view.numpy() for view in views(40))
    count, share = len(first), 0.3
    blocks = [view.T @ view / count for view in (first, second)]
    blocks = [s + (share + 1e-9) * np.trace(s) / len(s) * np.eye(len(s)) for s in blocks]
    cross = first.T @ second / count
    left = np.block([[np.zeros((7, 7)), cross], [cross.T, np.zeros((5, 5))]])
    right = np.block([[blocks[0], np.zeros((7, 5))], [np.zeros((5, 7)), blocks[1]]])
    expected = eigh(left, right, eigvals_only=True)[::-1][:5]
    found = canonical_directions(
        torch.from_numpy(first), torch.from_numpy(second), count=9, regularization=share
    )
    np.testing.assert_allclose(found.correlations, expected, rtol=1e-9)


@pytest.mark.parametrize(("items", "count", "rank"), [(200, 3, 3), (200, 64, 5), (4, 64, 3)])
def test_there_are_no_more_directions_than_features_and_pairs_allow(items, count, rank):
    found = canonical_directions(*views(items), count=count, regularization=0.1)
    assert found.first.shape == (7, rank)
    assert found.second.shape == (5, rank)
    assert found.correlations.shape == (rank,)


def test_constant_features_correlate_with_nothing():
    first, _ = views()
    found = canonical_directions(first, torch.zeros(200, 5).double(), count=2, regularization=0.1)
    assert found.correlations.tolist() == pytest.approx([0, 0])
    assert found.second.isfinite().all()


@pytest.mark.parametrize("bits", [7, 16])
def test_itq_rotates_and_its_error_falls(bits):
    projections, _ = views()
    errors = []
    for iterations in (0, 1, 2, 5, 20, 50):
        rotation = itq_rotation(projections, bits, seed=0, iterations=iterations)
        assert rotation.shape == (7, bits)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(7).double())
        errors.append(quantization_error(projections, rotation).item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_itq_finds_the_best_rotation_of_the_plane():
    """Corners of a square, turned: some rotation puts them on (+-1, +-1) exactly."""
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).double()
    angle = torch.tensor(0.4).double()
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
    rotation = itq_rotation(corners @ turn, 2, seed=0)
    assert quantization_error(corners @ turn, rotation).item() == pytest.approx(0, abs=1e-12)


def logits_of(name, toy, **settings):
    nets = networks(name)
    begun(name, toy, nets, **settings)
    with torch.no_grad():
        return nets["image"].logits(toy.image), nets["text"].logits(toy.text)


def test_cca_itq_is_the_composition_of_its_parts():
    toy = make_toy(80)
    toy.has_image[:10] = False
    image, text = logits_of("cca-itq", toy, regularization=0.2, power=2)
    x, y = (view[10:].double() for view in (toy.image, toy.text))
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    found = canonical_directions(x, y, count=BITS, regularization=0.2)
    strength = found.correlations**2
    scaled = [x @ (found.first * strength), y @ (found.second * strength)]
    rotation = itq_rotation(torch.cat(scaled), BITS, seed=0)
    for logits, projected in zip((image, text), scaled, strict=True):
        torch.testing.assert_close(logits[10:].double(), projected @ rotation, atol=1e-4, rtol=1e-4)


def test_cca_itq_brings_both_halves_of_a_pair_together():
    toy = make_toy(100)
    image, text = logits_of("cca-itq", toy)
    agree = ((image > 0) == (text > 0)).float().mean(dim=1)
    strangers = ((image > 0) == (text.roll(1, dims=0) > 0)).float().mean(dim=1)
    assert agree.mean() > strangers.mean() + 0.2


def test_random_projections_are_centered_and_unrelated():
    toy = make_toy(400)
    image, text = logits_of("random-projection", toy)
    torch.testing.assert_close(image.mean(dim=0), torch.zeros(BITS), atol=1e-4, rtol=0)
    agree = ((image > 0) == (text > 0)).float().mean()
    assert agree.item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("name", CLOSED)
def test_labels_are_never_read(name):
    toy, other = make_toy(), make_toy()
    other.labels = other.labels.flip(1)
    for one, again in zip(logits_of(name, toy), logits_of(name, other), strict=True):
        assert torch.equal(one, again)


@pytest.mark.parametrize("name", CLOSED)
def test_standardization_comes_before_the_projection(name):
    toy = make_toy()
    nets = {
        "image": HashingNetwork(12, BITS, hidden=(), standardize=True),
        "text": HashingNetwork(20, BITS, hidden=(), standardize=True),
    }
    nets["image"].fit_standardization(toy.image)
    nets["text"].fit_standardization(toy.text)
    begun(name, toy, nets)
    toy.image = (toy.image - toy.image.mean(dim=0)) / toy.image.std(dim=0, correction=0)
    toy.text = (toy.text - toy.text.mean(dim=0)) / toy.text.std(dim=0, correction=0)
    with torch.no_grad():
        standardized = nets["image"].layers(toy.image), nets["text"].layers(toy.text)
    for one, again in zip(logits_of(name, toy), standardized, strict=True):
        torch.testing.assert_close(one, again, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("layers", [{"hidden": [1024]}, {"text_network": {"hidden": 1024}}])
def test_hidden_layers_are_refused(name, layers):
    with pytest.raises(UsageError, match=rf"method {name} is linear.*\(1024\).*leave out --hidden"):
        read_config({"data": "x", "out": "y", "method": name, **layers})
    config = read_config({"data": "x", "out": "y", "method": name})
    assert (config.hidden, config.epochs) == ((), 1)


def test_principal_directions_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    view, _ = views(50)
    found = principal_directions(view, count=4).numpy()
    theirs = PCA(n_components=4, svd_solver="full").fit(view.numpy()).components_.T
    assert np.abs((found * theirs).sum(axis=0)) == pytest.approx(np.ones(4))
    assert found[np.abs(found).argmax(axis=0), range(4)].min() > 0
    assert principal_directions(view[:3], count=9).shape == (7, 2)
    assert principal_directions(view, count=9).shape == (7, 7)


def test_itq_finds_items_that_are_alike_within_a_modality():
    from proxyhash.evaluation import mean_average_precision
    from tests.methods.test_contract import codes_of
    from tests.methods.toy import train_toy

    toy = make_toy(items=80)
    labels = toy.labels.bool().numpy()

    def within(name: str) -> list[float]:
        return [
            mean_average_precision(codes, codes, labels, labels, bits=BITS).value
            for codes in codes_of(train_toy(name, toy), toy)
        ]

    for learned, random in zip(within("itq"), within("random-projection"), strict=True):
        assert learned > random + 0.01


def test_cca_itq_of_one_modality_names_the_method_for_it():
    from dataclasses import replace

    rows = make_toy().rows()
    alone = replace(
        rows, features={"image": rows.features["image"]}, present={"image": rows.present["image"]}
    )
    net = {"image": networks("cca-itq")["image"]}
    with pytest.raises(UsageError, match=r"learns from pairs, and the run has one.*--method itq"):
        begun_on(net, alone)


def begun_on(nets, rows):
    from tests.methods.toy import objective_of

    objective_of("cca-itq", make_toy()).begin_run(nets, rows)
