"""What ``chainrule train FILE`` says on the way, in plain words, and what it ends with."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chainrule.cli.table_command import TableCommand
from chainrule.cli.words import plain_number
from chainrule.data.tables import ColumnEncoder, Ignored, TableEncoder
from chainrule.report import TableFindings
from chainrule.report.html import duration, percent
from chainrule.report.table.findings import FEW
from chainrule.tasks.plan import TablePlan

__all__ = ["Overview", "assumptions", "plan_lines", "result_lines", "score_words"]

_SHOWN = 40


@dataclass(frozen=True, eq=False)
class Overview:
    """What is told of a table before it is learned: rows in all, to learn from, of those to stop by, of the
    test; how often each class occurs among those that were looked at."""

    rows: int
    train: int
    held: int
    test: int
    encoder: TableEncoder
    classes: Mapping[str, int]


def assumptions(command: TableCommand, seen: Overview) -> list[str]:
    """The file, the target, every column with the reason for its kind, the parts."""
    plan, columns = command.plan, seen.encoder.columns
    why = command.reasons.get("task", "you said so")
    what = f"{plan.target}: {plan.task}"
    if seen.classes:
        common, count = max(seen.classes.items(), key=lambda pair: pair[1])
        share = percent(count / sum(seen.classes.values()))
        what += f", {len(seen.classes)} classes; the commonest is {common[:40]} with {share}"
    lines = [f"{command.data}: {seen.rows:,} rows, {len(columns) + 1} columns", f"{what} ({why})"]
    width = min(max(len(c.name) for c in columns), 30)
    for column in columns[:_SHOWN]:
        kind = column.kind if column.features else f"left out: {getattr(column, 'why', column.kind)}"
        gaps = ", with gaps" if column.missing else ""
        lines.append(f"  {column.name[:30]:<{width}}  {kind}{gaps}: {column.reason}{_remedy(column)}")
    if rest := columns[_SHOWN:]:
        kinds = Counter(c.kind if c.features else "left out" for c in rest)
        lines += [f"  … and {len(rest)} more: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}"]
    others = f", other ones for each of {plan.networks} networks" if plan.networks > 1 else ""
    lines += [
        f"{seen.train:,} rows to learn from, of which {seen.held:,} decide when to stop{others}; "
        f"{seen.test:,} rows for the test, which is read once, at the end"
        + (" (the scales of columns are those of all rows)" if command.stream else "")
    ]
    return lines


def _remedy(column: ColumnEncoder) -> str:
    """How to use a column that was left out without being asked."""
    if not isinstance(column, Ignored) or column.why != "identifier" or column.reason == "you said so":
        return ""
    if column.reason.endswith("text of their own"):
        return f"; to use it: --kinds {shlex.quote(f'{column.name}=categorical')}"
    return f"; to use it: --kinds {shlex.quote(f'{column.name}=numeric')} (or categorical)"


def plan_lines(plan: TablePlan, reasons: Mapping[str, str]) -> list[str]:
    """How it is to be learned."""
    hidden = "-".join(map(str, plan.hidden)) or "none: a linear model"
    batch = f"batches of {plan.batch_size}" + (
        f" ({reasons['batch_size']})" if "batch_size" in reasons else ""
    )
    return [
        f"hidden units {hidden}, {plan.activation}, dropout {plan.dropout:g}, "
        f"weight decay {plan.weight_decay:g}, {batch}; "
        f"stops when {plan.patience} epochs in a row were no better"
    ]


def result_lines(
    findings: TableFindings, seconds: float, folder: Path, report: Path, sha256: str
) -> list[str]:
    """The score on the test's rows, the baselines beside it, and where everything is."""
    rough = ", so few that the scores are rough" if len(findings) < FEW else ""
    rows: list[tuple[str, str]] = [(f"{findings.part} rows", f"{len(findings):,}{rough}")]
    rows += [("network", score_words(findings.classifies, findings.scores))]
    rows += [(c.name, score_words(findings.classifies, c.scores)) for c in findings.comparisons]
    rows += [
        ("time", duration(seconds)),
        ("final weights", f"SHA-256 {sha256}"),
        ("model", str(folder / "model.safetensors")),
        ("report", str(report)),
    ]
    return [f"{name:<18}{value}" for name, value in rows]


def score_words(classifies: bool, scores: Mapping[str, float]) -> str:
    """Those that there are: no AUC where the rows are of one class only.

    >>> score_words(True, {"accuracy": 0.75, "log loss": 0.5, "AUC": 0.8})
    'error 25.00 %, log loss 0.5000, AUC 0.8000'
    """
    if not classifies:
        return ", ".join(f"{n} {plain_number(v)}" for n, v in scores.items() if math.isfinite(v))
    told: Sequence[str] = [
        f"{n} {scores[n]:.4f}" for n in ("log loss", "AUC") if math.isfinite(scores.get(n, math.nan))
    ]
    return ", ".join([f"error {percent(1 - scores['accuracy'])}", *told])
