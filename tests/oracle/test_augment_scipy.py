"""The warp against scipy.ndimage, real sparse matrices and tensors at the door."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy import ndimage

from chainrule.data import Augment, as_named, check_inputs
from chainrule.data.warp import Workspace, bilinear, inverse_affine, source
from chainrule.errors import DataError

COUNT = 40


@pytest.mark.parametrize("shape", [(28, 28), (13, 40)])
def test_affine_maps_equal_affine_transform(shape):
    rng = np.random.default_rng(0)
    x = rng.random((COUNT, *shape, 1))
    matrix = inverse_affine(
        rng.uniform(-180, 180, COUNT), rng.uniform(0.5, 2, (COUNT, 2)), rng.uniform(-1, 1, COUNT)
    )
    shift, space = rng.uniform(-9, 9, (COUNT, 2)), Workspace()
    found = bilinear(x, *source(matrix, shift, *shape, space), space)[..., 0]
    middle = (np.array(shape) - 1) / 2
    for image, M, t, ours in zip(x[..., 0], matrix, shift, found, strict=True):
        theirs = ndimage.affine_transform(image, M, middle - t - M @ middle, order=1, mode="grid-constant")
        np.testing.assert_allclose(ours, theirs, atol=2e-5)  # coordinates of up to 40 in float32


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_everything_together_equals_map_coordinates(dtype):
    x = np.random.default_rng(1).integers(0, 256, (COUNT, 28, 28)).astype(dtype)
    aug = Augment(shift=2, rotate=25, scale=0.2, shear=0.2, elastic=2)
    rows = np.arange(COUNT, dtype=np.uint64)
    places = np.stack(aug._source(x[..., None], 7, 3, rows, Workspace()), 1)
    for image, place, ours in zip(x, places, aug(x, (28, 28), 7, 3), strict=True):
        theirs = ndimage.map_coordinates(image.astype(float), place, order=1, mode="grid-constant")
        np.testing.assert_allclose(ours, theirs, atol=0.51 if dtype == "uint8" else 0.01)


def test_the_elastic_field_resembles_smoothed_noise():
    """Simard's recipe, uniform noise at every pixel smoothed by a Gaussian, has the same correlations."""
    σ, side, rng = 3.0, 28, np.random.default_rng(2)
    noise = rng.uniform(-1, 1, (600, side + 40, side + 40))
    theirs = ndimage.gaussian_filter(noise, (0, σ, σ))[:, 20:-20, 20:-20]
    aug = Augment(shift=0, rotate=0, scale=0, shear=0, elastic=1, elastic_smoothing=σ)
    blank, rows = np.zeros((600, side, side, 1), np.uint8), np.arange(600, dtype=np.uint64)
    ours = aug._source(blank, 0, 0, rows, Workspace())[1] - np.arange(side)
    for lag in (1, 3, 6, 10):
        assert correlation(ours, lag) == pytest.approx(correlation(theirs, lag), abs=0.04)


def correlation(field: np.ndarray, lag: int) -> float:
    return float((field[:, lag:] * field[:, :-lag]).mean() / (field**2).mean())


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix", "dok_array"])
def test_sparse_matrices_are_named_with_their_remedy(kind):
    with pytest.raises(DataError, match=r"x is a sparse matrix; give a dense array: x.toarray\(\)"):
        as_named(getattr(scipy.sparse, kind)(np.eye(3)), "x")


def test_tensors_come_through_and_those_that_require_gradients_say_so():
    values = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    np.testing.assert_array_equal(check_inputs(as_named(values, "x"))["x"], values.numpy())
    with pytest.raises(DataError, match=r"x cannot be read as an array \(.*requires grad"):
        as_named(values.requires_grad_(), "x")
