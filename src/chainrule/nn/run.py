"""Run: one trace of a layer. It gives parameters, running statistics and random numbers names and nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from chainrule.errors import ConfigError, DTypeError, ShapeError, nearest
from chainrule.graph.expr import Expr, input, scope
from chainrule.nn.fields import check_name, check_path
from chainrule.nn.init import Fan, Init
from chainrule.nn.layer import Layer, Step, check_step, describe, floating
from chainrule.nn.padded import there
from chainrule.ops import RandomKey
from chainrule.spec import Shape, Spec, as_dtype, as_shape, is_float

__all__ = ["Buffer", "Parameter", "Role", "Run", "trace"]

Array = npt.NDArray[Any]
_LENGTHS = "/lengths"  # what the lengths of a padded sequence are called, after its own name
Role = Literal["weight", "bias", "scale", "embedding"]
"""What a parameter is for: decay and penalties apply to weights and embeddings only."""


@dataclass(frozen=True)
class Parameter:
    """The declaration of something learned; it holds no array."""

    name: str
    spec: Spec
    init: Init
    role: Role
    fan: Fan

    def initial(self, seed: int) -> Array:
        """Its first value, made on the host from seed and name: the same on every executor."""
        found = self.init.sample(self.name, seed, self.spec.shape, self.fan, self.spec.dtype)
        if Spec(found.shape, found.dtype) != self.spec:
            raise ConfigError(
                f"{self.name}: {self.init!r} gave {found.dtype}{list(found.shape)}, {self.spec} was asked "
                "for; sample() returns an array of the shape and dtype that it is given"
            )
        return found


@dataclass(frozen=True)
class Buffer:
    """The declaration of a running statistic: kept, saved, not learned. It starts filled with ``value``."""

    name: str
    spec: Spec
    value: float

    def initial(self) -> Array:
        return np.full(self.spec.shape, self.value, self.spec.dtype)


class Run:
    """One trace of a layer: what its parameters are called, and what else it asked for.

    training    whether noise is added and batch statistics are used
    seed, step  int64 scalars from which random numbers follow; graph inputs of those names unless given
    dtype       of parameters and of everything computed
    known       what an earlier trace declared: then nothing is created, only found, and shapes must agree
    resting     tells of the path of a parameter or running statistic whether training leaves it as it is

    Filled while the layer is called, in order of creation:

    parameters, buffers      declarations by path
    inputs                   the graph input for each of them
    updates                  the next value of a buffer
    losses                   penalties: a scalar, or one value per sample (batch,)
    outputs                  every layer's output by the layer's path (``path#2`` where it is used a second
                             time); entries of a dict are ``path/name``
    given                    every layer's input by the layer's path, where it is first used
    uses_batch_statistics    True where a batch of one row cannot be trained on
    lengths                  of the sequences that the present branch is given, (batch,), or None where all
                             are equally long
    """

    def __init__(
        self,
        *,
        training: bool,
        seed: Expr | None = None,
        step: Expr | None = None,
        dtype: npt.DTypeLike = "float32",
        known: Mapping[str, Parameter | Buffer] | None = None,
        resting: Callable[[str], bool] = lambda path: False,
    ) -> None:
        self.training, self.dtype, self.known = training, as_dtype(dtype), known
        if not is_float(self.dtype):
            raise DTypeError(f"a network is float32 or float64, not {self.dtype.name}")
        self.seed = input("seed", (), "int64") if seed is None else seed
        self.step = input("step", (), "int64") if step is None else step
        self.parameters: dict[str, Parameter] = {}
        self.buffers: dict[str, Buffer] = {}
        self.inputs: dict[str, Expr] = {}
        self.updates: dict[str, Expr] = {}
        self.losses: dict[str, Expr] = {}
        self.outputs: dict[str, Expr] = {}
        self.given: dict[str, Any] = {}
        self.uses_batch_statistics = False
        self.lengths: Expr | None = None
        self._steps = 0  # that they count
        self._whole: tuple[Expr | None, int] = None, 0  # both, of the network's input
        self._path = ""
        self._given = ""  # the present layer's input, in words
        self._shared: list[str] = []
        self._draws: dict[str, int] = {}
        self._resting = resting

    # ------------------------------------------------------------------ what a layer asks for

    def parameter(
        self,
        name: str,
        shape: int | tuple[int, ...],
        init: Init,
        *,
        fan: Fan | None = None,
        role: Role = "weight",
    ) -> Expr:
        """A learned array of the present layer.

        fan   (n_in, n_out) for the initialiser; by default the shape's last two sizes times those before them
        role  "weight", "bias", "scale" or "embedding"

        ConfigError where the path exists already outside :meth:`shared`; ShapeError where an earlier trace
        found another shape.
        """
        path, wanted = self._new(name), Spec(as_shape(shape), self.dtype)
        if not isinstance(init, Init):
            raise ConfigError(
                f"parameter {path!r}: init must be an initialiser such as nn.HeNormal(), got {init!r}"
            )
        if role not in get_args(Role):
            raise ConfigError(f"parameter {path!r}: unknown role {role!r}; {nearest(role, get_args(Role))}")
        declared = self._declared(path, Parameter, wanted)
        self.parameters[path] = declared or Parameter(
            path, wanted, init, role, _fan(wanted.shape) if fan is None else fan
        )
        return self._input(path, wanted)

    def state(self, name: str, shape: int | tuple[int, ...], value: float = 0.0) -> Expr:
        """A running statistic of the present layer, filled with ``value`` until :meth:`update`."""
        path, wanted = self._new(name), Spec(as_shape(shape), self.dtype)
        declared = self._declared(path, Buffer, wanted)
        self.buffers[path] = declared or Buffer(path, wanted, float(value))
        node = self._input(path, wanted)
        return self.updates.get(path, node)  # a shared layer goes on from its own last update

    def rests(self, name: str) -> bool:
        """Whether training leaves a parameter or running statistic of the present layer as it is: it is
        frozen. A layer all of whose statistics rest uses them as in inference."""
        return self._resting(_join(self._path, name))

    def update(self, name: str, value: Expr) -> None:
        """The next value of a running statistic of the present layer."""
        path = _join(self._path, name)
        if path not in self.buffers:
            raise ConfigError(
                f"update of {path!r}, which is no running statistic: ask run.state for it first"
            )
        if value.spec != self.buffers[path].spec:
            raise ShapeError(f"update of {path!r} must be {self.buffers[path].spec}, got {value.spec}")
        self.updates[path] = value

    def random(self, name: str = "") -> RandomKey:
        """Where a stream of random numbers of the present layer starts; every call starts another stream."""
        if name:
            check_name(name, "run.random")
        path = _join(self._path, name) if name else self._path
        count = self._draws[path] = self._draws.get(path, 0) + 1
        return RandomKey(self.seed, self.step, path if count == 1 else f"{path}#{count}")

    def add_loss(self, name: str, value: Expr) -> None:
        """A term of the loss: one value per sample (batch,), such as the KL of an evidence lower bound, which
        is evaluated too; or a scalar, a penalty that training alone adds."""
        check_name(name, "run.add_loss")
        path = _join(self._path, name)
        if value.ndim > 1 or not is_float(value.dtype):
            raise ShapeError(
                f"loss {path!r} must be a floating-point scalar or (batch,), got {value.spec}; sum the rest"
            )
        self.losses[_free(path, self.losses)] = value

    def find(self, name: str) -> Expr:
        """A parameter that another layer has created: ``encoder/dense_0/W``.

        The name is looked for beside the present layer, then around each layer that encloses it.
        """
        check_path(name, "find")
        place = self._path
        while True:
            path = f"{place}/{name}" if place else name
            if path in self.parameters:
                return self.inputs[path]
            if not place:
                raise ConfigError(
                    f"there is no parameter {name!r} yet: the layer that owns it comes first; "
                    f"{nearest(name, self.parameters)}"
                )
            place = place.rpartition("/")[0]

    # ------------------------------------------------------------------ sequences of unequal length

    @contextlib.contextmanager
    def within(self, x: Any) -> Iterator[None]:
        """Inside, the lengths are those that x brings along, if it is a dict; else what they were."""
        outer = self.lengths, self._steps
        if isinstance(x, Mapping):
            names = [n for n in x if not n.endswith(_LENGTHS)]
            main = "x" if "x" in names else names[0] if len(names) == 1 else ""
            self.lengths = x.get(f"{main}{_LENGTHS}")
            self._steps = 0 if self.lengths is None else x[main].shape[1]
        try:
            yield
        finally:
            self.lengths, self._steps = outer

    def inside(self, x: Expr, layer: Layer) -> Expr | None:
        """Whether each step of x (batch, steps, …) lies within its sequence, (batch, steps); None where all
        are equally long. ShapeError where a layer before has changed the number of steps."""
        if self.lengths is None:
            return None
        steps = x.shape[1]
        if steps != self._steps:
            raise ShapeError(
                f"{type(layer).__name__} sees {steps} steps, the lengths of its sequences count "
                f"{self._steps}: a layer before it has changed their number; bring all to one length instead"
            )
        return there(self.lengths, steps)

    def lengths_of(self, y: Expr) -> Expr | None:
        """The lengths of an output (batch, steps, …) that has a value for every step of the network's input;
        else None."""
        lengths, steps = self._whole
        return lengths if y.ndim > 2 and y.shape[1] == steps else None

    # ------------------------------------------------------------------ layers inside layers

    def apply(self, name: str, layer: Step, x: Any) -> Any:
        """The output of a sub-layer, or of a registered function, under its own name."""
        check_name(name, "run.apply")
        path, outer = _join(self._path, name), (self._path, self._given)
        self.given.setdefault(path, x)
        operation = "" if isinstance(layer, Layer) else getattr(layer, "__name__", "")
        with scope(path, operation=operation):
            self._path, self._given = path, describe(x)
            try:
                with self.within(x):
                    y = self.call(layer, x)
            finally:
                self._path, self._given = outer
        entries = {path: y} if isinstance(y, Expr) else {f"{path}/{key}": node for key, node in y.items()}
        for entry, node in entries.items():
            if self.outputs.get(entry) is not node:  # a dict's entry may be what a sub-layer has just given
                self.outputs[_free(entry, self.outputs)] = node
        return y

    def call(self, layer: Step, x: Any) -> Any:
        """The output of a step without a name of its own: what ``trace`` and :meth:`apply` rest on."""
        check_step(layer)
        y = layer(x, self) if isinstance(layer, Layer) else layer(floating(layer, x, self.dtype))
        entries = y.values() if isinstance(y, dict) and y else [y]
        if not all(isinstance(node, Expr) for node in entries):
            raise ConfigError(
                f"{layer!r} must return a graph node or a dict of them by name, got {describe(y)}"
            )
        return y

    @contextlib.contextmanager
    def shared(self, path: str) -> Iterator[None]:
        """Inside, the layer at ``path`` may be applied again and meets the parameters that it has already.

        ``path`` counts from the present layer, or with a leading ``/`` from the root: there it is the same
        from wherever it is called. The gradient of a shared parameter is the sum over its uses.

        >>> from chainrule import nn, ops
        >>> run, tower = Run(training=True), nn.Dense(3)
        >>> with run.shared("tower"):
        ...     left = run.apply("tower", tower, ops.input("left", (5, 4)))
        ...     right = run.apply("tower", tower, ops.input("right", (5, 4)))
        >>> list(run.parameters)
        ['tower/W', 'tower/b']
        """
        check_path(path.removeprefix("/"), "run.shared")
        full = path[1:] if path.startswith("/") else _join(self._path, path)
        outer, self._path = self._path, full.rpartition("/")[0]
        self._shared.append(full)
        try:
            yield
        finally:
            self._shared.pop()
            self._path = outer

    # ------------------------------------------------------------------ inside

    def _new(self, name: str) -> str:
        """The path of a name in the present layer, refused where it is taken."""
        check_name(name, f"layer {self._path!r}")
        path = _join(self._path, name)
        if path in self.inputs and not any(path == s or path.startswith(f"{s}/") for s in self._shared):
            raise ConfigError(
                f"{path!r} is created twice in one trace; give one of the two layers another name, or use "
                f"run.shared({self._path or name!r}) (nn.Shared in a sequence) where they shall share it"
            )
        return path

    def _declared(self, path: str, kind: type[Any], wanted: Spec) -> Any:
        """What is known of a path, its type checked; None where it is to be created."""
        here: dict[str, Parameter | Buffer] = {**self.parameters, **self.buffers}
        found = here.get(path) or (self.known or {}).get(path)
        if found is None and self.known is not None:
            raise ConfigError(
                f"{path!r} was not there in the first trace; a layer asks for the same parameters every "
                f"time, in training and in inference. {nearest(path, self.known)}"
            )
        if found is not None and not isinstance(found, kind):
            was, now = type(found).__name__.lower(), kind.__name__.lower()
            raise ConfigError(f"{path!r} was a {was}, now a {now} is asked for: give it another name")
        if found is not None and found.spec != wanted:
            given = f", for the input {self._given}" if self._given else ""
            raise (DTypeError if found.spec.shape == wanted.shape else ShapeError)(
                f"{path!r} is {found.spec}, now asked for as {wanted}{given}. An input needs the features "
                "and dtype that it had at first (images: put nn.Flatten() before nn.Dense)"
            )
        return found

    def _input(self, path: str, spec: Spec) -> Expr:
        if path not in self.inputs:
            self.inputs[path] = input(path, spec.shape, spec.dtype)
        return self.inputs[path]


def trace(
    layer: Step,
    x: Any,
    *,
    training: bool,
    seed: Expr | None = None,
    step: Expr | None = None,
    dtype: npt.DTypeLike = "float32",
    known: Mapping[str, Parameter | Buffer] | None = None,
    resting: Callable[[str], bool] = lambda path: False,
) -> tuple[Any, Run]:
    """The graph of a layer for an input, and the run that tells what the layer asked for.

    x, and the output: a node, or a dict of nodes by name; beside an array of padded sequences "x" may stand
    "x/lengths", (batch,). Without ``known`` parameters are declared,
    with it they are found.

    >>> from chainrule import nn, ops
    >>> x = ops.input("x", (5, 4))
    >>> y, run = trace(nn.sequential(nn.Dense(3), ops.relu), x, training=True)
    >>> y.shape, {path: p.spec.shape for path, p in run.parameters.items()}
    ((5, 3), {'dense_0/W': (4, 3), 'dense_0/b': (3,)})
    """
    run = Run(training=training, seed=seed, step=step, dtype=dtype, known=known, resting=resting)
    with run.within(x):
        run._whole = run.lengths, run._steps
        return run.call(layer, x), run


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _free(path: str, taken: Mapping[str, Any]) -> str:
    """``path``, or ``path#2``, ``path#3`` … where it is taken."""
    count, found = 1, path
    while found in taken:
        count += 1
        found = f"{path}#{count}"
    return found


def _fan(shape: Shape) -> Fan:
    """The last axis counts units, the one before it their inputs, any before that the places of a filter."""
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    places = int(np.prod(shape[:-2], dtype=np.int64))
    return places * shape[-2], places * shape[-1]
