"""``import chainrule`` is nearly free: at most 30 ms over ``import numpy``, and no extra comes along."""

from __future__ import annotations

import json
import subprocess
import sys

LIMIT = 0.030
ROUNDS = 7
HEAVY = (
    "sklearn",
    "pandas",
    "matplotlib",
    "rich",
    "click",
    "torch",
    "jax",
    "safetensors",
    "urllib.request",
    "asyncio",
)
# Processor time, not the clock: tests that run beside this one must not count.
TIMED = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_import_costs_at_most_30_ms_over_numpy() -> None:
    run("import chainrule")  # compiles the bytecode, where nobody has yet
    pairs = [
        (float(run(TIMED.format("numpy"))), float(run(TIMED.format("chainrule")))) for _ in range(ROUNDS)
    ]
    assert min(ours for _, ours in pairs) - min(numpy for numpy, _ in pairs) <= LIMIT


def test_import_brings_no_optional_package() -> None:
    loaded = json.loads(run("import json, sys, chainrule; print(json.dumps(sorted(sys.modules)))"))
    assert "chainrule" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_a_whole_process_that_fits_a_hundred_rows_takes_a_third_of_a_second() -> None:
    """Import, graph, gradient, ten epochs and all: the least of ten, in processor time of one thread."""
    code = (
        "import os, time; os.environ['OPENBLAS_NUM_THREADS'] = '1'; start = time.process_time();"
        "import numpy as np, chainrule as cr;"
        "net = cr.Network(cr.nn.Dense(8), cr.ops.relu, cr.nn.Dense(2));"
        "x = np.random.default_rng(0).normal(size=(100, 4));"
        "net.fit(x, (x[:, 0] > 0).astype(int), verbose=0); print(time.process_time())"
    )
    run(code)
    assert min(float(run(code)) for _ in range(10)) <= 0.35
