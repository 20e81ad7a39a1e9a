"""Optimizers against torch.optim: 100 steps in float64, to 1e-10, wherever the definitions agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from descents import START, STEPS, Arrays, Factor, constant, ours, theirs

from chainrule import optim


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """PyTorch keeps NAdam's product of momenta in its default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def assert_equal(found: Arrays, expected: Arrays, tolerance: float = 1e-10) -> None:
    for n, a in expected.items():
        np.testing.assert_allclose(found[n], a, rtol=tolerance, atol=tolerance, err_msg=n)
        assert np.abs(a - START[n]).max() > 1e-3, "the test must move the parameters"


def falling(k: int) -> float:
    return 1 - k / (2 * STEPS)


T = torch.optim
SAME: dict[str, tuple[optim.Rule, Callable[..., Any], Factor, float | None]] = {
    "SGD": (optim.SGD(0.2), lambda p: T.SGD(p, lr=0.2), falling, None),
    "SGD l2": (optim.SGD(0.2, l2=0.03), lambda p: T.SGD(p, lr=0.2), falling, 0.03),
    "momentum": (optim.Momentum(0.05), lambda p: T.SGD(p, lr=0.05, momentum=0.9), constant, None),
    "AdaGrad": (optim.AdaGrad(0.05), lambda p: T.Adagrad(p, lr=0.05, eps=1e-7), falling, None),
    "AdaDelta": (optim.AdaDelta(), lambda p: T.Adadelta(p, lr=1.0, rho=0.95, eps=1e-6), falling, None),
    "RMSProp": (optim.RMSProp(0.01), lambda p: T.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-6), falling, None),
    "RMSProp centered": (
        optim.RMSProp(0.05, delta=0.1, centered=True),  # with a tiny δ, r − m² near 0 magnifies rounding
        lambda p: T.RMSprop(p, lr=0.05, alpha=0.9, eps=0.1, centered=True),
        falling,
        None,
    ),
    "RMSProp momentum": (
        optim.RMSProp(1e-3, delta=1e-2, centered=True, momentum=0.8),
        lambda p: T.RMSprop(p, lr=1e-3, alpha=0.9, eps=1e-2, centered=True, momentum=0.8),
        constant,
        None,
    ),
    "Adam": (optim.Adam(0.02), lambda p: T.Adam(p, lr=0.02), falling, None),
    "Adam l2": (optim.Adam(0.02, l2=0.1), lambda p: T.Adam(p, lr=0.02), falling, 0.1),
    "AdamW": (optim.AdamW(0.02, weight_decay=0.1), lambda p: T.AdamW(p, lr=0.02), falling, 0.1),
    "NAdam": (optim.NAdam(0.02), lambda p: T.NAdam(p, lr=0.02), falling, None),
    "NAdam decoupled": (
        optim.NAdam(0.02, weight_decay=0.1),
        lambda p: T.NAdam(p, lr=0.02, decoupled_weight_decay=True),
        falling,
        0.1,
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_hundred_steps_are_the_same(name: str, compared: Callable[..., None]) -> None:
    rule, make, factor, decay = SAME[name]
    assert_equal(ours(rule, factor)[0], theirs(make, factor, decay))
    compared("optimizers", type(rule).__name__, "PyTorch")


def test_nesterov_of_pytorch_walks_our_look_ahead_points() -> None:
    found, state, _ = ours(optim.Nesterov(0.05))
    expected = theirs(lambda p: T.SGD(p, lr=0.05, momentum=0.9, nesterov=True))
    ahead = {n: found[n] + 0.9 * state[f"optimizer/v/{n}"] for n in START}
    assert_equal(ahead, expected)


def test_muon_is_the_same_but_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    hidden = {id: n for n, id in (("hidden/W", 0), ("out/W", 2))}
    rule = optim.Muon(0.02, weight_decay=0.1, rest=optim.AdamW(0.004, weight_decay=0.0), rest_of=())

    class Both(T.Optimizer):
        """Muon for matrices (transposed: PyTorch's weights are (out, in)), AdamW for the bias."""

        def __init__(self, groups: list[dict[str, Any]]) -> None:
            super().__init__(groups, {"lr": 0.02})
            self.matrices = [groups[i]["params"][0] for i in hidden]
            self.turned = [m.detach().T.clone().requires_grad_() for m in self.matrices]
            self.muon = T.Muon(self.turned, lr=0.02, weight_decay=0.1)
            self.adamw = T.AdamW(groups[1]["params"], lr=0.004, weight_decay=0.0)

        def step(self, closure: Any = None) -> None:
            for turned, m in zip(self.turned, self.matrices, strict=True):
                turned.grad = m.grad.T.clone()
            self.muon.step()
            self.adamw.step()
            for turned, m in zip(self.turned, self.matrices, strict=True):
                m.data.copy_(turned.detach().T)

    assert_equal(ours(rule)[0], theirs(Both))


@pytest.mark.parametrize(
    ("rule", "make", "factor"),
    [
        (optim.Momentum(0.05), lambda p: T.SGD(p, lr=0.05, momentum=0.9), falling),
        (optim.AMSGrad(0.02), lambda p: T.Adam(p, lr=0.02, amsgrad=True), constant),
    ],
    ids=["momentum under a schedule", "AMSGrad"],
)
def test_where_the_definitions_differ_as_the_docstrings_say(rule: Any, make: Any, factor: Factor) -> None:
    found, expected = ours(rule, factor)[0], theirs(make, factor)
    assert max(np.abs(found[n] - expected[n]).max() for n in START) > 1e-4


def test_clipping_is_the_same() -> None:
    norm = lambda p: torch.nn.utils.clip_grad_norm_(p, 0.05)  # noqa: E731
    value = lambda p: torch.nn.utils.clip_grad_value_(p, 0.02)  # noqa: E731
    make = lambda p: T.SGD(p, lr=0.2)  # noqa: E731
    assert_equal(ours(optim.SGD(0.2, clip_value=0.02))[0], theirs(make, clip=value))
    assert_equal(
        ours(optim.SGD(0.2, clip_norm=0.05))[0], theirs(make, clip=norm), 1e-4
    )  # theirs adds 1e-6 to ‖g‖


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_are_those_of_swa_utils(kind: str) -> None:
    utils = torch.optim.swa_utils
    average = optim.EMA(0.95, debias=False) if kind == "ema" else optim.SWA(0, every=1)
    function = utils.get_ema_avg_fn(0.95) if kind == "ema" else None
    holder: dict[str, Any] = {}

    def update(θ: dict[str, torch.Tensor]) -> None:
        if not holder:
            module = torch.nn.ParameterDict(
                {n.replace("/", "_"): torch.nn.Parameter(p) for n, p in θ.items()}
            )
            holder["module"], holder["average"] = module, utils.AveragedModel(module, avg_fn=function)
        for n, p in θ.items():
            holder["module"][n.replace("/", "_")].data.copy_(p.detach())
        holder["average"].update_parameters(holder["module"])

    theirs(lambda p: T.SGD(p, lr=0.2), average=update)
    _, state, _ = ours(replace(optim.SGD(0.2), average=average))
    for n in START:
        expected = holder["average"].module[n.replace("/", "_")].detach().numpy()
        np.testing.assert_allclose(state[f"optimizer/average/{n}"], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (optim.Cosine(end=0.1), lambda o: T.lr_scheduler.CosineAnnealingLR(o, 100, eta_min=0.1)),
        (optim.Linear(end=0.2, steps=40), lambda o: T.lr_scheduler.LinearLR(o, 1.0, 0.2, 40)),
        (optim.Exponential(0.97, per="step"), lambda o: T.lr_scheduler.ExponentialLR(o, 0.97)),
        (optim.Step(0.1, at=(30, 60)), lambda o: T.lr_scheduler.MultiStepLR(o, [30, 60])),
        (optim.Constant(), lambda o: T.lr_scheduler.ConstantLR(o, 1.0)),
    ],
    ids=["Cosine", "Linear", "Exponential", "Step", "Constant"],
)
def test_schedules_are_the_same(
    schedule: optim.Schedule, make: Callable[..., Any], compared: Callable[..., None]
) -> None:
    optimizer = T.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    for k in range(100):
        assert schedule.factor(k, 100, 10) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()
    compared("schedules", type(schedule).__name__, "PyTorch", 100)
