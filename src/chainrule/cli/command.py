"""What ``chainrule train`` was asked for, kept in the run folder: a run can be resumed, and made again."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from chainrule.errors import DataError

__all__ = ["FILE", "TrainCommand"]

FILE = "command.json"


@dataclass(frozen=True)
class TrainCommand:
    """Everything that decides the result; where it goes and how it is shown are not part of it."""

    dataset: str
    recipe: str
    epochs: int
    batch_size: int
    seed: int
    held_out: bool
    executor: str

    def line(self, *, epochs: int, batch_size: int) -> str:
        """The command, without what is the recipe's own ``epochs`` and ``batch_size``.

        >>> TrainCommand("mnist", "quick", 3, 100, 7, False, "auto").line(epochs=3, batch_size=100)
        'chainrule train mnist --recipe quick --seed 7'
        """
        words = ["chainrule", "train", self.dataset, "--recipe", self.recipe]
        words += ["--epochs", str(self.epochs)] if self.epochs != epochs else []
        words += ["--batch-size", str(self.batch_size)] if self.batch_size != batch_size else []
        words += ["--seed", str(self.seed)]
        words += ["--executor", self.executor] if self.executor != "auto" else []
        words += ["--held-out"] if self.held_out else []
        return shlex.join(words)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(found: dict[str, Any], where: Path) -> TrainCommand:
        """DataError unless exactly the fields are there, each of its type."""
        types = get_type_hints(TrainCommand)
        if found.keys() != types.keys() or any(type(found[name]) is not kind for name, kind in types.items()):
            raise DataError(f"{where}: not what `chainrule train` wrote; start again in another --run-dir")
        return TrainCommand(**found)
