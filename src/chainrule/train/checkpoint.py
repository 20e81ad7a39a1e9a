"""The run folder: configuration, history, environment, checkpoints and the model, each written atomically."""

from __future__ import annotations

import json
import os
import platform
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chainrule.config import from_json, to_json
from chainrule.errors import ConfigError, DataError, ModelFileError
from chainrule.storage import RunLock, atomic_write, read_tensors, write_tensors
from chainrule.train.callbacks import Callback
from chainrule.train.history import History

if TYPE_CHECKING:
    from chainrule.train.loop import Fit

__all__ = ["RunFolder", "fingerprint", "pack", "remind", "unpack"]

Array = npt.NDArray[Any]
CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"


def fingerprint(arrays: Mapping[str, Array]) -> str:
    """Names, shapes, dtypes and a CRC-32 of the bytes: tells whether a run is resumed on its own data."""
    parts = []
    for name, a in arrays.items():
        crc = 0
        for start in range(0, len(a), 4096):
            crc = zlib.crc32(a[start : start + 4096].tobytes(), crc)
        parts.append(f"{name}:{a.dtype}{list(a.shape)}:{crc:08x}")
    return " ".join(parts)


class RunFolder:
    """A folder that one fit writes to: no other process may, while it is open.

    config.json       what was asked for           history.jsonl   one line per epoch
    environment.json  versions and machine         checkpoint.safetensors, model.safetensors
    """

    def __init__(self, path: str | os.PathLike[str], config: Mapping[str, Any], *, resume: bool) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(
                f"run_dir {self.path} is a file; give a folder, which is made where there is none"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = RunLock(self.path)
        self.lock.acquire()
        try:
            if (self.path / CHECKPOINT).exists():
                if not resume:
                    raise ConfigError(
                        f"{self.path} holds a run already; give resume=True to go on with it, or another "
                        "run_dir"
                    )
            else:
                self._describe(config)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.lock.release()

    def _describe(self, config: Mapping[str, Any]) -> None:
        """What was asked for, and where it runs."""
        from chainrule import __version__

        self._json("config.json", config)
        versions = {"chainrule": __version__, "numpy": np.__version__, "python": platform.python_version()}
        machine = {
            "machine": platform.machine(),
            "system": platform.system(),
            "implementation": sys.implementation.name,
        }
        self._json("environment.json", {**versions, **machine})

    def _json(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def history(self, rows: list[dict[str, Any]]) -> None:
        """All epochs so far, one JSON object per line."""
        self._write("history.jsonl", "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))

    def _write(self, name: str, text: str) -> None:
        with atomic_write(self.path / name) as file:
            file.write(text.encode())

    def save(self, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
        """A checkpoint; the one before it stays until this one is whole."""
        write_tensors(self.path / CHECKPOINT, arrays, header)

    def load(self, data: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Array]] | None:
        """The last checkpoint, or None where the run had not come so far."""
        if not (self.path / CHECKPOINT).exists():
            return None
        header, arrays = read_tensors(self.path / CHECKPOINT)
        if header.get("kind") != "checkpoint":
            raise ModelFileError(f"{self.path / CHECKPOINT} is no checkpoint; give the run's own folder")
        if header["data"] != data:
            raise DataError(
                f"{self.path} was trained on other data: it has {header['data']}, this fit has {data}; "
                "resume with the same arrays, or start in another run_dir"
            )
        known = json.loads(json.dumps(settings))
        if changed := [k for k in known if header["settings"].get(k) != known[k]]:
            raise ConfigError(
                f"{self.path} was begun with another {changed[0]}: {header['settings'].get(changed[0])}, now "
                f"{known[changed[0]]}; resume with the same settings, or start in another run_dir"
            )
        return header, arrays


# ------------------------------------------------------------------ what a checkpoint holds


def pack(fit: Fit) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and header from which a fit goes on as if it had never stopped."""
    arrays = {f"state/{name}": a for name, a in fit.state.items()}
    arrays |= {f"kept/{name}": a for name, a in (fit.kept or {}).items()}
    history = fit.history
    header = {
        "kind": "checkpoint",
        "settings": dict(fit.settings),
        "data": fit.fingerprint,
        "position": {**vars(fit.position), "sums": to_json(fit.position.sums)},  # a metric may be infinite
        "past": fit.past,
        "taken": fit.taken,
        "rates": fit.rates,
        "callbacks": [[type(c).__name__, memory] for c in fit.callbacks if (memory := c.memory())],
        "history": {**history.ending(), "seconds": fit.seconds, "names": history.columns()},
    }
    return {**arrays, "history": history.table()}, header


def unpack(fit: Fit, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Brings a fit to where ``pack`` found it; the callbacks are reminded once they have begun."""
    position = {**header["position"], "sums": from_json(header["position"]["sums"], {}, {})}
    fit.position = type(fit.position)(**position)
    fit.past, fit.taken, fit.rates = header["past"], header["taken"], dict(header["rates"])
    fit.remembered = header["callbacks"]
    ending = dict(header["history"])
    fit.history = History.from_table(arrays["history"], ending.pop("names"), ending)
    parts: dict[str, dict[str, Array]] = {"state": {}, "kept": {}}
    for path, a in arrays.items():
        part, _, name = path.partition("/")
        if name:
            parts[part][name] = a
    fit.state.update(parts["state"])
    fit.kept = parts["kept"] or None


def remind(callbacks: Sequence[Callback], remembered: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Gives callbacks what a checkpoint remembers of them, each kind in its order."""
    waiting = list(callbacks)
    for kind, memory in remembered:
        place = next((i for i, c in enumerate(waiting) if type(c).__name__ == kind), None)
        if place is None:
            raise ConfigError(
                f"this run was begun with a callback {kind} more; resume with the same ones, or start in "
                "another run_dir"
            )
        waiting.pop(place).remember(memory)
    if more := [type(c).__name__ for c in waiting if c.memory()]:
        raise ConfigError(
            f"this run was begun without the callback {more[0]}; resume with the same ones, or start in "
            "another run_dir"
        )
