"""Every executor trains as the reference does: random networks, five steps each.

All 500:     make equal
One of them: python -m pytest -m "" tests/test_equality.py -k "seed417-"
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import random_layers
import random_losses
from comparison import Maker, Mismatch, check_free, check_prediction, check_steps, executor, steady_job
from random_networks import Job, random_network

from chainrule import losses, nn, ops, optim
from chainrule.executors import EXECUTORS, Epoch, Program
from chainrule.executors.reference import ReferenceEpoch
from chainrule.graph import apply
from chainrule.graph.expr import Expr, rebuild, toposort
from chainrule.ops.functions import FUNCTIONS
from chainrule.ops.linalg import MATMUL

QUICK, ALL = range(40), range(500)
REFERENCE_SEEDS = QUICK[:6]  # the reference against itself proves only that this file runs
OTHERS = sorted(set(EXECUTORS) - {"reference"})


def _cases(seeds: range) -> list[Any]:
    return [pytest.param(name, seed, id=f"seed{seed}-{name}") for name in OTHERS for seed in seeds]


def check(seed: int, make: Maker | None, name: str = "", watched: tuple[bool, ...] = (False, True)) -> None:
    job, path = steady_job(seed)
    make = make or executor(name, job.threads)
    check_steps(job, path, make, watched)
    check_free(job, path, make)


@pytest.mark.parametrize("seed", REFERENCE_SEEDS)
def test_the_reference_equals_itself(seed):
    check(seed, None, "reference")


@pytest.mark.parametrize(("name", "seed"), _cases(QUICK))
def test_a_random_network_trains_as_on_the_reference(name, seed):
    """Of every four the first with its gradients delivered too, the third predicting what it has learned:
    each time that is another program to compile."""
    check(seed, None, name, (False, True) if seed % 4 == 0 else (False,))
    if seed % 4 == 2:
        check_prediction(*steady_job(seed), name)


@pytest.mark.long
@pytest.mark.parametrize(("name", "seed"), _cases(ALL))
def test_five_hundred_random_networks_train_as_on_the_reference(name, seed):
    check(seed, None, name)
    check_prediction(*steady_job(seed), name)


# ------------------------------------------------------------------ what the jobs cover


def _parts(layer: Any) -> set[str]:
    """The names of the layers and functions inside a layer."""
    if not isinstance(layer, nn.Layer):
        return {layer.__name__}
    values = [getattr(layer, field.name) for field in dataclasses.fields(layer)]
    return {type(layer).__name__}.union(*(_parts(step) for step in _steps(values)))


def _steps(values: Iterable[Any]) -> Iterator[Any]:
    """The layers and functions among some values, and in tuples of theirs."""
    for value in values:
        if isinstance(value, tuple):
            yield from _steps(value)
        elif isinstance(value, nn.Layer) or value in FUNCTIONS.values():
            yield value


def _rule_parts(job: Job) -> set[str]:
    rule = job.rule
    switched = ("weight_decay", "l2", "l1", "max_norm", "clip_norm", "clip_value", "groups")
    found = {type(rule).__name__, *(name for name in switched if getattr(rule, name))}
    found |= {"frozen"} if any(g.frozen for g in rule.groups) else set()
    return found | ({type(rule.average).__name__} if rule.average else set())


def test_the_jobs_cover_every_layer_function_loss_and_optimizer():
    assert set(random_losses.HEADS) == set(losses.LOSSES)
    assert set(random_layers.ACTIVATIONS) == set(FUNCTIONS)
    jobs = [random_network(seed) for seed in ALL]
    seen: collections.Counter[str] = collections.Counter()
    for job in jobs:
        seen.update(_parts(job.objective.model.layer))
        seen.update(_rule_parts(job))
        seen.update({type(loss).__name__ for loss in job.objective.losses.values()})
        seen.update({f"batch {len(job.batches[0])}", f"{job.threads} threads", job.dtype.name})
        seen.update({"a partial last batch"} if len(job.batches[-1]) < len(job.batches[0]) else {})
        seen.update({"several outputs"} if len(job.objective.losses) > 1 else {})
        seen.update({"several inputs"} if len(job.objective.model.inputs) > 1 else {})
        seen.update({"weights of 0"} if job.objective.masks else {})
        seen.update({job.data[0].dtype.name} if job.data[0].dtype.kind in "iu" else {})
    wanted = {
        *nn.LAYERS, *FUNCTIONS, *losses.LOSSES, *optim.OPTIMIZERS, *optim.AVERAGES, "weight_decay", "l2",
        "l1", "max_norm", "clip_norm", "clip_value", "groups", "frozen", "batch 1", "1 threads", "2 threads",
        "uint8", "int64", "float32", "float64", "a partial last batch", "several outputs", "several inputs",
        "weights of 0",
    }  # fmt: skip
    assert not {name for name in wanted if seen[name] < 5}


def test_a_job_follows_from_its_seed():
    one, other = random_network(7), random_network(7)
    assert one.name == other.name
    assert all((a == b).all() for a, b in zip(one.data, other.data, strict=True))
    assert all((a == other.state[name]).all() for name, a in one.state.items())


# ------------------------------------------------------------------ a wrong executor is caught


class Wrong:
    """The reference, but for what ``spoil`` does to the state and to what was delivered, after every call."""

    def __init__(self, program: Program, spoil: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        self.ready, self.spoil = executor("reference")(program), spoil

    def run(self, state: Any, data: Any, index: Any, scalars: Any) -> Any:
        before = {name: a.copy() for name, a in state.items()}
        done, found = self.ready.run(state, data, index, scalars)
        found = {name: a.copy() for name, a in found.items()}
        self.spoil({"before": before, "after": state}, found)
        return done, found


def _weight(state: dict[str, Any]) -> str:
    """The first matrix that learns."""
    return next(n for n, a in state["after"].items() if a.ndim == 2 and (a != state["before"][n]).any())


def _one_element(state, found):
    """One element of one weight, off by 1e-4 of itself."""
    w = state["after"][_weight(state)]
    w[np.unravel_index(np.argmax(np.abs(w)), w.shape)] *= 1 + 1e-4


def _rounded(state, found):
    """A float64 weight that went through float32."""
    name = _weight(state)
    state["after"][name] = state["after"][name].astype(np.float32).astype(state["after"][name].dtype)


def _stale(state, found):
    """A weight that is not updated."""
    name = _weight(state)
    state["after"][name] = state["before"][name]


def _loss(state, found):
    found["loss"] *= 1 + 1e-4


def _gradient(state, found):
    """The largest element of a gradient, where gradients are delivered."""
    for name in [n for n in found if n.startswith("gradient:") and found[n].any()][:1]:
        g = found[name]
        g[np.unravel_index(np.argmax(np.abs(g)), g.shape)] *= 1 + 1e-4


def _nan(state, found):
    state["after"][_weight(state)].flat[0] = np.nan


def _wrong(spoil: Any) -> Maker:
    def make(program: Program) -> Epoch:
        return Wrong(program, spoil)

    return make


@pytest.mark.parametrize("seed", [8, 9])
@pytest.mark.parametrize("spoil", [_one_element, _rounded, _stale, _loss, _gradient, _nan])
def test_a_wrong_executor_is_caught(seed, spoil):
    job, path = steady_job(seed)
    if spoil is _rounded and job.dtype == np.float32:
        check(seed, _wrong(spoil))  # nothing was spoiled, so nothing is found
        return
    with pytest.raises(Mismatch, match=f"seed {seed}"):
        check_steps(job, path, _wrong(spoil))
    if spoil in (_one_element, _stale, _nan, _rounded) and job.dtype == np.float64:
        with pytest.raises(Mismatch):
            check_free(job, path, _wrong(spoil))


def _summed_otherwise(nodes: Sequence[Expr]) -> list[Expr]:
    """The same graph whose products are summed in float64, or from the other end: right, to other bits."""
    image: dict[Expr, Expr] = {}
    for node in toposort(nodes):
        inputs = tuple([image[x] for x in node.inputs])
        if node.primitive is not MATMUL:
            image[node] = rebuild(node, inputs)
        elif node.dtype == np.float32:
            image[node] = ops.cast(apply(MATMUL, *[ops.cast(x, "float64") for x in inputs]), "float32")
        else:
            a, b = inputs
            image[node] = apply(MATMUL, ops.flip(a, a.ndim - 1), ops.flip(b, b.ndim - 2))
    return [image[node] for node in nodes]


def _other_order(program: Program) -> Epoch:
    names = [*program.outputs, *program.updates]
    nodes = [*program.outputs.values(), *program.updates.values()]
    found = dict(zip(names, _summed_otherwise(nodes), strict=True))
    outputs, updates = ({name: found[name] for name in d} for d in (program.outputs, program.updates))
    return ReferenceEpoch(dataclasses.replace(program, outputs=outputs, updates=updates))


@pytest.mark.parametrize("seed", range(10, 16))
def test_a_right_executor_with_other_rounding_passes(seed):
    check(seed, _other_order)


def test_gradients_with_a_little_noise_are_caught_and_rounding_is_not():
    """An executor that is right up to one unit in the last place passes; at a hundred it does not."""

    def noisy(size):
        def spoil(state, found):
            rng = np.random.default_rng(0)
            for a in found.values():
                a *= 1 + size * np.finfo(a.dtype).eps * rng.uniform(-1, 1, a.shape).astype(a.dtype)

        return spoil

    for seed, much in ((8, 300), (9, 3e4)):
        job, path = steady_job(seed)
        check_steps(job, path, _wrong(noisy(1)))
        with pytest.raises(Mismatch):
            check_steps(job, path, _wrong(noisy(much)))
