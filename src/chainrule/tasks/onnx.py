"""A fitted estimator as an ONNX file: columns encoded before the network, classes or units after it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.data.tables.table_encoder import path_of
from chainrule.errors import ConfigError
from chainrule.executors import Array
from chainrule.export.columns import gap_of, input_dtype, write_column
from chainrule.export.dynamic import Node, Traced, trace_rows
from chainrule.export.emit import Emitter, tensor_type
from chainrule.export.onnx import finish, write_model
from chainrule.export.primitives import expm1
from chainrule.export.walk import write_graph
from chainrule.summary import steps_as_written
from chainrule.tasks.logarithms import Logarithms
from chainrule.tasks.scaling import Affine
from chainrule.tasks.targets import Labels, Numbers, OneOf, SeveralOf, Target
from chainrule.train.objective import Model

if TYPE_CHECKING:
    from chainrule.tasks.predictor import Predictor

__all__ = ["predictor_to_onnx"]

_DOUBLE, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


class _Outputs:
    """The outputs of the file as they are found: tensors and their descriptions."""

    def __init__(self, e: Emitter) -> None:
        self.e = e
        self.tensors: dict[str, str] = {}
        self.said: list[Any] = []

    def add(self, name: str, tensor: str, dtype: Any, *shape: int) -> None:
        self.tensors[name] = tensor
        self.said.append(
            self.e.onnx.helper.make_tensor_value_info(name, tensor_type(dtype), ["batch", *shape])
        )


def predictor_to_onnx(predictor: Predictor, path: str | os.PathLike[str] | None = None) -> Any:
    """The predictor as an ONNX model (``onnx.ModelProto``), checked in full; written to ``path`` where given.

    inputs     "x" (rows, columns), unscaled, in the dtype that the estimator was fitted in; of a table every
               column by its name, see :mod:`chainrule.export.columns`
    outputs    "classes" (the labels themselves) and "probabilities"; for several targets "y0_classes",
               "y0_probabilities", "y1_classes" …; of a regressor "prediction", in its own units, and where it
               learned them "quantiles", in the order of its levels, and "deviation"

    Raises MissingExtraError without the package onnx.
    """
    network = predictor.network
    model = network.model
    if model is None:
        raise ConfigError("the estimator's network has no parameters: fit it first")
    columns = ("x",) if predictor.encoder is None else predictor.encoder.names
    outputs = _names(predictor.target)
    if both := set(columns) & set(outputs):
        raise ConfigError(f"the column {min(both)!r} is called like an output of the file: rename it")
    e = Emitter(columns[0])
    for name in (*columns, *outputs):
        e.free(name)
    inputs, raw = trace_rows(lambda rows: _traced(model, rows))
    given = _inputs(e, predictor)
    tensors = _encoded(e, predictor)
    if "x" in tensors:
        tensors["x"] = _scaled(e, tensors["x"], predictor.scaling, network.dtype)
    if len(tensors) == 1:  # a network of one input calls it x
        tensors = dict.fromkeys(inputs, next(iter(tensors.values())))
    z = write_graph(e, raw, {inputs[name]: tensor for name, tensor in tensors.items()}, network.state)
    found = _Outputs(e)
    _write_target(found, predictor.target, z, raw)
    title = f"{predictor.estimator}: {steps_as_written(network.layer)}"
    proto = finish(e, given, found.tensors, found.said, title, _schema(predictor))
    if path is not None:
        write_model(proto, path)
    return proto


def _schema(predictor: Predictor) -> dict[str, str]:
    """The model's metadata: what each column is, what is missing in it, which categories it has."""
    if predictor.encoder is None:
        names = predictor.features
        return {} if names is None else {"columns": json.dumps(names, ensure_ascii=False)}
    used = [column for column in predictor.encoder.columns if column.features]
    known = [
        {
            "name": c.name,
            "kind": c.kind,
            "missing": gap_of(c),
            "categories": list(getattr(c, "categories", ())),
        }
        for c in used
    ]
    return {"columns": json.dumps(known, ensure_ascii=False)}


def _traced(model: Model, rows: int) -> Traced:
    x = model.batch_inputs(rows)
    return {name: x[name] for name in model.inputs}, model.trace(x, training=False)[0]


def _names(target: Target) -> list[str]:
    if isinstance(target, Logarithms):
        return ["prediction"]
    if isinstance(target, Numbers):
        return ["prediction", *["quantiles"] * bool(target.levels), *["deviation"] * bool(target.spread)]
    prefixes = [f"{name}_" for name in target.outputs] if isinstance(target, SeveralOf) else [""]
    return [f"{prefix}{what}" for prefix in prefixes for what in ("classes", "probabilities")]


# ------------------------------------------------------------------ before the network


def _inputs(e: Emitter, predictor: Predictor) -> list[Any]:
    """Descriptions of what the file is given: a matrix, or columns."""
    value = e.onnx.helper.make_tensor_value_info
    if predictor.encoder is None:
        return [value("x", tensor_type(predictor.network.dtype), ["batch", len(predictor.scaling.mean)])]
    used = [column for column in predictor.encoder.columns if column.features]
    return [value(column.name, tensor_type(input_dtype(column)), ["batch"]) for column in used]


def _encoded(e: Emitter, predictor: Predictor) -> dict[str, str]:
    """The network's inputs: x as it is given, or "x" and "codes" of encoded columns."""
    if predictor.encoder is None:
        return {"x": "x"}
    parts: dict[str, list[str]] = {"x": [], "codes": []}
    for column in predictor.encoder.columns:
        if not column.features:
            continue
        start = path_of(column.name, "")
        state = {k.removeprefix(start): v for k, v in predictor.learned.items() if k.startswith(start)}
        tensor = write_column(e, column, column.name, state, predictor.network.dtype)
        parts["codes" if column.codes else "x"].append(tensor)
    return {k: ts[0] if len(ts) == 1 else e("Concat", *ts, axis=1) for k, ts in parts.items() if ts}


def _scaled(e: Emitter, x: str, scaling: Affine, dtype: Any) -> str:
    """(x − mean)/scale in float64, as it is done here; nothing where nothing is scaled."""
    if not scaling.mean.any() and (scaling.scale == 1).all():
        return x
    wide = x if dtype == _DOUBLE else e.cast(x, _DOUBLE)
    mean, scale = (e.initializer(f"scaling/{n}", a.astype(_DOUBLE)) for n, a in vars(scaling).items())
    found = e("Div", e("Sub", wide, mean), scale)
    return found if dtype == _DOUBLE else e.cast(found, dtype)


# ------------------------------------------------------------------ after it


def _write_target(found: _Outputs, target: Target, z: dict[str, str], nodes: dict[str, Node]) -> None:
    dtype = next(iter(nodes.values())).dtype
    first = next(iter(z.values()))
    if isinstance(target, SeveralOf):
        for (name, tensor), part in zip(z.items(), target.parts, strict=True):
            _one_of(found, part, tensor, dtype, f"{name}_")
    elif isinstance(target, OneOf):
        _one_of(found, target, first, dtype, "")
    elif isinstance(target, Labels):
        _labels(found, target, first, dtype)
    elif isinstance(target, Numbers):
        _numbers(found, target, first, dtype)
    elif isinstance(target, Logarithms):
        _logarithms(found, target, first, dtype)
    else:
        raise ConfigError(f"a target of kind {type(target).__name__} has no form in ONNX")


def _one_of(found: _Outputs, target: OneOf, z: str, dtype: Any, prefix: str) -> None:
    e, k = found.e, len(target.classes)
    one = e.constant(1, dtype)
    if k == 1:
        places = e(
            "Mul", e.cast(e("ReduceMax", z, e.integers([1]), keepdims=0), _INT64), e.constant(0, _INT64)
        )
        probabilities = e("Unsqueeze", e("Add", e.cast(places, dtype), one), e.integers([1]))
    elif target.activation == "softmax":
        places, probabilities = e("ArgMax", z, axis=1, keepdims=0), e("Softmax", z, axis=1)
    else:
        over = e.cast(e("Less", e.constant(0, dtype), z), _INT64)
        p = e("Sigmoid", z)
        places, probabilities = e("Squeeze", over, e.integers([1])), e("Concat", e("Sub", one, p), p, axis=1)
    labels, kind = _label_tensor(e, target.classes)
    found.add(f"{prefix}classes", e("Gather", labels, places, axis=0), kind)
    found.add(f"{prefix}probabilities", probabilities, dtype, k)


def _label_tensor(e: Emitter, classes: Array) -> tuple[str, Any]:
    """The classes as a tensor, and its dtype: text, whole numbers, numbers or truth values."""
    values = classes.tolist()
    if all(isinstance(v, str) for v in values):
        return e.constant(values, "str"), "str"
    for kind, dtype in ((bool, np.dtype(bool)), (int, _INT64), (float, _DOUBLE)):
        if all(isinstance(v, kind) for v in values):
            return e.initializer("labels", np.array(values, dtype)), dtype
    raise ConfigError(f"classes of several kinds, such as {values[:3]}, are no tensor of ONNX; give text")


def _labels(found: _Outputs, target: Labels, z: str, dtype: Any) -> None:
    e, k = found.e, len(target.classes)
    found.add("classes", e.cast(e("Less", e.constant(0, dtype), z), _INT64), _INT64, k)
    found.add("probabilities", e("Sigmoid", z), dtype, k)


def _numbers(found: _Outputs, target: Numbers, z: str, dtype: Any) -> None:
    """scale·z + mean, or scale·eᶻ, in float64; quantiles and deviations where they are learned."""
    e, k = found.e, len(target.scale.mean)
    wide = z if dtype == _DOUBLE else e.cast(z, _DOUBLE)
    mean, scale = (e.initializer(f"target/{n}", a.astype(_DOUBLE)) for n, a in vars(target.scale).items())
    if target.levels:
        _quantiles(found, target, wide, mean, scale)
        return
    raw = wide
    if target.spread:
        wide, raw = e.several("Split", [wide], 2, axis=1, num_outputs=2)
    if target.activation == "exp":
        y = e("Mul", e("Exp", wide), scale)
    else:
        y = e("Add", e("Mul", wide, scale), mean)
    _add_numbers(found, "prediction", y, dtype, k, target.flat)
    if target.spread == "log_variance":
        σ = e("Exp", e("Div", raw, e.constant(2.0)))
    elif target.spread:
        σ = e("Add", e("Softplus", raw), e.constant(target.floor))
    if target.spread:
        _add_numbers(found, "deviation", e("Mul", σ, scale), dtype, k, target.flat)


def _logarithms(found: _Outputs, target: Logarithms, z: str, dtype: Any) -> None:
    """e^(scale·z + mean), less 1 where it was added, in float64."""
    e = found.e
    wide = z if dtype == _DOUBLE else e.cast(z, _DOUBLE)
    mean, scale = (e.initializer(f"target/{n}", a.astype(_DOUBLE)) for n, a in vars(target.scale).items())
    logarithm = e("Add", e("Mul", wide, scale), mean)
    y = expm1(e, logarithm, _DOUBLE) if target.plus_one else e("Exp", logarithm)
    _add_numbers(found, "prediction", y, dtype, len(target.scale.mean), target.flat)


def _add_numbers(found: _Outputs, name: str, y: str, dtype: Any, k: int, flat: bool) -> None:
    e = found.e
    y = y if dtype == _DOUBLE else e.cast(y, dtype)
    if flat:
        found.add(name, e("Squeeze", y, e.integers([1])), dtype)
    else:
        found.add(name, y, dtype, k)


def _quantiles(found: _Outputs, target: Numbers, z: str, mean: str, scale: str) -> None:
    """(n, numbers, levels), sorted so that they never cross, in the order of the levels; the one nearest the
    median is the prediction."""
    e, k, levels = found.e, len(target.scale.mean), np.array(target.levels)
    each = e("Reshape", z, e.integers([-1, k, len(levels)]))
    last = e.integers([1])
    each = e("Add", e("Mul", each, e("Unsqueeze", scale, last)), e("Unsqueeze", mean, last))
    rising, _ = e.several("TopK", [each, e.integers([len(levels)])], 2, axis=2, largest=0)
    ordered = e("Gather", rising, e.integers(np.argsort(np.argsort(levels)).tolist()), axis=2)
    middle = int(np.argmin(np.abs(levels - 0.5)))
    prediction = e("Gather", ordered, e.constant(middle, np.int64), axis=2)
    _add_numbers(found, "prediction", prediction, _DOUBLE, k, target.flat)
    if target.flat:
        found.add("quantiles", e("Squeeze", ordered, e.integers([1])), _DOUBLE, len(levels))
    else:
        found.add("quantiles", ordered, _DOUBLE, k, len(levels))
