"""What one can see inside, as data and as pictures.

critical.py  curvature, classify_critical_point, top_eigenvalues: how a loss bends
graphs.py  draw_graph: the computational graph with each node's value and gradient
paths.py   count_paths, count_multiply_adds: why one sweep backwards is enough
"""

from chainrule.inspect.critical import (
    CriticalPoint,
    Curvature,
    classify_critical_point,
    curvature,
    top_eigenvalues,
)
from chainrule.inspect.graphs import draw_graph
from chainrule.inspect.paths import count_paths
from chainrule.summary import count_multiply_adds

__all__ = [
    "CriticalPoint",
    "Curvature",
    "classify_critical_point",
    "count_multiply_adds",
    "count_paths",
    "curvature",
    "draw_graph",
    "top_eigenvalues",
]
