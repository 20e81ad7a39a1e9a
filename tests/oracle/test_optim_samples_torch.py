"""PyTorch's own samples of its optimizers (optim_db) through ours: their settings, climbing too, with one
rate and with a rate per group, 40 steps in float64 to 1e-10.

A form says which rule of ours a sample is. Where our definition is another one (AMSGrad without bias
correction, Nesterov's look-ahead point), the sample is compared with the recurrence in NumPy instead.
``UNFIT`` lists the samples that do not fit, ``WITHOUT`` the optimizers that have no counterpart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from descents import START, Arrays, X, Y, ours, theirs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_optimizers import optim_db

from chainrule import optim
from chainrule.errors import ConfigError

STEPS = 40
INFOS = {info.name: info for info in optim_db}
Settings = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """kind         the rule
    options     its fields beside the rate
    decay       the field of the rule that PyTorch's weight_decay is
    falling     by what its rate falls: η/(1 + k·falling)
    slot        where its memory starts
    """

    kind: type[optim.Rule]
    options: Settings
    decay: str = "l2"
    falling: float = 0.0
    slot: float = 0.0

    def rule(self, d: Settings, second: float) -> optim.Rule:
        """PyTorch's weight_decay is for biases, too; ``second`` is the last layer's rate over the first's."""
        η, decay = float(d["lr"]), {self.decay: float(d["weight_decay"]), "biases": True}
        groups = (optim.Group("out/*", learning_rate=second * η, **decay), optim.Group("*", **decay))
        return self.kind(learning_rate=η, groups=groups, weight_decay=0.0, **self.options)

    def factor(self, k: int) -> float:
        return 1 / (1 + k * self.falling)


def betas(d: Settings, **more: Any) -> Settings:
    return {"beta1": d["betas"][0], "beta2": d["betas"][1], "epsilon": d["eps"], **more}


def sgd(d: Settings) -> Form:
    if not d["momentum"]:
        return Form(optim.SGD, {})
    return Form(optim.Nesterov if d["nesterov"] else optim.Momentum, {"momentum": d["momentum"]})


def adam(d: Settings) -> Form:
    decay = "weight_decay" if d["decoupled_weight_decay"] else "l2"
    return Form(optim.AMSGrad if d["amsgrad"] else optim.Adam, betas(d), decay)


def adamw(d: Settings) -> Form:
    return Form(optim.AMSGrad if d["amsgrad"] else optim.AdamW, betas(d), "weight_decay")


def nadam(d: Settings) -> Form:
    decay = "weight_decay" if d["decoupled_weight_decay"] else "l2"
    return Form(optim.NAdam, betas(d, momentum_decay=d["momentum_decay"]), decay)


def rmsprop(d: Settings) -> Form:
    names = {"rho": "alpha", "delta": "eps", "centered": "centered", "momentum": "momentum"}
    return Form(optim.RMSProp, {ours: d[their] for ours, their in names.items()})


FORMS: dict[str, Callable[[Settings], Form]] = {
    "SGD": sgd,
    "Adagrad": lambda d: Form(
        optim.AdaGrad, {"delta": d["eps"]}, falling=d["lr_decay"], slot=d["initial_accumulator_value"]
    ),
    "Adadelta": lambda d: Form(optim.AdaDelta, {"rho": d["rho"], "epsilon": d["eps"]}),
    "RMSprop": rmsprop,
    "Adam": adam,
    "AdamW": adamw,
    "NAdam": nadam,
}

UNFIT: list[tuple[str, Callable[[Settings], bool], str]] = [
    ("SGD", lambda d: d["dampening"] != 0, "no dampening: the catalogue's velocity takes the whole gradient"),
    ("Muon", lambda d: d["ns_coefficients"] == (3.4, -4.7, 2.0), "the coefficients are the catalogue's"),
]

WITHOUT = {
    "Adafactor": "not in the catalogue",
    "Adamax": "not in the catalogue",
    "ASGD": "not in the catalogue; averages are optim.SWA and optim.EMA, of any rule",
    "LBFGS": "a solver with a line search of its own: test_solver.py goes to known minima",
    "RAdam": "not in the catalogue",
    "Rprop": "not in the catalogue",
    "SparseAdam": "gradients are dense here",
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """PyTorch keeps NAdam's product of momenta in its default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def unfit(name: str, d: Settings) -> str | None:
    return next((why for of, holds, why in UNFIT if of == name and holds(d)), None)


def samples(name: str) -> list[tuple[Settings, Settings, str]]:
    """(what is given, all settings, their own description) of every sample."""
    info, found = INFOS[name], []
    for given in info.optim_inputs_func("cpu"):
        parameter = torch.zeros(2, 2, requires_grad=True)
        found.append((given.kwargs, info.optim_cls([parameter], **given.kwargs).defaults, given.desc))
    return found


def made(name: str, given: Settings, d: Settings, second: float) -> Callable[[Any], torch.optim.Optimizer]:
    def make(groups: list[Settings]) -> torch.optim.Optimizer:
        groups[2]["lr"] = d["lr"] * second
        return INFOS[name].optim_cls(groups, **given)

    return make


# ------------------------------------------------------------------ where the definitions differ


def slopes(θ: Arrays) -> Arrays:
    """The gradient of the mean of (tanh(xW + b)V − y)², by hand."""
    h = np.tanh(X @ θ["hidden/W"] + θ["hidden/b"])
    δ = 2 * (h @ θ["out/W"] - Y) / Y.size
    back = δ @ θ["out/W"].T * (1 - h * h)
    return {"hidden/W": X.T @ back, "hidden/b": back.sum(0), "out/W": h.T @ δ}


def recurrence(form: Form, d: Settings, second: float) -> Arrays:
    """AMSGrad and Nesterov's momentum as the catalogue writes them."""
    θ = {n: np.array(a) for n, a in START.items()}
    s: dict[str, Settings] = {n: {"m": 0.0, "v": 0.0, "top": 0.0} for n in θ}
    λ, sign = d["weight_decay"], -1 if d["maximize"] else 1
    for _ in range(STEPS):
        nesterov = form.kind is optim.Nesterov
        at = {n: a + d["momentum"] * s[n]["v"] for n, a in θ.items()} if nesterov else θ
        g = {n: sign * a + λ * at[n] * (form.decay == "l2") for n, a in slopes(at).items()}
        for n in θ:
            η = float(d["lr"]) * (second if n == "out/W" else 1)
            if nesterov:
                s[n]["v"] = d["momentum"] * s[n]["v"] - η * g[n]
                θ[n] = θ[n] + s[n]["v"]
                continue
            β1, β2 = d["betas"]
            s[n]["m"] = β1 * s[n]["m"] + (1 - β1) * g[n]
            s[n]["v"] = β2 * s[n]["v"] + (1 - β2) * g[n] ** 2
            s[n]["top"] = np.maximum(s[n]["top"], s[n]["v"])
            decayed = θ[n] * (1 - η * λ * (form.decay == "weight_decay"))
            θ[n] = decayed - η * s[n]["m"] / (np.sqrt(s[n]["top"]) + d["eps"])
    return θ


# ------------------------------------------------------------------ the comparison


def assert_equal(found: Arrays, expected: Arrays, what: str) -> None:
    for n, a in expected.items():
        np.testing.assert_allclose(found[n], a, rtol=1e-10, atol=1e-10, err_msg=f"{what}: {n}")
        assert np.abs(a - START[n]).max() > 1e-5, f"{what} must move {n}"


@pytest.mark.parametrize("second", [1.0, 3.0], ids=["one rate", "a rate per group"])
@pytest.mark.parametrize("name", FORMS)
def test_pytorchs_samples(name: str, second: float, compared: Any) -> None:
    for given, d, description in samples(name):
        if unfit(name, d):
            continue
        form = FORMS[name](d)
        sign = -1 if d["maximize"] else 1
        found, *_ = ours(form.rule(d, second), form.factor, steps=STEPS, sign=sign, slot=form.slot)
        by_hand = form.kind in (optim.AMSGrad, optim.Nesterov)
        expected = (
            recurrence(form, d, second) if by_hand else theirs(made(name, given, d, second), steps=STEPS)
        )
        assert_equal(found, expected, f"{name} {description}")
        judge = "closed form" if by_hand else "PyTorch's samples"
        compared("optimizers", form.kind.__name__, judge)


def test_muons_samples(monkeypatch: pytest.MonkeyPatch, compared: Any) -> None:
    """Matrices alone, and (out, in) where ours are (in, out); without the rounding to bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    matrices = {n: a for n, a in START.items() if a.ndim == 2}
    for given, d, description in samples("Muon"):
        if unfit("Muon", d):
            continue
        θ = {n: torch.tensor(a.T.copy(), requires_grad=True) for n, a in matrices.items()}
        optimizer = INFOS["Muon"].optim_cls(list(θ.values()), **given)
        for _ in range(STEPS):
            optimizer.zero_grad()
            h = torch.tanh(torch.tensor(X) @ θ["hidden/W"].T + torch.tensor(START["hidden/b"]))
            ((h @ θ["out/W"].T - torch.tensor(Y)) ** 2).mean().backward()
            optimizer.step()
        options = {"momentum": d["momentum"], "nesterov": d["nesterov"], "newton_schulz_steps": d["ns_steps"]}
        rule = optim.Muon(
            float(d["lr"]), **options, weight_decay=d["weight_decay"], rest_of=(),
            groups=(optim.Group("*/b", frozen=True),),
        )  # fmt: skip
        found, *_ = ours(rule, steps=STEPS)
        assert_equal(found, {n: t.detach().numpy().T for n, t in θ.items()}, f"Muon {description}")
        compared("optimizers", "Muon", "PyTorch's samples")


def refusals() -> Iterator[Any]:
    """Settings that PyTorch refuses: numbers, since tensors are no settings here, of what we have."""
    for name in FORMS:
        good = samples(name)[0][1]
        for refused in INFOS[name].optim_error_inputs_func("cpu", torch.float64):
            given = refused.optimizer_error_input
            ours = "lr_decay" not in given.kwargs and "tensor" not in repr(given.kwargs)
            if given.params is None and ours:
                yield pytest.param(name, {**good, **given.kwargs}, id=f"{name} {given.desc}")


@pytest.mark.parametrize(("name", "d"), list(refusals()))
def test_what_pytorch_refuses_we_refuse(name: str, d: Settings) -> None:
    with pytest.raises(ConfigError):
        FORMS[name](d).rule(d, 1.0)


def test_refusals_are_shared() -> None:
    assert len(list(refusals())) >= 8


def test_every_optimizer_of_pytorch_has_a_form_or_a_reason() -> None:
    assert set(INFOS) == {*FORMS, "Muon", *WITHOUT}
    for name, holds, _ in UNFIT:
        assert any(holds(d) for _, d, _ in samples(name))
