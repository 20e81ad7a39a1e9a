"""How an objective bends: products with its Hessian, its Gauss-Newton matrix, or its residuals' Jacobian."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule import losses
from chainrule.autodiff import hvp, jvp, vjp
from chainrule.errors import ConfigError
from chainrule.graph.expr import Expr, input

__all__ = ["gauss_newton", "hessian", "residuals", "tangent_name", "tangents"]

Nodes = Mapping[str, Expr]


def tangent_name(parameter: str) -> str:
    """The name of the input that holds what a matrix is multiplied by, for a parameter."""
    return f"tangent/{parameter}"


def tangents(θ: Nodes) -> dict[str, Expr]:
    """An input for each parameter, of its shape."""
    return {name: input(tangent_name(name), x.shape, x.dtype) for name, x in θ.items()}


def hessian(objective: Expr, θ: Nodes, v: Nodes) -> dict[str, Expr]:
    """Hv of the objective, penalties included, by parameter."""
    return _named("product", θ, hvp(objective, list(θ.values()), list(v.values())))


def gauss_newton(objective: Expr, outputs: Nodes, θ: Nodes, v: Nodes) -> dict[str, Expr]:
    """Gv = Jᵀ(∂²L/∂y²)Jv, J = ∂y/∂θ of the network's outputs y (Schraudolph 2002, section 3): the Hessian
    without the curvature of the network itself, so positive semidefinite for a loss that is convex in y. The
    penalty, and other losses than those of the outputs, are left out."""
    y, wrt = list(outputs.values()), list(θ.values())
    moved = jvp(y, wrt, list(v.values()))
    return _named("product", θ, vjp(y, wrt, hvp(objective, y, moved)))


def residuals(
    loss: Mapping[str, object], outputs: Nodes, targets: Nodes, added: Nodes, θ: Nodes, v: Nodes
) -> dict[str, Expr]:
    """The residuals r of each output, (batch, …), and how they change along v, Jv."""
    if added:
        raise ConfigError(
            "LevenbergMarquardt fits sums of squares, and a layer adds a loss of its own, "
            f"{next(iter(added))}: use LBFGS"
        )
    found = {}
    for name, given in loss.items():
        if not isinstance(given, losses.LeastSquares):
            raise ConfigError(
                f"LevenbergMarquardt fits sums of squares, {given!r} is none: give the loss "
                "MeanSquaredError() or HalfSquaredError(), or use LBFGS"
            )
        found[f"residuals:{name}"] = given.residuals(outputs[name], targets[name])
    moved = jvp(list(found.values()), list(θ.values()), list(v.values()))
    return found | _named("tangents", loss, moved)


def _named(what: str, names: Mapping[str, object], nodes: list[Expr]) -> dict[str, Expr]:
    return {f"{what}:{name}": node for name, node in zip(names, nodes, strict=True)}
