"""Plans: their text, and what they promise about memory, meetings and code.

The texts lie in tests/data/plans. After a change that is meant to change them, write them anew with
``python tests/support/write_plans.py`` and read the difference before you commit it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plans import FOLDER, TEXTS, function_plan, ir, program_plan
from random_networks import random_network
from steps import classifier, perceptron, relu_network

from chainrule import Network, nn, ops, optim
from chainrule.executors.cpu.kernels import Buffer, Check, Contraction, Draw
from chainrule.executors.cpu.plan import Plan, plan_function, wants_padding
from chainrule.executors.cpu.schedule import Schedule
from chainrule.graph import PRIMITIVES, apply
from chainrule.graph.expr import Expr, Graph
from chainrule.ops.samples import SAMPLES
from chainrule.train.prepare import Request

BATCH = 100

# ------------------------------------------------------------------ text


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_of_a_plan(name: str) -> None:
    assert TEXTS[name]() + "\n" == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_no_text_is_left_over() -> None:
    assert {f.stem for f in FOLDER.iterdir()} == set(TEXTS)


def test_a_network_tells_its_plan() -> None:
    net = Network(nn.Dense(225), ops.relu, nn.Dense(144), ops.relu, nn.Dense(10), seed=0)
    x, y = np.zeros((100, 784), "float32"), np.arange(100) % 10
    kept = (FOLDER / "adam_1_thread.txt").read_text(encoding="utf-8").splitlines()
    found = net.plan(x, y, batch_size=100, optimizer=optim.Adam(), threads=1).splitlines()
    products = [line for line in kept if " product " in line]
    assert len(products) == 8
    assert [_cells(line)[1:4] for line in found if " product " in line] == [
        _cells(line)[1:4] for line in products
    ]


def _cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


# ------------------------------------------------------------------ what is stored


def stored(plan: Plan) -> list[tuple[Expr, Buffer]]:
    """The values that kernels leave in the arena."""
    found = [s for kernel in plan.schedule.kernels for s in kernel.stores]
    return [(node, p.buffer) for node, p in found if p.buffer.home in ("arena", "private")]


def names_of(plan: Plan, shape: tuple[int, ...]) -> list[str]:
    return sorted(node.primitive.name for node, _ in stored(plan) if node.shape == shape)


@pytest.fixture(scope="module", params=[1, 2])
def relu_plan(request: pytest.FixtureRequest) -> Plan:
    return program_plan(relu_network().training(BATCH), request.param)


def test_gradients_of_dense_weights_are_never_stored(relu_plan: Plan) -> None:
    """The update happens while they are in registers. What has a weight's shape is its transposed copy."""
    for rows, columns in ((784, 225), (225, 144), (144, 10)):
        assert names_of(relu_plan, (rows, columns)) == []
        assert names_of(relu_plan, (columns, rows)) == ([] if rows == 784 else ["transpose"])
    fused = [
        k
        for k in relu_plan.schedule.kernels
        if isinstance(k, Contraction) and {p.buffer.home for _, p in k.stores} == {"state"}
    ]
    assert [len(k.stores) for k in fused] == [3, 3, 3]  # W, m, v


def test_of_a_relu_layer_only_the_output_and_its_gradient_are_stored(relu_plan: Plan) -> None:
    """The mask of the gradient is read from the output, so the pre-activation need not be kept."""
    for width in (225, 144):
        assert names_of(relu_plan, (BATCH, width)) == ["where", "where"]
        buffers = [b for node, b in stored(relu_plan) if node.shape == (BATCH, width)]
        assert [b.layout.dtype.name for b in buffers] == ["float32"] * 2


def test_a_smooth_activation_is_kept_and_nothing_else_of_its_layer() -> None:
    """tanh′ = 1 − h²"""
    plan = program_plan(classifier(*perceptron((225, 10), ops.tanh)).training(BATCH))
    assert names_of(plan, (BATCH, 225)) == ["mul", "tanh"]


def test_the_mask_of_dropout_is_stored_as_bytes() -> None:
    plan = program_plan(classifier(*perceptron((225, 144, 10), ops.relu, nn.Dropout(0.5))).training(BATCH), 2)
    draws = [k for k in plan.schedule.kernels if isinstance(k, Draw)]
    assert [k.nodes[0].shape for k in draws] == [(BATCH, 225), (BATCH, 144)]
    for draw in draws:
        ((_, place),) = draw.stores
        assert place.layout.dtype.itemsize == 1
    bits = [node for node, _ in stored(plan) if node.primitive.name == "random_bits"]
    assert bits == []


def test_a_prediction_stores_one_value_for_each_hidden_layer() -> None:
    model = relu_network().model
    x = model.batch_inputs(BATCH)
    outputs, run = model.trace(x, training=False)
    plan = function_plan(list(outputs.values()), [*x.values(), *run.inputs.values()])
    assert [type(k) for k in plan.schedule.kernels] == [Contraction] * 3
    assert [node.shape for node, _ in stored(plan)] == [(BATCH, 225), (BATCH, 144)]


# ------------------------------------------------------------------ meetings


@pytest.mark.parametrize("sizes", [(225, 144, 10), (512, 512, 10), (64,) * 8 + (10,)])
def test_threads_meet_three_times_in_a_step(sizes: tuple[int, ...]) -> None:
    """However many layers there are: the batch's rows are split, then the rows of the weights."""
    plan = program_plan(classifier(*perceptron(sizes, ops.relu)).training(BATCH), 2)
    assert plan.schedule.barriers + 1 == 3
    assert "3 meetings a step" in str(plan)


def test_one_thread_meets_nobody() -> None:
    plan = program_plan(relu_network().training(BATCH), 1)
    assert plan.schedule.barriers == 0
    assert "barrier" not in ir(plan)


def test_nothing_is_replaced_before_the_check(relu_plan: Plan) -> None:
    kernels = relu_plan.schedule.kernels
    (check,) = [n for n, k in enumerate(kernels) if isinstance(k, Check)]
    replacing = [n for n, k in enumerate(kernels) if any(p.buffer.home == "state" for _, p in k.stores)]
    assert len(replacing) == 6
    assert min(replacing) > check


# ------------------------------------------------------------------ memory


def lives(plan: Schedule, threads: int) -> dict[Buffer, tuple[float, float]]:
    """First and last moment of every buffer of the arena: kernels, or with threads the time between two
    meetings. A constant lives always."""
    found: dict[Buffer, tuple[float, float]] = {}
    for moment, buffer in _uses(plan, threads):
        first, last = found.get(buffer, (moment, moment))
        found[buffer] = (min(first, moment), max(last, moment))
    return {b: (-np.inf, np.inf) if b.value is not None else span for b, span in found.items()}


def _uses(plan: Schedule, threads: int) -> Iterator[tuple[int, Buffer]]:
    meetings = 0
    streams = [number for number, stream in enumerate(plan.streams) for _ in stream.kernels]
    for number, kernel in zip(streams, plan.kernels, strict=True):
        meetings += kernel.barrier
        used = [p.buffer for _, p in kernel.stores] + kernel.writes + kernel.scratch
        used += [access.buffer for access in plan.reads[kernel]]
        for buffer in used:
            if buffer.home in ("arena", "private"):
                yield (number if threads == 1 else meetings), buffer


def check_memory(plan: Plan) -> None:
    """Buffers that live at once lie apart, inside of their memory, and are written before they are read."""
    spans = lives(plan.schedule, plan.threads)
    size = {"arena": plan.schedule.arena, "private": plan.schedule.private}
    for buffer in spans:
        assert 0 <= buffer.place <= buffer.place + buffer.nbytes <= size[buffer.home]
        assert buffer.place % 64 == 0
        needed = sum((n - 1) * s for n, s in zip(buffer.layout.shape, buffer.layout.strides, strict=True)) + 1
        assert buffer.nbytes >= needed * buffer.layout.dtype.itemsize
    for a, (a_first, a_last) in spans.items():
        for b, (b_first, b_last) in spans.items():
            if a is b or a.home != b.home or a_last < b_first or b_last < a_first:
                continue
            assert a.place + a.nbytes <= b.place or b.place + b.nbytes <= a.place, "two values in one place"
    known = {b for b in spans if b.value is not None}
    for kernel in plan.schedule.kernels:
        known |= {p.buffer for _, p in kernel.stores} | set(kernel.writes)
        read = {access.buffer for access in plan.schedule.reads[kernel]}
        assert known >= {b for b in read if b.home in ("arena", "private")}


@pytest.mark.parametrize("seed", range(24))
def test_buffers_that_live_at_once_lie_apart(seed: int) -> None:
    job = random_network(seed)
    program = job.program(len(job.batches[0]), watched=False)
    for threads in (1, 2):
        check_memory(program_plan(program, threads))


def test_memory_is_used_again() -> None:
    """The gradient by one layer's output lies where the last layer's lay."""
    plan = program_plan(classifier(*perceptron((512,) * 8 + (10,), ops.relu)).training(BATCH))
    check_memory(plan)
    widest = BATCH * 528 * 4
    transposed = 7 * 512 * 528 * 4
    assert sum(b.nbytes for _, b in stored(plan)) - transposed > 16 * widest
    assert plan.schedule.arena - transposed < 12 * widest + BATCH * 1024 * 4


# ------------------------------------------------------------------ code


def functions(text: str, hint: str) -> int:
    return len(re.findall(rf"^define internal void @{hint}_\d+\(", text, re.MULTILINE))


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_layers_share_their_functions(threads: int) -> None:
    texts = [
        ir(program_plan(classifier(*perceptron((64,) * n + (10,), ops.relu)).training(32), threads))
        for n in (4, 8)
    ]
    for hint in ("tile", "contraction", "nest", "transposition"):
        few, many = (functions(text, hint) for text in texts)
        assert few == many > 0, hint


@pytest.mark.parametrize("lanes", [4, 16])
def test_every_primitive_is_planned_and_written(lanes: int) -> None:
    """Each sample becomes IR that computes it: a store to what is delivered, at least."""
    done = set()
    for primitive, cases in SAMPLES.items():
        for case in cases:
            for dtype in ("float32", "float64"):
                arrays = case.arrays(dtype=dtype)
                inputs = [ops.input(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
                node = apply(primitive, *inputs, **case.meta)
                plan = function_plan([node], inputs, 2)
                check_memory(plan)
                rings = {p.buffer for k in plan.schedule.kernels for _, p in k.stores}
                assert plan.table[-1] in rings
                assert ("store" in ir(plan, lanes)) or node.size == 0
        done.add(primitive.name)
    x = ops.input("x", (3,))
    twice = Graph((x,), (x + x, x * x))
    for nodes in ([x], [ops.constant(np.arange(3.0), "float32")], list(ops.call(twice, x))):
        assert "store" in ir(function_plan(nodes, [x], 2), lanes)
    assert done | {"input", "constant", "call", "item", "scan"} == set(PRIMITIVES)


# ------------------------------------------------------------------ identity

PROGRAMS = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from plans import ir, program_plan
from random_networks import random_network
for seed in range(6):
    job = random_network(seed)
    found = program_plan(job.program(len(job.batches[0]), watched=True), 1 + seed % 2)
    print(hashlib.sha256((found.identity + ir(found)).encode()).hexdigest())
"""


def test_plans_do_not_depend_on_the_order_of_hashes() -> None:
    """Neither identity nor code: else nothing would be found again in the cache, and bits might differ."""
    support = str(Path(__file__).parent / "support")
    command = [sys.executable, "-c", PROGRAMS, support]
    runs = [
        subprocess.Popen(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in ("1", "2")
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert len(set(first.split())) == 6
    assert first == second


def identity(*layers: nn.Step, rows: int = BATCH, threads: int = 1, **options: object) -> str:
    made = classifier(*layers or perceptron((20, 10), ops.relu), **options)  # type: ignore[arg-type]
    return program_plan(made.training(rows), threads).identity


def test_names_and_rates_do_not_change_the_identity() -> None:
    plain = identity()
    named = nn.sequential(first=nn.Dense(20), squash=ops.relu, second=nn.Dense(10))
    assert identity(named) == plain
    assert identity(rule=optim.Adam(0.5)) == plain


def test_what_changes_the_code_changes_the_identity() -> None:
    changed = [
        identity(),
        identity(rows=BATCH + 1),
        identity(threads=2),
        identity(dtype="float64"),
        identity(features=783),
        identity(rule=optim.Adam(epsilon=1e-7)),
        identity(rule=optim.Adam(beta1=0.8)),
        identity(*perceptron((20, 10), ops.tanh)),
        identity(*perceptron((20, 10), ops.relu, nn.Dropout(0.5))),
        identity(*perceptron((20, 10), ops.relu, nn.Dropout(0.4))),
    ]
    assert len(set(changed)) == len(changed)


def fitted(rows: int, seed: int = 0, **options: object) -> str:
    net = Network(nn.Dense(8), ops.relu, nn.Dropout(0.5), nn.Dense(3), seed=seed)
    x, y = np.zeros((rows, 5), "float32"), np.arange(rows) % 3
    fit = net._prepare(x, y, Request(batch_size=10, **options))  # type: ignore[arg-type]
    return program_plan(fit.step()).identity


def test_seed_epochs_rate_and_length_of_the_data_do_not_change_the_identity() -> None:
    plain = fitted(40)
    assert fitted(70) == plain
    assert fitted(40, seed=1) == plain
    assert fitted(40, epochs=7) == plain
    assert fitted(40, optimizer=optim.Adam(0.2)) == plain
    assert fitted(40, optimizer=optim.SGD(0.2)) != plain


def test_equal_identities_have_equal_code() -> None:
    """The cache knows code by the identity alone."""
    texts: dict[str, set[str]] = {}
    for seed in range(16):
        for _ in range(2):
            job = random_network(seed)
            found = program_plan(job.program(len(job.batches[0]), watched=False), job.threads)
            code = hashlib.sha256(ir(found).encode()).hexdigest()
            texts.setdefault(found.identity, set()).add(code)
    assert len(texts) == 16
    assert all(len(found) == 1 for found in texts.values())


def test_memory_without_padding_has_another_identity() -> None:
    """Rows of 16 look alike padded or not; but behind the last of them there may be nothing to read."""
    x, w = ops.input("x", (4, 8)), ops.input("w", (8, 16))
    padded = plan_function([x @ w], [x, w], [False, True], 1)
    plain = plan_function([x @ w], [x, w], [False, False], 1)
    assert [b.layout.strides for b in padded.table] == [b.layout.strides for b in plain.table]
    assert ir(padded) != ir(plain)
    assert padded.identity != plain.identity


def test_a_product_inside_of_a_call_wants_padded_rows_too() -> None:
    x, w = ops.input("x", (4, 8)), ops.input("w", (8, 16))
    inside = ops.call(Graph((x, w), (x @ w,)), x, w)
    assert wants_padding(list(inside), [x, w]) == [False, True]
