"""What must be reached: every figure beside its gate and its aim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.peers import EAGER, OURS, REFERENCE, RIVALS
from bench.results import Results


@dataclass(frozen=True)
class Gate:
    """One promise. ``most``: the figure may be at most the gate; otherwise it must be at least that.

    information   shown, but nothing fails by it
    """

    what: str
    gate: float
    aim: float | None
    figure: Callable[[Results], float | None]
    most: bool = False
    unit: str = ""
    information: bool = False

    def verdict(self, results: Results) -> str:
        found = self.figure(results)
        if found is None:
            return "not measured"
        if not self._reached(found, self.gate):
            return "FAIL"
        return "pass" if self.aim is None or self._reached(found, self.aim) else "pass, aim missed"

    def _reached(self, found: float, bound: float) -> bool:
        return found <= bound if self.most else found >= bound


def _faster(cores: str, workload: str, gate: float, aim: float | None) -> Gate:
    where = "one core" if cores == "one" else "all cores"
    what = f"{workload}, {where}: the best peer's time over ours"
    return Gate(what, gate, aim, lambda r: r.ratio("train", cores, workload), unit="×")


def _quotient(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below


def _no_slower(workload: str) -> Gate:
    """5 % is what two measurements of one thing may differ by."""

    def figure(r: Results) -> float | None:
        return _quotient(r.get("train", "all", workload), r.get("train", "one", workload))

    return Gate(f"{workload}: all cores over one core", 1.05, None, figure, most=True, unit="×")


def _floor(cores: str, workload: str) -> Gate:
    def figure(r: Results) -> float | None:
        return _quotient(r.get("train", cores, workload), r.get("floor", cores, workload))

    where = "one core" if cores == "one" else "all cores"
    what = f"{workload}, {where}: step over its matrix products alone"
    return Gate(what, 1.25, 1.15, figure, most=True, unit="×")


def _predict(cores: str, workload: str, rows: int) -> Gate:
    where = "one core" if cores == "one" else "all cores"
    what = f"{workload}, {where}, predict {rows:,}: the best peer's time over ours, NumPy too"
    return Gate(what, 1, None, lambda r: r.ratio(f"predict {rows}", cores, workload, numpy=True), unit="×")


def _started(kind: str, what: str, gate: float) -> Gate:
    return Gate(what, gate, None, lambda r: r.get(kind, "all", "a"), most=True, unit="s")


def _memory(r: Results) -> float | None:
    found = [m for name in RIVALS if (m := r.get("peak", "all", "b", name)) is not None]
    return _quotient(min(found, default=None), r.get("peak", "all", "b"))


def _reference(r: Results) -> float | None:
    return _quotient(r.get("train", "all", "a", REFERENCE), r.get("train", "all", "a", EAGER))


GATES = [
    _faster("one", "a", 1.2, 1.35),
    _faster("one", "b", 1.2, 1.35),
    _faster("one", "b+dropout", 1.2, None),
    _faster("one", "b+norm", 1.15, None),
    _faster("one", "c", 1.9, 2.5),
    _faster("one", "d", 8, 15),
    _faster("one", "e", 1.12, 1.3),
    _faster("one", "f", 1.4, 1.5),
    _faster("one", "g", 1.3, 1.65),
    _faster("all", "a", 1.35, 1.6),
    _faster("all", "b", 1.3, 1.5),
    _faster("all", "e", 1.25, 1.4),
    _faster("all", "f", 1.5, 1.7),
    _no_slower("c"),
    _no_slower("d"),
    *(_floor(cores, workload) for cores in ("one", "all") for workload in ("a", "b")),
    _started("compile cold", "a: compiling the training step, cold", 0.25),
    _started("compile warm", "a: compiling the training step, warm cache", 0.020),
    _started("start to first step", "a: process start to first finished step, cold", 0.45),
    Gate("b: peak memory", 160, None, lambda r: r.get("peak", "all", "b"), most=True, unit="MB"),
    Gate("b: the least peak memory of a peer over ours", 1, None, _memory, unit="×"),
    *(_predict(c, w, rows) for c in ("one", "all") for w in ("a", "b") for rows in (10_000, 1)),
    Gate("a, all cores: reference over PyTorch eager", 1.3, None, _reference, most=True, unit="×",
         information=True),
]  # fmt: skip


def failed(results: Results, *, whole: bool) -> list[str]:
    """The gates that are missed; in a whole run also those that nothing was measured for."""
    bad = {"FAIL", "not measured"} if whole else {"FAIL"}
    return [g.what for g in GATES if not g.information and g.verdict(results) in bad]


def gate_table(results: Results) -> list[str]:
    lines = ["| what | figure | gate | aim | |", "| --- | ---: | ---: | ---: | --- |"]
    for g in GATES:
        found = g.figure(results)
        sign = "≤" if g.most else "≥"
        shown = "–" if found is None else f"{found:.3g} {g.unit}"
        aim = "" if g.aim is None else f"{sign} {g.aim:g}"
        verdict = g.verdict(results) + (", for information" if g.information else "")
        lines.append(f"| {g.what} | {shown} | {sign} {g.gate:g} | {aim} | {verdict} |")
    return lines


def behind(results: Results) -> list[str]:
    """Every figure in which a peer is ahead of us, plainly."""
    lines = []
    for kind, cores, workload, subject in results.samples:
        if subject != OURS or not (kind == "train" or kind.startswith("predict")):
            continue
        best = results.best(kind, cores, workload, numpy=True)
        ratio = results.ratio(kind, cores, workload, numpy=True)
        if best is not None and ratio is not None and ratio < 1:
            where = "one core" if cores == "one" else "all cores"
            lines.append(f"- {workload}, {where}, {kind}: {best[0]} takes {ratio:.2f} of our time")
    for kind, cores, workload, what in (
        ("peak", "all", "b", "peak memory in b"),
        ("start to first step", "all", "a", "process start to first step"),
        ("accuracy", "all", "MNIST", "time to accuracy"),
    ):
        ratio, best = results.ratio(kind, cores, workload), results.best(kind, cores, workload)
        if best is not None and ratio is not None and ratio < 1:
            lines.append(f"- {what}: {best[0]} takes {ratio:.2f} of ours")
    return lines
