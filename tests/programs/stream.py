"""Text that comes in batches: hashed words, sparse, learned by partial_fit."""

from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.neural_network import MLPClassifier

LEARNED = 0.8

WORDS = [f"word{i}" for i in range(300)]
CLASSES = np.array(["earn", "grain", "ship"])


def documents(rng: np.random.RandomState, count: int) -> tuple[list[str], np.ndarray]:
    """Documents of 15 words; every class has thirty that it uses four times as often."""
    labels = rng.randint(3, size=count)
    texts = []
    for label in labels:
        weight = np.ones(300)
        weight[30 * label : 30 * (label + 1)] = 4
        texts.append(" ".join(rng.choice(WORDS, size=15, p=weight / weight.sum())))
    return texts, CLASSES[labels]


def main(seed: int) -> float:
    rng = np.random.RandomState(seed)
    vectorizer = HashingVectorizer(n_features=2**10, alternate_sign=False)
    texts, y_test = documents(rng, 500)
    X_test = vectorizer.transform(texts)
    clf = MLPClassifier((30,), learning_rate_init=0.01, random_state=seed)
    for batch in range(20):
        texts, y = documents(rng, 100)
        clf.partial_fit(vectorizer.transform(texts), y, classes=CLASSES)
        if batch % 5 == 4:
            print(f"{(batch + 1) * 100} documents: accuracy {clf.score(X_test, y_test):.3f}")
    return clf.score(X_test, y_test)
