"""Two executors on one job: who is to be believed, how far, and where rounding alone decides.

The reference is the measure. An executor may differ from it by the tolerances of the specification:

float64   parameters, slots and statistics after 5 free steps: 1e-12 of the tensor's largest magnitude
float32   every step started from the reference's state: loss and gradients to 1e-5 of the tensor's largest;
          after 5 free steps to 1e-5 for SGD and momentum only (Adam divides small gradients by themselves)

Where rounding alone decides (kinks, the sign of a gradient of 1e-17, what divides two such), no tolerance is
right. Such places are found by *nudging*: the reference runs again from a state that is off by one unit in
the last place, and with the results of functions and the terms of sums off by as much. What moves by more
than a share of the tolerance is not steady: single elements of an update are left out, and a job whose loss,
gradients or path are not steady is drawn anew. So the tolerances stand as they are, and what is compared is
what can be.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from random_networks import STEPS, Job, random_network

from chainrule import optim
from chainrule.executors import Epoch, Program, compile, epoch
from chainrule.graph.expr import Expr, constant, rebuild, toposort
from chainrule.ops import elementwise, linalg, reduce

__all__ = [
    "Maker", "Mismatch", "Runner", "check_free", "check_prediction", "check_steps", "executor", "steady_job",
]  # fmt: skip

Array = np.ndarray[Any, Any]
Maker = Callable[[Program], Epoch]

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
SHARE = {"float32": 0.2, "float64": 0.1}
"""How much of the tolerance a nudge may use up."""
NUDGES = {"float32": 4, "float64": 2}
SUMS = {linalg.MATMUL, reduce.SUM}
FUNCTIONS = {
    elementwise.EXP, elementwise.EXPM1, elementwise.LOG, elementwise.LOG1P, elementwise.SQRT, elementwise.SIN,
    elementwise.COS, elementwise.TANH, elementwise.SIGMOID, elementwise.SOFTPLUS, elementwise.ERF,
    elementwise.DIV, elementwise.POW,
}  # fmt: skip
MOST_DRAWS = 40
LEAST_COMPARED = 0.95
"""Of the elements of a state: with fewer steady ones a job says too little."""


class Mismatch(AssertionError):  # noqa: N818  (an assertion that failed)
    """An executor differs from the reference."""


def executor(name: str, threads: int = 1) -> Maker:
    """What makes a program ready on an executor. The reference has no threads to choose."""
    if name == "reference":
        return functools.partial(epoch, executor=name)
    return functools.partial(epoch, executor=name, threads=threads)


REFERENCE = executor("reference")


class Runner:
    """A job on one executor; what was made ready once is used again."""

    def __init__(self, job: Job, make: Maker) -> None:
        self.job, self.make = job, make
        self.ready: dict[tuple[int, bool], Epoch] = {}

    def run(
        self, state: Mapping[str, Array], first: int = 0, stop: int = STEPS, *, watched: bool = False
    ) -> tuple[dict[str, Array], list[dict[str, Array]]]:
        """Steps ``first`` to ``stop`` from a state. → (the state after them, what every step delivered)"""
        job, now = self.job, {name: a.copy() for name, a in state.items()}
        delivered: list[dict[str, Array]] = []
        for rows, group in itertools.groupby(range(first, stop), key=lambda k: len(job.batches[k])):
            places = list(group)
            index = np.stack([job.batches[k] for k in places])
            scalars = [s[places] for s in job.scalars]
            done, found = self._ready(rows, watched).run(now, job.data, index, scalars)
            if done != len(places):
                raise Mismatch(f"{job.name}\nstep {places[done]} was taken for one that is not finite")
            delivered += [{name: a[k] for name, a in found.items()} for k in range(done)]
        return now, delivered

    def _ready(self, rows: int, watched: bool) -> Epoch:
        key = (rows, watched)
        if key not in self.ready:
            self.ready[key] = self.make(self.job.program(rows, watched))
        return self.ready[key]


# ------------------------------------------------------------------ the reference's path, and its margins


class Path:
    """What the reference gives, step by step, and what it gives from nudged states."""

    def __init__(self, job: Job) -> None:
        self.job = job
        reference = Runner(job, REFERENCE)
        others = [
            Runner(job, functools.partial(_rounding_otherwise, seed))
            for seed in range(NUDGES[job.dtype.name])
        ]
        self.states, self.delivered = [job.state], []
        self.nudged_states: list[list[dict[str, Array]]] = []
        self.nudged_delivered: list[list[dict[str, Array]]] = []
        for k in range(STEPS):
            state, (found,) = reference.run(self.states[k], k, k + 1, watched=True)
            self.states.append(state)
            self.delivered.append(found)
            pairs = [
                other.run(nudged(self.states[k], seed), k, k + 1, watched=True)
                for seed, other in enumerate(others)
            ]
            self.nudged_states.append([s for s, _ in pairs])
            self.nudged_delivered.append([d for _, (d,) in pairs])
        self.free = [other.run(nudged(job.state, k), watched=True)[0] for k, other in enumerate(others)]

    def finite(self) -> bool:
        values = [*self.states[-1].values(), *(a for d in self.delivered for a in d.values())]
        return all(np.isfinite(a).all() for a in values)

    def steady(self) -> bool:
        """Whether a comparison means something: see the top of this file."""
        dtype = self.job.dtype.name
        if any(_share(self.delivered[k], self.nudged_delivered[k], dtype) < 1 for k in range(STEPS)):
            return False
        if any(
            _share(self.states[k + 1], self.nudged_states[k], dtype) < LEAST_COMPARED for k in range(STEPS)
        ):
            return False
        return not runs_free(self.job) or _share(self.states[-1], self.free, dtype) == 1


def runs_free(job: Job) -> bool:
    """Whether five steps in a row are compared."""
    smooth = isinstance(job.rule, optim.SGD | optim.Momentum | optim.Nesterov)
    return job.dtype == np.float64 or smooth


def nudged(state: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """The state off by up to one unit in the last place."""
    rng = np.random.default_rng(seed)
    return {
        name: (a * (1 + np.finfo(a.dtype).eps * rng.integers(-1, 2, a.shape))).astype(a.dtype)
        for name, a in state.items()
    }


def _rounding_otherwise(seed: int, program: Program) -> Epoch:
    """The reference with all that is rounded taken towards zero by up to one unit: what functions give, and
    what sums are made of, for a sum that cancels keeps the rounding of its terms."""
    rng = np.random.default_rng(seed)
    image: dict[Expr, Expr] = {}

    def off(node: Expr) -> Expr:
        return node * constant(1 - np.finfo(node.dtype).eps * rng.integers(0, 2, node.shape), node.dtype)

    nodes = [*program.outputs.values(), *program.updates.values()]
    for node in toposort(nodes):
        inputs = [image[x] for x in node.inputs]
        if node.primitive in SUMS and node.dtype.kind == "f":
            inputs[0] = off(inputs[0])
        new = rebuild(node, tuple(inputs))
        image[node] = off(new) if node.primitive in FUNCTIONS else new
    found = [image[node] for node in nodes]
    outputs = dict(zip(program.outputs, found, strict=False))
    updates = dict(zip(program.updates, found[len(outputs) :], strict=True))
    return REFERENCE(dataclasses.replace(program, outputs=outputs, updates=updates))


def _share(expected: Mapping[str, Array], others: list[dict[str, Array]], dtype: str) -> float:
    """The share of elements that are steady."""
    found = [_steady(a, [other[name] for other in others], dtype) for name, a in expected.items()]
    return float(sum(s.sum() for s in found) / max(sum(s.size for s in found), 1))


def _steady(expected: Array, others: list[Array], dtype: str) -> Array:
    allowed = SHARE[dtype] * TOLERANCE[dtype] * _largest(expected)
    moved = [np.abs(other.astype(np.float64) - expected) <= allowed for other in others]
    return np.logical_and.reduce(moved)


def _largest(a: Array) -> float:
    return float(np.max(np.abs(a), initial=0.0))


@functools.lru_cache(maxsize=4)
def steady_job(seed: int) -> tuple[Job, Path]:
    """The seed's first job that is finite and steady."""
    for draw in range(MOST_DRAWS):
        job = random_network(seed, draw)
        try:
            path = Path(job)
        except Mismatch:  # it diverges, on the reference too
            continue
        if path.finite() and path.steady():
            return job, path
    raise AssertionError(f"seed {seed}: none of {MOST_DRAWS} jobs is well-conditioned")


# ------------------------------------------------------------------ the comparisons


def check_free(job: Job, path: Path, make: Maker) -> None:
    """Five steps in a row; the executor keeps its own state."""
    if runs_free(job):
        found, _ = Runner(job, make).run(job.state)
        _compare(job, f"after {STEPS} free steps", path.states[-1], found, [])


def check_steps(job: Job, path: Path, make: Maker, watches: tuple[bool, ...] = (False, True)) -> None:
    """Every step from the reference's state: loss, gradients and the whole next state; with the gradients
    delivered, and without, where an executor may never store them."""
    runner = Runner(job, make)
    for k in range(STEPS):
        for watched in watches:
            state, (delivered,) = runner.run(path.states[k], k, k + 1, watched=watched)
            where = f"step {k}{' with gradients delivered' if watched else ''}"
            expected = {name: path.delivered[k][name] for name in delivered}
            _compare(job, f"{where}: delivered", expected, delivered, [])
            _compare(job, f"{where}: state", path.states[k + 1], state, path.nudged_states[k])


def check_prediction(job: Job, path: Path, name: str) -> None:
    """What the trained network answers, in inference mode, for one row and for a batch."""
    last, spread = path.states[-1], [nudged(path.states[-1], seed) for seed in range(NUDGES[job.dtype.name])]
    for rows in (1, len(job.batches[0])):
        x = job.objective.model.batch_inputs(rows)
        outputs, run = job.objective.model.trace(x, training=False)
        given = [a[:rows] for a in job.data[: len(x)]]
        inputs = [*x.values(), *run.inputs.values()]
        reference = compile(list(outputs.values()), inputs, executor="reference")

        def answer(function: Any, state: Mapping[str, Array]) -> dict[str, Array]:
            values = function(*given, *[state[n] for n in run.inputs])  # noqa: B023  (called in this turn)
            return dict(zip(outputs, values, strict=True))  # noqa: B023

        others = [answer(reference, state) for state in spread]
        found = answer(compile(list(outputs.values()), inputs, executor=name), last)
        _compare(job, f"prediction of {rows} rows", answer(reference, last), found, others)


def _compare(
    job: Job,
    where: str,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    others: list[dict[str, Array]],
) -> None:
    """Every array within the tolerance of its dtype, but for elements that are not steady."""
    if set(expected) != set(found):
        raise Mismatch(f"{job.name}\n{where}: names {sorted(set(expected) ^ set(found))}")
    for name, a in expected.items():
        b = found[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Mismatch(f"{job.name}\n{where}: {name} is {b.dtype}{b.shape}, expected {a.dtype}{a.shape}")
        allowed = TOLERANCE[job.dtype.name] * _largest(a)
        error = np.abs(b.astype(np.float64) - a)
        wrong = ~(error <= allowed)  # NaN is wrong
        if others:
            wrong &= _steady(a, [other[name] for other in others], job.dtype.name)
        if wrong.any():
            place = np.unravel_index(
                int(np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1))), a.shape
            )
            raise Mismatch(
                f"{job.name}, {job.threads} threads\n{where}: {name}{[int(i) for i in place]} "
                f"is {b[place]!r}, the reference gives {a[place]!r}; off by {error[place]:.3g}, "
                f"allowed {allowed:.3g}; {int(wrong.sum())} of {a.size} elements"
            )
