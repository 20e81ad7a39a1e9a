"""NIST's nonlinear regression problems, each from both of its starts: ``python -m bench.nist --page`` fits
them with Levenberg-Marquardt at its defaults in float64, and with SciPy, and writes docs/benchmarks.md.

The data, the starts and the certified values, computed by NIST with 128 bits, are in tests/data/nist.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.nist_models import MODELS
from bench.page import PAGE, ROOT, machine, write_section
from chainrule import Network, nn, optim
from chainrule.autodiff import jvp
from chainrule.errors import ChainruleError
from chainrule.executors import compile
from chainrule.graph import Expr
from chainrule.ops import constant, input, stack

DATA = ROOT / "tests" / "data" / "nist" / "strd.json"
STEPS = 2000  # at most, of one fit
ENOUGH = 6  # digits
MOST = 11  # that NIST certifies


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set with its model, two starts and the certified parameters."""

    name: str
    level: str
    x: np.ndarray  # (rows, predictors)
    y: np.ndarray  # (rows,)
    starts: tuple[tuple[float, ...], ...]
    certified: np.ndarray
    squares: float  # the certified residual sum of squares

    def digits(self, found: Sequence[float] | np.ndarray) -> float:
        """The least log relative error, −log₁₀|b̂ − b|/|b| over the parameters: how many digits are right."""
        error = np.abs(np.asarray(found) - self.certified) / np.abs(self.certified)
        worst = float(error.max()) if np.isfinite(error).all() else np.inf
        return max(0.0, min(MOST, -np.log10(worst))) if worst > 0 else MOST


@dataclass(frozen=True)
class Formula(nn.Layer):
    """A problem's model as a layer: each b a parameter, beginning where it is told to."""

    problem: str
    start: tuple[float, ...]

    def __call__(self, x: Expr, run: nn.Run) -> Expr:
        b = [run.parameter(f"b{i}", (), nn.Constant(value)) for i, value in enumerate(self.start, 1)]
        return MODELS[self.problem](*b, *(x[:, column] for column in range(x.shape[1])))


def problems(names: Iterable[str] = ()) -> list[Problem]:
    """All of them from the lower level to the higher, or those that are named."""
    found = []
    for name, given in json.loads(DATA.read_text(encoding="utf-8"))["problems"].items():
        y = np.array(given["y"], np.float64)
        found.append(
            Problem(
                name=name,
                level=given["level"],
                x=np.array(given["x"], np.float64).T,
                y=np.log(y) if given["model"].startswith("log[y]") else y,
                starts=tuple(tuple(map(float, start)) for start in given["starts"]),
                certified=np.array(given["certified"]),
                squares=given["squares"],
            )
        )
    return [p for p in found if not names or p.name in names]


def ours(
    problem: Problem, start: Sequence[float], solver: str = "levenberg_marquardt", steps: int = STEPS
) -> tuple[Any, int]:
    """The parameters that a fit ends with, and its steps."""
    net = Network(Formula(problem.name, tuple(start)), dtype="float64")
    history = net.fit(
        problem.x,
        problem.y,
        optimizer=optim.resolve_optimizer(solver),
        epochs=steps,
        executor="reference",
        verbose=0,
    )
    return np.array([float(b) for b in net.parameters.values()]), len(history)


def scipys(problem: Problem, start: Sequence[float], method: str) -> tuple[Any, int]:
    """SciPy's least_squares, with tolerances as small as they go, on our residuals and their Jacobian."""
    from scipy.optimize import least_squares

    x = constant(problem.x)
    b = [input(f"b{i}", (), "float64") for i in range(len(start))]
    r = MODELS[problem.name](*b, *(x[:, column] for column in range(x.shape[1]))) - problem.y
    columns = [jvp([r], [one], [constant(1.0, "float64")])[0] for one in b]
    both = compile([r, stack(columns, 1)], b, executor="reference")
    found = least_squares(
        lambda at: np.where(np.isfinite(r := both(*at)[0]), r, 1e100),
        start,
        lambda at: both(*at)[1],
        method=method,
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=2 * STEPS,
    )
    return found.x, int(found.nfev)


FITTERS: dict[str, Callable[[Problem, Sequence[float]], tuple[Any, int]]] = {
    "chainrule": ours,
    "L-BFGS": lambda problem, start: ours(problem, start, "lbfgs"),
    "SciPy lm": lambda problem, start: scipys(problem, start, "lm"),
    "SciPy trf": lambda problem, start: scipys(problem, start, "trf"),
}


def attempt(fitter: str, problem: Problem, start: Sequence[float]) -> tuple[float, int, float]:
    """Digits, steps and seconds of one fit; no digits where it fails."""
    began = time.perf_counter()
    try:
        with np.errstate(all="ignore"):
            found, steps = FITTERS[fitter](problem, start)
    except (ChainruleError, ValueError, np.linalg.LinAlgError):
        found, steps = [np.nan] * len(start), 0
    return problem.digits(found), steps, time.perf_counter() - began


def page(results: dict[tuple[str, int], dict[str, tuple[float, int, float]]]) -> list[str]:
    """The section: who reaches six digits how often, and every problem."""
    right = {f: sum(r[f][0] >= ENOUGH for r in results.values()) for f in FITTERS}
    lines = [
        "Log relative error, the number of right digits in the worst parameter, at most 11, for 27 problems",
        f"from 2 starts each, in float64; **bold**: fewer than {ENOUGH}. chainrule: `LevenbergMarquardt()`",
        f"at its defaults, at most {STEPS:,} steps. L-BFGS: `LBFGS()` at its defaults, which knows no scale",
        "of each parameter. SciPy: `least_squares` with the exact Jacobian, scaled by it, with tolerances of",
        f"1e-15 and at most {2 * STEPS:,} values; lm is MINPACK. Command: `python -m bench.nist --page`.",
        "",
        f"| problem | start | steps | {' | '.join(FITTERS)} |",
        "| --- | ---: | ---: |" + " ---: |" * len(FITTERS),
    ]
    for (name, start), row in results.items():
        cells = " | ".join(f"{d:.1f}" if d >= ENOUGH else f"**{d:.1f}**" for d, _, _ in row.values())
        lines.append(f"| {name} | {start} | {row['chainrule'][1]} | {cells} |")
    lines.append(f"| {ENOUGH} digits, of {len(results)} | | | {' | '.join(str(n) for n in right.values())} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.nist", description=__doc__)
    parser.add_argument("names", nargs="*", help="problems; without any, all")
    parser.add_argument("--page", action="store_true", help=f"write the table into {PAGE.name}")
    asked = parser.parse_args()
    results = {}
    for problem in problems(asked.names):
        for number, start in enumerate(problem.starts, 1):
            row = {fitter: attempt(fitter, problem, start) for fitter in FITTERS}
            results[problem.name, number] = row
            told = "  ".join(f"{f} {d:5.2f} ({n}, {s:.2f} s)" for f, (d, n, s) in row.items())
            print(f"{problem.name:9} {number}  {told}", flush=True)
    lines = [*page(results), "", machine("scipy")]
    print("\n".join(lines))
    if asked.page:
        write_section("Nonlinear regression", lines)


if __name__ == "__main__":
    main()
