"""Training and prediction: every subject once a round, round after round, so that a drift meets all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.family import Child, Family
from bench.peers import OURS, REFERENCE, SUBJECTS
from bench.results import Results
from bench.workloads import PREDICTED, WORKLOADS

SIZES = (10_000, 1)


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, and seconds a call of training or predicting."""

    rounds: int
    train: float
    predict: float


def take_turns(
    results: Results, cores: str, names: Sequence[str], subjects: Sequence[str], effort: Effort
) -> None:
    """All workloads on one core or on all."""
    with Family(subjects, cores) as children:
        for name in names:
            _open(results, cores, name, children)
            if name in PREDICTED:
                _predict(results, cores, name, children, effort)
            _train(results, cores, name, children, effort)


def _open(results: Results, cores: str, name: str, children: dict[str, Child]) -> None:
    for child in children.values():  # all at once: nothing is timed yet
        child.begin("open", workload=name)
    for subject, child in children.items():
        answer = child.end()
        if "loss" in answer:
            results.losses[cores, name, subject] = answer["loss"]
        if "classes" in answer:
            results.classes[cores, name, subject] = answer["classes"]


def _train(results: Results, cores: str, name: str, children: dict[str, Child], effort: Effort) -> None:
    able = {s: c for s, c in children.items() if SUBJECTS[s].takes(WORKLOADS[name])}
    for child in able.values():
        child.ask("pace", seconds=effort.train)
    for _ in range(effort.rounds):
        for subject, child in able.items():
            found, key = child.ask("train"), ("train", cores, name, subject)
            results.add(key, found["microseconds"])
            results.shares.setdefault(key, []).append(found["share"])
        floor = able[OURS].ask("floor")["microseconds"] if OURS in able else None
        if floor is not None:
            results.add(("floor", cores, name, OURS), floor)
    _say(results, "train", cores, name)


def _predict(results: Results, cores: str, name: str, children: dict[str, Child], effort: Effort) -> None:
    for rows in SIZES:
        kind = f"predict {rows}"
        for _ in range(effort.rounds):
            for subject, child in children.items():
                if subject != REFERENCE:
                    found = child.ask("predict", rows=rows, seconds=effort.predict)
                    results.add((kind, cores, name, subject), found["microseconds"])
        _say(results, kind, cores, name)


def _say(results: Results, kind: str, cores: str, name: str) -> None:
    times = ((s, results.get(kind, cores, name, s)) for s in results.subjects(kind, cores))
    told = "  ".join(f"{s} {t:,.1f}" for s, t in times if t is not None)
    print(f"{cores} core{'s' if cores == 'all' else ''}  {name}  {kind}, µs:  {told}", flush=True)
