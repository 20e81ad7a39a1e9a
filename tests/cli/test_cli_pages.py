"""The lines for the shell in README.md and on the page of the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from chainrule.cli.commands import chainrule

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/command-line.md")
Call = Callable[..., tuple[int, str, str]]


def lines(page: str) -> Iterator[list[str]]:
    """The words of every line that calls chainrule, without their comments."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("chainrule "):
                yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_of_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = {o for c in chainrule.commands.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    named = {
        word for code in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"--[a-z][a-z-]+", code)
    }
    assert named <= {*known, "--help", "--debug"}
    found = list(lines(page))
    assert len(found) >= 4
    for name, *words in found:
        options = [o for p in chainrule.commands[name].params if isinstance(p, click.Option) for o in p.opts]
        assert {word for word in words if word.startswith("-")} <= set(options)


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_the_lines_of_the_pages_run(page: str, call: Call, here: Path) -> None:
    for words in lines(page):
        code, _, err = call(*words)
        assert code == 0, err
    assert {"flats.csv", "predictions.csv", "rent.onnx", "runs"} <= {p.name for p in here.iterdir()}
