"""Limits for gradients, norms and weights, each as a formula on graph nodes."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.errors import ConfigError
from chainrule.graph.expr import Expr
from chainrule.ops import abs, clip, equal, max, maximum, norm, sign, sqrt, square, where
from chainrule.ops import sum as total

__all__ = ["clip_by_norm", "clip_by_value", "global_norm", "limit_unit_norms", "shrink"]


def clip_by_value(gradients: Mapping[str, Expr], limit: float) -> dict[str, Expr]:
    """Every element limited to [−c, c]; NaN stays NaN."""
    return {name: clip(g, -limit, limit) for name, g in gradients.items()}


def clip_by_norm(gradients: Mapping[str, Expr], limit: float) -> dict[str, Expr]:
    """g ← g · c / max(‖g‖, c), one norm over all gradients, so that their direction stays
    (Pascanu, Mikolov & Bengio 2013, alg. 1).

    PyTorch's ``clip_grad_norm_`` divides by ‖g‖ + 10⁻⁶ and so ends a little below c.
    """
    if not gradients:
        return {}
    scale = limit / maximum(global_norm(gradients), limit)
    return {name: g * scale for name, g in gradients.items()}


def global_norm(gradients: Mapping[str, Expr]) -> Expr:
    """‖g‖₂ over all gradients together, a scalar. The largest |g| is divided out first, so that squares of
    gradients that explode (> 10¹⁹ in float32) do not overflow: just those must be clipped rightly."""
    largest = [max(abs(g)) for g in gradients.values() if g.size]
    if not largest:
        raise ConfigError("global_norm: there is no gradient; are all parameters frozen?")
    top = largest[0]
    for other in largest[1:]:
        top = maximum(top, other)
    unit = where(equal(top, 0), 1, top)
    squares = [total(square(g / unit)) for g in gradients.values()]
    whole = squares[0]
    for s in squares[1:]:
        whole = whole + s
    return top * sqrt(whole)


def limit_unit_norms(W: Expr, limit: float) -> Expr:
    """w ← w · c / max(‖w‖, c) for the incoming weights w of every unit, a column of W (…, in, out)
    (Hinton et al. 2012, arXiv:1207.0580, appendix A.1)."""
    lengths = norm(W, range(W.ndim - 1), keepdims=True)
    return W * (limit / maximum(lengths, limit))


def shrink(w: Expr, amount: Expr) -> Expr:
    """sign(w)·max(|w| − a, 0): the proximal step of a‖w‖₁; what is within a of zero becomes exactly 0
    (Parikh & Boyd 2014, section 6.5.2)."""
    return sign(w) * maximum(abs(w) - amount, 0)
