"""The commands as one group, and the one place where errors become a message and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import click

from chainrule import __version__
from chainrule.cli.evaluate import evaluate
from chainrule.cli.export import export
from chainrule.cli.look import datasets, report, summary
from chainrule.cli.options import Settings, debug_option, examples
from chainrule.cli.predict import predict
from chainrule.cli.say import say
from chainrule.cli.train import train
from chainrule.cli.words import as_options
from chainrule.errors import ChainruleError, DivergenceError, nearest

__all__ = ["chainrule", "main"]

_FEWER = "give a smaller --batch-size, fewer units (--hidden), or fewer rows"
_REMEDIES = {
    errno.ENOMEM: _FEWER,
    errno.ENOENT: "check the spelling",
    errno.ENOSPC: "free some space or name a folder on another disk; what was saved before is whole",
    errno.EDQUOT: "free some space or name a folder on another disk; what was saved before is whole",
    errno.EACCES: "name a place that you may read and write",
    errno.EPERM: "name a place that you may read and write",
    errno.EROFS: "name a folder on a disk that can be written",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder, not a file",
}


class _Group(click.Group):
    """A group that answers an unknown command with the nearest one, in every version of click."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.commands and not ctx.resilient_parsing:
            raise click.UsageError(f"unknown command {name!r}; {nearest(name, self.commands)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "chainrule train people.csv --target income",
        "chainrule predict runs/people-income-0 new.csv -o predictions.csv",
        "chainrule train mnist",
        "chainrule predict runs/mnist-quick-0 digit.png",
        "chainrule train --help",
        notes=(
            "Exit codes: 0 done, 1 training failed, 2 bad input or usage, 130 interrupted.",
            'Completion in bash: eval "$(_CHAINRULE_COMPLETE=bash_source chainrule)" in ~/.bashrc; '
            "zsh_source and fish_source likewise.",
        ),
    ),
)
@click.version_option(__version__, prog_name="chainrule")
@debug_option
def chainrule() -> None:
    """Trains deep networks by back-propagation."""


for command in (train, predict, evaluate, report, export, summary, datasets):
    chainrule.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; → its exit code: 0 done, 1 training failed, 2 bad input or usage, 130 interrupted.

    >>> main(["train", "mnist", "--epochs", "many"])
    2
    """
    # Set before NumPy is first imported. Two BLAS threads gain a third on an idle machine, and lose a factor
    # of ten as soon as another process wants one of the two cores: they wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings = Settings()
    try:
        code = chainrule.main(
            None if arguments is None else list(arguments), "chainrule", standalone_mode=False, obj=settings
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:  # whoever read our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ChainruleError, OSError, MemoryError) as error:
        if settings.debug:
            traceback.print_exc()
        say(*f"Error: {_message(error)}".split("\n"))
        return 1 if isinstance(error, DivergenceError | MemoryError) else 2
    return code if isinstance(code, int) else 0


def _message(error: Exception) -> str:
    """What, where, what to do."""
    if isinstance(error, MemoryError):
        what = str(error) or "an array could not be allocated"
        return f"out of memory: {what}; {_FEWER}"
    if not isinstance(error, OSError) or isinstance(error, ChainruleError):
        return as_options(str(error))
    where = f": {error.filename}" if error.filename is not None else ""
    remedy = _REMEDIES.get(error.errno or 0, "")
    return f"{error.strerror or error}{where}" + (f"; {remedy}" if remedy else "")
