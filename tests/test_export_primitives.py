"""Every primitive as ONNX operators: onnxruntime and ONNX's own evaluator compute what the reference does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from chainrule import ops  # noqa: E402
from chainrule.errors import ConfigError  # noqa: E402
from chainrule.executors import evaluate  # noqa: E402
from chainrule.export.dynamic import Size, trace_rows  # noqa: E402
from chainrule.export.emit import Emitter  # noqa: E402
from chainrule.export.onnx import describe, finish  # noqa: E402
from chainrule.export.primitives import HOW, NOT_IN_A_FILE  # noqa: E402
from chainrule.export.walk import write_graph  # noqa: E402
from chainrule.graph.expr import Graph, apply, call  # noqa: E402
from chainrule.graph.primitive import PRIMITIVES  # noqa: E402
from chainrule.ops import SAMPLES  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
ROWS = (1, 2, 17)


def exported(trace: Any) -> Any:
    """The model of what ``trace(rows)`` builds: (inputs by name, outputs by name)."""
    inputs, outputs = trace_rows(trace)
    e = Emitter(next(iter(inputs)))
    for name in (*inputs, *outputs):
        e.free(name)
    tensors = write_graph(e, outputs, {node: name for name, node in inputs.items()}, {})
    given = [describe(e, name, node) for name, node in inputs.items()]
    return finish(e, given, tensors, [describe(e, name, node) for name, node in outputs.items()], "test")


def both(model: Any, given: dict[str, Any]) -> list[list[Any]]:
    """The outputs by onnxruntime and by the reference evaluator."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    with np.errstate(all="ignore"):
        return [session.run(None, given), ReferenceEvaluator(model).run(None, given)]


def agree(trace: Any, given: Any, rows: tuple[int, ...] = ROWS, tolerance: float = 1e-5) -> None:
    """``given(rows)``: arrays by name."""
    model = exported(trace)
    for n in rows:
        arrays = given(n)
        inputs, outputs = trace(n)
        wanted = evaluate(list(outputs.values()), {inputs[k]: v for k, v in arrays.items()})
        for found in both(model, arrays):
            for a, b in zip(found, wanted, strict=True):
                assert a.shape == b.shape
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------ one by one


def test_every_primitive_has_a_rule_or_a_reason():
    known = {p.name for p in HOW} | {p.name for p in NOT_IN_A_FILE}
    assert known == PRIMITIVES.keys()
    assert not HOW.keys() & NOT_IN_A_FILE.keys()
    assert all(len(reason) > 20 for reason in NOT_IN_A_FILE.values())


CASES = [
    (p, i, dtype)
    for p, cases in SAMPLES.items()
    for i, case in enumerate(cases)
    for dtype in (("float32", "float64") if "float" in case.dtypes else ("float32",))
    if p in HOW
]


@pytest.mark.parametrize(("primitive", "place", "dtype"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_a_primitive(primitive, place, dtype):
    case = SAMPLES[primitive][place]
    arrays = case.arrays(1, dtype)

    def trace(rows: int) -> Any:
        xs = {f"x{i}": ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)}
        return xs, {"y": apply(primitive, *xs.values(), **case.meta)}

    agree(trace, lambda n: {f"x{i}": a for i, a in enumerate(arrays)}, (1,), TOLERANCE[dtype])


INTEGERS = {
    "neg": lambda x: -x, "abs": abs, "sign": ops.sign, "add": lambda x: x + x, "mul": lambda x: x * x,
    "sub": lambda x: 3 - x, "maximum": lambda x: ops.maximum(x, 2), "less": lambda x: x < 2,
    "less_equal": lambda x: x <= 2, "equal": lambda x: ops.equal(x, 2), "max": lambda x: ops.max(x, 1),
    "sum": lambda x: ops.sum(x, 1), "narrow sum": lambda x: apply(PRIMITIVES["sum"], x, axes=(1,)),
    "cumsum": lambda x: apply(PRIMITIVES["cumsum"], x, axis=1, reverse=True), "argmax": ops.argmax,
    "argsort": ops.argsort, "where": lambda x: ops.where(x < 2, x, 1),
    "pad": lambda x: ops.pad(x, (1, 0), (0, 2)),
    "gather": lambda x: ops.gather(ops.constant(np.arange(12.0)), x), "flip": ops.flip,
    "concat": lambda x: ops.concat([x, x], 1), "one_hot": lambda x: ops.one_hot(x, 12),
    "scatter_add": lambda x: ops.scatter_add(ops.cast(x[:, 0], "int32"), x, rows=12),
    "bool where": lambda x: ops.where(x < 2, x < 1, x < 5), "bool equal": lambda x: ops.equal(x < 2, x < 5),
    "bool pad": lambda x: ops.pad(x < 3, (1, 0), (0, 2)), "bool cast": lambda x: ops.cast(x, "bool"),
    "to float": lambda x: ops.cast(x, "float32") / 3,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_and_booleans(name, dtype):
    x = np.array([[3, 0, 11, 2], [5, 5, 0, 2]], dtype)
    agree(
        lambda rows: ({"x": (v := ops.input("x", (2, 4), dtype))}, {"y": INTEGERS[name](v)}),
        lambda n: {"x": x},
        (1,),
    )


def test_bytes_wrap_around_as_ours_do():
    x = np.array([[200, 100, 0, 255]], "uint8")

    def trace(rows: int) -> Any:
        v = ops.input("x", (1, 4), "uint8")
        return {"x": v}, {"a": v + v, "b": v * v, "c": -v, "d": apply(PRIMITIVES["sum"], v, axes=(1,))}

    agree(trace, lambda n: {"x": x}, (1,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(ops.FUNCTIONS))
def test_digits_and_ends_of_a_function(name, dtype):
    """Near 0 and far from it, relative to the value; the infinities where we are finite."""
    function = ops.FUNCTIONS[name]
    x = np.concatenate([np.geomspace(1e-6, 80, 41), [0]]).astype(dtype)
    x = np.concatenate([x, -x])[:, None]
    if name in ("softmax", "log_softmax"):
        x = x.reshape(2, -1)

    def trace(rows: int) -> Any:
        v = ops.input("x", x.shape, dtype)
        return {"x": v}, {"y": function(v)}

    wanted = evaluate([function(v := ops.input("x", x.shape, dtype))], {v: x})[0]
    for found in both(exported(trace), {"x": x}):
        np.testing.assert_allclose(found[0], wanted, rtol=2e-5, atol=1e-6 if dtype == "float32" else 1e-7)


def test_small_numbers_keep_their_digits():
    x = np.array([[1e-7, -3e-6, 1e-3, 0.5, 30.0, np.inf]], "float32")

    def trace(rows: int) -> Any:
        v = ops.input("x", x.shape)
        return {"x": v}, {"a": ops.expm1(v), "b": ops.log1p(v)}

    wanted = [np.expm1(x), np.log1p(x)]
    for found in both(exported(trace), {"x": x}):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_numbers_that_are_not_finite():
    x = np.array([[np.nan, np.inf, -np.inf, 1.0, 0.0]], "float32")

    def trace(rows: int) -> Any:
        v = ops.input("x", x.shape)
        return {"x": v}, {
            "a": ops.is_finite(v),
            "b": ops.expm1(v),
            "c": ops.guard(v, ops.exp(v)),
            "d": ops.sqrt(v),
        }

    inputs, outputs = trace(1)
    wanted = evaluate(list(outputs.values()), {inputs["x"]: x})
    for found in both(exported(trace), {"x": x}):
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


# ------------------------------------------------------------------ any number of rows

GRAPHS = {
    "rows into columns": lambda x, n: ops.reshape(x, (2 * n, 2)),
    "rows behind": lambda x, n: ops.reshape(x, (2, n, 2)),
    "one axis": lambda x, n: ops.reshape(x, (4 * n,)),
    "axes around the rows": lambda x, n: ops.reshape(x, (1, n, 1, 4)),
    "rows twice": lambda x, n: ops.reshape(x @ ops.transpose(x), (n, n, 1)),
    "stretched over the rows": lambda x, n: ops.broadcast(ops.constant([1.0, 2.0]), (n, 2)),
    "stretched beside them": lambda x, n: ops.broadcast(ops.expand(x, 1), (n, 3, 4)),
    "stretched by the rows": lambda x, n: ops.broadcast(ops.expand(x, 0), (n, n, 4)),
    "only broadcasts": lambda x, n: (
        ops.broadcast(ops.constant(2.0), (n, 3)) * ops.broadcast(ops.constant([1.0, 2, 3]), (n, 3))
    ),
    "zeros": lambda x, n: ops.concat([x, ops.broadcast(ops.constant(0.0), (n, 2))], 1),
    "one row more": lambda x, n: ops.concat([x, ops.constant(np.ones((1, 4), "float32"))]),
    "the first row": lambda x, n: x[0],
    "the last row": lambda x, n: x[n - 1],
    "without the first": lambda x, n: x[1:],
    "shifted": lambda x, n: ops.pad(x[: n - 1], (1, 0), (0, 0)),
    "backwards": lambda x, n: x[::-1],
    "zeros between": lambda x, n: ops.pad(x, (1, 0), (0, 2), (2, 1)),
    "padded by the rows": lambda x, n: ops.pad(x[:1], (n, 0), (2 * n, 0)),
    "mean over rows": lambda x, n: x - ops.mean(x, 0),
    "variance over rows": lambda x, n: ops.var(x, 0),
    "sum of all": lambda x, n: ops.sum(x),
    "running sum": lambda x, n: ops.cumsum(x, 0, reverse=True),
    "order of rows": lambda x, n: ops.argsort(x, 0),
    "chosen rows": lambda x, n: ops.gather(x, ops.argsort(x[:, 0])),
    "scattered": lambda x, n: ops.scatter_add(ops.argsort(x[:, 0]), x, rows=2 * n),
    "softmax over rows": lambda x, n: ops.softmax(x, 0),
    "the number of rows": lambda x, n: x * (2 * n + 1),
    "no columns": lambda x, n: ops.reshape(x[:, :0], (n, 2, 0)),
    "itself": lambda x, n: x,
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_any_number_of_rows(name):
    def trace(rows: int) -> Any:
        x = ops.input("x", (rows, 4))
        return {"x": x}, {"y": GRAPHS[name](x, rows)}

    agree(trace, lambda n: {"x": np.random.default_rng(n).normal(size=(n, 4)).astype("f4")})


REFUSED = {
    "half the rows": lambda x, n: x[: n // 2],
    "at most 64 rows": lambda x, n: ops.concat([x, x])[:64],
    "a power of them": lambda x, n: x * float(n * n),
    "another graph": lambda x, n: x if n == 100 else x * x,
    "another operation": lambda x, n: ops.exp(x) if n == 110 else ops.tanh(x),
    "numbers of each row": lambda x, n: x * ops.constant(np.arange(n, dtype="f4")[:, None]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_depends_on_the_rows_otherwise_is_refused(name):
    def trace(rows: int) -> Any:
        x = ops.input("x", (rows, 4))
        return {"x": x}, {"y": REFUSED[name](x, rows)}

    with pytest.raises(ConfigError, match="another number of rows"):
        trace_rows(trace)


def test_random_numbers_are_refused_by_name():
    def trace(rows: int) -> Any:
        x = ops.input("x", (rows, 4))
        key = ops.RandomKey(ops.input("seed", (), "int64"))
        return {"x": x}, {"y": x + ops.uniform(key, 4)}

    with pytest.raises(ConfigError, match=r"random_bits cannot be exported.*draws no random"):
        exported(trace)


def test_subgraphs_are_written_in_place():
    """A body of two outputs that calls another one, used twice."""
    inner = ops.input("v", (3, 4))
    square = Graph((inner,), (inner * inner,))
    a, b = ops.input("a", (3, 4)), ops.input("b", (3, 4))
    both_ways = Graph((a, b), (call(square, a)[0] + b, a - b))

    def trace(rows: int) -> Any:
        x = ops.input("x", (3, 4))
        first, second = call(both_ways, x, ops.exp(x))
        return {"x": x}, {"y": call(both_ways, first, second)[1], "z": first}

    agree(trace, lambda n: {"x": np.random.default_rng(n).normal(size=(3, 4)).astype("f4")}, (1,))


def test_a_size_reads_as_one_would_write_it():
    assert [str(Size(*n)) for n in ((1, 0), (3, 0), (2, 1))] == ["batch", "3*batch", "2*batch + 1"]
