"""Several labels at once: each yes or no, from one network."""

from __future__ import annotations

from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

LEARNED = 0.6


def main(seed: int) -> float:
    X, Y = make_multilabel_classification(
        n_samples=600, n_features=20, n_classes=5, n_labels=2, allow_unlabeled=True, random_state=seed
    )
    X_train, X_test, Y_train, Y_test = train_test_split(X, Y, random_state=seed)
    clf = MLPClassifier((40,), learning_rate_init=0.01, alpha=1.0, early_stopping=True, random_state=seed)
    clf.fit(X_train, Y_train)
    assert clf.out_activation_ == "logistic"
    print(clf.predict_proba(X_test[:2]).round(2), clf.predict(X_test[:2]), clf.score(X_test, Y_test))
    return f1_score(Y_test, clf.predict(X_test), average="micro", zero_division=0)
