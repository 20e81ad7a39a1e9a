"""A network as an ONNX file: opset 18, any number of rows, weights and post-processing inside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from chainrule import __version__, losses
from chainrule.errors import ConfigError
from chainrule.export.dynamic import Node, Size, Traced, trace_rows
from chainrule.export.emit import Emitter, plain_name, tensor_type
from chainrule.export.walk import write_graph
from chainrule.graph.expr import Expr
from chainrule.storage import atomic_write
from chainrule.summary import steps_as_written
from chainrule.train.objective import SINGLE, Model

__all__ = ["IR_VERSION", "OPSET", "Trained", "describe", "finish", "to_onnx", "write_model"]

OPSET = 18
IR_VERSION = 8  # of the release that brought opset 18, so that runtimes since 2022 read it
_LARGEST = 2**31 - 2**20  # bytes; a protobuf message is below 2 GiB
_OF_CLASSES = (losses.Classification, losses.Binary, losses.KLDivergence)
_FROM_LOGITS = (losses.CrossEntropy, losses.Focal, losses.KLDivergence, losses.Binary)


class Trained(Protocol):
    """What is asked of a network that is exported; :class:`~chainrule.Network` has it."""

    model: Model | None
    loss: dict[str, Any] | None

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Parameters and running statistics by path."""


def to_onnx(net: Trained, path: str | os.PathLike[str] | None = None) -> Any:
    """The network as an ONNX model (``onnx.ModelProto``), checked in full; written to ``path`` where given.

    inputs     "x", or those of the network by name; the first axis is any number of rows
    outputs    after a loss of classes "classes" (0 … K−1, what predict gives), "probabilities" and "logits";
               after a regression "prediction"; without a loss "output". Where a network has several outputs,
               each has its name before it: "digit_classes"

    Weights lie in the file under their paths ("dense_0/W"). A float64 network computes in float64. A category
    outside an Embedding is an error here as there, but for −n … −1, which ONNX counts from the end.

    Raises MissingExtraError without the package onnx; ConfigError for a network without parameters, and for a
    layer that uses the number of rows otherwise than in sizes or draws random numbers in prediction.

    >>> from chainrule import nn, ops
    >>> from chainrule.network import Network
    >>> net = Network(nn.Dense(3), ops.relu, nn.Dense(2)).build(4)
    >>> to_onnx(net, "model.onnx").opset_import[0].version  # doctest: +SKIP
    18
    """
    model = _built(net)
    given, outputs = trace_rows(lambda rows: _traced(model, net.loss or {}, rows))
    e = Emitter(plain_name(next(iter(model.inputs))))
    names = {name: e.free(plain_name(name)) for name in model.inputs}
    outputs = {e.free(name): y for name, y in outputs.items()}
    tensors = write_graph(e, outputs, {given[name]: names[name] for name in names}, net.state)
    inputs = [describe(e, names[name], given[name]) for name in names]
    said = [describe(e, name, y) for name, y in outputs.items()]
    proto = finish(e, inputs, tensors, said, f"Network({steps_as_written(model.layer)})")
    if path is not None:
        write_model(proto, path)
    return proto


def write_model(proto: Any, path: str | os.PathLike[str]) -> None:
    """The model in a file, which replaces an old one only when it is whole."""
    with atomic_write(path) as file:
        file.write(proto.SerializeToString())


def finish(
    e: Emitter,
    inputs: list[Any],
    tensors: Mapping[str, str],
    outputs: list[Any],
    title: str,
    properties: Mapping[str, str] | None = None,
) -> Any:
    """The checked model of all that an emitter has collected.

    tensors       what the outputs are, by name
    properties    what a reader may want to know besides: the model's metadata
    """
    helper = e.onnx.helper
    e.renamed(tensors)
    used = {name for node in e.nodes for name in node.input}
    weights = [tensor for tensor in e.initializers if tensor.name in used]
    graph = helper.make_graph(e.nodes, "chainrule", inputs, outputs, weights, doc_string=title)
    versions = [helper.make_opsetid("", OPSET)]
    if any(node.domain == "ai.onnx.ml" for node in e.nodes):
        versions.append(helper.make_opsetid("ai.onnx.ml", 3))
    proto = helper.make_model(
        graph,
        opset_imports=versions,
        ir_version=IR_VERSION,
        producer_name="chainrule",
        producer_version=__version__,
        doc_string=title,
    )
    helper.set_model_props(proto, dict(properties or {}))
    if (size := proto.ByteSize()) > _LARGEST:
        raise ConfigError(f"the model has {size} bytes; an ONNX file holds at most 2 GiB")
    e.onnx.checker.check_model(proto, full_check=True)
    return proto


def _built(net: Trained) -> Model:
    if net.model is None:
        raise ConfigError("the network has no parameters yet: call fit, or build(number of features) first")
    return net.model


def _traced(model: Model, loss: Mapping[str, Any], rows: int) -> Traced:
    """Inputs by name, and what a prediction can give by name."""
    x = model.batch_inputs(rows)
    outputs, _ = model.trace(x, training=False)
    found: dict[str, Expr] = {}
    for name, y in outputs.items():
        said = _said(loss.get(name), y)
        if list(outputs) == [SINGLE]:
            found |= said
        else:
            plain = plain_name(name)
            found |= {plain if key == "output" else f"{plain}_{key}": node for key, node in said.items()}
    return {name: x[name] for name in model.inputs}, found


def _said(loss: Any, y: Expr) -> dict[str, Expr]:
    """What an output stands for under its loss, as predict and predict_proba say it."""
    if isinstance(loss, _OF_CLASSES):
        found = {"classes": loss.predict(y), "probabilities": loss.probabilities(y)}
        if found["probabilities"] is y:
            return found
        return {**found, "logits" if isinstance(loss, _FROM_LOGITS) else "output": y}
    if isinstance(loss, losses.Loss):
        found = {"prediction": loss.predict(y)}
        return found if found["prediction"] is y else {**found, "output": y}
    return {"output": y}


def describe(e: Emitter, name: str, node: Node) -> Any:
    """A description of an input or output; sizes that the rows decide have a name."""
    shape = [str(n) if isinstance(n, Size) else n for n in node.shape]
    return e.onnx.helper.make_tensor_value_info(name, tensor_type(node.dtype), shape)
