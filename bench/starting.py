"""How soon a library is at work, and how much memory it takes: each figure from a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.page import ROOT
from bench.peers import OURS, SUBJECTS
from bench.results import Results


def _start(subject: str, workload: str, epochs: int, cache: str) -> dict[str, Any]:
    """One process, whose caches lie in the folder ``cache``. Its Python may keep bytecode, as an installation
    does: where the product alone runs from a folder of sources, it alone would be compiled at every start."""
    places = {"XDG_CACHE_HOME": cache, "CHAINRULE_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": ""}
    peer, began = SUBJECTS[subject], time.time()
    done = subprocess.run(
        [sys.executable, "-m", "bench.start", subject, workload, str(epochs), *peer.modules],
        cwd=ROOT, env={**os.environ, **peer.environment("all"), **places},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{subject} did not start:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "whole": found["end"] - began}


def start_all(results: Results, subjects: Sequence[str], rounds: int) -> None:
    """First steps of a, cold and warm; the memory of b."""
    for k in range(rounds + 1 if rounds > 1 else 1):
        for subject in subjects:
            with tempfile.TemporaryDirectory() as cache:
                found = _start(subject, "a", 0, cache)
                if rounds > 1 and k == 0:
                    continue  # the first time files come from the disk: it does not count
                _note(results, subject, found)
                if subject == OURS:
                    _note_warm(results, _start(subject, "a", 0, cache))
    for subject in subjects:
        with tempfile.TemporaryDirectory() as cache:
            results.add(("peak", "all", "b", subject), _start(subject, "b", 3, cache)["peak"])


def _note(results: Results, subject: str, found: dict[str, Any]) -> None:
    results.add(("import", "all", "a", subject), found["import"])
    results.add(("first step", "all", "a", subject), found["first"])
    results.add(("start to first step", "all", "a", subject), found["whole"])
    if found["compile"]:
        results.add(("compile cold", "all", "a", subject), found["compile"])


def _note_warm(results: Results, found: dict[str, Any]) -> None:
    results.add(("warm start to first step", "all", "a", OURS), found["whole"])
    if found["compile"]:
        results.add(("compile warm", "all", "a", OURS), found["compile"])
