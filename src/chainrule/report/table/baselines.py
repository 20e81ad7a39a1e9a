"""What a network is compared with: no columns at all, and a linear model, fitted on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import losses, nn, optim
from chainrule.data.tables import Table, is_missing
from chainrule.errors import DataError
from chainrule.network import Network
from chainrule.report.table.columns import cut
from chainrule.report.table.rows import Rows, class_names, is_classifier, truth_of
from chainrule.tasks.predictor import Predictor
from chainrule.tasks.scaling import standard
from chainrule.tasks.targets import Numbers, OneOf

__all__ = ["Baseline", "fit_baselines"]

Array = npt.NDArray[Any]
_EPOCHS = 200
_CELLS = 50_000_000  # rows × features that the linear model is fitted on


@dataclass(frozen=True, eq=False)
class Baseline:
    """A model to compare with; it is asked about rows that are encoded already.

    what         in plain words
    constant     what it answers whatever the row: probabilities (K,), or a number ()
    predictor    or else a model with the encoding of the network that it stands beside
    """

    name: str
    what: str
    constant: Array | None = None
    predictor: Predictor | None = None

    def answer(self, rows: Rows) -> Array:
        """Probabilities (rows, classes), or numbers (rows,)."""
        if self.predictor is not None:
            return Rows(self.predictor, rows.table, rows.inputs, rows.places, rows.notes).answer()
        constant = np.asarray(self.constant, np.float64)
        return np.broadcast_to(constant, (len(rows), *constant.shape)).copy()


def fit_baselines(predictor: Predictor, table: Table, target: str, *, seed: int = 0) -> tuple[Baseline, ...]:
    """The shares of the classes (or the mean), and a linear model, of the rows that the network learned from.

    The linear model is the network without hidden layers (logistic regression, or least squares), on the same
    encoded columns, with the penalty ‖w‖²/(2n) and L-BFGS. Of very large tables it takes a part of the
    rows, and says so.
    """
    if len(table) == 0:
        raise DataError("there are no rows to fit the baselines on; give those that the network learned from")
    present = ~is_missing(table[target])
    table = table if present.all() else table.take(np.flatnonzero(present))
    truth = truth_of(predictor, table[target], target)
    return _constant(predictor, truth), _linear(predictor, table.drop(target), truth, seed)


def _constant(predictor: Predictor, truth: Array) -> Baseline:
    if not is_classifier(predictor):
        mean = np.asarray(truth.mean())
        return Baseline("mean", f"always the mean of the training rows, {float(mean):.6g}", mean)
    names = class_names(predictor)
    share = np.bincount(truth, minlength=len(names)) / len(truth)
    most = cut(names[int(share.argmax())], 40)
    what = f"always the commonest class, {most}; its probabilities are the shares of the classes"
    return Baseline("commonest class", what, share)


def _linear(predictor: Predictor, table: Table, truth: Array, seed: int) -> Baseline:
    rows = Rows.of(predictor, table)
    most, said = max(_CELLS // max(rows.width, 1), 1000), ""
    inputs = rows.inputs
    if len(rows) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
        inputs, truth = {name: a[chosen] for name, a in inputs.items()}, truth[chosen]
        said = f", on {most:,} of the {len(rows):,} rows"
    classes = is_classifier(predictor)
    goal: Any = OneOf(np.asarray(predictor.target.classes)) if classes else _numbers(predictor.target, truth)
    encoded = goal.encode(goal.classes[truth] if classes else truth, predictor.network.dtype)
    network = _fitted(predictor, inputs, encoded, goal, seed)
    model = Predictor(
        "linear model", {}, predictor.features, predictor.scaling, network, goal, (),
        predictor.encoder, predictor.learned,
    )  # fmt: skip
    what = "logistic regression" if classes else "least squares"
    return Baseline("linear model", f"{what} on the same encoded columns{said}", predictor=model)


def _numbers(target: Any, truth: Array) -> Any:
    """A target learned by its logarithm stays one; others by their mean alone."""
    if not isinstance(target, Numbers):
        return target
    return Numbers(standard(truth[:, None]), flat=True)


def _fitted(predictor: Predictor, inputs: dict[str, Array], y: Array, goal: Any, seed: int) -> Network:
    encoder = predictor.encoder
    embedded = encoder is not None and encoder.code_names
    first: list[Any] = [nn.Columns(encoder.embeddings)] if encoder is not None and embedded else []
    network = Network(*first, nn.Dense(goal.outputs["y"]), seed=seed, dtype=predictor.network.dtype)
    loss = {
        "logistic": losses.BinaryCrossEntropy(),
        "softmax": losses.CrossEntropy(),
    }.get(goal.activation, losses.HalfSquaredError())
    network.fit(
        inputs if len(inputs) > 1 else next(iter(inputs.values())),
        y,
        loss=loss,
        optimizer=optim.LBFGS(l2=1.0 / len(y)),
        epochs=_EPOCHS,
        metrics=[],
        verbose=0,
    )
    return network
