"""What ``chainrule train FILE`` was asked for: on the command line, in a TOML file, in a run folder."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from chainrule.cli.options import seconds_of
from chainrule.cli.toml import to_toml
from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError, DataError, nearest
from chainrule.tasks.plan import TablePlan

__all__ = ["CONFIG", "TOML", "TableCommand", "digest_of", "read_settings"]

CONFIG, TOML = "config.json", "config.toml"
_OWN = ("data", "time", "search", "stream")
_PLAN = tuple(f.name for f in fields(TablePlan))


@dataclass(frozen=True)
class TableCommand:
    """Everything that decides the result.

    data      the file;  sha256: of its bytes
    time      as it was written, such as "60s"; "" is without end
    search    plans to try; 0: no search
    stream    whether rows are read block by block
    said      the words of the command line
    reasons   why the plan is as it is, where nobody said it
    """

    data: str
    plan: TablePlan
    time: str = ""
    search: int = 0
    stream: bool = False
    sha256: str = ""
    said: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        return seconds_of(self.time) if self.time else None

    @property
    def line(self) -> str:
        """The command, to be given again."""
        return shlex.join(["chainrule", "train", *self.said])

    def to_toml(self) -> str:
        """Every setting under the name of its option."""
        plan = {name.replace("_", "-"): getattr(self.plan, name) for name in _PLAN}
        kinds = plan.pop("kinds")
        return to_toml(
            {
                "data": self.data,
                "time": self.time,
                "search": self.search,
                "stream": self.stream,
                **plan,
                "kinds": kinds,
            }
        )

    def to_json(self) -> dict[str, Any]:
        return {f.name: to_json(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def from_json(found: Mapping[str, Any], where: Path) -> TableCommand:
        """DataError for what ``to_json`` did not write."""
        try:
            read = {k: from_json(v, {"TablePlan": TablePlan}, {}) for k, v in found.items()}
            command = TableCommand(**read)
            right = isinstance(command.plan, TablePlan) and all(
                isinstance(getattr(command, name), kind)
                for name, kind in (
                    ("data", str),
                    ("time", str),
                    ("search", int),
                    ("stream", bool),
                    ("said", tuple),
                )
            )
        except (TypeError, ConfigError):
            right = False
        if not right:
            raise DataError(
                f"{where}: not what `chainrule train` wrote of a table; start again in another --run-dir"
            )
        return command


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_settings(path: Path) -> dict[str, Any]:
    """What a TOML file says, by the options' names with _ for -. ConfigError for what is no TOML, or no
    option's name or kind of value."""
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}; write one with --write-config") from error
    known = {name.replace("_", "-"): name for name in (*_OWN, *_PLAN)}
    settings = {}
    for name, value in found.items():
        if (key := name.replace("_", "-")) not in known:
            raise ConfigError(f"{path}: there is no setting {name!r}; {nearest(key, known)}")
        settings[known[key]] = tuple(value) if isinstance(value, list) else value
    for name in ("data", "time", "target"):
        if not isinstance(settings.get(name, ""), str):
            raise ConfigError(f"{path}: {name} is {settings[name]!r}; give text in quotes")
    if not isinstance(settings.get("stream", False), bool):
        raise ConfigError(f"{path}: stream is {settings['stream']!r}; give true or false")
    if not isinstance(settings.get("search", 0), int) or isinstance(settings.get("search"), bool):
        raise ConfigError(f"{path}: search is {settings['search']!r}; give a whole number of plans")
    return settings
