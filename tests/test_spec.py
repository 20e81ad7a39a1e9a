"""Static types against NumPy: promotion is a lattice, broadcasting is NumPy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import ChainruleError, DTypeError, ShapeError
from chainrule.spec import (
    DTYPES,
    Spec,
    as_dtype,
    as_shape,
    broadcast_shapes,
    is_float,
    is_integer,
    normalize_axes,
    promote,
    scalar_dtype,
)

law = settings(max_examples=200)
shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)
dtypes = st.sampled_from(list(DTYPES.values()))

# ------------------------------------------------------------------ Spec and shapes


def test_spec_knows_its_size_in_elements_and_bytes():
    spec = Spec((100, 784), DTYPES["float32"])
    assert (spec.ndim, spec.size, spec.nbytes) == (2, 78_400, 313_600)
    assert str(spec) == "float32[100, 784]"
    assert Spec((), DTYPES["int64"]).size == 1
    assert spec.with_shape((3,)) == Spec((3,), DTYPES["float32"])
    assert spec.with_dtype(DTYPES["bool"]) == Spec((100, 784), DTYPES["bool"])


def test_specs_are_equal_by_value_and_hash_alike():
    assert Spec((2,), as_dtype("float32")) == Spec((2,), as_dtype(np.float32))
    assert (
        len({Spec((2,), as_dtype("f4")), Spec((2,), DTYPES["float32"]), Spec((3,), DTYPES["float32"])}) == 2
    )


@pytest.mark.parametrize(("shape", "expected"), [(3, (3,)), ([2, 0], (2, 0)), ((), ()), (np.int64(4), (4,))])
def test_as_shape_gives_python_integers(shape, expected):
    found = as_shape(shape)
    assert found == expected
    assert all(type(n) is int for n in found)


@pytest.mark.parametrize("shape", [(-1,), (2.0,), ("2",), (None,)])
def test_as_shape_refuses_what_is_not_a_size(shape):
    with pytest.raises(ShapeError, match="non-negative integers"):
        as_shape(shape)


# ------------------------------------------------------------------ dtypes


@pytest.mark.parametrize("name", list(DTYPES))
def test_as_dtype_accepts_names_types_and_foreign_byte_orders(name):
    swapped = np.dtype(name).newbyteorder()
    for given_as in (name, np.dtype(name), np.dtype(name).type, swapped):
        assert as_dtype(given_as) is DTYPES[name]


@pytest.mark.parametrize("dtype", ["float16", "complex64", "uint16", "int8", object, "U3", "datetime64[s]"])
def test_as_dtype_refuses_the_rest_and_lists_the_six(dtype):
    with pytest.raises(DTypeError, match="bool, float32, float64, int32, int64, uint8"):
        as_dtype(dtype)


@pytest.mark.parametrize("dtype", ["flaot32", 7, {}])
def test_as_dtype_refuses_what_is_no_dtype(dtype):
    with pytest.raises(DTypeError):
        as_dtype(dtype)


def test_a_misspelt_dtype_is_answered_with_the_nearest():
    with pytest.raises(DTypeError, match="did you mean 'float32'"):
        as_dtype("flaot32")


def test_kinds():
    assert [n for n, d in DTYPES.items() if is_float(d)] == ["float32", "float64"]
    assert [n for n, d in DTYPES.items() if is_integer(d)] == ["uint8", "int32", "int64"]


@law
@given(dtypes, dtypes, dtypes)
def test_promotion_is_a_lattice(a, b, c):
    assert promote(a, a) == a
    assert promote(a, b) == promote(b, a)
    assert promote(promote(a, b), c) == promote(a, promote(b, c))
    assert promote(promote(a, b), a) == promote(a, b)  # the join lies above both


def test_promotion_is_numpys_but_for_integers_beside_float32():
    for a, b in itertools.product(DTYPES.values(), repeat=2):
        narrow = {a.name, b.name} in ({"int32", "float32"}, {"int64", "float32"})
        assert promote(a, b) == (DTYPES["float32"] if narrow else np.promote_types(a, b))


@pytest.mark.parametrize(
    ("value", "other", "expected"),
    [
        (True, "float32", "bool"),
        (2, "bool", "int64"),
        (255, "uint8", "uint8"),
        (-1, "int32", "int32"),
        (2, "float32", "float32"),
        (2.5, "float64", "float64"),
        (2.5, "float32", "float32"),
        (2.5, "int64", "float32"),
        (2.5, "bool", "float32"),
        (np.int32(3), "uint8", "uint8"),
    ],
)
def test_python_scalars_are_weak(value, other, expected):
    assert scalar_dtype(value, DTYPES[other]).name == expected


@pytest.mark.parametrize(
    ("value", "other"), [(256, "uint8"), (-1, "uint8"), (2**31, "int32"), (2**63, "int64")]
)
def test_an_integer_that_does_not_fit_is_refused(value, other):
    with pytest.raises(DTypeError, match=f"{value} does not fit into {other}; cast"):
        scalar_dtype(value, DTYPES[other])


# ------------------------------------------------------------------ broadcasting and axes


@law
@given(st.lists(shapes, max_size=3))
def test_broadcasting_is_numpys(many):
    try:
        expected = np.broadcast_shapes(*many)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast_shapes(*many)
    else:
        assert broadcast_shapes(*many) == expected


def test_a_broadcast_that_fails_names_operation_shapes_sizes_and_remedy():
    with pytest.raises(ShapeError) as caught:
        broadcast_shapes((100, 144), (225,), operation="add")
    assert str(caught.value) == (
        "add: shapes (100, 144) and (225,) do not broadcast: sizes 144 and 225 meet on one axis. "
        "Aligned at the right, sizes must be equal or 1; reshape or transpose one of them"
    )


@law
@given(st.integers(0, 4), st.lists(st.integers(-5, 5), max_size=4))
def test_axes_are_normalised_or_refused(ndim, axes):
    valid = all(-ndim <= a < ndim for a in axes) and len({a % ndim for a in axes if ndim}) == len(axes)
    if not valid:
        with pytest.raises(ShapeError, match="sum"):
            normalize_axes(axes, ndim, "sum")
    else:
        found = normalize_axes(axes, ndim, "sum")
        assert found == tuple(sorted(a % ndim for a in axes))


def test_no_axes_named_means_all_of_them():
    assert normalize_axes(None, 3, "sum") == (0, 1, 2)
    assert normalize_axes((), 3, "sum") == ()
    assert normalize_axes(-1, 3, "sum") == (2,)


def test_every_refusal_is_a_chainrule_error():
    for call in (lambda: as_shape(-1), lambda: as_dtype("x"), lambda: normalize_axes(9, 1, "sum")):
        with pytest.raises(ChainruleError):
            call()
