"""From what a person hands over to what the loop takes: checked arrays, a model, an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from chainrule import data as door
from chainrule import losses as loss_room
from chainrule import optim
from chainrule.config import to_json
from chainrule.errors import ConfigError, DataError, ShapeError, within
from chainrule.executors import Array, check
from chainrule.spec import Spec
from chainrule.train.augmenting import augmenter, parted
from chainrule.train.callbacks import Callback
from chainrule.train.feed import ArrayFeed, Data, Feed
from chainrule.train.held import Held, HeldArrays
from chainrule.train.loop import Fit
from chainrule.train.objective import Model, Objective, over_steps
from chainrule.train.progress import Progress
from chainrule.train.solve import Solve
from chainrule.train.state import snapshot

__all__ = [
    "Metrics",
    "Request",
    "Validation",
    "all_callbacks",
    "check_targets",
    "choose_losses",
    "choose_metrics",
    "fit_on",
    "held_arrays",
    "hold_out",
    "is_share",
    "learnable",
    "output_specs",
    "prepare_data",
    "prepare_fit",
    "sample_specs",
    "take_inputs",
    "take_rows",
]


Validation = float | tuple[Any, ...] | door.RowStream | None
"""A share of the rows to hold out, or (x, y), or (x, y, sample_weight), or a stream."""

Metric = str | Callable[..., Any]
Metrics = Metric | Sequence[Metric] | Mapping[str, Metric] | None
"""Names, or functions of (output, target) → (batch,), one or several."""

_TAKEN = ("epoch", "learning_rate", "loss", "objective", "seconds", "weight")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks of a fit: the arguments of ``Network.fit``."""

    loss: Any = None
    optimizer: optim.Rule | optim.Solver | str = "adam"
    learning_rate: optim.Rate | None = None
    epochs: int = 10
    batch_size: int | None = None
    validation: Validation = None
    metrics: Metrics = None
    schedule: optim.Schedule | str | None = None
    callbacks: Sequence[Callback] = ()
    sample_weight: Any = None
    shuffle: bool = True
    augment: Any = None  # a callable, a Vicinity, or several of them
    executor: str = "auto"
    threads: int | None = None
    checkpoint_every: int | None = None
    warm_start: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every", "threads"):
            value = getattr(self, name)
            if value is None and name != "epochs":
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be a positive whole number, got {value!r}")

    @property
    def rows(self) -> int:
        """Of a step: as asked for, else 32."""
        return 32 if self.batch_size is None else int(self.batch_size)

    @property
    def resolved_schedule(self) -> optim.Schedule:
        """Decay to zero by default (Goodfellow, Bengio & Courville 2016, eq. 8.14, ε_τ = 0)."""
        return optim.Linear() if self.schedule is None else optim.resolve_schedule(self.schedule)

    def description(self) -> dict[str, Any]:
        """What a run's config.json says of it, and what a resumed run must repeat."""
        return {
            "epochs": int(self.epochs),
            "batch_size": self.rows,
            "schedule": to_json(self.resolved_schedule),
            "augment": None if self.augment is None else to_json(self.augment),
            "shuffle": bool(self.shuffle),
            "executor": check(self.executor),
        }


def prepare_fit(
    asked: Request, model: Model, inputs: dict[str, Array], y: Any, state: Mapping[str, Array], seed: int
) -> Fit | Solve:
    """A fit that has not begun: checked data, the objective, parameters and fresh optimizer slots."""
    rule = learnable(asked, model)
    data, losses = prepare_data(inputs, y, asked.sample_weight, asked.loss, model)
    targets = sample_specs(data.targets)
    held: Held | None = None
    if is_share(asked.validation):
        data, part = hold_out(data, float(asked.validation), seed)
        held = HeldArrays(_as_trained_on(part, targets))
    elif asked.validation is not None:
        held = held_arrays(asked.validation, losses, model, targets)
    if isinstance(rule, optim.Solver):
        return _solve(asked, rule, model, losses, data, held, state)
    feed = ArrayFeed(
        data,
        asked.rows,
        seed,
        merge_single=model.batch_statistics,
        shuffle=asked.shuffle,
        augment=augmenter(parted(asked.augment)[0], list(model.inputs)),
    )
    masks = not data.weight.all()
    return fit_on(feed, asked, rule, model, losses, targets, held, state, seed, masks=masks)


def learnable(asked: Request, model: Model) -> optim.Rule | optim.Solver:
    """The optimizer; ConfigError where there is nothing to learn."""
    rule = optim.resolve_optimizer(asked.optimizer, asked.learning_rate)
    if not optim.settings(rule, model.parameters):
        reason = "every parameter is frozen" if model.parameters else "the network has no parameters"
        raise ConfigError(f"nothing can be learned: {reason}; add a layer such as Dense, or free a group")
    return rule


def fit_on(
    feed: Feed, asked: Request, rule: optim.Rule, model: Model, losses: Mapping[str, Any],
    targets: Mapping[str, Spec], held: Held | None, state: Mapping[str, Array], seed: int, *, masks: bool,
) -> Fit:  # fmt: skip
    """A fit by steps, of rows that come from anywhere."""
    _, vicinity = parted(asked.augment)
    if masks and vicinity is not None and vicinity.mixes:
        raise ConfigError(f"{type(vicinity).__name__} mixes rows, so none can weigh 0; leave those out")
    averaging = optim.resolve_average(rule, int(asked.epochs) * feed.per_epoch, feed.per_epoch)
    slots = optim.slot_specs(rule, model.parameters)
    return Fit(
        objective=Objective(
            model, losses, choose_metrics(asked.metrics, losses), targets, averaging, masks, vicinity
        ),
        state={**snapshot(state), **{name: np.zeros(s.shape, s.dtype) for name, s in slots.items()}},
        feed=feed,
        epochs=int(asked.epochs),
        seed=seed,
        schedule=asked.resolved_schedule,
        rates={name: r if r == "auto" else float(r) for name, r in optim.rate_names(rule).items()},
        callbacks=asked.callbacks,
        validation=held,
        executor=asked.executor,
        threads=asked.threads,
        checkpoint_every=asked.checkpoint_every,
    )


def _solve(
    asked: Request, solver: optim.Solver, model: Model, losses: Mapping[str, Any], data: Data,
    held: Held | None, state: Mapping[str, Array],
) -> Solve:  # fmt: skip
    """The fit of a solver, which sees all data at once."""
    if asked.augment is not None or asked.schedule is not None:
        what = "schedule" if asked.augment is None else "augment"
        raise ConfigError(f"{what} is of steps on batches; {type(solver).__name__} takes none: leave it out")
    metrics, targets = choose_metrics(asked.metrics, losses), sample_specs(data.targets)
    return Solve(
        objective=Objective(model, losses, metrics, targets, solver, masks=True),
        solver=solver,
        state=snapshot(state),
        data=data,
        epochs=int(asked.epochs),
        callbacks=asked.callbacks,
        validation=held,
        executor=asked.executor,
        threads=asked.threads,
    )


def all_callbacks(callbacks: Any, verbose: int) -> list[Callback]:
    """One callback or several, each checked, and the progress unless the fit is silent."""
    one = isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable)  # a Recorder is both
    given = [callbacks] if one else list(callbacks)
    for callback in given:
        if not isinstance(callback, Callback):
            kind = isinstance(callback, type) and issubclass(callback, Callback)
            remedy = f"call it: {callback.__name__}(…)" if kind else "give objects of the base train.Callback"
            raise ConfigError(f"callbacks holds {callback!r}, which is no callback; {remedy}")
        within(callback, "every", "[1, inf)", whole=True)
    return [*given, *([Progress()] if verbose else [])]


def is_share(given: Validation) -> TypeGuard[float]:
    """Whether validation is a share of the rows."""
    return isinstance(given, int | float | np.number) and not isinstance(given, bool)


def held_arrays(
    given: Validation, losses: Mapping[str, Any], model: Model, targets: Mapping[str, Spec]
) -> HeldArrays:
    """What is given as (x, y) or (x, y, sample_weight) to validate on."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        found = f"{type(given).__name__}{f' of {len(given)}' if isinstance(given, tuple | list) else ''}"
        raise ConfigError(
            f"validation is a {found}; give a share of the rows such as 0.1, or (x, y), or "
            "(x, y, sample_weight)"
        )
    x, y, weight = (*given, None)[:3]
    try:
        held, _ = prepare_data(take_inputs(x, model.dtype, model), y, weight, losses, model)
    except (DataError, ShapeError) as error:
        raise type(error)(f"validation: {error}") from None
    return HeldArrays(_as_trained_on(held, targets))


def sample_specs(arrays: Mapping[str, Array]) -> dict[str, Spec]:
    """The spec of one row of each array."""
    return {name: Spec(a.shape[1:], a.dtype) for name, a in arrays.items()}


def take_inputs(x: Any, dtype: np.dtype, model: Model | None = None) -> dict[str, Array]:
    """Inputs by name, checked and cast; against the model's where it is built."""
    arrays: dict[str, Array] = door.check_inputs(door.as_named(x, "x"), dtype=dtype, what="x")
    if model is None:
        return arrays
    if set(arrays) != set(model.inputs):
        raise DataError(f"x has inputs {sorted(arrays)}, the network takes {sorted(model.inputs)}")
    for name, spec in model.inputs.items():
        found = arrays[name]
        if found.shape[1:] != spec.shape:
            raise ShapeError(
                f"{name}: rows of shape {found.shape[1:]} given, the network was built for {spec.shape}; "
                "give the same features in the same order, or build another network"
            )
        arrays[name] = _as_trained(found, spec.dtype, name)
    return {name: arrays[name] for name in model.inputs}


def _as_trained(found: Array, dtype: np.dtype, name: str) -> Array:
    """The array in the dtype that the network was built for, if every value survives."""
    if found.dtype == dtype:
        return found
    with np.errstate(invalid="ignore"):
        cast = found.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(cast, found):
        raise DataError(
            f"{name} holds {found.dtype.name} values, the network was built for {dtype.name}, which cannot "
            "hold them; give data in the units and dtype of training"
        )
    return cast


def output_specs(model: Model) -> dict[str, Spec]:
    """The outputs for a batch of two."""
    outputs, _ = model.trace(model.batch_inputs(2), training=False)
    return {name: node.spec for name, node in outputs.items()}


def choose_losses(loss: Any, targets: Mapping[str, Array], outputs: Mapping[str, Spec]) -> dict[str, Any]:
    """A loss for every output; where none is given, the one that the target's kind asks for."""
    given = loss if isinstance(loss, Mapping) else dict.fromkeys(outputs, loss)
    if set(given) != set(outputs):
        raise ConfigError(f"the losses are for {sorted(given)}, the network's outputs are {sorted(outputs)}")
    if set(targets) != set(outputs):
        raise DataError(f"y has targets {sorted(targets)}, the network's outputs are {sorted(outputs)}")
    return {
        name: _default_loss(targets[name], outputs[name])
        if given[name] is None
        else loss_room.resolve_loss(given[name])
        for name in outputs
    }


def _default_loss(y: Array, output: Spec) -> Any:
    """Maximum likelihood: classes are categorical (two on one output: Bernoulli), numbers Gaussian."""
    outputs = output.shape[-1] if output.ndim > 1 else 1
    if y.dtype.kind not in "biu":
        if y.ndim == 1 and output.ndim == 2 and outputs > 1:
            raise DataError(
                f"y holds one float for each row, the network has {outputs} outputs; classes: give whole "
                "numbers, y.astype(int); numbers: end the network in Dense(1) and give y[:, None]"
            )
        return loss_room.MeanSquaredError()
    if outputs > 1:
        return loss_room.CrossEntropy()
    if y.min() < 0 or y.max() > 1:
        raise DataError(
            f"y holds whole numbers from {y.min()} to {y.max()}, which one output takes for the labels 0 and "
            "1; numbers: give loss='mean_squared_error'; classes: end the network in Dense(number of classes)"
        )
    return loss_room.BinaryCrossEntropy()


def choose_metrics(metrics: Any, losses: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics, or their names, by name. By default the accuracy, where all losses are of classes."""
    if metrics is None:
        classes = (loss_room.CrossEntropy, loss_room.BinaryCrossEntropy, loss_room.Focal)
        metrics = ["accuracy"] if losses and all(isinstance(v, classes) for v in losses.values()) else []
    listed = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    found = dict(listed) if isinstance(listed, Mapping) else {_metric_name(m): m for m in listed}
    for name, metric in found.items():
        if name in _TAKEN or ":" in name or name.startswith("val_"):
            raise ConfigError(f"no metric can be called {name!r}: the history uses that name itself")
        loss_room.resolve_metric(metric)
        if losses and not any(loss_room.suits(metric, loss) for loss in losses.values()):
            raise loss_room.unsuited(metric, next(iter(losses.values())))
    return found


def _metric_name(metric: Any) -> str:
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "")
    if name == "<lambda>" or not name:
        raise ConfigError(f"the metric {metric!r} has no name; give it one: metrics={{'name': function}}")
    return name


def prepare_data(
    inputs: dict[str, Array], y: Any, weight: Any, losses: Any, model: Model
) -> tuple[Data, dict[str, Any]]:
    """Inputs, targets and weights of equal length, the targets as their losses want them; and the losses."""
    outputs, dtype = output_specs(model), model.dtype
    rows = len(next(iter(inputs.values())))
    targets = door.check_inputs(door.as_named(y, "y"), dtype=dtype, what="y", rows=rows)
    targets = _without_lengths(targets, inputs)
    chosen = choose_losses(losses, targets, outputs)
    targets = _inside(targets, inputs, chosen, outputs)
    return Data(inputs, check_targets(targets, chosen, outputs, dtype), _weights(weight, rows, dtype)), chosen


def _lengths(inputs: Mapping[str, Array]) -> list[Array]:
    """Of the inputs that are sequences of unequal length."""
    return [a for n, a in inputs.items() if n.endswith("/lengths") and n.removesuffix("/lengths") in inputs]


def _without_lengths(targets: Mapping[str, Array], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The targets without lengths of their own, which must be those of an input."""
    found = dict(targets)
    for name, y in targets.items():
        if name.endswith("/lengths") and name.removesuffix("/lengths") in targets:
            if not any(np.array_equal(y, a) for a in _lengths(inputs)):
                raise DataError(
                    f"{name} are not the lengths of x: both must be a Sequence with the same lengths"
                )
            del found[name]
    return found


def _inside(
    targets: dict[str, Array], inputs: Mapping[str, Array], losses: Mapping[str, Any],
    outputs: Mapping[str, Spec],
) -> dict[str, Array]:  # fmt: skip
    """Targets of every step of sequences: 0 behind the end of each, where nothing is looked at."""
    lengths = _lengths(inputs)
    if len(lengths) != 1:
        return targets
    return {
        name: _cleared(y, lengths[0])
        if over_steps(losses[name])
        and len(outputs[name].shape) > 2
        and y.shape[1:2] == outputs[name].shape[1:2]
        else y
        for name, y in targets.items()
    }


def _cleared(y: Array, lengths: Array) -> Array:
    """y (rows, steps, …) with 0 behind the end of each row."""
    behind = np.arange(y.shape[1]) >= lengths[:, None]
    if not y[behind].any():
        return y
    found = y.copy()
    found[behind] = 0
    return found


def check_targets(
    targets: Mapping[str, Array], losses: Mapping[str, Any], outputs: Mapping[str, Spec], dtype: np.dtype
) -> dict[str, Array]:
    """The targets as their losses want them; an array that is so already is not copied."""
    checked = {}
    for name, loss in losses.items():
        y = targets[name]
        y = loss.check_target(y, outputs[name]) if isinstance(loss, loss_room.Loss) else y
        checked[name] = y.astype(dtype, copy=False) if y.dtype.kind == "f" else y
    return checked


def _weights(weight: Any, rows: int, dtype: np.dtype) -> Array:
    if weight is None:
        return np.ones(rows, dtype)
    return door.check_weights(weight, rows=rows, dtype=dtype)


def hold_out(data: Data, share: float, seed: int) -> tuple[Data, Data]:
    """(training, validation): a share of the rows is held out, stratified where the target is of classes."""
    train, held = door.split(len(data), share, seed, stratify=_classes(data))
    parts = take_rows(data, train), take_rows(data, held)
    for part, name in zip(parts, ("left for training", "held out"), strict=True):
        if not part.weight.any():
            raise DataError(f"sample_weight is 0 in all {len(part)} rows {name}; give (x, y) as validation")
    return parts


def _classes(data: Data) -> Array | None:
    """The class of every row: whole numbers that recur, or 0 and 1 in one column; else None."""
    (target, *others) = data.targets.values()
    column = target.reshape(len(target), -1)
    if others or column.shape[1] != 1:
        return None
    found = np.unique(column)
    whole = target.ndim == 1 and target.dtype.kind in "iu" and 2 * len(found) <= len(column)
    return column[:, 0] if whole or np.isin(found, (0, 1)).all() else None


def _as_trained_on(held: Data, specs: Mapping[str, Spec]) -> Data:
    """Targets of the shape and dtype that were trained on. (Losses see to it; a user's function cannot.)"""
    targets = {}
    for name, spec in specs.items():
        found = held.targets[name]
        if found.shape[1:] != spec.shape:
            raise ShapeError(
                f"validation: {name} has rows of shape {found.shape[1:]}, that of training {spec.shape}"
            )
        targets[name] = _as_trained(found, spec.dtype, f"validation: {name}")
    return Data(held.inputs, targets, held.weight)


def take_rows(data: Data, rows: Array) -> Data:
    """Some of the rows."""
    return Data(
        {n: a[rows] for n, a in data.inputs.items()},
        {n: a[rows] for n, a in data.targets.items()},
        data.weight[rows],
    )
