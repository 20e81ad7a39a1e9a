"""Attention composed of primitives: every query takes a mean of the values, weighted by how its key fits."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.graph.expr import Expr, constant
from chainrule.ops.elementwise import where
from chainrule.ops.functions import softmax
from chainrule.ops.linalg import matmul
from chainrule.ops.shape import transpose
from chainrule.spec import is_float

__all__ = ["attention", "attention_scores"]


def attention(query: Expr, key: Expr, value: Expr, mask: Expr | None = None, *, causal: bool = False) -> Expr:
    """Scaled dot-product attention  softmax(q kᵀ/√d) v  (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    query (…, T, d), key (…, S, d), value (…, S, m) → (…, T, m)

    mask and causal as for :func:`attention_scores`. What is hidden has the weight 0 exactly; a query from
    which everything is hidden gets zeros.

    >>> from chainrule import ops
    >>> from chainrule.executors import evaluate
    >>> q, k, v = (ops.constant(x) for x in ([[1.0]], [[5.0], [5.0], [9.0]], [[1.0], [3.0], [7.0]]))
    >>> evaluate([attention(q, k, v, ops.constant([True, True, False]))], {})[0]
    array([[2.]], dtype=float32)
    """
    scores = attention_scores(query, key, mask, causal=causal)
    if value.shape[:-1] != key.shape[:-1]:
        raise ShapeError(
            f"attention: keys {key.spec} and values {value.spec}; there is one value for every key"
        )
    return matmul(softmax(scores), value)


def attention_scores(query: Expr, key: Expr, mask: Expr | None = None, *, causal: bool = False) -> Expr:
    """q kᵀ/√d, and −∞ at what is hidden.   query (…, T, d), key (…, S, d) → (…, T, S)

    mask      booleans that fit (…, T, S) by broadcasting: False hides a key from a query
    causal    hides key j from query i where j > i: what comes later

    >>> from chainrule import ops
    >>> x = ops.input("x", (2, 5, 4))
    >>> attention_scores(x, x, causal=True).shape
    (2, 5, 5)
    """
    if query.ndim < 2 or query.ndim != key.ndim or query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"attention: queries {query.spec} and keys {key.spec}; (…, T, d) and (…, S, d) are needed"
        )
    if not is_float(query.dtype):
        raise DTypeError(f"attention: queries are floating-point, got {query.spec}; use ops.cast")
    scores = matmul(query * (1 / math.sqrt(query.shape[-1])), transpose(key))
    if causal:
        order = np.tri(*scores.shape[-2:], dtype=np.bool_)
        scores = where(constant(order), scores, -math.inf)
    if mask is None:
        return scores
    if mask.dtype.kind != "b":
        raise DTypeError(f"attention: the mask is {mask.spec}; it holds booleans: write mask > 0")
    return where(mask, scores, -math.inf)
