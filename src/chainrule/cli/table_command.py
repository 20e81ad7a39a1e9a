"""What ``chainrule train FILE`` was asked for: on the command line, in a TOML file, in a run folder."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping
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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "data": (_is_text, "text in quotes"),
    "time": (_is_text, "text in quotes"),
    "target": (_is_text, "text in quotes"),
    "stream": (lambda value: isinstance(value, bool), "true or false"),
    "search": (_is_count, "a whole number of plans from 0 up"),
    "kinds": (lambda value: isinstance(value, dict), 'a table of kinds: [kinds], below it zip = "text"'),
}
"""What a TOML file must hold that no plan looks at before it is used."""


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
    for name, (fits, wanted) in _VALUES.items():
        if name in settings and not fits(settings[name]):
            raise ConfigError(f"{path}: {name} is {settings[name]!r}; give {wanted}")
    if time := settings.get("time"):
        seconds_of(str(time))
    return settings
