"""The measured figures as Markdown tables."""

from __future__ import annotations

from bench.accuracy_recipe import EPOCHS, NETWORK, RATE, TARGET
from bench.gates import behind, gate_table
from bench.peers import OURS
from bench.published import void
from bench.results import Results
from bench.workloads import WORKLOADS

# Relative. Adam divides small gradients by their own size, so that rounding is magnified: after ten steps
# float32 losses differ by more than the order of a sum would make them.
LOSS_TOLERANCE = 1e-3
SAME_CLASSES = 0.99  # of the predicted rows: two outputs may be equal but for rounding
SHARE = 0.95  # of a pinned core; less means that another program ran there

EXPLANATION = (
    "Microseconds per training step: shuffling, gathering the batch, forward, backward, update. In",
    "parentheses a peer's time over ours. float32, the same initial weights and data; after ten steps on the",
    "same batches losses agree within 0.1 % (not compared: dropout, which draws its own masks everywhere,",
    "and scikit-learn's networks of two classes, which have one output). Each library in a process of its",
    "own, in turns: while one measures, the others are stopped. Medians. Command: `make bench`.",
)

_TITLES = {"one": "One core", "all": "All cores"}
_KINDS = {
    "predict 10000": ("Prediction, 10,000 rows, ms", 1e-3),
    "predict 1": ("Prediction, one row, µs", 1.0),
}


def disagreements(results: Results) -> list[str]:
    """After the same steps from the same weights losses and predictions must be the same."""
    problems = []
    for (cores, workload, subject), got in results.losses.items():
        expected = results.losses.get((cores, workload, OURS))
        if expected is not None and not abs(got - expected) <= LOSS_TOLERANCE * abs(expected):
            problems.append(f"{workload}, {cores}: {subject} has loss {got:.6g}, {OURS} {expected:.6g}")
    for (cores, workload, subject), got_classes in results.classes.items():
        ours = results.classes.get((cores, workload, OURS), got_classes)
        same = sum(a == b for a, b in zip(got_classes, ours, strict=True)) / len(ours)
        if same < SAME_CLASSES:
            problems.append(f"{workload}, {cores}: {subject} predicts {same:.0%} of the classes alike")
    return problems


def training(results: Results, cores: str) -> list[str]:
    """µs per step; in parentheses a peer's time over ours."""
    names = results.subjects("train", cores)
    floors = any(kind == "floor" and c == cores for kind, c, _, _ in results.samples)
    heads = ["workload", *names, *(["products alone"] if floors else []), "best peer over ours"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    held_up = {w for w, _, _ in void(results)} if cores == "all" else set()
    for workload in results.workloads("train", cores):
        cells = [_cell(results, "train", cores, workload, name) for name in names]
        if floors:
            floor = results.get("floor", cores, workload)
            cells.append("" if floor is None else _number(floor))
        ratio = results.ratio("train", cores, workload)
        cells.append("" if ratio is None else f"**{ratio:.2f}**")
        mark = " †" if workload in held_up else ""
        mark += " ‡" if _disturbed(results, cores, workload) else ""
        lines.append(f"| {workload}{mark}: {WORKLOADS[workload]} | {' | '.join(cells)} |")
    return lines


def _cell(results: Results, kind: str, cores: str, workload: str, name: str, scale: float = 1) -> str:
    value, ours = results.get(kind, cores, workload, name), results.get(kind, cores, workload)
    if value is None:
        return ""
    told = _number(value * scale)
    return told if name == OURS or ours is None else f"{told} ({value / ours:.2f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _disturbed(results: Results, cores: str, workload: str) -> bool:
    if cores != "one":
        return False
    found = [min(s) for (_, c, w, _), s in results.shares.items() if (c, w) == (cores, workload)]
    return min(found, default=1.0) < SHARE


def remarks(results: Results) -> list[str]:
    """What the marks in the tables mean, where there are any."""
    lines = [
        f"† void: {peer} took {ratio:.2f} × its time on an idle machine of this kind in {workload}."
        for workload, peer, ratio in void(results)
    ]
    if any(_disturbed(results, "one", w) for w in results.workloads("train", "one")):
        lines.append("‡ Another program ran on the pinned core for more than 5 % of some call.")
    return lines + results.notes


def prediction(results: Results) -> list[str]:
    lines: list[str] = []
    for kind, (title, scale) in _KINDS.items():
        names = list(dict.fromkeys(n for c in _TITLES for n in results.subjects(kind, c)))
        if not names:
            continue
        lines += ["", f"| {title} | {' | '.join(names)} |", f"| --- |{' ---: |' * len(names)}"]
        for cores, where in _TITLES.items():
            for workload in results.workloads(kind, cores):
                cells = [_cell(results, kind, cores, workload, name, scale) for name in names]
                lines.append(f"| {workload}, {where.lower()} | {' | '.join(cells)} |")
    return lines[1:]


def starting(results: Results) -> list[str]:
    columns = {
        "import, s": ("import", "a"), "then first step of a, s": ("first step", "a"),
        "process start to first step, s": ("start to first step", "a"), "peak memory in b, MB": ("peak", "b"),
    }  # fmt: skip
    names = results.subjects("peak", "all")
    if not names:
        return []
    lines = [f"| | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name in names:
        found = [results.get(kind, "all", workload, name) for kind, workload in columns.values()]
        lines.append(f"| {name} | {' | '.join('' if v is None else f'{v:.3g}' for v in found)} |")
    cold, warm = (results.get(f"compile {kind}", "all", "a") for kind in ("cold", "warm"))
    whole = results.get("warm start to first step", "all", "a")
    if cold is not None and warm is not None and whole is not None:
        lines += [
            "",
            f"Compiling the training step of a takes {OURS} {cold * 1e3:.0f} ms, with a warm cache "
            f"{warm * 1e3:.1f} ms; process start to first step with a warm cache {whole:.2f} s.",
        ]
    return lines


def accuracy(results: Results) -> list[str]:
    names = results.subjects("accuracy epochs", "all")
    if not names:
        return []
    net = "-".join(map(str, NETWORK.sizes))
    extra = (", batch norm" if NETWORK.batch_norm else "") + f", dropout {NETWORK.dropout:g}"
    lines = [
        f"{net} {NETWORK.activation}{extra}, batch {NETWORK.batch}, Adam, rate {RATE:g} falling linearly",
        f"to 0 over {EPOCHS} epochs, stopped after the epoch that reaches {TARGET:.1%} of the test images.",
        "Seconds of training, compiling included, evaluating not; medians over seeds.",
        "",
        "| | seconds | epochs |",
        "| --- | ---: | ---: |",
    ]
    for name in names:
        cell = _cell(results, "accuracy", "all", "MNIST", name) or "not reached"
        lines.append(f"| {name} | {cell} | {results.get('accuracy epochs', 'all', 'MNIST', name):g} |")
    return lines


def page(results: Results) -> dict[str, list[str]]:
    """Sections of docs/benchmarks.md by title."""
    ahead = behind(results) or ["Nowhere in this run."]
    sections: dict[str, list[str]] = {"Training speed": []}
    for cores, title in _TITLES.items():
        if results.workloads("train", cores):
            sections["Training speed"] += ["", f"### {title}", "", *training(results, cores)]
    if sections["Training speed"]:
        sections["Training speed"] = [*EXPLANATION, *sections["Training speed"], "", *remarks(results)]
    sections["Prediction speed"] = prediction(results)
    sections["Starting, and memory"] = starting(results)
    sections[f"Seconds to {TARGET:.1%} on MNIST"] = accuracy(results)
    sections["Gates"] = [*gate_table(results), "", "### Where a peer is ahead", "", *ahead]
    return {title: lines for title, lines in sections.items() if lines}
