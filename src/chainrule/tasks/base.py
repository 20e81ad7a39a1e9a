"""What all estimators share: parameters, checked data, one fit, what is kept of it."""

from __future__ import annotations

import copy
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from chainrule import data as splits
from chainrule import nn, optim, train
from chainrule.data.arrays import as_named
from chainrule.data.tables import Table, TableEncoder
from chainrule.errors import ConfigError, DataError
from chainrule.executors import Array, can_compile
from chainrule.network import Network
from chainrule.spec import Spec
from chainrule.tasks import architecture, parameters
from chainrule.tasks.inputs import Shown, is_table, rows_of, table_of
from chainrule.tasks.monitor import CallbackSupportMixin, Monitor
from chainrule.tasks.progress import Convergence, Progress
from chainrule.tasks.scaling import Affine
from chainrule.tasks.targets import Target
from chainrule.train.state import snapshot

__all__ = ["Learner"]

_DENSE_LIMIT = 4 << 30  # bytes that a sparse X may take as a dense array
_AUTO_BATCH = 200
_PLAIN = ("adam", "sgd", "lbfgs")  # solvers by scikit-learn's names, which take ``alpha``
_SMALL = 1e-4  # scikit-learn's alpha
_WORTH_COMPILING = 100  # steps
_DONE = ("gradient", "progress", "precision")  # how a solver that has converged ends


class Learner(CallbackSupportMixin, BaseEstimator, ABC):
    """A network that is fitted on rows, as an estimator. What a kind of estimators learns, and what its
    network is made of, are its own."""

    network_: Network
    _target: Target
    _shown: Shown

    # What an estimator has without offering it.
    learning_rate: Any = "constant"
    power_t: Any = 0.5
    momentum: Any = 0.9
    nesterovs_momentum: Any = True
    beta_1: Any = 0.9
    beta_2: Any = 0.999
    epsilon: Any = 1e-8
    max_fun: Any = 15000
    shuffle: Any = True
    warm_start: Any = False
    dropout: Any = 0.0
    batch_norm: Any = False
    layer_norm: Any = False
    weight_decay: Any = None
    clip_norm: Any = None
    schedule: Any = None
    init: Any = "auto"
    scoring: Any = "loss"
    scaling: Any = "auto"
    kinds: Any = None
    embed_from: Any = None
    hidden_layer_sizes: Any = ()
    activation: Any = "relu"
    hide_inputs: Any = 0.0

    # ------------------------------------------------------------------ what estimators differ in

    @abstractmethod
    def _checked_target(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """X and y, checked; with ``reset`` the number and names of the columns are remembered."""

    def _shown_as(self, X: Any, weight: Array | None) -> Shown:
        """How rows are shown to the network, from the first ones seen."""
        return Shown.seen(
            X, weight, kinds=self.kinds, scaling=self.scaling, embed_from=self.embed_from, gaps=self._gaps
        )

    @abstractmethod
    def _learned(self, y: Any, weight: Array | None, every_y: Any) -> tuple[Target, Any]:
        """What is learned and its loss (or losses by output), from the first target seen."""

    @abstractmethod
    def _layers(self) -> nn.Layer:
        """The network, from what it is shown to what is learned."""

    @abstractmethod
    def _default_score(self, z: Any, y: Any, weight: Array | None) -> float:
        """From the network's outputs: the score that early stopping follows where none is asked for."""

    def _check_goes_on(self, y: Any) -> None:
        """DataError for a target with which a network that has learned cannot go on."""

    def _weigh(self, y: Any, weight: Array | None, *, incremental: bool) -> Array | None:
        """The weights of the rows to learn from, with those of their classes."""
        return weight

    def _weigh_held(self, y: Any, weight: Array | None) -> Array | None:
        """The same of rows to judge by: their classes weigh what they weigh in learning."""
        return weight

    @property
    def _gaps(self) -> bool:
        """Whether any cell may be missing, of arrays too, so that gaps are marked in every column."""
        return self.hide_inputs != 0

    def _judged(self, shown: Any, target: Any) -> tuple[Any, Any]:
        """Rows held out, as the network and the loss are given them, as they are to be judged by."""
        return shown, target

    # ------------------------------------------------------------------ fitting

    def _learn(self, X: Any, y: Any, given_weight: Any, validation: Any, *, incremental: bool) -> Any:
        parameters.check(self)
        self._prepare(holds_out=incremental or validation is not None or self._holds_out())
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        X, y = self._checked_target(X, y, reset=first)
        if not first:
            self._check_goes_on(y)
        weight = self._row_weights(X, y, given_weight, partial(self._weigh, incremental=incremental))
        every_y = y
        if weight is not None:
            X, y, weight = _heavy(X, y, weight)
        if first:
            self._begin(X, y, weight, every_y)
        held = None
        if validation is not None:
            held = self._given_validation(validation)
        elif self._holds_out() and not incremental:
            (X, y, weight), held = self._split(X, y, weight)
        self._run(X, y, weight, held, incremental=incremental)
        self._end(held)
        return self

    def _holds_out(self) -> bool:
        """Whether a share of the rows is held out; for "lbfgs" scikit-learn's early_stopping does nothing."""
        return bool(self.early_stopping) and self.solver != "lbfgs"

    def _prepare(self, *, holds_out: bool) -> None:
        """What else is refused before anything is done."""

    def _end(self, held: Any) -> None:
        """What is left to do with the rows held out."""

    def _row_weights(
        self, X: Array, y: Array, given: Any, weigh: Callable[[Array, Array | None], Array | None]
    ) -> Array | None:
        weight = None
        if given is not None:
            like = np.empty((len(X), 0))
            weight = _check_sample_weight(given, like, dtype=np.float64, ensure_non_negative=True)
        weight = weigh(y, weight)
        if weight is not None and not weight.any():
            raise DataError(
                "sample_weight is zero in every row: nothing would be learned; give some row more"
            )
        return weight

    def _begin(self, X: Any, y: Any, weight: Array | None, every_y: Any) -> None:
        """A new network for data like these; ``every_y`` has the rows of weight 0 too, and so all classes."""
        self._seed = int(check_random_state(self.random_state).randint(0, 2**31 - 1, dtype=np.int64))
        shown = self._shown = self._shown_as(X, weight)
        self._target, self._losses = self._learned(y, weight, every_y)
        inputs = {
            name: Spec(a.shape[1:], a.dtype) for name, a in as_named(shown(rows_of(X, _FIRST)), "x").items()
        }
        self.network_ = Network(self._layers(), seed=self._seed, dtype=shown.dtype).build(**inputs)
        self._progress = Progress()

    # What files hold of it.

    @property
    def _scaling(self) -> Affine:
        return self._shown.scaling

    @property
    def _encoder(self) -> TableEncoder | None:
        return self._shown.encoder

    @property
    def _encoder_state(self) -> dict[str, Array]:
        return self._shown.learned

    @property
    def encoder_(self) -> TableEncoder | None:
        """How the columns of a table become numbers, each with the reason; None after a fit on an array. Its
        ``feature_names`` are those of the rows of ``coefs_[0]``, before any embeddings."""
        return self._shown.encoder

    def _validated(self, X: Any, y: Any, *, reset: bool, **options: Any) -> tuple[Any, Array]:
        """X as an array or a Table, and y, both checked."""
        if self._by_name(X, reset=reset):
            X = self._table(X, reset=reset)
            y = _check_y(y, multi_output=True, y_numeric=options.get("y_numeric", False), estimator=self)
            check_consistent_length(np.empty((len(X), 0)), y)
            return X, y
        X, y = validate_data(self, X, y, multi_output=True, reset=reset, **options, **self._accepted)
        return self._dense(X), y

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """X alone as an array or a Table, checked."""
        if self._by_name(X, reset=reset):
            return self._table(X, reset=reset)
        return self._dense(validate_data(self, X, reset=reset, **self._accepted))

    def _by_name(self, X: Any, *, reset: bool) -> bool:
        """Whether X is taken as a table: as the first one was."""
        if not reset:
            return self._shown.by_name
        return is_table(X, self.kinds, self.scaling) or (self._gaps and hasattr(X, "columns"))

    @property
    def _accepted(self) -> dict[str, Any]:
        """What scikit-learn lets through as X."""
        return {
            "accept_sparse": ["csr", "csc", "coo"],
            "dtype": _FLOATS,
            "ensure_all_finite": "allow-nan" if self._gaps else True,
        }

    def _table(self, X: Any, *, reset: bool) -> Table:
        named, X = hasattr(X, "columns") or isinstance(X, Mapping | Table), table_of(X)
        if reset:
            self.n_features_in_ = len(X.names)
            self.__dict__.pop("feature_names_in_", None)
            if named:
                self.feature_names_in_ = np.array(X.names, object)
        return X

    def _split(self, X: Array, y: Array, weight: Array | None) -> tuple[Any, ...]:
        """(training, held out): alike in classes, as far as each has rows to spare."""
        if len(X) < 2:
            raise DataError(
                f"early_stopping holds out rows, but X has n_samples = {len(X)} of weight; give more, or "
                "validation_data"
            )
        groups = self._target.groups(y)
        if groups is not None and np.bincount(groups).max() < 2:
            groups = None  # no class can spare a row
        kept, held = splits.split(len(X), self.validation_fraction, self._seed, stratify=groups)
        parts = [
            (rows_of(X, rows), rows_of(y, rows), None if weight is None else weight[rows])
            for rows in (kept, held)
        ]
        return tuple(parts)

    def _given_validation(self, given: Any) -> tuple[Array, Array, Array | None]:
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise ConfigError("validation_data is (X, y) or (X, y, sample_weight)")
        X, y, weight = (*given, None)[:3]
        X, y = self._checked_target(X, y, reset=False)
        return X, y, self._row_weights(X, y, weight, self._weigh_held)

    def _run(self, X: Array, y: Array, weight: Array | None, held: Any, *, incremental: bool) -> None:
        net, target, at = self.network_, self._target, self._progress
        dtype = net.dtype
        rows = len(X) if self.batch_size == "auto" else min(int(self.batch_size), len(X))
        rows = min(rows, _AUTO_BATCH) if self.batch_size == "auto" and self.solver != "lbfgs" else rows
        total = float(len(X) if weight is None else weight.sum())
        rule = architecture.optimizer(self, self._penalty(total, rows / len(X), incremental))
        epochs = 1 if incremental else int(self.max_iter)
        monitor = Monitor(self, X, y, weight, epochs, self._view)
        watching = self._watching(X, held, rule, monitor, epochs)
        validation = None
        if held is not None:
            Xv, yv, wv = held
            validation = (*self._judged(self._shown(Xv), target.encode(yv, dtype)), wv)
        best = snapshot(net.state) if watching.stops_by_score and at.scores else None  # of fits before
        monitor.begin(net.state)
        try:
            net.fit(
                self._shown(X),
                target.encode(y, dtype),
                loss=self._losses,
                optimizer=rule,
                epochs=epochs,
                batch_size=rows,
                validation=validation,
                metrics=[],
                schedule=None if isinstance(rule, optim.Solver) else (self.schedule or optim.Constant()),
                callbacks=[watching, *self._callbacks()],
                sample_weight=weight,
                shuffle=self.shuffle,
                executor=self._executor(epochs * -(-len(X) // rows)),
                threads=self._threads(),
                warm_start=type(net.optimizer) is type(rule) and (incremental or self.warm_start),
                verbose=int(self.verbose),
            )
        finally:
            self._note(at)
        if best is not None and not watching.kept:
            net._state = best
        monitor.end()
        self._warn(watching, epochs, incremental)

    def _penalty(self, total: float, share: float, incremental: bool) -> float:
        """λ of the penalty ½ λ ‖W‖² beside the mean loss.

        total    the weight of all rows
        share    of them in one batch

        A number is scikit-learn's ``alpha``: λ = alpha/(weight of a batch). "auto" is ½ ‖W‖² beside the sum
        of all losses, λ = 1/total, as Ridge and LogisticRegression have it by default: a prior of the weights
        with variance 1 (Bishop 2006, eq. 3.55). An optimizer of the user's own has its own decay. Rows that
        come in parts have no total: "auto" is scikit-learn's 0.0001 then.
        """
        alpha = self.alpha
        if alpha == "auto":
            if self.solver not in _PLAIN:
                return 0.0
            if not incremental:
                return 1 / total
            alpha = _SMALL
        return alpha / (total * (1.0 if self.solver == "lbfgs" else share))

    def _callbacks(self) -> list[train.Callback]:
        given = self.callbacks
        return [] if given is None else [given] if isinstance(given, train.Callback) else list(given)

    def _executor(self, steps: int) -> str:
        """An estimator is rarely fitted once: what is compiled for the first of many fits, of a search or a
        cross-validation, serves all of them. So it is compiled for fewer steps than one fit would need."""
        worth = self.executor == "auto" and steps >= _WORTH_COMPILING and can_compile()
        return "cpu" if worth else str(self.executor)

    def _threads(self) -> int | None:
        """One, where joblib already uses the processors for several fits."""
        if self.threads is not None:
            return int(self.threads)
        from joblib.parallel import get_active_backend

        backend, _ = get_active_backend()
        return 1 if backend.nesting_level or _is_dask_worker() else None

    def _watching(self, X: Array, held: Any, rule: Any, monitor: Monitor, epochs: int) -> Convergence:
        at = self._progress
        sgd = self.solver == "sgd"
        solver = isinstance(rule, optim.Solver)
        stops_by_score = bool(self.early_stopping and held is not None)
        return Convergence(
            at,
            tol=self.tol,
            patience=np.inf if solver and not stops_by_score else self.n_iter_no_change,
            rows=len(X),
            in_units=self._target.loss_in_units,
            score=None if held is None else self._scorer(*held),
            stops_by_score=stops_by_score,
            rate=self.learning_rate if sgd else "constant",
            power=self.power_t,
            first_rate=self.learning_rate_init if sgd and self.learning_rate_init != "auto" else 1.0,
            told=(lambda end: monitor.epoch(end, over=at.epochs == epochs)) if monitor.context else None,
        )

    def _scorer(self, X: Array, y: Array, weight: Array | None) -> Callable[[train.EpochEnd], float]:
        if self.scoring == "loss":
            return lambda end: -end.metrics["val_loss"]
        if self.scoring is None:
            shown, net = self._shown(X), copy.copy(self.network_)

            def score(end: train.EpochEnd) -> float:
                net._state = snapshot(end.state())
                return self._default_score(net.output(shown), y, weight)

            return score
        from sklearn.metrics import check_scoring

        scorer = check_scoring(self, scoring=self.scoring)
        options = {} if weight is None else {"sample_weight": weight}

        def asked(end: train.EpochEnd) -> float:
            view = copy.copy(self)
            view.__dict__.update(self._view(end.state()), _skl_callbacks=[])
            with warnings.catch_warnings():  # X was checked with its names, which are gone
                warnings.filterwarnings("ignore", message="X does not have valid feature names")
                return float(scorer(view, X, y, **options))

        return asked

    def _view(self, state: Mapping[str, Array]) -> dict[str, Any]:
        """The attributes of an estimator that predicts with these parameters."""
        net = copy.copy(self.network_)
        net._state = snapshot(state)
        return {"network_": net}

    def _note(self, at: Progress) -> None:
        """The attributes that scikit-learn's estimators have after a fit."""
        scored = bool(at.scores)
        self.loss_curve_, self.n_iter_, self.t_ = at.losses, at.epochs, at.seen
        self.loss_ = at.losses[-1] if at.losses else np.inf
        self.best_loss_ = None if self.early_stopping else self._target.loss_in_units(at.best_loss)
        self.validation_scores_ = at.scores if scored else None
        self.validation_loss_curve_ = at.validation_losses if at.validation_losses else None
        self.best_validation_score_ = at.best_score if scored else None

    def _warn(self, watching: Convergence, epochs: int, incremental: bool) -> None:
        history = self.network_.history
        stopped = history is None or history.stopped != "epochs" or watching.converged
        stopped = stopped or self.schedule is not None  # which ends where max_iter does
        if not stopped and not incremental:
            warnings.warn(
                f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet; "
                "raise max_iter, or accept it as it is",
                ConvergenceWarning,
                stacklevel=5,
            )

    # ------------------------------------------------------------------ using

    def _raw(self, X: Any) -> Any:
        """The network's outputs for rows of X."""
        check_is_fitted(self, "network_")
        return self.network_.output(self._shown(self._rows(X, reset=False)))

    def _dense(self, X: Any) -> Array:
        if isinstance(X, np.ndarray):
            return X
        if (size := X.shape[0] * X.shape[1] * X.dtype.itemsize) > _DENSE_LIMIT:
            raise DataError(
                f"X is sparse and would need {size / 2**30:.0f} GiB as a dense array; "
                "keep fewer columns, for example by TruncatedSVD or SelectKBest"
            )
        return np.asarray(X.toarray())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._gaps
        return tags


_FLOATS = (np.float64, np.float32)
_FIRST = np.arange(1)


def _is_dask_worker() -> bool:
    """Whether this runs as a task of Dask, of which joblib does not tell."""
    dask = sys.modules.get("distributed.worker")
    try:
        return dask is not None and dask.get_worker() is not None
    except ValueError:  # what it raises elsewhere
        return False


def _heavy(X: Array, y: Array, weight: Array) -> tuple[Array, Array, Array | None]:
    """The rows that weigh anything; None for weights that are all alike 1."""
    rows = np.flatnonzero(weight)
    if len(rows) < len(weight):
        X, y, weight = rows_of(X, rows), rows_of(y, rows), weight[rows]
    return X, y, None if (weight == 1).all() else weight
