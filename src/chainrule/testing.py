"""Checks for what users write themselves: gradients against differences, executors against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.autodiff import vjp
from chainrule.errors import ChainruleError
from chainrule.executors import EXECUTORS, compile, evaluate
from chainrule.graph.check import check
from chainrule.graph.expr import Expr, input
from chainrule.spec import is_float

__all__ = ["MismatchError", "check_gradients", "compare_executors"]

Array = npt.NDArray[Any]

_MOST_ELEMENTS = 200  # of one input; of larger ones that many are drawn
_TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


class MismatchError(ChainruleError, AssertionError):
    """Two ways to compute one thing disagree."""


# ------------------------------------------------------------------ gradients


def check_gradients(
    function: Callable[..., Expr | Sequence[Expr]],
    *arrays: Any,
    order: int = 2,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    seed: int = 0,
) -> None:
    """Compare the gradient of a function of nodes with central differences, in float64.

    The outputs are projected on random cotangents c, and for every element of every floating-point input

        |∂(c·f)/∂x − (c·f(x + ε) − c·f(x − ε)) / 2ε|  ≤  atol + rtol·|difference|

    is asked; with ``order=2`` the same of the graph of the gradient. Of inputs with more than 200 elements
    200 are drawn. Integer and boolean arrays are passed on and not differentiated.
    MismatchError names the input and the element.

    >>> from chainrule import ops
    >>> check_gradients(lambda x, w: ops.tanh(x @ w), np.ones((2, 3)), np.full((3, 4), 0.1))
    """
    values = [np.asarray(a, np.float64) if np.asarray(a).dtype.kind == "f" else np.asarray(a) for a in arrays]
    given = {input(f"input {i}", v.shape, v.dtype): v for i, v in enumerate(values)}
    found = function(*given)
    outputs = [y for y in ([found] if isinstance(found, Expr) else found) if is_float(y.dtype)]
    check(outputs)
    generator = np.random.Generator(np.random.Philox(seed))
    for k in range(1, order + 1):
        outputs = _check_order(k, outputs, given, generator, eps, atol, rtol)


def _check_order(
    order: int,
    outputs: Sequence[Expr],
    given: dict[Expr, Array],
    generator: np.random.Generator,
    eps: float,
    atol: float,
    rtol: float,
) -> list[Expr]:
    """Check the gradient of these outputs; → its graph, with the cotangents among the given inputs."""
    wrt = [x for x in given if is_float(x.dtype)]
    cotangents = [input(f"cotangent {i} of order {order}", y.shape, y.dtype) for i, y in enumerate(outputs)]
    weights = [generator.uniform(0.5, 1.5, c.shape) for c in cotangents]
    weights = [np.asarray(w * generator.choice([-1, 1], np.shape(w))) for w in weights]
    gradients = vjp(outputs, wrt, cotangents)
    check(gradients)
    run = compile(outputs, list(given), executor="reference")

    def projected(x: Expr, shifted: Array) -> float:
        ys = run(*[shifted if other is x else value for other, value in given.items()])
        return float(
            np.sum([np.sum(c * np.asarray(y, np.float64)) for c, y in zip(weights, ys, strict=True)])
        )

    found = evaluate(gradients, {**given, **dict(zip(cotangents, weights, strict=True))})
    for x, g in zip(wrt, found, strict=True):
        places = np.arange(x.size)
        if x.size > _MOST_ELEMENTS:
            places = np.sort(generator.choice(x.size, _MOST_ELEMENTS, replace=False))
        differences = np.array([_difference(projected, x, given[x], int(i), eps) for i in places])
        _compare(order, x, np.ravel(g)[places], differences, places, atol, rtol)
    given.update(zip(cotangents, weights, strict=True))
    return gradients


def _difference(
    projected: Callable[[Expr, Array], float], x: Expr, value: Array, place: int, eps: float
) -> float:
    """(f(x + ε) − f(x − ε)) / 2ε in one element, with ε as it was rounded."""
    up, down = value.copy(), value.copy()
    up.flat[place] += eps
    down.flat[place] -= eps
    return (projected(x, up) - projected(x, down)) / float(up.flat[place] - down.flat[place])


def _compare(
    order: int, x: Expr, found: Array, differences: Array, places: Array, atol: float, rtol: float
) -> None:
    error = np.abs(found - differences)
    wrong = ~(error <= atol + rtol * np.abs(differences))  # NaN is wrong
    if not wrong.any():
        return
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    element = [int(i) for i in np.unravel_index(places[worst], x.shape)]
    raise MismatchError(
        f"check_gradients: order {order}, {x.meta['name']} {x.spec}, element {element}: "
        f"the gradient is {found[worst]:.8g}, differences give {differences[worst]:.8g} "
        f"(error {error[worst]:.2g}, allowed {atol:g} + {rtol:g}·|difference|); "
        f"{int(wrong.sum())} of {len(wrong)} elements disagree. Look at the gradient rule of what this input "
        "enters, and whether the point lies on a kink"
    )


# ------------------------------------------------------------------ executors


def compare_executors(
    outputs: Sequence[Expr],
    given: Mapping[Expr, Any],
    executors: Sequence[str] | None = None,
    *,
    rtol: float | None = None,
    atol: float = 0.0,
) -> None:
    """Compare executors (all by default) with the reference that walks the graph as it is, without any pass.

    |value − reference| ≤ atol + rtol · largest |reference| of that output; rtol is 1e-12 for float64 and 1e-5
    for float32 unless given. Integers, booleans, NaN and infinities must be equal.
    MismatchError names the output.

    >>> from chainrule import ops
    >>> x = ops.input("x", (3,))
    >>> compare_executors([ops.softmax(x)], {x: [1, 2, 3]})
    """
    arrays = {x: np.asarray(a, x.dtype) for x, a in given.items()}
    expected = evaluate(outputs, arrays)
    for name in executors if executors is not None else list(EXECUTORS):
        found = compile(outputs, list(arrays), executor=name)(*arrays.values())
        for i, (y, a, b) in enumerate(zip(outputs, expected, found, strict=True)):
            where = f"compare_executors: output {i} ({y.primitive.name} {y.spec}) on {name!r}"
            if b.dtype != y.dtype or b.shape != y.shape:
                raise MismatchError(f"{where} is {b.dtype.name}{list(b.shape)}")
            _compare_values(where, a, b, _TOLERANCE.get(y.dtype.name, 0.0) if rtol is None else rtol, atol)


def _compare_values(where: str, expected: Array, found: Array, rtol: float, atol: float) -> None:
    if expected.dtype.kind != "f":
        wrong = expected != found
        error = wrong.astype(np.float64)
    else:
        finite = np.isfinite(expected)
        scale = float(np.max(np.abs(expected[finite]), initial=0.0))
        with np.errstate(invalid="ignore"):
            error = np.where(finite, np.abs(found.astype(np.float64) - expected), 0.0)
            same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        wrong = ~np.where(finite, error <= atol + rtol * scale, same)
    if wrong.any():
        worst = np.unravel_index(
            int(np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0))), wrong.shape
        )
        raise MismatchError(
            f"{where}: element {[int(i) for i in worst]} is {found[worst]}, the reference gives "
            f"{expected[worst]}; {int(wrong.sum())} of {wrong.size} elements disagree"
        )
