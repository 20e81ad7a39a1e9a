"""The page of the catalogue: every row is there, and what it names exists."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

pytest.importorskip("sklearn")  # some rows are estimators

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "catalogue.md"

ROWS = {
    "A": """
        A1; A2; A3; A4; A5; A6; A6 denoising; A6 variational; A7; A8; A9; A9 text; A10; A10 translation;
        A10 tagging; A10 captions; A11; A12
    """,
    "B": """
        step; identity; sigmoid; tanh; ReLU; leaky ReLU; PReLU; generalised rectifier; absolute value;
        ELU; softplus; maxout; GELU; SiLU; SELU; hard variants; linear output; sigmoid output; softmax
        output; softplus output; mixture heads; log-softmax, log-sigmoid; softmax Jacobian; finite to 10⁴
    """,
    "C": """
        negative log-likelihood; binary cross-entropy; categorical cross-entropy; mean squared error; half
        squared error; mean absolute error; Huber; Gaussian NLL; Gaussian-mixture NLL; Poisson NLL;
        quantile; focal; KL; evidence lower bound; a function of one's own; weights; label smoothing; sum
        or mean; maximum a posteriori; nine samples; expected score; stalling; the default loss
    """,
    "D": """
        one sweep; paths counted; first circuit; second circuit; third net; layer form; by name; bias-free
        ReLU network; higher order; numerical checking
    """,
    "E": """
        gradient descent; momentum; Nesterov; AdaGrad; AdaDelta; RMSProp; Adam; AdamW; AMSGrad; NAdam;
        Lion; Muon; Newton; L-BFGS; Hessian-free; Levenberg-Marquardt; averaged weights; state; groups;
        weight decay, clipping; tiny landscape
    """,
    "F": """
        constant; linear decay; exponential; step; cosine; warm-up; one-cycle; on plateau; finder; "auto";
        early stopping; never silent
    """,
    "G": """
        zeros; constant; N(0, 0.01²); U(±1/√n); Glorot; He; LeCun; orthogonal; layer-sequential unit
        variance; variance of a product; biases; measured per layer
    """,
    "H": """
        L2; L1; elastic net; max-norm; Hessian axes; dropout; weight-scaling rule; noise on inputs, hidden
        units; noise on weights; label smoothing; early stopping; tying and sharing; bagging and
        ensembles; augmentation; samples from a model; batch normalisation; layer normalisation; gradient
        clipping; multi-task; mixup
    """,
    "I": """
        standardisation; min-max; quantile normalisation; one-hot; ordinal; missing values; class
        imbalance; split; mini-batches; arrays; data frames; CSV; Parquet; image folders; memory-mapped;
        streamed
    """,
    "J": """
        classification; missing inputs; regression; anomaly detection; imputation; denoising; density
        estimation; multimodal regression; synthesis and sampling; structured output; transcription,
        translation; recommendation
    """,
    "N": """
        root and bias correction; g⊙g; δ; negative log-likelihood; p(x|θ) p(θ); a mask for each example;
        batch norm; L1 shrinks by ηα; n_in; std; W[j, k]; parentheses; schedules help Adam
    """,
}
"""Part → its rows, in order. What the catalogue of the project asks for: a row is never taken away."""


def listed(table: dict[str, str]) -> dict[str, list[str]]:
    return {part: [row.strip() for row in " ".join(rows.split()).split(";")] for part, rows in table.items()}


def page() -> dict[str, list[list[str]]]:
    """Part → the cells of its rows."""
    found: dict[str, list[list[str]]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("| **")]
        if lines:
            found[section[0]] = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
            ]
    return found


CELLS = [pytest.param(part, *row, id=row[0]) for part, rows in page().items() for row in rows]


def test_every_row_is_there():
    shown = {part: [re.match(r"\*\*(.+?)\*\*", row[0])[1] for row in rows] for part, rows in page().items()}
    assert shown == {part: [row.replace("|", r"\|") for row in rows] for part, rows in listed(ROWS).items()}


def resolved(name: str) -> object:
    """What ``chainrule.name`` is."""
    parts = name.split(".")
    for n in range(len(parts), -1, -1):
        try:
            found = importlib.import_module(".".join(["chainrule", *parts[:n]]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[n:], found)
    raise AssertionError(name)


@functools.cache
def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("part", "what", "module", "test", "example", "executors"), CELLS)
def test_what_a_row_names_exists(part, what, module, test, example, executors):
    names = re.findall(r"\[`([\w.]+)`\]\(\.\./(src/[\w/.]+)\)", module)
    assert names
    assert module.count("](") == len(names)
    for name, path in names:
        assert (ROOT / path).is_file(), path
        assert resolved(name) is not None
    tests = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/.]+)\)", test)
    assert tests
    assert test.count("](") == len(tests)
    for name, path in tests:
        assert name in functions(ROOT / path), f"{path}::{name}"
    check_example(example, [name for name, _ in names])
    assert executors in ("reference, cpu", "host")


def check_example(cell: str, names: list[str]) -> None:
    """A script of the gallery, a page whose code runs, or a docstring with an example."""
    if script := re.fullmatch(r"\[(\w+)\.py\]\(\.\./examples/\1\.py\)", cell):
        assert f"(images/gallery/{script[1]}.png)" in (ROOT / "docs" / "gallery.md").read_text(
            encoding="utf-8"
        )
        assert (ROOT / "examples" / f"{script[1]}.py").is_file()
    elif found := re.fullmatch(r"\[([\w-]+\.md)\]\(\1\)", cell):
        assert re.search("```python|>>>", (ROOT / "docs" / found[1]).read_text(encoding="utf-8"))
    else:
        told = re.fullmatch(r"docstring of `(\w+)`", cell)
        assert told, cell
        (name,) = [name for name in names if name.split(".")[-1] == told[1]]
        assert ">>>" in (inspect.getdoc(resolved(name)) or "")
