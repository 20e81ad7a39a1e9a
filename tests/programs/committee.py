"""Networks beside other learners: a vote and a stack."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

LEARNED = 0.9


def main(seed: int) -> float:
    X, y = load_wine(return_X_y=True)
    mlp = make_pipeline(
        StandardScaler(), MLPClassifier((10,), solver="lbfgs", alpha=0.1, max_iter=1000, random_state=seed)
    )
    tree = DecisionTreeClassifier(max_depth=4, random_state=seed)
    voting = VotingClassifier([("mlp", mlp), ("tree", tree)], voting="soft", weights=[2, 1])
    stacking = StackingClassifier([("mlp", mlp), ("tree", tree)], final_estimator=LogisticRegression(), cv=3)
    cv = StratifiedKFold(3, shuffle=True, random_state=seed)
    found = {
        name: cross_val_score(clf, X, y, cv=cv).mean()
        for name, clf in {"mlp": mlp, "tree": tree, "voting": voting, "stacking": stacking}.items()
    }
    print(found)
    return float(np.mean([found["voting"], found["stacking"]]))
