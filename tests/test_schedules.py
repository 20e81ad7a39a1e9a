"""Schedules: closed forms, ends, bounds, continuity."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError
from chainrule.optim import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Linear,
    OneCycle,
    Schedule,
    Step,
    WarmUp,
    resolve_schedule,
)

EXAMPLES: list[Schedule] = [
    *(kind() for kind in SCHEDULES.values()),
    Linear(end=0.1, steps=0.5),
    Linear(end=2.0, steps=30),
    Exponential(0.99, per="step"),
    Step(0.5, at=(10, 20, 30)),
    Cosine(end=0.2, steps=50),
    WarmUp(10, Constant()),
    WarmUp(0.3, WarmUp(0.5, Linear())),
    WarmUp(5, OneCycle()),
    OneCycle(rise=17, start=0.5, end=0.1),
]


def factors(schedule: Schedule, total: int = 100, per_epoch: int = 10) -> list[float]:
    return [schedule.factor(k, total, per_epoch) for k in range(total + 1)]


# ------------------------------------------------------------------ closed forms


def test_linear_is_the_formula_and_then_constant() -> None:
    """ε_k = (1 − k/τ)ε₀ + (k/τ)ε_τ"""
    found = factors(Linear(end=0.2, steps=40))
    for k in range(101):
        share = min(k / 40, 1)
        assert found[k] == pytest.approx((1 - share) * 1 + share * 0.2, abs=1e-15)
    assert found[40:] == [pytest.approx(0.2)] * 61
    assert factors(Linear())[100] == 0.0


def test_exponential_per_epoch_and_per_step() -> None:
    assert factors(Exponential(0.9)) == [pytest.approx(0.9 ** (k // 10)) for k in range(101)]
    assert factors(Exponential(0.9, per="step")) == [pytest.approx(0.9**k) for k in range(101)]


def test_step_drops_at_its_milestones() -> None:
    found = factors(Step(0.1, at=(0.5, 0.75)))
    assert found == [pytest.approx(1.0 if k < 50 else 0.1 if k < 75 else 0.01) for k in range(101)]
    assert factors(Step(0.5, at=(3,)))[2:4] == [1.0, 0.5]
    assert factors(Step(at=())) == [1.0] * 101


def test_cosine_is_the_formula() -> None:
    found = factors(Cosine(end=0.1))
    for k in range(101):
        assert found[k] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * k / 100)) / 2, abs=1e-15)


def test_warm_up_rises_in_equal_steps_and_hands_over() -> None:
    found = factors(WarmUp(10, Linear()))
    assert found[:10] == [pytest.approx((k + 1) / 10) for k in range(10)]
    assert found[10:] == [pytest.approx(1 - k / 90) for k in range(91)]


def test_one_cycle_starts_peaks_and_ends_where_it_says() -> None:
    found = factors(OneCycle())
    assert found[0] == pytest.approx(1 / 25)
    assert max(found) == found[30] == 1.0
    assert found[100] == pytest.approx(1 / 250_000)
    assert found[15] == pytest.approx((1 + 1 / 25) / 2)


def test_shares_follow_the_length_of_the_run() -> None:
    for total in (7, 100, 12_345):
        assert Linear(steps=0.5).factor(total, total, 1) == 0.0
        assert Step(at=(0.5,)).factor(round(0.5 * total), total, 1) == 0.1
        assert OneCycle().factor(round(0.3 * total), total, 1) == 1.0


# ------------------------------------------------------------------ what all of them keep


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
@given(total=st.integers(1, 3000), data=st.data())
def test_factors_are_bounded_and_finite(schedule: Schedule, total: int, data: Any) -> None:
    step = data.draw(st.integers(0, total))
    per_epoch = data.draw(st.integers(1, total))
    factor = schedule.factor(step, total, per_epoch)
    assert isinstance(factor, float)
    assert 0 <= factor <= max(1.0, getattr(schedule, "end", 1.0))
    assert schedule.factor(0, total, per_epoch) > 0 or total <= 2, "the first step must move"


@pytest.mark.parametrize("schedule", [s for s in EXAMPLES if not isinstance(s, Exponential | Step)], ids=repr)
def test_factors_do_not_jump(schedule: Schedule) -> None:
    """Of 10,000 steps no two neighbours differ by more than the steepest part (a warm-up of 5) allows."""
    short = {WarmUp: 0.2, OneCycle: 0.1, Linear: 0.04, Cosine: 0.04}
    found = factors(schedule, total=10_000, per_epoch=100)
    jump = max(abs(a - b) for a, b in pairwise(found))
    assert jump <= short.get(type(schedule), 0.0) + 1e-12


@pytest.mark.parametrize("kind", [Linear, Cosine, OneCycle, WarmUp, Step, Exponential])
def test_nothing_rises_after_the_peak(kind: Callable[[], Schedule]) -> None:
    found = factors(kind())
    top = found.index(max(found))
    assert all(a >= b for a, b in pairwise(found[top:]))


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
@given(total=st.integers(1, 3000), data=st.data())
def test_many_steps_have_the_factors_of_each(schedule: Schedule, total: int, data: Any) -> None:
    """To the bit: how many steps run in one call must not matter."""
    first, count = data.draw(st.integers(0, total)), data.draw(st.integers(0, 300))
    per_epoch = data.draw(st.integers(1, total))
    found = schedule.factors(first, count, total, per_epoch)
    assert found.dtype == np.float64
    assert found.tolist() == [schedule.factor(k, total, per_epoch) for k in range(first, first + count)]


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_schedules_survive_json(schedule: Schedule) -> None:
    assert from_json(to_json(schedule), SCHEDULES, {}) == schedule


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(end=-0.1), "Linear: end"),
        (lambda: Linear(steps=0), "Linear: steps"),
        (lambda: Linear(steps=1.5), r"Linear: steps is 1.5; it must be a number in \(0, 1\]"),
        (lambda: Exponential(1.1), "Exponential: base"),
        (lambda: Exponential(per="week"), "'epoch' or 'step'"),  # type: ignore[arg-type]
        (lambda: Step(at=(0.5, 10)), "Step: at"),
        (lambda: Step(at=(0.75, 0.5)), "rising"),
        (lambda: Step(at=(0,)), "Step: at"),
        (lambda: Cosine(end=float("nan")), "Cosine: end"),
        (lambda: WarmUp(0), "WarmUp: steps"),
        (lambda: WarmUp(5, "cosine"), "WarmUp: then"),  # type: ignore[arg-type]
        (lambda: OneCycle(start=2.0), "OneCycle: start"),
        (lambda: resolve_schedule("cosin"), "did you mean 'Cosine'"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
