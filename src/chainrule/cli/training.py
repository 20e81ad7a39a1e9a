"""The work of ``chainrule train``: data, fit, the unseen rows at the end, the report."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from chainrule import datasets
from chainrule.cli.command import FILE, TrainCommand
from chainrule.data.arrays import Array
from chainrule.datasets import Dataset
from chainrule.network import Network
from chainrule.recipes import Recipe
from chainrule.report import Findings, LossCurve, examine, write_json, write_report, write_result
from chainrule.report.html import duration, percent
from chainrule.train import Callback, History, Progress, Start

__all__ = ["load_dataset", "parts", "report_title", "result_lines", "run"]

_HELD_OUT = 6  # one row in so many: the last 10,000 of MNIST's 60,000


def load_dataset(name: str) -> Dataset:
    """A data set by name."""
    found: Dataset = getattr(datasets, name)()
    return found


def parts(dataset: Dataset, held_out: bool) -> tuple[Array, Array, str, Array, Array]:
    """x and y to learn from; the name of the unseen part, its x and y."""
    if not held_out:
        return dataset.x_train, dataset.y_train, "test", dataset.x_test, dataset.y_test
    n = len(dataset.x_train) - len(dataset.x_train) // _HELD_OUT
    return dataset.x_train[:n], dataset.y_train[:n], "validation", dataset.x_train[n:], dataset.y_train[n:]


def run(command: TrainCommand, recipe: Recipe, folder: Path, *, resume: bool, quiet: bool) -> None:
    """Trains, judges on unseen rows, writes the report, says what came out."""
    dataset = load_dataset(command.dataset)
    x, y, part, unseen_x, unseen_y = parts(dataset, command.held_out)
    net = Network(*recipe.layers, seed=command.seed)
    curve = LossCurve()
    watching = [_Command(command, folder), curve, *([] if quiet else [Progress()])]
    if not quiet:
        click.echo(f"{dataset.name}, recipe {command.recipe}, in {folder}", err=True)
    try:
        net.fit(
            x,
            y,
            loss=recipe.loss,
            optimizer=recipe.optimizer,
            schedule=recipe.schedule,
            augment=recipe.augment,
            epochs=command.epochs,
            batch_size=command.batch_size,
            executor=command.executor,
            validation=(unseen_x, unseen_y) if command.held_out else None,
            callbacks=watching,
            run_dir=folder,
            resume=resume,
            verbose=0,
        )
    except KeyboardInterrupt:
        click.echo(_stopped(command, folder), err=True)
        raise click.exceptions.Exit(130) from None
    findings = examine(net, dataset, part, unseen_x, unseen_y)
    write_result(folder, net, findings, command.dataset, curve)
    line = command.line(epochs=recipe.epochs, batch_size=recipe.batch_size)
    title = report_title(command, findings)
    report = write_report(folder, net, findings, dataset, title=title, command=line)
    click.echo("\n".join(result_lines(net, findings, folder, report)))


class _Command(Callback):
    """Writes the command into the run folder once the fit holds it, before the first step."""

    def __init__(self, command: TrainCommand, folder: Path) -> None:
        self.command, self.folder = command, folder

    def begin(self, start: Start) -> None:
        write_json(self.folder, FILE, self.command.to_json())


def report_title(command: TrainCommand, findings: Findings) -> str:
    """``mnist, recipe quick, seed 0: test error 1.78 %``"""
    run = f"{command.dataset}, recipe {command.recipe}, seed {command.seed}"
    return f"{run}: {findings.part} error {percent(findings.error)}"


def result_lines(net: Network, findings: Findings, folder: Path, report: Path) -> list[str]:
    """What a run ends with."""
    history = net.history or History()
    wrong = f"{findings.wrong:,} of {len(findings):,} wrong"
    rows = {
        f"{findings.part} error": f"{percent(findings.error)} ({wrong})",
        "training time": duration(history.seconds),
        "final weights": f"SHA-256 {history.sha256}",
        "model": str(folder / "model.safetensors"),
        "report": str(report),
    }
    return [f"{name:<18}{value}" for name, value in rows.items()]


def _stopped(command: TrainCommand, folder: Path) -> str:
    """What is left after Ctrl-C, and how to go on."""
    again = shlex.join(["chainrule", "train", command.dataset, "--run-dir", str(folder), "--resume"])
    if not (folder / "checkpoint.safetensors").exists():
        return "Interrupted before the first step was done; nothing to go on with."
    return f"Interrupted. A checkpoint is saved in {folder}; go on with:\n  {again}"
