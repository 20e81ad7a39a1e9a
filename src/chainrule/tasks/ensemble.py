"""Ensembles: several networks that differ in their random numbers, and the mean of what they predict."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted

from chainrule.data.tables import Table
from chainrule.errors import ConfigError, DataError, within
from chainrule.executors import Array
from chainrule.tasks.classifier import MLPClassifier
from chainrule.tasks.inputs import table_of
from chainrule.tasks.parameters import store
from chainrule.tasks.regressor import MLPRegressor

__all__ = ["BaseEnsemble", "EnsembleClassifier", "EnsembleRegressor"]

_WEIGHTS = ("uniform", "inverse_variance")


class BaseEnsemble(MetaEstimatorMixin, BaseEstimator, ABC):
    """What both ensembles share; see EnsembleClassifier and EnsembleRegressor."""

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        bootstrap: bool = False,
        weights: str = "uniform",
        random_state: Any = None,
        n_jobs: Any = None,
    ) -> None:
        store(self, locals())

    @abstractmethod
    def _member(self) -> Any:
        """What is fitted where no estimator is given."""

    @abstractmethod
    def _check_y(self, y: Any) -> None:
        """DataError for a target whose predictions have no mean."""

    @abstractmethod
    def _errors(self, member: Any, X: Any, y: Array) -> Array:
        """(n, …): prediction minus truth of one member."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fits every member, by joblib on ``n_jobs`` processes."""
        self._check()
        self._check_y(y)
        base = self._member() if self.estimator is None else self.estimator
        seeds = check_random_state(self.random_state).randint(0, 2**31 - 1, size=self.n_estimators)
        rows = 0 if y is None else _num_samples(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, np.empty((rows, 0)), dtype=np.float64, ensure_non_negative=True
            )
        weights = [self._drawn(int(seed), rows, sample_weight) for seed in seeds]
        members = [clone(base).set_params(random_state=int(seed)) for seed in seeds]
        self.estimators_ = Parallel(n_jobs=self.n_jobs)(
            delayed(_fitted)(member, X, y, w) for member, w in zip(members, weights, strict=True)
        )
        self.weights_ = self._shares(X, y, weights, sample_weight)
        for name in ("n_features_in_", "feature_names_in_", "classes_"):
            if hasattr(self.estimators_[0], name):
                setattr(self, name, getattr(self.estimators_[0], name))
        return self

    def _check(self) -> None:
        within(self, "n_estimators", "[1, inf)", whole=True)
        if self.weights not in _WEIGHTS or not isinstance(self.bootstrap, bool):
            raise ConfigError(
                f"{type(self).__name__}: weights is one of {_WEIGHTS}, got {self.weights!r}; bootstrap is "
                f"True or False, got {self.bootstrap!r}"
            )
        if self.weights == "inverse_variance" and not self.bootstrap:
            raise ConfigError("inverse_variance needs rows that a member has not seen: give bootstrap=True")

    def _drawn(self, seed: int, rows: int, given: Array | None) -> Array | None:
        """The weights of rows for one member: how often each is drawn, times its own."""
        if not self.bootstrap or not rows:
            return given
        drawn = np.bincount(np.random.default_rng(seed).integers(0, rows, rows), minlength=rows)
        return drawn.astype(np.float64) if given is None else drawn * given

    def _shares(self, X: Any, y: Any, weights: list[Array | None], given: Array | None) -> Array:
        """One share for each member; by 1/σ², σ² its mean squared error on the rows that it has not drawn
        (Perrone & Cooper 1993, for errors without correlation), each with the weight that was given."""
        count = len(self.estimators_)
        if self.weights == "uniform":
            return np.full(count, 1 / count)
        y, errors = _targets(y), np.ones(count)
        for i, (member, weight) in enumerate(zip(self.estimators_, weights, strict=True)):
            left = np.zeros(len(y), bool) if weight is None else weight == 0
            unseen = np.flatnonzero(left if given is None else left & (given > 0))
            if len(unseen):
                found = self._errors(member, _some(X, unseen), y[unseen]).reshape(len(unseen), -1)
                errors[i] = np.average(
                    (found**2).mean(axis=1), weights=None if given is None else given[unseen]
                )
        shares = 1 / np.maximum(errors, np.finfo(np.float64).tiny)
        return shares / shares.sum()

    def error_correlation(self, X: Any, y: Any) -> Array:
        """How alike the members' errors are on rows that none of them has seen: the correlation of each pair,
        (members, members). Of k members whose errors have variance V and correlation ρ the mean has the error
        variance  V (1 + (k−1)ρ)/k:  where ρ is near 1, more of them hardly help.
        """
        check_is_fitted(self)
        errors = [np.ravel(self._errors(member, X, _targets(y))) for member in self.estimators_]
        found: Array = np.atleast_2d(np.corrcoef(errors))
        return found

    def _mean(self, values: list[Any]) -> Array:
        return np.tensordot(self.weights_, np.stack(values), 1)

    def get_metadata_routing(self) -> MetadataRouter:
        """Metadata of fit go to every member."""
        base = self._member() if self.estimator is None else self.estimator
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add_self_request(self).add(estimator=base, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class EnsembleClassifier(ClassifierMixin, BaseEnsemble):
    """Networks whose probabilities are averaged; they differ in their random numbers, and with ``bootstrap``
    in how often each sees a row (Breiman 1996).

    estimator      what is fitted ``n_estimators`` times; MLPClassifier()
    weights        "uniform", or "inverse_variance": members count by their squared error on rows that they
                   have not seen, which needs ``bootstrap``
    random_state   gives every member its own
    n_jobs         processes of joblib; the result does not depend on it

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 60)[:, None]
    >>> few = MLPClassifier((4,), max_iter=30, executor="reference", tol=1.0, n_iter_no_change=20)
    >>> model = EnsembleClassifier(few, n_estimators=3, random_state=0).fit(x, x[:, 0] > 0)
    >>> model.predict_proba(x).shape
    (60, 2)
    """

    def _member(self) -> Any:
        return MLPClassifier()

    def _check_y(self, y: Any) -> None:
        shape = y.shape if hasattr(y, "shape") else np.shape(y)  # a sparse matrix has it
        if len(shape) == 2 and shape[1] != 1:
            raise DataError(
                f"y has shape {shape}, but an EnsembleClassifier learns one target; fit one for each column, "
                "as sklearn.multioutput.MultiOutputClassifier does"
            )

    def _errors(self, member: Any, X: Any, y: Array) -> Array:
        found: Array = member.predict_proba(X) - (y[:, None] == member.classes_)
        return found

    def predict_proba(self, X: Any) -> Array:
        """The weighted mean of the members' probabilities."""
        check_is_fitted(self)
        return self._mean([member.predict_proba(X) for member in self.estimators_])

    def predict(self, X: Any) -> Array:
        """The likeliest classes."""
        p = self.predict_proba(X)
        found: Array = self.classes_[p.argmax(axis=1)]
        return found


class EnsembleRegressor(RegressorMixin, BaseEnsemble):
    """Networks whose predictions are averaged; see :class:`EnsembleClassifier` for the parameters.

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 60)[:, None]
    >>> few = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", executor="reference")
    >>> model = EnsembleRegressor(few, n_estimators=3, random_state=0).fit(x, x[:, 0] ** 2)
    >>> mean, deviation = model.predict(x, return_std=True)
    >>> mean.shape, deviation.shape
    ((60,), (60,))
    """

    def _member(self) -> Any:
        return MLPRegressor()

    def _check_y(self, y: Any) -> None:
        """One target, or several."""

    def _errors(self, member: Any, X: Any, y: Array) -> Array:
        found: Array = member.predict(X) - y
        return found

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The weighted mean μ of the members' predictions.

        return_std    with the deviation √Σ wᵢ((μᵢ − μ)² + σᵢ²): how far the members differ and, with
                      ``loss="gaussian"``, what each expects (Lakshminarayanan, Pritzel & Blundell 2017)
        """
        check_is_fitted(self)
        if not return_std:
            return self._mean([member.predict(X) for member in self.estimators_])
        pairs = [_moments(member, X) for member in self.estimators_]
        mean = self._mean([μ for μ, _ in pairs])
        return mean, np.sqrt(self._mean([(μ - mean) ** 2 + variance for μ, variance in pairs]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _targets(y: Any) -> Array:
    """An array, of one target without a second axis."""
    found = np.asarray(y)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def _some(X: Any, rows: Array) -> Any:
    """Some rows of whatever a member takes."""
    if isinstance(X, Mapping | Table):
        return table_of(X).take(rows)
    if hasattr(X, "tocsr"):
        return X.tocsr()[rows]
    return _safe_indexing(X if hasattr(X, "shape") else np.asarray(X), rows)


def _fitted(member: Any, X: Any, y: Any, weight: Array | None) -> Any:
    return member.fit(X, y) if weight is None else member.fit(X, y, sample_weight=weight)


def _moments(member: Any, X: Any) -> tuple[Array, Any]:
    """Mean and variance, 0 where a member predicts none."""
    if getattr(getattr(member, "_target", None), "spread", ""):
        mean, deviation = member.predict(X, return_std=True)
        return mean, deviation**2
    return member.predict(X), 0.0
