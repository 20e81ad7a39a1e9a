"""Passes: pure functions from graph to graph that change what it costs, never what it means."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.graph.expr import Expr
from chainrule.passes.common import merge_common
from chainrule.passes.scans import settle_scans, unrolled_scans
from chainrule.passes.simplify import simplify
from chainrule.passes.subgraphs import inlined

__all__ = ["inlined", "merge_common", "optimize", "settle_scans", "simplify", "unrolled_scans"]


def optimize(outputs: Sequence[Expr]) -> list[Expr]:
    """Every pass that each executor wants, in order."""
    return merge_common(simplify(settle_scans(outputs)))
