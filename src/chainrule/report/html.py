"""The report: one HTML page that a person reads after a run, keeps, and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chainrule import nn, optim, svg
from chainrule.config import from_json
from chainrule.data import VICINITIES, Augment
from chainrule.ops.functions import FUNCTIONS
from chainrule.report import drawings
from chainrule.report.findings import Findings
from chainrule.report.record import REPORT, RESULT, configuration, read_json
from chainrule.storage import atomic_write
from chainrule.svg.markup import element

__all__ = ["duration", "percent", "write_report"]

_MISTAKES = 20  # in each of two drawings
_WIDEST = 960.0  # the mosaic of weights, in pixels: as wide as the page allows
Section = tuple[str, list[str]]


def write_report(
    folder: str | Path, net: Any, findings: Findings, dataset: Any, *, title: str, command: str
) -> Path:
    """``report.html`` in a run folder, from a trained network and what was found on unseen rows.

    dataset    the :class:`~chainrule.datasets.Dataset`
    command    what makes the same run again

    The page is one file: inline SVG, pictures as data URIs, nothing is loaded and nothing runs. → its path
    """
    folder = Path(folder)
    sections = [
        _summary(net, findings),
        _learning(net, findings, folder),
        *_weights(net, findings),
        _right_and_wrong(findings),
        *_mistakes(findings),
        _network(net, folder),
        _reproduce(net, folder, dataset, command),
    ]
    text = svg.page(title.replace(" %", "\u00a0%"), sections, lead=_lead(net, findings, dataset))
    with atomic_write(folder / REPORT) as file:
        file.write(text.encode())
    return folder / REPORT


def percent(share: float) -> str:
    """A share in per cent, two decimals: ``1.78 %``."""
    return f"{100 * share:.2f} %"


def duration(seconds: float) -> str:
    """As people say it: ``41.3 s``, ``12 min 5 s``, ``2 h 7 min``.

    >>> duration(41.33), duration(725), duration(7620)
    ('41.3 s', '12 min 5 s', '2 h 7 min')
    """
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# ------------------------------------------------------------------ what happened


def _lead(net: Any, findings: Findings, dataset: Any) -> str:
    history = net.history
    ended = "" if history.stopped == "epochs" else f" It ended by {history.stopped}."
    return (
        f"A network of {_widths(net)} units learned {dataset.name} in {len(history)} epochs and "
        f"{duration(history.seconds)}. Of {len(findings):,} {findings.part} rows, which it had not seen, it "
        f"gets {findings.wrong:,} wrong.{ended}"
    )


def _widths(net: Any) -> str:
    """784-225-144-10, read off the weights."""
    shapes = [
        p.spec.shape for p in net.model.parameters.values() if p.role == "weight" and len(p.spec.shape) == 2
    ]
    return "-".join(map(str, [shapes[0][0], *(s[1] for s in shapes)])) if shapes else "?"


def _summary(net: Any, findings: Findings) -> Section:
    figures = {
        f"{findings.part} error": percent(findings.error),
        f"wrong of {len(findings):,}": f"{findings.wrong:,}",
        f"{findings.part} cross-entropy": svg.number(findings.cross_entropy, 3),
        "training time": duration(net.history.seconds),
        "epochs": len(net.history),
        "parameters": f"{sum(p.spec.size for p in net.model.parameters.values()):,}",
    }
    return "", [svg.facts(figures)]


def _learning(net: Any, findings: Findings, folder: Path) -> Section:
    rows = net.history.rows
    steps = [(float(x), float(y)) for x, y in read_json(folder, RESULT)["loss_curve"]]
    words = (
        "Training values are taken while the network learns: with dropout, augmentation and label smoothing "
        "where the recipe has them. They may therefore lie above what is found afterwards on unseen rows."
    )
    return "How it learned", [
        drawings.loss_curves(rows, steps, findings),
        drawings.error_curves(rows, findings),
        words,
    ]


def _weights(net: Any, findings: Findings) -> list[Section]:
    found = drawings.first_weights(net, findings.image_shape)
    if found is None or findings.image_shape is None:
        return []
    name, W = found
    drawing, limit = drawings.weights_drawing(W, findings.image_shape, widest=_WIDEST)
    height, width = findings.image_shape
    words = (
        f"The {W.shape[1]} columns of {name} as images of {height} × {width} pixels: ink where a weight is "
        "positive (vermilion) excites the unit, where it is negative (blue) inhibits it. One scale for all; "
        "the 0.2 % largest lie beyond its end."
    )
    return [("First-layer weights", [words, drawings.scale_bar(limit), drawing])]


# ------------------------------------------------------------------ right and wrong


def _right_and_wrong(findings: Findings) -> Section:
    return "Right and wrong", [drawings.confusion(findings), drawings.class_errors(findings)]


def _mistakes(findings: Findings) -> list[Section]:
    shown = min(2 * _MISTAKES, findings.wrong)
    halves = [drawings.mistakes(findings, first, _MISTAKES) for first in (0, _MISTAKES)]
    words = (
        f"The {shown} rows whose true class the network held least probable, of {findings.wrong:,} wrong "
        "ones. Below each: what it is, what it was read as, and how sure the network was of that."
    )
    return [("Worst mistakes", [words, *(d for d in halves if d is not None)])] if shown else []


# ------------------------------------------------------------------ how to have it again


def _network(net: Any, folder: Path) -> Section:
    config = read_json(folder, "config.json")
    made = {name: from_json(config[name], _tables(), FUNCTIONS) for name in ("layer", "schedule", "augment")}
    made |= {"optimizer": net.optimizer, "loss": tuple(net.loss.values())}
    layers = made.pop("layer")
    steps = tuple(step for _, step in layers.steps) if isinstance(layers, nn.Sequential) else layers
    rows = [("layers", configuration(steps))]
    rows += [(name, configuration(value)) for name, value in made.items() if value is not None]
    rows += [(name.replace("_", " "), config[name]) for name in ("epochs", "batch_size", "seed", "dtype")]
    summary = element("div", element("pre", svg.escape(net.summary())), class_="rows")
    return "The network and how it was trained", [
        summary,
        svg.table((), rows),
        drawings.rate_curve(net.history.rows),
    ]


def _tables() -> dict[str, type]:
    """Every configuration that a run folder may name."""
    return {**nn.LAYERS, **nn.INITS, **optim.SCHEDULES, "Augment": Augment, **VICINITIES}


def _reproduce(net: Any, folder: Path, dataset: Any, command: str) -> Section:
    history = net.history
    environment = ", ".join(f"{k} {v}" for k, v in read_json(folder, "environment.json").items())
    rows = [
        ("command", command),
        ("data", f"{dataset.name}: {dataset.source} ({dataset.licence})"),
        ("executor", history.executor),
        ("environment", environment),
        ("SHA-256 of the final weights", history.sha256),
    ]
    words = (
        "The same command on the same machine, with the same versions and number of threads, gives the same "
        "bits."
    )
    return "How to have it again", [words, svg.table((), rows)]
