"""The command line: ``chainrule train mnist`` and its sisters. click lives here and nowhere else."""

from __future__ import annotations

from chainrule.cli.commands import main

__all__ = ["main"]
