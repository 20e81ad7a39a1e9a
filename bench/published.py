"""What peers took on an idle machine, so that a run on a busy one is noticed.

µs per step on both cores of a two-core AMD EPYC 9004 (Zen 4), measured with the settings of bench/peers.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.ready import threads
from bench.results import Results

TOLERANCE = 1.15
_NAMES = ("PyTorch eager, fused", "JAX scan", "scikit-learn", "Keras 3 on JAX")
_ROWS: dict[str, tuple[float | None, ...]] = {
    "a": (1205, 782, 2739, 1109),
    "b": (3607, 2931, 9884, 3319),
    "b+dropout": (6000, 3213, None, None),
    "b+norm": (3826, 3061, None, None),
    "c": (365, 31, 262, 286),
    "d": (268, 9.0, 160, 210),
    "d+adam": (311, 10, 194, 202),
    "e": (1474, 916, None, None),
}
PUBLISHED = {
    (workload, name): value
    for workload, row in _ROWS.items()
    for name, value in zip(_NAMES, row, strict=True)
    if value is not None
}


def same_machine() -> bool:
    """Two cores of an EPYC 9004: family 25, models 16 to 31."""
    info = Path("/proc/cpuinfo")
    if not info.exists() or threads() != 2:
        return False
    found = dict(re.findall(r"^(vendor_id|cpu family|model)\s*: (\S+)$", info.read_text(), re.M))
    return (
        found.get("vendor_id") == "AuthenticAMD"
        and found.get("cpu family") == "25"
        and 16 <= int(found.get("model", 0)) < 32
    )


def void(results: Results) -> list[tuple[str, str, float]]:
    """(workload, peer, its time over the published one) where a peer was held up: the row means nothing."""
    if not same_machine():
        return []
    rows = []
    for (workload, peer), published in PUBLISHED.items():
        found = results.get("train", "all", workload, peer)
        if found is not None and found > TOLERANCE * published:
            rows.append((workload, peer, found / published))
    return rows
