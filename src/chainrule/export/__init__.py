"""Networks for other programs: ONNX files, and weights from and to PyTorch."""

from __future__ import annotations

from chainrule.export.onnx import to_onnx
from chainrule.export.torch import load_torch_state, to_torch_state

__all__ = ["load_torch_state", "to_onnx", "to_torch_state"]
