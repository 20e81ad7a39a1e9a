"""Emitter: collects the nodes and initialisers of an ONNX graph, and writes sizes that the rows decide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import MissingExtraError
from chainrule.export.dynamic import Size, unknown_rows
from chainrule.spec import DType

__all__ = ["Emitter", "onnx_package", "plain_name", "tensor_type"]

Array = np.ndarray[Any, Any]

_KEPT = 0  # in the shape of a Reshape: the size that the input has there
_INFERRED = -1


def onnx_package() -> Any:
    """The package onnx, imported when it is first needed; MissingExtraError says how to get it."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise MissingExtraError(
            f'an ONNX file is made with the package onnx: pip install "chainrule[onnx]" ({error})'
        ) from error
    return onnx


def tensor_type(dtype: DType | str) -> int:
    """ONNX's number for a dtype; "str" is text."""
    proto = onnx_package().TensorProto
    if dtype == "str":
        return int(proto.STRING)
    return int(onnx_package().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


class Emitter:
    """An ONNX graph that is being written.

    rows    the name of the tensor whose first axis counts the rows
    """

    def __init__(self, rows: str) -> None:
        self.onnx = onnx_package()
        self.rows = rows
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.path = ""  # of the layer that is being written: it goes into the tensors' names
        self._taken: set[str] = set()
        self._constants: dict[Any, str] = {}
        self._sizes: dict[Size, str] = {}

    # ------------------------------------------------------------------ nodes

    def __call__(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output; the output's name. Attributes that are None are left out."""
        return self.several(operator, inputs, 1, domain=domain, **attributes)[0]

    def several(
        self, operator: str, inputs: Sequence[str], count: int, *, domain: str = "", **attributes: Any
    ) -> list[str]:
        """A node with some outputs; their names."""
        names = [self.free(f"{self.path}/{operator}" if self.path else operator) for _ in range(count)]
        node = self.onnx.helper.make_node(
            operator, list(inputs), names, name=names[0], domain=domain or None, **attributes
        )
        self.nodes.append(node)
        return names

    def free(self, name: str) -> str:
        """The name, or ``name_2``, ``name_3`` … where it is taken."""
        count, found = 1, name
        while found in self._taken:
            count += 1
            found = f"{name}_{count}"
        self._taken.add(found)
        return found

    def initializer(self, name: str, array: Array) -> str:
        """A tensor that lies in the file under this name."""
        found = self.free(name)
        copy = np.array(array, order="C")  # np.ascontiguousarray would give a scalar an axis
        self.initializers.append(self.onnx.numpy_helper.from_array(copy, found))
        return found

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A constant; equal small ones lie in the file once.

        Text is given as ``dtype="str"``.
        """
        array = np.asarray(value, object if dtype == "str" else dtype)
        key: Any = None
        if array.nbytes <= 1 << 12 and array.dtype != object:
            key = (array.dtype, array.shape, array.tobytes())
        if key is None or key not in self._constants:
            name = self._text(array) if array.dtype == object else self.initializer("constant", array)
            if key is None:
                return name
            self._constants[key] = name
        return self._constants[key]

    def _text(self, array: Array) -> str:
        name = self.free("labels")
        text = [str(v).encode("utf-8") for v in array.ravel()]
        proto = self.onnx.helper.make_tensor(name, self.onnx.TensorProto.STRING, array.shape, text)
        self.initializers.append(proto)
        return name

    def integers(self, values: Iterable[int]) -> str:
        """A list of int64, as axes and shapes are given."""
        return self.constant(list(values), np.int64)

    def cast(self, x: str, dtype: DType | str) -> str:
        return self("Cast", x, to=tensor_type(dtype))

    # ------------------------------------------------------------------ sizes

    def size(self, n: Any) -> str:
        """A size as an int64 tensor of shape (1,): a constant, or what the rows of this call make it."""
        if not isinstance(n, Size):
            return self.integers([n])
        if n not in self._sizes:
            path, self.path = self.path, ""
            known = Size(1, 0)
            if n == known:
                self._sizes[n] = self("Shape", self.rows, start=0, end=1)
            else:
                found = self.size(known)
                if n.per_row != 1:
                    found = self("Mul", found, self.integers([int(n.per_row)]))
                self._sizes[n] = self("Add", found, self.integers([int(n.fixed)])) if n.fixed else found
            self.path = path
        return self._sizes[n]

    def shape(self, sizes: Sequence[Any]) -> str:
        """Sizes as one int64 tensor."""
        if not unknown_rows(sizes):
            return self.integers(sizes)
        runs: list[list[Any]] = []  # neighbours that are known stay together
        for n in sizes:
            if runs and not isinstance(n, Size) and not isinstance(runs[-1][0], Size):
                runs[-1].append(n)
            else:
                runs.append([n])
        parts = [self.size(run[0]) if isinstance(run[0], Size) else self.integers(run) for run in runs]
        return parts[0] if len(parts) == 1 else self("Concat", *parts, axis=0)

    def scalar(self, n: Size, dtype: DType) -> str:
        """A number that grows with the rows, as a scalar of a dtype."""
        rows = self.cast(self("Squeeze", self.size(Size(1, 0))), dtype)
        found = self("Mul", rows, self.constant(n.per_row, dtype))
        return self("Add", found, self.constant(n.fixed, dtype)) if n.fixed else found

    def reshape(self, x: str, old: Sequence[Any], new: Sequence[Any]) -> str:
        """x of shape ``old`` in the shape ``new``; where it can be said so, without computing the rows."""
        if tuple(old) == tuple(new):
            return x
        if not unknown_rows(new) or any(n == 0 for n in new):
            return self("Reshape", x, self.shape(new), allowzero=1 if any(n == 0 for n in new) else None)
        wanted = [
            _KEPT if isinstance(n, Size) and i < len(old) and old[i] == n else n for i, n in enumerate(new)
        ]
        unknown = [i for i, n in enumerate(wanted) if isinstance(n, Size)]
        if len(unknown) > 1:
            return self("Reshape", x, self.shape(new))
        if unknown:
            wanted[unknown[0]] = _INFERRED
        return self("Reshape", x, self.integers(wanted))

    # ------------------------------------------------------------------ the end

    def renamed(self, names: Mapping[str, str]) -> list[str]:
        """Gives tensors their final names; those that no node makes, or that have a second name already,
        through Identity. ``names``: final name → tensor."""
        made = {node.output[0] for node in self.nodes}
        new: dict[str, str] = {}
        for name, tensor in names.items():
            if tensor in made and tensor not in new:
                new[tensor] = name
        for node in self.nodes:
            node.input[:] = [new.get(x, x) for x in node.input]
            node.output[:] = [new.get(y, y) for y in node.output]
        for name, tensor in names.items():
            if new.get(tensor) != name:
                source = new.get(tensor, tensor)
                self.nodes.append(
                    self.onnx.helper.make_node("Identity", [source], [name], name=f"{name}/Identity")
                )
        return list(names)


def plain_name(text: str) -> str:
    """Text as a name that every reader of ONNX takes: letters, digits, ``_``.

    >>> plain_name("house price (€)")
    'house_price'
    """
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "x"
