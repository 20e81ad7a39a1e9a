"""Draws docs/images/circuit.svg: the sigmoid circuit of the textbooks, from a graph and its gradient.

python docs/draw_circuit.py
"""

from __future__ import annotations

from pathlib import Path

from chainrule import ops
from chainrule.inspect import draw_graph

TARGET = Path(__file__).parent / "images" / "circuit.svg"


def circuit() -> str:
    """f = 1/(1 + e^−(w₀x₀ + w₁x₁ + w₂)), node by node."""
    names = ("w₀", "x₀", "w₁", "x₁", "w₂")
    w0, x0, w1, x1, w2 = inputs = [ops.input(name) for name in names]
    f = 1 / (1 + ops.exp(-(w0 * x0 + w1 * x1 + w2)))
    given = dict(zip(inputs, (2, -1, -3, -2, -3), strict=True))
    return draw_graph(f, given, title="f = σ(w₀x₀ + w₁x₁ + w₂) and its gradient, node by node")


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(circuit() + "\n", encoding="utf-8")
