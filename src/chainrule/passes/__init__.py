"""Passes: pure functions from graph to graph that change what it costs, never what it means."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.graph.expr import Expr
from chainrule.passes.common import merge_common
from chainrule.passes.simplify import simplify

__all__ = ["merge_common", "optimize", "simplify"]


def optimize(outputs: Sequence[Expr]) -> list[Expr]:
    """Every pass that each executor wants, in order."""
    return merge_common(simplify(outputs))
