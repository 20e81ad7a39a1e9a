"""MLPClassifier: scikit-learn's parameters and attributes, and what was asked for there."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from chainrule import losses
from chainrule.errors import ConfigError, DataError
from chainrule.executors import Array
from chainrule.tasks.calibration import calibrate
from chainrule.tasks.class_weights import by_class, of_rows
from chainrule.tasks.mlp import BaseMLP
from chainrule.tasks.parameters import store
from chainrule.tasks.targets import Labels, OneOf, SeveralOf, Target

__all__ = ["MLPClassifier"]


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A network that tells classes apart, with the interface of scikit-learn's ``MLPClassifier``.

    Whatever runs with theirs runs with this one: parameters, attributes and defaults have the same names and
    meanings. Three things differ by default: the columns of X are scaled inside (``scaling="auto"``), the
    penalty of the weights follows the number of rows (``alpha="auto"``), and the random numbers are others.
    ``coefs_`` and ``intercepts_`` are those for X as it was given.

    As in scikit-learn: ``hidden_layer_sizes``, ``batch_size``, ``learning_rate``, ``learning_rate_init``,
    ``power_t``, ``max_iter``, ``shuffle``, ``random_state``, ``tol``, ``verbose``, ``warm_start``,
    ``momentum``, ``nesterovs_momentum``, ``early_stopping``, ``validation_fraction``, ``beta_1``, ``beta_2``,
    ``epsilon``, ``n_iter_no_change``, ``max_fun``. As there, ``early_stopping`` holds out nothing where the
    solver is "lbfgs"; here ``validation_data`` does. And more:

    alpha           of the L2 penalty alpha/(2 rows of a batch)·‖W‖², as in scikit-learn; or "auto":
                    ‖W‖²/(2 rows in all), the default of Ridge and LogisticRegression, which keeps a small
                    table from being learned by heart, and leaves a large one alone
    activation      "identity", "logistic", "tanh", "relu", any name of ``ops.functions.FUNCTIONS``, a
                    function of a graph node, a layer; or a tuple with one for each hidden layer
    solver          "adam", "sgd", "lbfgs", the name of another optimizer (with its own learning rate), or an
                    optimizer such as ``optim.AdamW(1e-3)``
    loss            "log_loss"; a loss of chainrule or its name ("focal"); a function of (output, target)
    class_weight    "balanced", or a dict of weights by class (for labels and several targets a list of dicts)
    dropout         share of the hidden units that is dropped in training
    batch_norm, layer_norm   normalise before each activation
    weight_decay    decoupled decay; clip_norm: the most that all gradients together may measure
    schedule        of ``chainrule.optim``, of the learning rate over ``max_iter`` epochs
    init            of the weights; "auto": uniform, as scikit-learn begins
    scaling         of the columns of X: "standard" (mean 0, deviation 1), "none", or "auto". For an array
                    that is standard, but columns that seem to have one unit, such as pixels, share one scale;
                    for a table quantiles where a column reaches beyond 20 deviations. Tables take
                    "robust", "minmax" and "quantile" too
    kinds           of columns of a table, {name: "numeric" …}, where they would be taken for something else
    embed_from      categories from which a column has learned vectors instead of one-hot; None: never
    hide_inputs     share of the cells of X that is hidden in training, anew in every step, or "any": another
                    share for each row. Then any cell may be missing (NaN in arrays), and the answer is what
                    the others say
    calibrate       whether a temperature, found on the rows held out, makes the probabilities honest
    scoring         what early stopping follows: None (accuracy), "loss", or any scorer of scikit-learn
    callbacks       of ``chainrule.train``; those of scikit-learn come by ``set_callbacks``
    executor, threads   as for ``Network.fit``

    X is an array or a sparse matrix of numbers, or a table: a data frame of pandas, Polars or pyarrow, or a
    dict of columns. A table's text, truth values, dates and gaps are encoded (see ``encoder_``); where there
    are none it is the array of its numbers.

    y is (n,) of labels of any type, (n, labels) of 0 and 1, or (n, targets) of classes.

    >>> import numpy as np
    >>> x = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], 25, axis=0)
    >>> y = np.where(x[:, 0] == x[:, 1], "same", "other")
    >>> model = MLPClassifier((16,), learning_rate_init=0.05, random_state=0).fit(x, y)
    >>> model.predict([[0, 1], [1, 1]]).tolist()
    ['other', 'same']
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        layer_norm: bool = False,
        weight_decay: Any = None,
        clip_norm: Any = None,
        schedule: Any = None,
        init: Any = "auto",
        scaling: str = "auto",
        kinds: Any = None,
        embed_from: Any = 64,
        hide_inputs: Any = 0.0,
        scoring: Any = None,
        calibrate: bool = False,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    # ------------------------------------------------------------------ what is learned

    def _checked_target(self, X: Any, y: Any, *, reset: bool) -> tuple[Array, Array]:
        X, y = self._validated(X, y, reset=reset)
        check_classification_targets(y)
        self._sparse_target = reset and hasattr(y, "toarray")
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _check_goes_on(self, y: Array) -> None:
        known = self._target.classes
        if self.warm_start and isinstance(self._target, OneOf) and set(np.unique(y)) != set(known):
            raise DataError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit: "
                f"{known.tolist()}, not {np.unique(y).tolist()}; leave warm_start out, or use partial_fit"
            )

    def _learned(self, y: Array, weight: Array | None, every_y: Array) -> tuple[Target, Any]:
        y = every_y
        kind, classes = type_of_target(y), self.__dict__.pop("_announced", None)
        loss = _loss(self.loss)
        wide = isinstance(loss, losses.Classification | losses.KLDivergence)
        if kind == "multilabel-indicator":
            target: Target = Labels(np.arange(y.shape[1]), self._sparse_target)
        elif kind == "multiclass-multioutput":
            columns = [np.unique(column) for column in y.T] if classes is None else classes
            target = SeveralOf(tuple(OneOf(np.asarray(c), wide=True) for c in columns))
        else:
            target = OneOf(np.unique(y if classes is None else classes), wide)
        self.classes_ = target.classes
        made = _default(self.loss, target) if loss is None else loss
        return target, dict.fromkeys(target.outputs, made) if len(target.outputs) > 1 else made

    def _weigh(self, y: Array, weight: Array | None, *, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return weight
        if incremental and self.class_weight == "balanced":
            raise ConfigError(
                "class_weight='balanced' needs all of y at once; for partial_fit give a dict, as "
                "compute_class_weight('balanced', …) makes it"
            )
        self._check_class_weight(y, incremental=incremental)
        self._class_weights = by_class(self.class_weight, y)
        return self._weigh_held(y, weight)

    def _weigh_held(self, y: Array, weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return weight
        of_classes = of_rows(self._class_weights, y)
        return of_classes if weight is None else weight * of_classes

    def _check_class_weight(self, y: Array, *, incremental: bool) -> None:
        """By scikit-learn, which refuses other forms, and classes that are not there. Rows that come in parts
        need not have all classes."""
        if not incremental:
            compute_sample_weight(self.class_weight, y)
        if isinstance(self.class_weight, dict) and y.ndim == 1:
            announced = self.__dict__.get("_announced")
            known = y if not incremental else self.classes_ if announced is None else announced
            classes = np.unique(known)
            compute_class_weight(self.class_weight, classes=classes, y=classes)

    def _default_score(self, z: Any, y: Array, weight: Array | None) -> float:
        """The share of rows that are right, in all their columns."""
        found = self._target.predict(z)
        found = found.toarray() if hasattr(found, "toarray") else found
        right = (found == y).reshape(len(y), -1).all(axis=1)
        return float(np.average(right, weights=weight))

    def _prepare(self, *, holds_out: bool) -> None:
        if not isinstance(self.calibrate, bool):
            raise ConfigError(f"MLPClassifier: calibrate is {self.calibrate!r}; give True or False")
        if self.calibrate and not holds_out:
            raise ConfigError(
                "calibrate needs rows held out: give validation_data, or early_stopping=True, which for "
                "solver='lbfgs' holds out none"
            )

    def _end(self, held: Any) -> None:
        if self.calibrate and held is not None:
            X, y, weight = held
            z = self.network_.output(self._shown(X))
            calibrate(self.network_, z, self._target.encode(y, np.dtype(np.float64)), weight)

    # ------------------------------------------------------------------ batches one after another

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """One epoch over more rows; the network and the optimizer go on from where they are.

        classes    all that there will be, at the first call (a list of arrays for several targets)

        X is scaled by the first call's columns. Nothing is held out, also with ``early_stopping``.
        """
        if not hasattr(self, "network_"):
            self._first_classes(y, classes)
        elif classes is not None and not _equal(classes, self.classes_):
            raise DataError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}"
            )
        self._learn(X, y, sample_weight, None, incremental=True)
        return self

    def _first_classes(self, y: Any, classes: Any) -> None:
        if classes is None and not type_of_target(y).startswith("multilabel"):
            raise DataError("classes must be passed on the first call to partial_fit.")
        self._announced = classes

    # ------------------------------------------------------------------ probabilities

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes, in the order of ``classes_``; for several targets a list of them."""
        z = self._raw(X)
        return self._target.probabilities(z)

    def predict_log_proba(self, X: Any) -> Any:
        """Their logarithms, also of probabilities that round to 0."""
        z = self._raw(X)
        return self._target.logs(z)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


def _loss(given: Any) -> Any:
    """A loss or function; None for what depends on the target."""
    if isinstance(given, str) and given.replace("_", "").lower() in ("logloss", "focal"):
        return None
    return losses.resolve_loss(given)


def _default(name: str, target: Target) -> losses.Loss:
    focal, softmax = name == "focal", target.activation == "softmax"
    if softmax:
        return losses.Focal() if focal else losses.CrossEntropy()
    return losses.BinaryFocal(outputs="sum") if focal else losses.BinaryCrossEntropy(outputs="sum")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(np.unique(a), b)
