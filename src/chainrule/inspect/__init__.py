"""What one can see inside, as data and as pictures.

graphs.py  draw_graph: the computational graph with each node's value and gradient
paths.py   count_paths, count_multiply_adds: why one sweep backwards is enough
"""

from chainrule.inspect.graphs import draw_graph
from chainrule.inspect.paths import count_paths
from chainrule.summary import count_multiply_adds

__all__ = ["count_multiply_adds", "count_paths", "draw_graph"]
