"""Run folders: which one a run is kept in, and which one goes on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from chainrule.errors import ConfigError, DataError

__all__ = ["RUNS", "base_name", "new_folder", "newest"]

RUNS = Path("runs")
_LONGEST = 60  # bytes of each part of a name: a disk takes 255 in all
_MARKS = ("checkpoint.safetensors", "networks", "search")  # of a run that began


def base_name(*parts: object) -> str:
    """A folder's name of what is in it.

    >>> base_name("income", "job title/2", 0)
    'income-job_title_2-0'
    """
    words = (re.sub(r"[^\w.]+", "_", str(part)) for part in parts)
    return "-".join(word.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore") for word in words)


def new_folder(run_dir: Path | None, base: str, again: Sequence[str]) -> Path:
    """The folder that was named, if it is free; else the first free one of the default names.

    base     of the default names
    again    the words of a command that goes on with the run in a folder that is taken
    """
    if run_dir is None:
        first = RUNS / base
        names = (first, *(first.with_name(f"{base}-{n}") for n in range(2, 10_000)))
        return next(path for path in names if not path.exists())
    if any((run_dir / name).exists() for name in _MARKS):
        line = shlex.join([*again, "--run-dir", str(run_dir), "--resume"])
        raise ConfigError(
            f"{run_dir} holds a run already; go on with it by `{line}`, or name another --run-dir"
        )
    if run_dir.is_dir() and not (run_dir / ".lock").exists() and any(run_dir.iterdir()):
        raise ConfigError(
            f"{run_dir} holds other files, which a run might overwrite; "
            "name a new or empty folder with --run-dir"
        )
    return run_dir


def newest(run_dir: Path | None, base: str, mark: str) -> Path:
    """The folder that was named, or the newest of the default names; ``mark`` is a file in it."""
    if run_dir is not None:
        return run_dir
    pattern = re.compile(re.escape(base) + r"(-[2-9]|-[1-9]\d+)?")
    found = [path for path in RUNS.glob("*") if pattern.fullmatch(path.name) and (path / mark).is_file()]
    if not found:
        raise DataError(
            f"there is no run {RUNS / base} to go on with; leave --resume out, or name the folder with "
            "--run-dir"
        )
    return max(found, key=lambda path: int(path.name.removeprefix(base)[1:] or 1))
