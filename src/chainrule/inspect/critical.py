"""How a loss bends: its Hessian at a point, what kind of critical point that is, its largest eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chainrule import optim
from chainrule.errors import ConfigError, ShapeError
from chainrule.executors import decide
from chainrule.network import Network
from chainrule.train import Objective
from chainrule.train.prepare import prepare_data, sample_specs, take_inputs
from chainrule.train.whole import Whole, check_repeatable, rows_at_once

__all__ = ["CriticalPoint", "Curvature", "classify_critical_point", "curvature", "top_eigenvalues"]

Array = npt.NDArray[np.float64]
Kind = Literal["minimum", "maximum", "saddle", "degenerate", "slope"]

_PRODUCTS = 100  # that a look at a network takes, about
_MOST = optim.Newton.most_parameters


@dataclass(frozen=True, eq=False)
class Curvature:
    """A loss at a point, its penalties included.

    value      f
    gradient   ∇f, (P,): all parameters that are trained as one vector
    product    V → MV, of a vector (P,) or of columns (P, k), M being the Hessian or the Gauss-Newton matrix
    """

    value: float
    gradient: Array
    product: optim.Product

    def matrix(self) -> Array:
        """M itself, (P, P), by P products; ConfigError for more than 2,000 parameters."""
        if (size := len(self.gradient)) > _MOST:
            raise ConfigError(
                f"curvature: a matrix of {size:,} by {size:,} is more than the {_MOST:,} that are written "
                "out; use the products, as top_eigenvalues does"
            )
        M = self.product(np.eye(len(self.gradient)))
        return 0.5 * (M + M.T)


def curvature(
    network: Network,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    gauss_newton: bool = False,
    executor: str = "auto",
) -> Curvature:
    """How the loss of a fitted network bends at its present parameters, over all rows given.

    gauss_newton   in the place of the Hessian, JᵀH_LJ: without the curvature of the network itself

    ConfigError for a network that has not been fitted, or whose loss is noise (Dropout) or of a batch.

    >>> import numpy as np
    >>> from chainrule import nn
    >>> x = np.array([[1.0], [2.0]])
    >>> net = Network(nn.Dense(1), dtype="float64")
    >>> history = net.fit(x, 3 * x, optimizer="newton", verbose=0)
    >>> curvature(net, x, 3 * x).matrix()  # mean (wx + b − y)²: 2 mean x² and 2 mean x
    array([[5., 3.],
           [3., 2.]])
    """
    if network.loss is None or network.model is None:
        raise ConfigError("curvature needs the loss of a fit; call fit first")
    model = network.model
    data, losses = prepare_data(take_inputs(x, model.dtype, model), y, sample_weight, network.loss, model)
    rule = network.optimizer or optim.LBFGS()
    objective = Objective(model, losses, {}, sample_specs(data.targets), rule, masks=True)
    asks: optim.Asks = "gauss_newton" if gauss_newton else "hessian"
    program = objective.curvature(rows_at_once(data), asks)
    check_repeatable(program, objective)
    chosen, _ = decide(executor, program.outputs.values(), _PRODUCTS, 2)
    whole = Whole(objective, network.state, data, chosen, None)
    return Curvature(*whole.asked(asks)(whole.pack(network.state)))


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """A point where the gradient vanishes.

    kind          "minimum": all eigenvalues of the Hessian are positive; "maximum": all are negative;
                  "saddle": both occur; "degenerate": some vanish and the others have one sign, so that higher
                  derivatives decide; "slope": the gradient does not vanish, it is no critical point
    eigenvalues   ascending, (n,)
    index         how many are negative: the directions that lead down
    """

    kind: Kind
    eigenvalues: Array
    index: int


def classify_critical_point(
    hessian: npt.ArrayLike,
    gradient: npt.ArrayLike | None = None,
    *,
    vanishing: float = 1e-6,
    flat: float = 1e-4,
) -> CriticalPoint:
    """The kind of a critical point by the eigenvalues of its Hessian, (n, n).

    gradient    without it the point is taken to be critical
    vanishing   eigenvalues count as 0 up to this share of the largest one
    flat        the gradient does where max |∂f/∂xᵢ| is at most this

    >>> classify_critical_point([[0.08, -3.0], [-3.0, 0.08]])
    CriticalPoint(kind='saddle', eigenvalues=array([-2.92,  3.08]), index=1)
    """
    H = np.asarray(hessian, np.float64)
    if H.ndim != 2 or H.shape[0] != H.shape[1] or not np.isfinite(H).all():
        raise ShapeError(
            f"classify_critical_point: a Hessian is a square matrix of finite numbers, not {H.shape}"
        )
    λ: Array = np.linalg.eigvalsh(0.5 * (H + H.T)).astype(np.float64)
    bound = vanishing * np.abs(λ).max(initial=0.0)
    down, up = int((λ < -bound).sum()), int((λ > bound).sum())
    kind: Kind
    if gradient is not None and not np.abs(np.asarray(gradient)).max(initial=0.0) <= flat:
        kind = "slope"
    elif down and up:
        kind = "saddle"
    elif down + up < len(λ):
        kind = "degenerate"
    else:
        kind = "minimum" if up else "maximum"
    return CriticalPoint(kind, λ, down)


def top_eigenvalues(
    product: optim.Product,
    size: int,
    count: int = 1,
    *,
    iterations: int = 200,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> Array:
    """The largest eigenvalues of a symmetric matrix from products with it, descending, (count,): Lanczos'
    method, every direction made orthogonal to all before it  (Golub & Van Loan 2013, algorithm 10.3.1).

    product      V → MV, such as ``curvature(net, x, y).product``; of −M the smallest eigenvalues follow
    iterations   at most; memory is iterations · size numbers
    tolerance    of their errors, as a share of the largest |eigenvalue|

    >>> import numpy as np
    >>> top_eigenvalues(np.diag([1.0, 5.0, 3.0]).__matmul__, 3, 2).round(9)
    array([5., 3.])
    """
    if not 1 <= count <= size:
        raise ConfigError(f"top_eigenvalues: count is {count}, of a matrix that has {size}")
    q = np.random.default_rng(seed).standard_normal(size)
    Q, α, β = [q / np.linalg.norm(q)], list[float](), list[float]()
    while True:
        w = product(Q[-1])
        α.append(float(w @ Q[-1]))
        basis = np.stack(Q)
        for _ in range(2):  # once leaves what rounding has put there
            w = w - basis.T @ (basis @ w)
        β.append(float(np.linalg.norm(w)))
        values, vectors = np.linalg.eigh(np.diag(α) + np.diag(β[:-1], 1) + np.diag(β[:-1], -1))
        largest = float(np.abs(values).max())
        errors = β[-1] * np.abs(vectors[-1, -count:])
        whole = len(Q) in (size, iterations) or β[-1] <= 1e-14 * max(largest, 1e-300)
        if whole or (len(Q) >= count and (errors <= tolerance * largest).all()):
            break
        Q.append(w / β[-1])
    if len(values) < count:
        raise ConfigError(
            f"top_eigenvalues: {len(values)} of {count} were found; raise iterations, or take another seed"
        )
    return np.array(values[::-1][:count])
