"""Auto-encoders: AutoEncoder, which gives a short code; Denoiser, which takes noise from rows."""

from __future__ import annotations

from abc import ABC
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted

from chainrule import nn, ops
from chainrule.data.tables import Table
from chainrule.errors import ConfigError, DataError, nearest, within
from chainrule.executors import Array, evaluate
from chainrule.tasks import architecture
from chainrule.tasks.filling import like
from chainrule.tasks.parameters import store
from chainrule.tasks.row_learner import RowLearner

__all__ = ["AutoEncoder", "BaseAutoEncoder", "Denoiser"]

_CORRUPTIONS = ("gaussian", "masking")
_AUTO_CODE = 32


class BaseAutoEncoder(RowLearner, ABC):
    """An encoder, a code of few numbers, and a decoder that gives the row back."""

    code_size: Any

    def _front(self) -> list[nn.Step]:
        """What comes before the encoder."""
        return self._shown.front()

    def _layers(self) -> nn.Layer:
        code, width = self._code_size(), self._shown.width
        encoder = architecture.network_layers(self, width, {"code": code}, self._front())
        decoder = architecture.network_layers(self, code, self._target.outputs, backwards=True)
        return nn.sequential(encoder=encoder, decoder=decoder)

    def _code_size(self) -> int:
        """As asked for; "auto" is half of the columns, 1 at least and 32 at most."""
        if self.code_size == "auto":
            return int(np.clip(self._target.loss.cells // 2, 1, _AUTO_CODE))
        within(self, "code_size", "[1, inf)", whole=True)
        return int(self.code_size)

    def reconstruct(self, X: Any) -> Any:
        """Rows of X as the decoder gives them back from their codes: an array, or a table of X's kind."""
        found = self._target.predict(self._raw(X))
        return like(found, X) if isinstance(found, Table) else self._as_float(found, X)

    def _as_float(self, found: Array, X: Any) -> Array:
        """In X's dtype, where that is one of floats."""
        dtype = getattr(X, "dtype", None)
        return found.astype(dtype if dtype in (np.float32, np.float64) else np.float64, copy=False)


class AutoEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseAutoEncoder):
    """A network that gives its input back through a code of few numbers (Hinton & Salakhutdinov 2006): what
    is alike in rows has to be found.

    code_size            numbers of the code; "auto": half as many as X has columns, 32 at most
    hidden_layer_sizes   layers of units between input and code; the decoder has the same, backwards. With
                         none of them the code spans the plane of the first principal components (Baldi &
                         Hornik 1989)

    All other parameters are those of :class:`MLPClassifier`. X is an array, or a table; cells of a table that
    are missing are not learned. Numbers count by the square of their distance in deviations, halved, and
    categories by their log loss.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 1)) @ [[1.0, 2.0, -1.0]] + 5
    >>> model = AutoEncoder(1, hidden_layer_sizes=(), solver="lbfgs", random_state=0).fit(x)
    >>> model.transform(x).shape, bool(np.allclose(model.inverse_transform(model.transform(x)), x, atol=0.1))
    ((200, 1), True)
    """

    def __init__(
        self,
        code_size: Any = "auto",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: Any = 10,
        schedule: Any = None,
        scaling: str = "auto",
        kinds: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def transform(self, X: Any) -> Array:
        """The codes of rows.   (n, code_size)"""
        check_is_fitted(self, "network_")
        shown = self._shown(self._rows(X, reset=False))
        return self._as_float(self.network_.part("encoder").output(shown), X)

    def inverse_transform(self, X: Any) -> Any:
        """Rows from their codes: an array, or a table of the kind that was learned from."""
        check_is_fitted(self, "network_")
        codes = check_array(X, dtype=(np.float64, np.float32))
        if codes.shape[1] != self._n_features_out:
            raise DataError(f"codes have {self._n_features_out} numbers, X has {codes.shape[1]}")
        z = self.network_.part("decoder").output(codes.astype(self.network_.dtype))
        found = self._target.predict(z)
        return like(found, self._form) if isinstance(found, Table) else self._as_float(found, codes)

    @property
    def _n_features_out(self) -> int:
        return self._code_size()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class Denoiser(OneToOneFeatureMixin, TransformerMixin, BaseAutoEncoder):
    """An auto-encoder that is shown rows with noise and learns to give them back without it (Vincent,
    Larochelle, Bengio & Manzagol 2008): ``transform`` cleans rows.

    corruption    of what it is shown, anew in every step: "gaussian", noise of the deviation ``noise`` added
                  to scaled numbers (of a table to the 0 and 1 of categories, too), or "masking", a share of
                  ``noise`` of the cells hidden
    noise         how much: in units of the columns' deviations, or the share

    All other parameters are those of :class:`AutoEncoder`. Rows given to ``fit`` are best clean; if they are
    noisy themselves, what is alike in them remains.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> clean = rng.normal(size=(500, 1)) @ np.ones((1, 8))
    >>> noisy = clean + 0.5 * rng.normal(size=clean.shape)
    >>> linear = {"code_size": 1, "hidden_layer_sizes": (), "learning_rate_init": 0.01, "random_state": 0}
    >>> model = Denoiser(noise=0.5, **linear).fit(clean)
    >>> bool(np.std(model.transform(noisy) - clean) < 0.5 * np.std(noisy - clean))
    True
    """

    def __init__(
        self,
        corruption: str = "gaussian",
        noise: float = 0.3,
        code_size: Any = "auto",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: Any = "auto",
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: Any = 10,
        schedule: Any = None,
        scaling: str = "auto",
        kinds: Any = None,
        callbacks: Any = None,
        executor: str = "auto",
        threads: Any = None,
    ) -> None:
        store(self, locals())

    def _prepare(self, *, holds_out: bool) -> None:
        if self.corruption not in _CORRUPTIONS:
            raise ConfigError(
                f"Denoiser: unknown corruption {self.corruption!r}; {nearest(self.corruption, _CORRUPTIONS)}"
            )
        within(self, "noise", "[0, 1)" if self.corruption == "masking" else "[0, inf)")

    def _front(self) -> list[nn.Step]:
        if self.corruption == "masking":
            return self._shown.front(self.noise)
        return [*self._shown.front(), nn.GaussianNoise(float(self.noise))]

    def _judged(self, shown: Any, target: Any) -> tuple[Any, Any]:
        """With noise of their own, which is the same in every epoch."""
        x = ops.input("x", shown.shape, shown.dtype)
        found, run = nn.trace(nn.sequential(*self._front()), x, training=True, dtype=shown.dtype)
        return evaluate([found], {x: shown, run.seed: self._seed, run.step: 0})[0], target

    def transform(self, X: Any) -> Any:
        """Rows without noise: an array, or a table of X's kind with its cells as they are expected to be."""
        return self.reconstruct(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
