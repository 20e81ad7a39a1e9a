"""What a run folder says about its run: configuration, environment, and what was found at the end."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chainrule.errors import DataError
from chainrule.report.findings import Findings
from chainrule.report.loss import LossCurve
from chainrule.storage import atomic_write, strict_json

__all__ = ["MODEL", "REPORT", "RESULT", "configuration", "read_json", "write_json", "write_result"]

MODEL, REPORT, RESULT = "model.safetensors", "report.html", "result.json"


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of a run folder's JSON files; DataError where it is missing or not JSON."""
    path = folder / name
    if not path.is_file():
        raise DataError(f"{folder} has no {name}; give the folder of a run that `chainrule train` has ended")
    found = strict_json(path.read_bytes(), str(path))
    if not isinstance(found, dict):
        raise DataError(f"{path} is not a JSON object; the file was altered: train again")
    return found


def write_json(folder: Path, name: str, value: Mapping[str, Any]) -> None:
    """Replaces one of a run folder's JSON files whole or not at all."""
    with atomic_write(folder / name) as file:
        file.write((json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def write_result(folder: Path, net: Any, findings: Findings, dataset: str, curve: LossCurve) -> None:
    """``result.json``: the figures with which the run ended, for programs to read."""
    write_json(
        folder,
        RESULT,
        {
            "dataset": dataset,
            "part": findings.part,
            "rows": len(findings),
            "wrong": findings.wrong,
            "error": findings.error,
            "cross_entropy": findings.cross_entropy,
            "confusion": findings.confusion.tolist(),
            "epochs": len(net.history),
            "seconds": net.history.seconds,
            "sha256": net.history.sha256,
            "executor": net.history.executor,
            "loss_curve": curve.points(),
        },
    )


def configuration(value: Any) -> str:
    """A configuration as one would write it in Python: fields at their defaults are left out.

    >>> from chainrule.nn import BatchNorm, Dense
    >>> configuration((Dense(225, bias=False), BatchNorm()))
    'Dense(225, bias=False), BatchNorm()'
    """
    if isinstance(value, tuple):
        return ", ".join(configuration(v) for v in value)
    if isinstance(value, str):
        return repr(value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return str(getattr(value, "__name__", value))
    words = []
    for place, field in enumerate(dataclasses.fields(value)):
        found, default = getattr(value, field.name), field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if found != default:
            text = configuration(found)
            text = f"({text})" if isinstance(found, tuple) else text
            words.append(text if not place else f"{field.name}={text}")
    return f"{type(value).__name__}({', '.join(words)})"
