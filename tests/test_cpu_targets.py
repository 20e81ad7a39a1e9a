"""Other processors than this one: narrower registers run here by force, AArch64 is compiled to an object."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import elf
from plans import function_plan, program_plan
from steps import classifier, objective, run_steps

from chainrule import losses, nn, ops, optim
from chainrule.executors import epoch
from chainrule.executors.cpu.executor import CpuEpoch, CpuFunction
from chainrule.executors.cpu.module import emit_module
from chainrule.executors.cpu.native import object_for
from chainrule.executors.cpu.plan import Plan
from chainrule.executors.cpu.target import Target, named, runs_here
from chainrule.executors.reference import evaluate
from chainrule.graph import apply
from chainrule.graph.expr import Expr
from chainrule.ops.samples import SAMPLES
from chainrule.train import Objective

AARCH64, X86_64 = 183, 62
BATCH, FEATURES, CLASSES, STEPS = 13, 19, 5, 4
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

on_narrow_registers = pytest.mark.parametrize(
    "target",
    [
        pytest.param(name, marks=pytest.mark.skipif(not runs_here(named(name)), reason="not of this machine"))
        for name in ("avx2", "sse2")
    ],
)


# ------------------------------------------------------------------ training


@functools.cache
def noisy(dtype: str, rule: optim.Rule) -> Objective:
    """Widths that no register divides; batch norm, dropout, softmax. Before batch norm a bias has no
    gradient but rounding, so there is none."""
    after = (nn.BatchNorm(), ops.relu, nn.Dropout(0.3))
    steps = [nn.Dense(21, bias=False), *after, nn.Dense(18, bias=False), *after, nn.Dense(CLASSES)]
    return classifier(*steps, features=FEATURES, rule=rule, dtype=dtype)


def drawn(dtype: str) -> tuple[list[Any], Any]:
    """Data of 40 rows, and the rows of every step."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, FEATURES)).astype(dtype)
    data = [x, rng.integers(0, CLASSES, 40), np.ones(40, dtype)]
    return data, rng.integers(0, 40, (STEPS, BATCH))


def compare(found: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    assert set(found) == set(expected)
    for name, a in expected.items():
        atol = rtol * np.max(np.abs(a), initial=0.0)
        np.testing.assert_allclose(found[name], a, rtol=0, atol=atol, err_msg=name)


@on_narrow_registers
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "rule"),
    # Adam divides by the gradient's own magnitude: in float32 it magnifies rounding without bound.
    [("float32", optim.Momentum(0.05)), ("float64", optim.Adam())],
    ids=["float32", "float64"],
)
def test_training_agrees_with_the_reference(dtype: str, rule: Any, threads: int, target: str) -> None:
    made = noisy(dtype, rule)
    program, (data, index) = made.training(BATCH), drawn(dtype)
    expected = run_steps(epoch(program, executor="reference"), program, made, data, index)
    forced = CpuEpoch(program, threads=threads, target=named(target))
    found = run_steps(forced, program, made, data, index)
    for one, other in zip(found, expected, strict=True):
        compare(one, other, TOLERANCE[dtype])


@on_narrow_registers
def test_adam_in_float32_agrees_with_the_reference(target: str) -> None:
    """One step: the slots as exactly as gradients; the update wherever the gradient is more than rounding."""
    rate = 1e-2
    made = noisy("float32", optim.Adam(rate))
    program, (data, index) = made.training(BATCH), drawn("float32")
    expected, _ = run_steps(epoch(program, executor="reference"), program, made, data, index[:1])
    forced = CpuEpoch(program, threads=1, target=named(target))
    found, _ = run_steps(forced, program, made, data, index[:1])
    slots = [name for name in expected if name.startswith("optimizer/")]
    assert len(slots) == 2 * len(made.model.parameters)
    compare({n: found[n] for n in slots}, {n: expected[n] for n in slots}, TOLERANCE["float32"])
    for name in made.model.parameters:
        m = np.abs(expected[f"optimizer/m/{name}"])
        steady = (m == 0) | (m > 1e-3 * np.max(m))
        assert np.mean(steady) > 0.9
        np.testing.assert_allclose(found[name][steady], expected[name][steady], rtol=0, atol=1e-3 * rate)


@on_narrow_registers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, BATCH])
def test_prediction_agrees_with_the_reference(rows: int, dtype: str, target: str) -> None:
    model = noisy(dtype, optim.Adam()).model
    x = model.batch_inputs(rows)
    outputs, run = model.trace(x, training=False)
    state, data = model.initial(3), drawn(dtype)[0][0][:rows]
    nodes, inputs = list(outputs.values()), [*x.values(), *run.inputs.values()]
    arrays = [data, *(state[name] for name in run.inputs)]
    expected = evaluate(nodes, dict(zip(inputs, arrays, strict=True)))
    found = CpuFunction(nodes, inputs, threads=1, target=named(target))(*arrays)
    compare(dict(enumerate(found)), dict(enumerate(expected)), TOLERANCE[dtype])


# ------------------------------------------------------------------ every primitive


@functools.cache
def samples(dtype: str) -> tuple[list[Expr], dict[Expr, Any], list[Any]]:
    """Every sample in one graph; its inputs; and what the reference computes."""
    nodes: list[Expr] = []
    given: dict[Expr, Any] = {}
    for primitive, cases in SAMPLES.items():
        for i, case in enumerate(cases):
            arrays = case.arrays(seed=2, dtype=dtype)
            inputs = [ops.input(f"{primitive}{i}.{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
            given |= dict(zip(inputs, arrays, strict=True))
            nodes.append(apply(primitive, *inputs, **case.meta))
    return nodes, given, evaluate(nodes, given)


@on_narrow_registers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_sample_agrees_with_the_reference(dtype: str, target: str) -> None:
    nodes, given, expected = samples(dtype)
    found = CpuFunction(nodes, list(given), threads=1, target=named(target))(*given.values())
    wrong = []
    for node, a, b in zip(nodes, expected, found, strict=True):
        assert (b.shape, b.dtype) == (a.shape, a.dtype)
        if a.dtype.kind != "f":
            same = np.array_equal(a, b)
        else:
            finite = np.isfinite(a)
            atol = TOLERANCE[dtype] * np.max(np.abs(a[finite]), initial=0.0)
            same = np.allclose(a, b, rtol=0, atol=atol, equal_nan=True)
        if not same:
            wrong.append(f"{node.primitive} {node.meta}")
    assert not wrong


# ------------------------------------------------------------------ objects


def written(plan: Plan, target: Target) -> bytes:
    return object_for(emit_module(plan.found, plan.schedule, target, plan.threads, plan.batch), target)


def regression() -> Objective:
    """LayerNorm and tanh, an embedding: functions, scattering."""
    layers = [nn.Embedding(11, 6), nn.Flatten(), nn.Dense(21), nn.LayerNorm(), ops.tanh, nn.Dense(1)]
    words, y = np.zeros((1, 3), np.int64), np.zeros((1, 1))
    loss = losses.MeanSquaredError()
    return objective(*layers, x=words, y=y, loss=loss, dtype="float64", rule=optim.Adam(clip_norm=1.0))


@functools.cache
def plans() -> dict[str, Plan]:
    nodes, given, _ = samples("float32")
    double, more, _ = samples("float64")
    return {
        "training": program_plan(noisy("float32", optim.Adam()).training(BATCH), 2),
        "float64": program_plan(regression().training(BATCH), 2),
        "samples": function_plan(nodes, list(given), 2),
        "samples in float64": function_plan(double, list(more), 2),
    }


@pytest.mark.parametrize("name", ["training", "float64", "samples", "samples in float64"])
@pytest.mark.parametrize(("target", "machine"), [("aarch64", AARCH64), ("sse2", X86_64), ("avx2", X86_64)])
def test_objects_need_nothing_from_outside(target: str, machine: int, name: str) -> None:
    """LLVM replaces what a processor lacks by calls of the C library: nothing of that kind may be left."""
    if "linux" not in named(target).triple:
        pytest.skip("not an ELF object")
    code = written(plans()[name], named(target))
    assert elf.machine(code) == machine
    assert elf.undefined(code) == set()
    assert b".eh_frame" not in code, "nothing is ever unwound here"
