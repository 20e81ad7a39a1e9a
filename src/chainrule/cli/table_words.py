"""What ``chainrule train FILE`` says on the way, in plain words, and what it ends with."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from chainrule.cli.table_command import TableCommand
from chainrule.data.tables import ColumnEncoder, Ignored
from chainrule.report import TableFindings
from chainrule.report.html import duration, percent
from chainrule.tasks.plan import TablePlan
from chainrule.tasks.prepared import Prepared

__all__ = ["assumptions", "plan_lines", "result_lines", "score_words"]

_SHOWN = 40


def assumptions(command: TableCommand, prepared: Prepared, rows: int) -> list[str]:
    """The file, the target, every column with the reason for its kind, the parts."""
    plan, encoder = command.plan, prepared.encoder
    lines = [f"{command.data}: {rows:,} rows, {len(encoder.columns) + 1} columns"]
    why = command.reasons.get("task", "you said so")
    what = f"{plan.target}: {plan.task}"
    if plan.task == "classification":
        counts = Counter(prepared.groups.tolist() if prepared.groups is not None else [])
        names = [str(c) for c in prepared.target.classes]
        common, count = counts.most_common(1)[0]
        share = percent(count / len(prepared.train))
        what += f", {len(names)} classes; the commonest is {names[common][:40]} with {share}"
    lines += [f"{what} ({why})"]
    width = min(max(len(c.name) for c in encoder.columns), 30)
    for column in encoder.columns[:_SHOWN]:
        kind = column.kind if column.features else f"left out: {getattr(column, 'why', column.kind)}"
        gaps = ", with gaps" if column.missing else ""
        lines.append(f"  {column.name[:30]:<{width}}  {kind}{gaps}: {column.reason}{_remedy(column)}")
    if more := len(encoder.columns) - _SHOWN:
        kinds = Counter(c.kind for c in encoder.columns[_SHOWN:])
        lines += (
            [f"  … and {more} more: {', '.join(f'{n} {k}' for k, n in kinds.items())}"] if more > 0 else []
        )
    held = round(plan.validation * len(prepared.train))
    others = f", other ones for each of {plan.networks} networks" if plan.networks > 1 else ""
    lines += [
        f"{len(prepared.train):,} rows to learn from, of which {held:,} decide when to stop{others}; "
        f"{len(prepared.test):,} rows for the test, which is read once, at the end"
    ]
    return lines


def _remedy(column: ColumnEncoder) -> str:
    """How to use a column that was left out without being asked."""
    if not isinstance(column, Ignored) or column.why != "identifier" or column.reason == "you said so":
        return ""
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
    rows: list[tuple[str, str]] = [(f"{findings.part} rows", f"{len(findings):,}")]
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
    """
    >>> score_words(True, {"accuracy": 0.75, "log loss": 0.5, "AUC": 0.8})
    'error 25.00 %, log loss 0.5000, AUC 0.8000'
    """
    if not classifies:
        return ", ".join(f"{name} {value:.5g}" for name, value in scores.items())
    told: Sequence[str] = [f"{n} {scores[n]:.4f}" for n in ("log loss", "AUC") if n in scores]
    return ", ".join([f"error {percent(1 - scores['accuracy'])}", *told])
