"""What was measured: samples by kind, cores, workload and subject; their medians."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from bench.peers import NUMPY, OURS, RIVALS

Key = tuple[str, str, str, str]
"""(kind, cores, workload, subject)

kind    "train" µs a step, "predict 10000" and "predict 1" µs a call, "floor" µs a step, "import",
        "first step", "start to first step", "compile cold", "compile warm", "accuracy" in seconds,
        "peak" in MB
cores   "one" or "all"
"""


@dataclass
class Results:
    samples: dict[Key, list[float]] = field(default_factory=dict)
    shares: dict[Key, list[float]] = field(default_factory=dict)  # of a pinned core that was ours
    losses: dict[tuple[str, str, str], float] = field(default_factory=dict)  # by cores, workload, subject
    classes: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)  # predicted, likewise
    notes: list[str] = field(default_factory=list)

    def add(self, key: Key, value: float) -> None:
        self.samples.setdefault(key, []).append(value)

    def get(self, kind: str, cores: str, workload: str, subject: str = OURS) -> float | None:
        """The median; None where nothing was measured."""
        found = self.samples.get((kind, cores, workload, subject))
        return median(found) if found else None

    def best(self, kind: str, cores: str, workload: str, *, numpy: bool = False) -> tuple[str, float] | None:
        """The fastest peer and its time."""
        names: Iterable[str] = (*RIVALS, NUMPY) if numpy else RIVALS
        times = [(t, n) for n in names if (t := self.get(kind, cores, workload, n)) is not None]
        return (min(times)[1], min(times)[0]) if times else None

    def ratio(self, kind: str, cores: str, workload: str, *, numpy: bool = False) -> float | None:
        """The best peer's time over ours: above 1 we are faster."""
        ours, best = self.get(kind, cores, workload), self.best(kind, cores, workload, numpy=numpy)
        return None if ours is None or best is None else best[1] / ours

    def subjects(self, kind: str, cores: str) -> list[str]:
        """Whoever has a time of this kind, in the order in which they were measured."""
        return list(dict.fromkeys(s for k, c, _, s in self.samples if (k, c) == (kind, cores)))

    def workloads(self, kind: str, cores: str) -> list[str]:
        return list(dict.fromkeys(w for k, c, w, _ in self.samples if (k, c) == (kind, cores)))
