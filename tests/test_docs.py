"""README.md and the guide do what they say: their Python blocks run, and print what their arrows say."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors, ops
from chainrule.autodiff import gradient
from chainrule.executors import evaluate

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide.md"
FILES = ROOT / "docs" / "files.md"
ESTIMATORS = ROOT / "docs" / "estimators.md"
REPORT = ROOT / "docs" / "report.md"
SECOND_ORDER = ROOT / "docs" / "second-order.md"
SEQUENCES = ROOT / "docs" / "sequences.md"
TASKS = ROOT / "docs" / "tasks.md"
ARROW = re.compile(r"# → (.+)$")
NAMES: dict[str, Any] = {name: getattr(cr, name) for name in ("data", "losses", "nn", "ops", "optim")}


def statements(path: Path) -> Iterator[tuple[ast.stmt, str | None]]:
    """Every statement of the Python blocks, at its line of the page, with what it is said to print:
    the arrows in its comments, or for the last of a block the block of text that follows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    opened = None
    for number, line in enumerate(lines):
        if line == "```python":
            opened = number + 1
        elif line == "```" and opened is not None:
            tree = ast.parse("\n".join(lines[opened:number]), path.name)
            ast.increment_lineno(tree, opened)
            starts = [statement.lineno - 1 for statement in tree.body]
            for statement, start, end in zip(tree.body, starts, [*starts[1:], number], strict=True):
                said = [m[1] for row in lines[start:end] if (m := ARROW.search(row))]
                if end == number and lines[end + 2 : end + 3] == ["```text"]:
                    said = lines[end + 3 : lines.index("```", end + 3)]
                yield statement, "\n".join(said) or None
            opened = None


def matches(said: str, printed: str) -> bool:
    """… stands for anything, and lines may be broken elsewhere."""
    said, printed = (" ".join(text.split()) for text in (said, printed))
    return re.fullmatch(".*".join(map(re.escape, said.split("…"))), printed) is not None


@pytest.mark.filterwarnings("ignore:Maximum iterations")  # of an estimator, in a short example
@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", GUIDE, FILES, ESTIMATORS, REPORT, SECOND_ORDER, SEQUENCES, TASKS],
    ids=lambda p: p.name,
)
def test_the_blocks_of_a_page_run_in_order(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    found = list(statements(path))
    assert len(found) > 5
    for statement, said in found:
        printed = io.StringIO()
        code = compile(ast.Module([statement], []), path.name, "exec", dont_inherit=True)
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
        if said is not None:
            assert matches(said, printed.getvalue()), f"{path.name}:{statement.lineno}: {printed.getvalue()}"


def rows(header: str) -> list[list[str]]:
    """The cells of the guide's table that begins with this header."""
    table = GUIDE.read_text(encoding="utf-8").partition(f"\n{header}\n")[2].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_what_the_table_of_settings_says_can_be_written():
    cells = [cell for _, cell in rows("| what | how to write it |")]
    written = [code for cell in cells for code in re.findall(r"`([^`]+)`", cell) if "(" in code]
    assert len(written) > 30
    for code in written:
        eval(code, dict(NAMES))


@pytest.mark.parametrize(
    ("expression", "point", "value", "slope"), rows("| expression | x | value | derivative of its sum |")
)
def test_the_conventions_at_the_edges_hold(expression, point, value, slope):
    point, value, slope = (
        np.array(eval(cell.strip("`"), {"inf": np.inf, "nan": np.nan}), float)
        for cell in (point, value, slope)
    )
    x = ops.input("x", point.shape, "float64")
    y = eval(expression.strip("`"), {"ops": ops, "x": x})
    found = evaluate([y, gradient(ops.sum(y), x)], {x: point})
    np.testing.assert_allclose(found[0], value, rtol=1e-15)
    np.testing.assert_allclose(found[1], slope, rtol=1e-15)


def test_the_table_of_errors_names_all_of_them_and_their_bases():
    table = {name.strip("`"): base.strip("`") for name, base, _ in rows("| error | also a | means |")}
    kinds = {name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}
    kinds["MismatchError"] = cr.testing.MismatchError
    del kinds["ChainruleError"]
    assert {name: kind.__bases__[1].__name__ for name, kind in kinds.items()} == table


def test_the_pages_link_to_what_exists():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_contents_of_the_guide_name_its_sections():
    text = GUIDE.read_text(encoding="utf-8")
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    listed = re.findall(r"^\d+\. \[(.+)\]\(#(.+)\)$", text, re.MULTILINE)
    assert [title for title, _ in listed] == sections
    for title, anchor in listed:
        assert anchor == re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
