"""Network: a configuration of layers and the state that training gives it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import __version__, nn, optim
from chainrule.config import to_json
from chainrule.data import RowStream
from chainrule.errors import ConfigError, ShapeError, nearest
from chainrule.executors import Array, compile
from chainrule.graph.expr import Expr
from chainrule.spec import Spec, as_dtype
from chainrule.storage import write_tensors
from chainrule.train import Callback, Fit, History, Model, Objective
from chainrule.train.checkpoint import RunFolder
from chainrule.train.evaluate import Evaluator
from chainrule.train.held import Held, HeldArrays
from chainrule.train.parts import rebuilt, taken_out
from chainrule.train.predict import Predictor
from chainrule.train.prepare import (
    Metrics,
    Request,
    Validation,
    all_callbacks,
    prepare_data,
    prepare_fit,
    sample_specs,
    take_inputs,
)
from chainrule.train.prepare_stream import as_asked, hold_stream, prepare_stream, stream_specs
from chainrule.train.rate import RateTest, choose_rates, range_test
from chainrule.train.solve import Solve
from chainrule.train.state import snapshot

__all__ = ["Network"]


class Network:
    """Layers, applied one after another, and their parameters.

    Network(Dense(225), relu, Dense(10))                  unnamed: ``dense_0/W``, ``dense_0/b``, ``dense_1/W``
    Network(hidden=Dense(225), act=relu, head=Dense(10))  named:   ``hidden/W``, ``hidden/b``, ``head/W``

    A step is a layer or a function of :mod:`chainrule.ops.functions`. Shapes follow from the first data seen.

    seed     of the initial weights, the shuffles and the noise: the same seed gives the same bits
    dtype    "float32" or "float64": of parameters and computation

    >>> import numpy as np
    >>> from chainrule.nn import Dense
    >>> from chainrule.ops import tanh
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
    >>> net = Network(Dense(8), tanh, Dense(2), seed=1)
    >>> history = net.fit(x, [0, 1, 1, 0], epochs=300, batch_size=4, learning_rate=0.05, verbose=0)
    >>> net.predict(x).tolist()
    [0, 1, 1, 0]
    """

    def __init__(self, *layers: Any, seed: int = 0, dtype: npt.DTypeLike = "float32", **named: Any) -> None:
        single = len(layers) == 1 and not named and isinstance(layers[0], nn.Layer)
        self.layer = layers[0] if single and not _is_step(layers[0]) else nn.sequential(*layers, **named)
        if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not -(2**63) <= seed < 2**63:
            raise ConfigError(f"seed must be an integer of 64 bits, got {seed!r}")
        self.seed, self.dtype = int(seed), as_dtype(dtype)
        if self.dtype.kind != "f":
            raise ConfigError(f"dtype must be float32 or float64, got {self.dtype.name}")
        self.model: Model | None = None
        self.loss: dict[str, Any] | None = None
        self.metrics: dict[str, Any] = {}
        self.optimizer: optim.Rule | optim.Solver | None = None
        self.history: History | None = None
        self._state: dict[str, Array] = {}
        self._slots: dict[str, Array] = {}  # of the last fit's optimizer
        self._taken = 0  # steps that it took
        self._past = 0  # epochs of all fits: shuffles and noise go on from there
        self._predictors: dict[str, Predictor] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """What ``copy.deepcopy`` takes along: everything but compiled functions and the lock."""
        return {k: v for k, v in vars(self).items() if k not in ("_predictors", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _predictors={}, _lock=threading.Lock())

    # ------------------------------------------------------------------ what is inside

    def build(self, *shape: int, dtype: npt.DTypeLike | None = None, **inputs: Spec) -> Network:
        """Creates the parameters for samples of a shape (without the batch axis), before any data is seen.

        >>> from chainrule.nn import Dense
        >>> Network(Dense(3)).build(5)["dense_0/W"].shape
        (5, 3)
        """
        if not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
            raise ConfigError(f"build takes the sizes of one sample, such as build(28, 28); got {shape}")
        specs = inputs or {"x": Spec(tuple(shape), as_dtype(dtype or self.dtype))}
        return self._begin(Model.of(self.layer, specs, self.dtype))

    def _begin(self, model: Model) -> Network:
        """As if nothing had ever been learned."""
        with self._lock:
            self.model, self._state, self._predictors = model, model.initial(self.seed), {}
            self.loss, self.metrics = None, {}
        self.optimizer = self.history = None
        self._slots, self._taken, self._past = {}, 0, 0
        return self

    def _built(self) -> Model:
        if self.model is None:
            raise ConfigError(
                "the network has no parameters yet: call fit, or build(number of features) first"
            )
        return self.model

    @property
    def parameters(self) -> dict[str, Array]:
        """Copies of all parameters by path."""
        model, now = self._built(), self._state
        return {name: now[name].copy() for name in model.parameters}

    @property
    def state(self) -> dict[str, Array]:
        """Copies of parameters and running statistics by path."""
        model, now = self._built(), self._state  # which a fit that ends meanwhile replaces as a whole
        return {name: now[name].copy() for name in (*model.parameters, *model.buffers)}

    def __getitem__(self, name: str) -> Array:
        """A copy of one parameter or running statistic."""
        state = self.state
        if name not in state:
            raise ConfigError(f"no parameter {name!r}; {nearest(name, state)}")
        return state[name]

    def __setitem__(self, name: str, value: npt.ArrayLike) -> None:
        old, new = self[name], np.array(value, self.dtype)
        if new.shape != old.shape:
            raise ShapeError(f"{name} has shape {old.shape}, the new value {new.shape}")
        self._state[name] = new

    def summary(self) -> str:
        """A table of layers: output shape, parameters."""
        from chainrule.summary import summarize

        return summarize(self._built())

    def __repr__(self) -> str:
        from chainrule.summary import steps_as_written

        return f"Network({steps_as_written(self.layer)}, seed={self.seed}, dtype={self.dtype.name!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from chainrule.summary import summarize_html

        return summarize_html(self.layer, self.model)

    def graph(self, batch: int = 1, *, training: bool = False) -> tuple[dict[str, Expr], dict[str, Expr]]:
        """The network as a graph: (inputs by name, parameters included; outputs by name)."""
        model = self._built()
        x = model.batch_inputs(batch)
        outputs, run = model.trace(x, training=training)
        return {**x, **run.inputs}, outputs

    def signals(self, x: Any, *, training: bool = False, executor: str = "auto") -> dict[str, Array]:
        """The output of every layer for some rows, by the layer's path: how a signal travels from x on.

        ``training`` shows them as a step of training sees them: with noise and batch statistics.
        """
        model = self._built()
        arrays = take_inputs(x, self.dtype, model)
        given = model.batch_inputs(len(next(iter(arrays.values()))))
        _, run = model.trace(given, training=training)
        scalars = [run.seed, run.step]
        function = compile(
            list(run.outputs.values()), [*given.values(), *run.inputs.values(), *scalars], executor=executor
        )
        state = [self._state[name] for name in run.inputs]
        values = function(*arrays.values(), *state, np.int64(self.seed), np.int64(0))
        return dict(zip(run.outputs, values, strict=True))

    def part(self, path: str) -> Network:
        """One of its layers as a network of its own, with a copy of what it has learned.

        >>> net = Network(encoder=nn.Dense(2), decoder=nn.Dense(5)).build(5)
        >>> net.part("decoder").output(np.zeros((3, 2))).shape
        (3, 5)
        """
        return self._like(*taken_out(self._built(), self._state, path))

    def replace(self, **layers: Any) -> Network:
        """A new network with other layers at some paths, which start afresh; all else is a copy of what was
        learned. ``head=None`` leaves a step out; deeper paths: ``replace(**{"heads/price": nn.Dense(1)})``.

        ShapeError where a layer that stays would need parameters of another shape: replace it, too.

        >>> net = Network(body=nn.Dense(3), head=nn.Dense(2)).build(4)
        >>> other = net.replace(head=nn.Dense(5))
        >>> other["head/W"].shape, (other["body/W"] == net["body/W"]).all().item()
        ((3, 5), True)
        """
        return self._like(*rebuilt(self._built(), self._state, layers, self.seed))

    def _like(self, model: Model, state: dict[str, Array]) -> Network:
        """A network of its own with this one's seed and dtype."""
        found = Network(model.layer, seed=self.seed, dtype=self.dtype)._begin(model)
        found._state = state
        return found

    def unit_variance(self, x: Any) -> Network:
        """Layer-sequential unit variance (Mishkin & Matas 2016): scales each layer's weights on some rows of
        data until its output has variance 1. Give the layers ``init=nn.Orthogonal()``, as the paper does.

        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 5))
        >>> layers = nn.Dense(30, init=nn.Orthogonal()), nn.Dense(3, init=nn.Orthogonal())
        >>> net = Network(*layers).unit_variance(x)
        >>> [round(float(z.var()), 1) for z in net.signals(x).values()]
        [1.0, 1.0]
        """
        if self.model is None:
            self._begin(Model.of(self.layer, sample_specs(take_inputs(x, self.dtype)), self.dtype))

        def forward(arrays: Mapping[str, Array]) -> dict[str, Array]:
            self._state.update(arrays)
            return self.signals(x, training=True)

        self._state.update(
            nn.layer_sequential_unit_variance(self._built().parameters, self.parameters, forward)
        )
        return self

    # ------------------------------------------------------------------ training

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: Any = None,
        optimizer: optim.Rule | optim.Solver | str = "adam",
        learning_rate: optim.Rate | None = None,
        epochs: int = 10,
        batch_size: int | None = None,
        validation: Validation = None,
        metrics: Metrics = None,
        schedule: Any = None,
        callbacks: Callback | Sequence[Callback] = (),
        sample_weight: Any = None,
        shuffle: bool = True,
        augment: Any = None,
        executor: str = "auto",
        threads: int | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        warm_start: bool = False,
        verbose: int = 1,
    ) -> History:
        """Trains; called again it goes on from the present parameters, with a fresh optimizer unless
        ``warm_start``.

        x, y              arrays with one row per sample, or dicts of named arrays; or x alone: a stream, such
                          as :func:`chainrule.data.stream_table` makes, whose rows need not fit into memory
        loss              a :class:`~chainrule.losses.Loss`, its name, a function of (output, target) →
                          (batch,), or a dict by output; without it, whole-number targets give CrossEntropy
                          (for one output BinaryCrossEntropy), others MeanSquaredError
        optimizer         a rule of :mod:`chainrule.optim` or its name; ``learning_rate`` replaces its rate,
                          ``"auto"`` tries 1, 0.1, … and takes the one that learns most. Or a solver, such as
                          LBFGS(): then an epoch is one of its iterations over all rows
        batch_size        rows of a step; by default 32, of a stream its own
        validation        a share of the rows to hold out, or (x, y) or (x, y, sample_weight), or a stream
        metrics           names of :data:`chainrule.losses.METRICS`, functions like ``loss``, or a dict by
                          name; without it the accuracy, where classes are learned
        schedule          of :mod:`chainrule.optim.schedules`, times the rate; default: linear decay to zero
        augment           a :class:`~chainrule.data.Augment`, or a function (x, seed, epoch) → a new array:
                          fresh inputs every epoch, made while the epoch before is trained on. Or neighbours
                          of the examples within a step: :class:`~chainrule.data.Mixup`,
                          :class:`~chainrule.data.Adversarial`. Or a tuple of both
        executor          "cpu" compiles, "reference" is NumPy; "auto" takes the one that needs less time in
                          all. ``threads``, of "cpu": as many as are worth it, or so many
        run_dir           a folder for configuration, history and checkpoints; ``resume=True`` goes on with a
                          stopped run and ends with the same bits as one that was never stopped
        checkpoint_every  steps; without it after an epoch, at most every five seconds
        verbose           0: silent

        Raises DataError, ShapeError, ConfigError before the first step; DivergenceError when the loss leaves
        the finite numbers, with the last good state kept; KeyboardInterrupt after the present step on Ctrl-C.
        """
        asked = Request(
            loss=loss, optimizer=optimizer, learning_rate=learning_rate, epochs=epochs, batch_size=batch_size,
            validation=validation, metrics=metrics, schedule=schedule, sample_weight=sample_weight,
            shuffle=shuffle, augment=augment, executor=executor, threads=threads,
            checkpoint_every=checkpoint_every, warm_start=warm_start,
            callbacks=all_callbacks(callbacks, verbose),
        )  # fmt: skip
        if (resume or checkpoint_every) and isinstance(optim.resolve_optimizer(optimizer), optim.Solver):
            raise ConfigError("a solver's fit cannot be resumed; leave out resume and checkpoint_every")
        if run_dir is None and (resume or checkpoint_every):
            asks = "resume=True" if resume else "checkpoint_every"
            raise ConfigError(f"{asks} needs the folder of the run: give run_dir")
        if isinstance(x, RowStream):
            asked = as_asked(asked, x)
        fit = self._prepare(x, y, asked)
        rule = optim.resolve_optimizer(asked.optimizer, asked.learning_rate)
        if run_dir is not None:
            objective = fit.objective
            described = self._describe(objective.model, objective.losses, objective.metrics, rule)
            fit.settings = {**described, **asked.description()}
            fit.folder = RunFolder(run_dir, fit.settings, resume=resume)
        try:
            fit.resume()
            choose_rates(fit)
            try:
                fit.run()
            finally:  # also after a stop or a divergence: the last good state
                if fit.begun:
                    self._adopt(fit, rule)
            if fit.folder is not None:
                self.save(fit.folder.path / "model.safetensors")
        finally:
            if fit.folder is not None:
                fit.folder.close()
        return fit.history

    def _adopt(self, fit: Fit | Solve, rule: optim.Rule | optim.Solver) -> None:
        """Takes over what a fit has come to."""
        model = fit.objective.model
        state = {name: fit.state[name] for name in (*model.parameters, *model.buffers)}
        with self._lock:  # no prediction is made with the state of one fit and the loss of another
            self.model, self._state, self._predictors = model, state, {}
            self.loss, self.metrics = dict(fit.objective.losses), dict(fit.objective.metrics)
        self.optimizer, self.history = rule, fit.history
        self._slots = {name: a for name, a in fit.state.items() if name not in state}
        self._taken, self._past = fit.taken + fit.steps, fit.past + fit.position.epoch

    def plan(self, x: Any, y: Any = None, *, threads: int | None = None, **options: Any) -> str:
        """What the executor "cpu" compiles, as a table of kernels: a step of training, with ``options`` as
        for :meth:`fit`; without ``y`` the output for a batch of the rows given.

        >>> import numpy as np
        >>> net = Network(nn.Dense(8), nn.Dense(2)).build(4)
        >>> print(net.plan(np.zeros((10, 4), "float32"), threads=1).splitlines()[0])
        2 kernels on 1 thread; 1.06 k FLOP, about 0.0106 µs on one core; 1.09 kB of memory
        """
        from chainrule.executors import plan_function, plan_program

        if y is None and not isinstance(x, RowStream):
            model = self._built()
            given = model.batch_inputs(len(next(iter(take_inputs(x, self.dtype, model).values()))))
            outputs, run = model.trace(given, training=False)
            return plan_function(list(outputs.values()), [*given.values(), *run.inputs.values()], threads)
        return plan_program(self._prepare(x, y, Request(**options)).step(), threads)

    def find_learning_rate(
        self,
        x: Any,
        y: Any = None,
        *,
        low: float = 1e-6,
        high: float = 10.0,
        steps: int = 100,
        **options: Any,
    ) -> RateTest:
        """The learning-rate range test on a copy of the parameters; ``options`` as for :meth:`fit`."""
        return range_test(self._prepare(x, y, Request(**{"epochs": 1, **options})), low, high, steps)

    def _prepare(self, x: Any, y: Any, asked: Request) -> Fit | Solve:
        """Everything that can be refused is refused here, before a step is taken or a file written, and the
        network stays as it is."""
        stream = x if isinstance(x, RowStream) else None
        if (y is None) == (stream is None):
            missing = "y is missing: give the targets, one for each row of x"
            raise ConfigError(missing if stream is None else "a stream brings its targets along; leave y out")
        inputs = {} if stream is not None else take_inputs(x, self.dtype, self.model)
        specs = sample_specs(inputs) if stream is None else stream_specs(stream, self.dtype, self.model)
        model, state = self.model, self._state
        if model is None:
            model = Model.of(self.layer, specs, self.dtype)
            state = model.initial(self.seed)
        fit: Fit | Solve
        if stream is None:
            fit = prepare_fit(asked, model, inputs, y, state, self.seed)
        else:
            fit = prepare_stream(as_asked(asked, stream), model, stream, state, self.seed)
        if asked.warm_start and self._taken:
            if differ := sorted(self._slots.keys() ^ (fit.state.keys() - state.keys())):
                raise ConfigError(
                    f"warm_start goes on with the last fit's optimizer, but only one of the two has "
                    f"{', '.join(differ[:3])}; give the same optimizer and groups (and save files with "
                    "optimizer=True), or leave warm_start out"
                )
            fit.state.update(snapshot(self._slots))
            fit.taken = self._taken
        fit.past = self._past
        return fit

    # ------------------------------------------------------------------ using what was learned

    def evaluate(
        self, x: Any, y: Any = None, *, sample_weight: Any = None, executor: str = "auto"
    ) -> dict[str, float]:
        """The weighted means of the loss and of each metric, in inference mode. Without y, x is a stream."""
        if self.loss is None:
            raise ConfigError("evaluate needs the loss of a fit; call fit first")
        model = self._built()
        held: Held
        if isinstance(x, RowStream):
            held = hold_stream(x, self.loss, model)
        else:
            data, _ = prepare_data(take_inputs(x, self.dtype, model), y, sample_weight, self.loss, model)
            held = HeldArrays(data)
        objective = Objective(model, self.loss, self.metrics, held.targets)
        return Evaluator(objective, held.rows, self._like_the_fit(executor))(self._state, held.parts())

    def output(self, x: Any, *, executor: str = "auto") -> Any:
        """The network's raw output, in inference mode: (n, …), or a dict of them by output."""
        return self._run("output", x, executor)

    def predict(self, x: Any, *, executor: str = "auto") -> Any:
        """What the loss says an output stands for: a class after CrossEntropy, a value after a regression."""
        return self._run("predict", x, executor)

    def predict_proba(self, x: Any, *, executor: str = "auto") -> Any:
        """Class probabilities, after a loss that has them."""
        return self._run("probabilities", x, executor)

    def _run(self, kind: str, x: Any, executor: str) -> Any:
        with self._lock:  # a fit that ends meanwhile replaces all of it at once
            state, predictor = self._state, self._predictors.get(kind)
            if predictor is None:
                predictor = self._predictors[kind] = Predictor(self._built(), self.loss or {}, kind)
        return predictor(x, state, self._like_the_fit(executor))

    def _like_the_fit(self, executor: str) -> str:
        """``"auto"`` computes as the last fit did."""
        return self.history.executor if executor == "auto" and self.history is not None else executor

    # ------------------------------------------------------------------ files

    def _describe(
        self,
        model: Model,
        losses: Mapping[str, Any] | None,
        metrics: Mapping[str, Any],
        optimizer: optim.Rule | optim.Solver | None,
    ) -> dict[str, Any]:
        """The configuration as JSON; ConfigError where a part of it has no name."""
        return {
            "layer": to_json(self.layer),
            "dtype": self.dtype.name,
            "seed": self.seed,
            "inputs": {n: {"shape": list(s.shape), "dtype": s.dtype.name} for n, s in model.inputs.items()},
            "loss": None if losses is None else {n: to_json(v) for n, v in losses.items()},
            "metrics": {name: m for name, m in metrics.items() if isinstance(m, str)},
            "optimizer": None if optimizer is None else to_json(optimizer),
        }

    def save(self, path: str | os.PathLike[str], *, optimizer: bool = False) -> None:
        """One safetensors file: parameters, running statistics, and a JSON header with everything else.

        Written atomically: the file is whole or the old one is still there. ``optimizer`` adds the
        optimizer's slots, with which ``fit(warm_start=True)`` goes on. Layers, losses and optimizers of your
        own are saved by name and must be given to :func:`~chainrule.load`; your own metrics are left out.
        """
        header, arrays = self.contents(optimizer=optimizer)
        write_tensors(path, arrays, {"kind": "network", "chainrule": __version__, **header})

    def contents(self, *, optimizer: bool = False) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a file holds of the network: a description as JSON, and arrays by name."""
        header = {
            **self._describe(self._built(), self.loss, self.metrics, self.optimizer),
            "history": None if self.history is None else self.history.to_json(),
            "steps": self._taken,
            "epochs": self._past,
        }
        return header, {**self.state, **(self._slots if optimizer else {})}

    def export(self, path: str | os.PathLike[str]) -> None:
        """An ONNX file for other programs, with weights and post-processing inside; see
        :func:`chainrule.export.to_onnx`. Needs the package onnx: ``pip install "chainrule[onnx]"``."""
        from chainrule.export import to_onnx

        to_onnx(self, path)


def _is_step(layer: Any) -> bool:
    """Whether a single layer is a step to be numbered, rather than the root of a graph with branches."""
    return type(layer).__name__ in nn.LAYERS and not isinstance(layer, nn.Sequential)
