"""Recommender: what a user would say of an item, from what users said of items."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from chainrule import losses, nn
from chainrule.data.tables import Category, Table, TableEncoder
from chainrule.data.tables.profile import text_of
from chainrule.errors import ConfigError, DataError, nearest, within
from chainrule.executors import Array
from chainrule.tasks.base import Learner
from chainrule.tasks.factors import Factors
from chainrule.tasks.inputs import Shown
from chainrule.tasks.monitor import with_callbacks
from chainrule.tasks.parameters import store
from chainrule.tasks.scaling import identity
from chainrule.tasks.targets import Numbers, Target, sigmoid

__all__ = ["Recommender"]

_LOSSES = {"rating": losses.HalfSquaredError(), "preference": losses.BinaryCrossEntropy()}


class Recommender(RegressorMixin, Learner):
    """Learns a vector for each user and each item, and predicts by their product and a bias of each (Koren,
    Bell & Volinsky 2009). Whoever was never seen, and whatever, has a place too: the one that is learned by
    showing some of them as unknown.

    factors        numbers of a vector
    target         "rating": y are numbers; "preference": y are 0 and 1, and predictions probabilities
    hide_inputs    the share of users and of items that is shown as unknown in training
    alpha          the penalty alpha/(2 rows of a batch)·‖vectors and biases‖², as in :class:`MLPClassifier`

    All other parameters are those of :class:`MLPClassifier`. X has a row for each thing that was said: the
    user, the item, and in further columns, if there are any, what else is known of the occasion (they count
    as the first two do: Rendle 2010). Their values may be of any kind.

    >>> import numpy as np
    >>> said = [(user, item) for user in "abcdef" for item in "uvwxyz"]
    >>> liked = [float((ord(user) + ord(item)) % 2) for user, item in said]
    >>> model = Recommender(2, learning_rate_init=0.05, alpha=1e-3, random_state=0, tol=1e-5).fit(said, liked)
    >>> model.predict([("a", "u"), ("a", "v")]).round().tolist()
    [0.0, 1.0]
    """

    def __init__(
        self,
        factors: int = 10,
        *,
        target: str = "rating",
        hide_inputs: Any = 0.05,
        solver: Any = "adam",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.01,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: Any = 10,
        schedule: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Recommender:
        """Learns from pairs X (rows, columns) and y (rows,), what was said of each."""
        self._learn(X, y, sample_weight, None, incremental=False)
        return self

    # ------------------------------------------------------------------ what is learned

    def _prepare(self, *, holds_out: bool) -> None:
        within(self, "factors", "[1, inf)", whole=True)
        if self.target not in _LOSSES:
            raise ConfigError(f"Recommender: unknown target {self.target!r}; {nearest(self.target, _LOSSES)}")

    def _checked_target(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, dtype=None, y_numeric=True, reset=reset)
        if self.target == "preference" and not np.isin(y, (0, 1)).all():
            raise DataError("y of a preference is 0 or 1 in every row; for other numbers say target='rating'")
        table = _texts(X)
        if reset:
            self._values = [{text_of(v): v for v in np.unique(column).tolist()} for column in np.asarray(X).T]
            self._pairs = table
        return table, y.astype(np.float64)

    def _shown_as(self, X: Any, weight: Array | None) -> Shown:
        columns = [
            Category(name, categories=tuple(values), embedding=int(self.factors), reason="whom or what")
            for name, values in zip(X.names, self._values, strict=True)
        ]
        return Shown(identity(0), np.dtype(np.float32), TableEncoder(tuple(columns)), {}, True)

    def _learned(self, y: Any, weight: Array | None, every_y: Any) -> tuple[Target, Any]:
        loss = _LOSSES[self.target]
        return Numbers.seen(y, weight, loss, "standard" if self.target == "rating" else "none"), loss

    def _layers(self) -> nn.Layer:
        counts = tuple(count for count, _ in self._shown.codes)
        unknown = nn.HideCells(self.hide_inputs, (), (), (0,) * len(counts))
        return nn.sequential(unknown, factors=Factors(counts, int(self.factors)))

    def _default_score(self, z: Any, y: Any, weight: Array | None) -> float:
        return -float(np.average((self._target.predict(z) - y) ** 2, weights=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = False
        tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    # ------------------------------------------------------------------ using

    def predict(self, X: Any) -> Array:
        """What the user of each row would say of its item: a number, or the probability of a 1."""
        check_is_fitted(self, "network_")
        return self._answers(_texts(validate_data(self, X, dtype=None, reset=False)))

    def _answers(self, table: Table) -> Array:
        z = self.network_.output(self._shown(table))
        found: Array = self._target.predict(z)
        return sigmoid(found) if self.target == "preference" else found

    def recommend(self, user: Any, n: int = 10, *, known: bool = False) -> tuple[Array, Array]:
        """(items, predictions): the n items of which the user would say the most, the best first.

        known    whether items count of which the user said something in training

        An unknown user gets what users say in general. ConfigError where X had other columns beside the two.
        """
        check_is_fitted(self, "network_")
        if len(self._values) != 2:
            raise ConfigError(f"recommend takes users and items alone; X had {len(self._values)} columns")
        users, items = (self._pairs[name] for name in self._pairs.names)
        texts = np.array(list(self._values[1]), object)
        if not known:
            texts = texts[~np.isin(texts.astype(str), items[users == text_of(user)].astype(str))]
        one = np.full(len(texts), text_of(user), object)
        scores = self._answers(Table(dict(zip(self._pairs.names, (one, texts), strict=True))))
        best = np.argsort(-scores, kind="stable")[:n]
        return np.array([self._values[1][text] for text in texts[best]]), scores[best]


def _texts(X: Any) -> Table:
    """Every column as text, by which a value is known."""
    return Table(
        {f"x{j}": np.array([text_of(v) for v in column.tolist()], object) for j, column in enumerate(X.T)}
    )
