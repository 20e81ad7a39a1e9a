"""Networks for other programs: ONNX files, and weights from and to PyTorch."""

from __future__ import annotations

from chainrule.export.onnx import to_onnx

__all__ = ["to_onnx"]
