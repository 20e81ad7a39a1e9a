"""``chainrule train FILE``: from options, a TOML file or a run folder to what is run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from chainrule.cli.folders import base_name, new_folder, newest
from chainrule.cli.say import printable
from chainrule.cli.table_options import kinds_of
from chainrule.errors import ConfigError, DataError

__all__ = ["train_table"]

_ELSEWHERE = ("data", "time", "search", "stream")  # settings that are none of the plan


def train_table(
    given: dict[str, Any], run_dir: Path | None, *, resume: bool, quiet: bool, words: list[str]
) -> None:
    """One run on a table.

    given    options by name, those that were given;  words: of the command line
    """
    began = time.monotonic()
    from chainrule.cli.table_training import run

    config, written = given.pop("config", None), given.pop("write_config", None)
    said = _said(given, config)
    if resume:
        command, rows, file, folder = _resumed(said, run_dir)
        run(command, rows, file, folder, resume=True, quiet=quiet, began=began)
        return
    if config is not None and "data" not in given and not Path(said.get("data", ".")).exists():
        raise DataError(
            f"there is no file {said['data']}, which {config} names; its path counts from the folder that "
            "the command is given in: go there, or name the file on the command line"
        )
    command, rows, file = _asked(said, words)
    if written is not None:
        _write(command.to_toml(), written)
        return
    base = base_name(_stem(command.data), command.plan.target, command.plan.seed)
    folder = new_folder(run_dir, base, ["chainrule", "train", command.data])
    run(command, rows, file, folder, resume=False, quiet=quiet, began=began)


def _said(given: dict[str, Any], config: Path | None) -> dict[str, Any]:
    """What was given, over what the TOML file says."""
    from chainrule.cli.table_command import read_settings

    said = {} if config is None else read_settings(config)
    options = dict(given)
    if "kinds" in options:
        options["kinds"] = {**said.get("kinds", {}), **kinds_of(options["kinds"])}
    return {**said, **options}


def _asked(said: dict[str, Any], words: list[str]) -> tuple[Any, Any, Any]:
    from chainrule.cli.table_training import planned

    plan = {name: value for name, value in said.items() if name not in _ELSEWHERE}
    if "data" not in said:
        raise click.UsageError("Missing argument 'DATA': the file of a table, or a data set.")
    data = Path(said["data"])
    if not data.exists():
        raise DataError(f"no such file: {data}; check the spelling")
    if "target" not in plan:
        raise click.UsageError(_which(data))
    settings = {name: said[name] for name in ("time", "search", "stream") if name in said}
    return planned(data, plan, words=words, **settings)


def _which(data: Path) -> str:
    """The columns that could be meant."""
    from chainrule.cli.reading import read_new

    names = read_new(data, {})[0].names
    shown = printable(", ".join(names[:30])) + (", …" if len(names) > 30 else "")
    return f"Missing option '--target': which column of {data} is to be learned? It has {shown}."


def _resumed(said: dict[str, Any], run_dir: Path | None) -> tuple[Any, Any, Any, Path]:
    """The command with which the run was begun; what is given again must not differ, but for the time."""
    from dataclasses import replace

    from chainrule.cli.table_command import CONFIG, TableCommand, digest_of
    from chainrule.cli.table_training import opened
    from chainrule.report import read_json

    if run_dir is None and "data" not in said:
        raise click.UsageError("--resume needs the folder of the run: name it with --run-dir.")
    base = "" if run_dir else base_name(_stem(said["data"]), said.get("target", ""), said.get("seed", 0))
    folder = newest(run_dir, base, CONFIG)
    if not (folder / CONFIG).is_file():
        raise DataError(f"{folder} holds no run of `chainrule train`; name the folder of one with --run-dir")
    command = TableCommand.from_json(read_json(folder, CONFIG), folder / CONFIG)
    known = {"data": command.data, "search": command.search, "stream": command.stream, **vars(command.plan)}
    for name, value in said.items():
        if name != "time" and value is not None and known.get(name) != value:
            option = "DATA" if name == "data" else "--" + name.replace("_", "-")
            raise ConfigError(
                f"{folder} was begun with {option} {known.get(name)}, not {value}; leave {option} out to go "
                "on with that run, or start another without --resume"
            )
    data = Path(command.data)
    if not data.is_file() or digest_of(data) != command.sha256:
        raise DataError(
            f"{data} is not the file with which {folder} was begun: it has changed, or is gone; start "
            "another run without --resume"
        )
    rows, file = opened(command, data)
    return replace(command, time=said.get("time", command.time)), rows, file, folder


def _stem(data: str) -> str:
    return Path(data).name.split(".")[0]


def _write(text: str, path: Path) -> None:
    from chainrule.storage import atomic_write

    if str(path) == "-":
        sys.stdout.write(text)
        return
    with atomic_write(path) as file:
        file.write(text.encode())
    click.echo(path)
