"""Cross-validation of a pipeline, with several scores, and predictions of the folds."""

from __future__ import annotations

from sklearn.datasets import load_breast_cancer
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import (
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LEARNED = 0.94


def main(seed: int) -> float:
    X, y = load_breast_cancer(return_X_y=True, as_frame=False)
    clf = make_pipeline(
        StandardScaler(),
        MLPClassifier(
            hidden_layer_sizes=(20,), learning_rate_init=0.01, early_stopping=True, random_state=seed
        ),
    )
    cv = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_score(clf, X, y, cv=cv)
    print(f"{scores.mean():.3f} accuracy with a standard deviation of {scores.std():.3f}")
    several = cross_validate(clf, X, y, cv=3, scoring=["roc_auc", "f1"], return_estimator=True)
    print(several["test_roc_auc"], several["test_f1"], [e[-1].n_iter_ for e in several["estimator"]])
    print(confusion_matrix(y, cross_val_predict(clf, X, y, cv=cv)))
    return float(scores.mean())
