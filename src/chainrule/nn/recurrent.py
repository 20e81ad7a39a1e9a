"""Recurrent layers: Elman's network, GRU, LSTM, and both directions at once.

All of them read x (batch, steps, n_in) and start from a state of zeros. The inputs of all steps are projected
by one product; what is left for the steps is a scan. Of sequences of unequal length, which a network takes as
``Sequence(values, lengths)``, no place behind the end changes anything: a state stays what it was at the end,
an output is zero there, and the other direction begins at the end.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chainrule.errors import ConfigError, ShapeError
from chainrule.graph.expr import Expr, Graph, call, constant, input
from chainrule.nn.fields import check_choice, check_flag, check_whole
from chainrule.nn.init import ConstantParts, GlorotUniform, Init, Orthogonal, Zeros, check_init
from chainrule.nn.layer import Layer, floating
from chainrule.nn.run import Run
from chainrule.ops import (
    broadcast,
    concat,
    expand,
    relu,
    reshape,
    scan,
    sigmoid,
    split,
    tanh,
    transpose,
    where,
)

__all__ = ["GRU", "LSTM", "Bidirectional", "Elman"]

State = tuple[Expr, ...]


@dataclass(frozen=True)
class _Recurrent(Layer):
    """What the layers have in common.

    units           size of the state h
    sequences       True: the state after every step, (batch, steps, units); False: the last one alone
    reverse         from the last step to the first; "the last state" is then that of the first step
    init            of W, which meets the inputs
    recurrent_init  of U, which meets the state: orthonormal rows, so that a gradient keeps its length at
                    first (Saxe, McClelland & Ganguli 2014)
    """

    units: int
    sequences: bool = False
    reverse: bool = False
    init: Init = GlorotUniform()
    recurrent_init: Init = Orthogonal()

    def __post_init__(self) -> None:
        check_whole(self, "units")
        check_flag(self, "sequences", "reverse")
        check_init(self, "init", "recurrent_init")

    @abstractmethod
    def __call__(self, x: Any, run: Run) -> Expr:
        """The states.   x (batch, steps, n_in) → (batch, steps, units), or (batch, units)"""

    def _projected(self, x: Any, run: Run, gates: int, bias: Init) -> tuple[tuple[Expr, ...], Expr]:
        """What every step is given: x W + b with time first, (steps, batch, gates·units), and where lengths
        differ whether it lies within them, (steps, batch, 1); and U."""
        x = floating(self, x, run.dtype)
        if x.ndim != 3:
            remedy = "; x[..., None] makes one number per step" if x.ndim == 2 else ""
            raise ShapeError(f"{type(self).__name__} takes (batch, steps, n_in), got shape {x.shape}{remedy}")
        width = gates * self.units
        W = run.parameter("W", (x.shape[-1], width), self.init)
        U = run.parameter("U", (self.units, width), self.recurrent_init)
        b = run.parameter("b", (width,), bias, role="bias")
        batch, steps, n = x.shape
        rows = reshape(transpose(x, (1, 0, 2)), (steps * batch, n))  # one product for all steps
        given, inside = (reshape(rows @ W + b, (steps, batch, width)),), run.inside(x, self)
        return given if inside is None else (*given, expand(transpose(inside), -1)), U

    def _repeated(self, step: Callable[[State, Expr], State], timed: tuple[Expr, ...], states: int) -> Expr:
        """The states h of a step  (h, …) ← step((h, …), x W + b)."""
        zero = broadcast(constant(0, timed[0].dtype), (timed[0].shape[1], self.units))

        def masked(state: State, given: State) -> tuple[State, State]:
            found = step(state, given[0])
            if len(given) > 1:
                found = tuple(where(given[1], new, old) for new, old in zip(found, state, strict=True))
            if not self.sequences:
                return found, ()
            return found, (where(given[1], found[0], 0) if len(given) > 1 else found[0],)

        last, every = scan(masked, (zero,) * states, timed, reverse=self.reverse)
        return transpose(every[0], (1, 0, 2)) if self.sequences else last[0]


def _gates(z: Expr, count: int) -> tuple[Expr, ...]:
    """Equal parts along the last axis, whose gradients are laid side by side again."""
    whole = input("z", z.shape, z.dtype)
    parts = split(whole, [z.shape[-1] // count] * count, -1)
    backwards = [input(f"g{i}", part.shape, part.dtype) for i, part in enumerate(parts)]
    joined = Graph((*backwards, input("z", z.shape, z.dtype)), (concat(backwards, -1),))
    return call(Graph((whole,), tuple(parts)), z, gradient=joined)


@dataclass(frozen=True)
class Elman(_Recurrent):
    """The simple recurrent network  hₜ = φ(xₜ W + hₜ₋₁ U + b).    x (batch, steps, n_in)

    → (batch, units), the last state; with ``sequences`` (batch, steps, units). Elman 1990, "Finding structure
    in time", Cognitive Science 14. φ is tanh, or relu (Le, Jaitly & Hinton 2015, arXiv:1504.00941). Other
    fields as of :class:`LSTM`.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Elman(3), ops.input("x", (5, 7, 2)), training=True)
    >>> y.shape, {path: p.spec.shape for path, p in run.parameters.items()}
    ((5, 3), {'W': (2, 3), 'U': (3, 3), 'b': (3,)})
    """

    activation: str = "tanh"
    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "activation", ("tanh", "relu"))
        check_init(self, "bias_init")

    def __call__(self, x: Any, run: Run) -> Expr:
        timed, U = self._projected(x, run, 1, self.bias_init)
        φ = tanh if self.activation == "tanh" else relu
        return self._repeated(lambda state, z: (φ(z + state[0] @ U),), timed, 1)


@dataclass(frozen=True)
class GRU(_Recurrent):
    """The gated recurrent unit.    x (batch, steps, n_in) → (batch, units), or with ``sequences``
    (batch, steps, units)

    r = σ(xₜ Wᵣ + hₜ₋₁ Uᵣ + bᵣ),  z = σ(xₜ W_z + hₜ₋₁ U_z + b_z),
    n = tanh(xₜ Wₙ + bₙ + r ⊙ (hₜ₋₁ Uₙ + c)),  hₜ = (1 − z) ⊙ n + z ⊙ hₜ₋₁

    Cho et al. 2014, arXiv:1406.1078, in the form of cuDNN and PyTorch: r multiplies after the product with
    Uₙ, not before it, and z keeps the old state, so that their weights can be taken over. W, U and b hold the
    parts r, z, n side by side. Other fields as of :class:`LSTM`.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(GRU(3, sequences=True), ops.input("x", (5, 7, 2)), training=True)
    >>> y.shape, {path: p.spec.shape for path, p in run.parameters.items()}
    ((5, 7, 3), {'W': (2, 9), 'U': (3, 9), 'b': (9,), 'c': (3,)})
    """

    bias_init: Init = Zeros()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_init(self, "bias_init")

    def __call__(self, x: Any, run: Run) -> Expr:
        timed, U = self._projected(x, run, 3, self.bias_init)
        c = run.parameter("c", (self.units,), self.bias_init, role="bias")

        def step(state: State, given: Expr) -> State:
            (h,) = state
            (xr, xz, xn), (hr, hz, hn) = _gates(given, 3), _gates(h @ U, 3)
            r, z = sigmoid(xr + hr), sigmoid(xz + hz)
            n = tanh(xn + r * (hn + c))
            return (n + z * (h - n),)

        return self._repeated(step, timed, 1)


@dataclass(frozen=True)
class LSTM(_Recurrent):
    """Long short-term memory.    x (batch, steps, n_in) → (batch, units), the last state h; with
    ``sequences`` (batch, steps, units), the state after every step

    i, f, o = σ(xₜ W + hₜ₋₁ U + b),  g = tanh(…) likewise,
    cₜ = f ⊙ cₜ₋₁ + i ⊙ g,  hₜ = o ⊙ tanh(cₜ)

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000. W
    (n_in, 4·units), U (units, 4·units) and b hold the parts i, f, g, o side by side, in PyTorch's order.

    units           size of h and c
    sequences       whether the state after every step is wanted, such as for another recurrent layer
    reverse         from the last step to the first; "the last state" is then that of the first step
    init            of W
    recurrent_init  of U: orthonormal rows, so that a gradient keeps its length at first (Saxe, McClelland &
                    Ganguli 2014)
    forget_bias     where the bias of f starts: 1, so that the memory lasts at first (Gers et al. 2000;
                    Jozefowicz, Zaremba & Sutskever 2015). PyTorch draws every bias from ±1/√units instead

    ShapeError for an input without an axis of time.

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(LSTM(3), ops.input("x", (5, 7, 2)), training=True)
    >>> y.shape, {path: p.spec.shape for path, p in run.parameters.items()}
    ((5, 3), {'W': (2, 12), 'U': (3, 12), 'b': (12,)})
    """

    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        ConstantParts((0.0, self.forget_bias, 0.0, 0.0))  # which checks it

    def __call__(self, x: Any, run: Run) -> Expr:
        timed, U = self._projected(x, run, 4, ConstantParts((0.0, self.forget_bias, 0.0, 0.0)))

        def step(state: State, given: Expr) -> State:
            h, c = state
            i, f, g, o = _gates(given + h @ U, 4)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            return sigmoid(o) * tanh(c), c

        return self._repeated(step, timed, 2)


@dataclass(frozen=True)
class Bidirectional(Layer):
    """A recurrent layer forwards, and another of the same kind backwards, side by side.    → (…, 2·units)

    Schuster & Paliwal 1997. With ``sequences`` every step knows what comes before and after it; without, it
    is the state after the last step beside that after the first one.

    layer   the recurrent layer; both directions have weights of their own

    >>> from chainrule import nn, ops
    >>> y, run = nn.trace(Bidirectional(LSTM(3)), ops.input("x", (5, 7, 2)), training=True)
    >>> y.shape, list(run.parameters)[::3]
    ((5, 6), ['forward/W', 'backward/W'])
    """

    layer: Layer

    def __post_init__(self) -> None:
        if not isinstance(self.layer, _Recurrent) or self.layer.reverse:
            raise ConfigError(
                "Bidirectional takes a recurrent layer that runs forwards, such as LSTM(64); got "
                f"{self.layer!r}"
            )

    def __call__(self, x: Any, run: Run) -> Expr:
        turned = dataclasses.replace(self.layer, reverse=True)  # type: ignore[type-var]
        return concat([run.apply("forward", self.layer, x), run.apply("backward", turned, x)], -1)
