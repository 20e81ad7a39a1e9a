"""The house in order: public names, docstrings, sizes, the direction of imports, module by module."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
LINES, CODE_LINES = 500, 150
SMALL = ("chainrule/autodiff.py", "chainrule/executors/reference.py")  # the two that everyone should read


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted((SOURCE / "chainrule").rglob("*.py"))}
ROOMS = [name for name in FILES if name.rpartition(".")[2] != "__main__"]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs at import: not the bodies of functions, nor what is for type checkers only."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from statements(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody"):
                yield from statements(getattr(node, part, []))
            for handler in getattr(node, "handlers", []):
                yield from statements(handler.body)


# ------------------------------------------------------------------ names and words


@pytest.mark.parametrize("name", ROOMS)
def test_public_names_equal_all(name: str) -> None:
    """Functions and classes are in ``__all__`` or begin with an underscore; constants may stay out."""
    module = importlib.import_module(name)
    assert inspect.getdoc(module), "every module says in one line what it is"
    if name == "chainrule" and not hasattr(module, "__all__"):
        return
    listed = list(module.__all__)
    assert len(listed) == len(set(listed)), "a name stands twice in __all__"
    missing = [n for n in listed if not hasattr(module, n)]
    assert not missing, f"__all__ names what is not there: {missing}"
    top = tree(name).body
    defined = {n.name for n in top if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    hidden = {n for n in defined if not n.startswith("_")} - set(listed)
    assert not hidden, f"public, but not in __all__: {sorted(hidden)}"
    if FILES[name].name != "__init__.py":  # a package's face re-exports, a file does not
        imported = {
            a.asname or a.name for n in top if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
        }
        assert not imported & set(listed), f"re-exported: {sorted(imported & set(listed))}"


# ------------------------------------------------------------------ sizes


def code_lines(source: str) -> int:
    """Lines that hold code: without blanks, comments and docstrings."""
    words = {tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.STRING}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {n for t in tokens if t.type in words for n in range(t.start[0], t.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_code_lines_counts_code_only() -> None:
    source = (
        '"""Words."""\n\n# a comment\nx = (1,\n     2)\n\ndef f():\n    """More\n    words."""\n    return'
    )
    assert code_lines(source) == 4


@pytest.mark.parametrize("file", SMALL)
def test_the_heart_stays_small(file: str) -> None:
    assert code_lines((SOURCE / file).read_text(encoding="utf-8")) <= CODE_LINES


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_long(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LINES


# ------------------------------------------------------------------ the direction of imports


def targets(node: ast.stmt, name: str) -> list[str]:
    """The package's modules that an import names; a name that is a module counts as that module."""
    if isinstance(node, ast.Import):
        named = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        home = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
        for _ in range(node.level - 1):
            home = home.rpartition(".")[0]
        base = ".".join(filter(None, [home if node.level else "", node.module or ""]))
        names = [alias.name for alias in node.names if alias.name != "__version__"]
        named = [full if (full := f"{base}.{name}") in FILES else base for name in names]
    else:
        return []
    return [n for n in named if n in FILES]


def test_no_import_cycle() -> None:
    """Depth first over what is imported at import; a module met again on the way is a circle."""
    graph = {name: [t for node in statements(tree(name).body) for t in targets(node, name)] for name in FILES}
    assert sum(map(len, graph.values())) > len(FILES), "the imports were not found"
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*way, name))
            done.add(name)

    for name in FILES:
        visit(name, ())


def contracts() -> list[dict[str, list[str]]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, list[str]]] = settings["tool"]["importlinter"]["contracts"]
    return found


def heights() -> dict[str, tuple[int, int]]:
    """Room → (height, place among its neighbours), from import-linter's layers; the lowest is 0."""
    layers = contracts()[0]["layers"]
    return {
        room.strip(" ()"): (height, place)
        for height, layer in enumerate(reversed(layers))
        for place, room in enumerate(layer.split("|"))
    }


def test_imports_run_upward_only() -> None:
    """Not even inside a function does a room import a higher one, or a neighbour of its own height."""
    known, wrong = heights(), []
    for name in FILES:
        if name == "chainrule":
            continue
        for node in ast.walk(tree(name)):
            for other in targets(node, name) if isinstance(node, ast.stmt) else ():
                if other == "chainrule":
                    wrong.append(f"{name} imports the top of the package")
                    continue
                here, there = name.split(".")[1], other.split(".")[1]
                if here != there and {here, there} <= known.keys() and known[there][0] >= known[here][0]:
                    wrong.append(f"{name} imports {other}")
    assert not wrong, wrong


def test_every_room_has_its_height() -> None:
    rooms = {name.split(".")[1] for name in FILES if "." in name}
    assert rooms <= set(heights()), f"not in pyproject's layers: {sorted(rooms - set(heights()))}"
