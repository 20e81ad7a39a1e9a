"""The page of a table's report: whole, escaped, without anything from outside, in light and dark."""

from __future__ import annotations

import html.parser
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from chainrule import load  # noqa: E402
from chainrule.data.tables import Table, as_table  # noqa: E402
from chainrule.errors import ConfigError, DataError  # noqa: E402
from chainrule.report import examine_table, fit_baselines, table_report, write_table_report  # noqa: E402
from chainrule.report.table import view_columns, view_target  # noqa: E402
from chainrule.report.table.words import lead, listed  # noqa: E402
from chainrule.tasks import MLPClassifier, MLPRegressor  # noqa: E402
from chainrule.tasks.predictor import predictor_of  # noqa: E402

HOSTILE = "</td></table></title></style><script>alert(1)</script>&\"'\x00\u202eabc"
VOID = {"meta", "br"}


class Page(html.parser.HTMLParser):
    """Every element with its attributes; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.parts.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.parts).split())


def fitted(kind: str, *, bad: str = "") -> SimpleNamespace:
    """A model of a small table whose names and cells hold ``bad``."""
    rng = np.random.default_rng(1)
    n = 500
    x = rng.normal(size=n)
    word = np.where(rng.random(n) < 0.4, f"long {bad} {'x' * 300}", f"b{bad}").astype(object)
    signal = x + (word == f"b{bad}") + 0.5 * rng.normal(size=n)
    table = pd.DataFrame(
        {f"x{bad}": x, f"word{bad}": word, "gap": np.where(rng.random(n) < 0.6, np.nan, 1.0)}
    )
    table["when"] = np.datetime64("2024-01-01") + rng.integers(0, 90, n).astype("timedelta64[D]")
    names = {"two": [f"no{bad}", f"yes{bad}"], "three": ["a", f"b{bad}", "c"]}.get(kind, [])
    y = (
        50 + 10 * signal
        if kind == "number"
        else np.array(names)[np.digitize(signal, [0.2, 1.2][: len(names) - 1])]
    )
    cls: Any = MLPRegressor if kind == "number" else MLPClassifier
    options = {"loss": "gaussian"} if kind == "number" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cls(hidden_layer_sizes=(6,), max_iter=8, random_state=0, early_stopping=True, **options)
        model.fit(table[:300], y[:300])
    return SimpleNamespace(model=model, table=table, y=y, names=names)


def reported(fit: SimpleNamespace, path: Path, **options: Any) -> tuple[str, Any]:
    train = (fit.table[:300], fit.y[:300])
    found = table_report(fit.model, fit.table[300:], fit.y[300:], path, train=train, **options)
    return path.read_text(encoding="utf-8"), found


@pytest.fixture(scope="module", params=["two", "three", "number"])
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    fit = fitted(request.param, bad=HOSTILE)
    path = tmp_path_factory.mktemp("reports") / "report.html"
    text, found = reported(fit, path, target=f"y{HOSTILE}", title=f"run {HOSTILE}", command=f"run {HOSTILE}")
    return SimpleNamespace(kind=request.param, fit=fit, text=text, page=Page(text), found=found, path=path)


def test_page_is_well_formed_and_its_drawings_are_xml(hostile: SimpleNamespace) -> None:
    drawings = re.findall(r"<svg xmlns.*?</svg>|<svg [^>]*xmlns.*?</svg>", hostile.text, re.DOTALL)
    assert len(drawings) >= 8
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert not re.search(r"\b(nan|inf)\b", " ".join(v for e in root.iter() for v in e.attrib.values()))
    heads = [tag for tag, _ in hostile.page.elements]
    assert (heads.count("h1"), heads.count("title") > 1, heads.count("main")) == (1, True, 1)


def test_page_loads_nothing_and_runs_nothing(hostile: SimpleNamespace) -> None:
    tags = {tag for tag, _ in hostile.page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "image", "img"}
    for tag, attributes in hostile.page.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert not {"src", "href", "xlink:href", "srcset", "action"} & set(attributes), (tag, attributes)
    assert set(re.findall(r"https?://[^\s\"'<)]+", hostile.text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", hostile.text)
    policy = [
        a["content"] for _, a in hostile.page.elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert str(policy[0]).startswith("default-src 'none'")


def test_what_comes_from_the_data_is_escaped_and_shortened(hostile: SimpleNamespace) -> None:
    assert "<script" not in hostile.text
    assert "\x00" not in hostile.text
    assert "\u202e" not in hostile.text, "words would be read backwards"
    assert "</td></table></title></style><script>" in hostile.page.words, "as a name, in words"
    assert "x" * 100 not in hostile.text
    assert len(hostile.text) < 400_000


def test_page_reads_in_light_and_dark_and_on_paper(hostile: SimpleNamespace) -> None:
    style = "".join(re.findall(r"<style>(.*?)</style>", hostile.text, re.DOTALL))
    light, dark = (set(re.findall(r"(--\w+):", part)) for part in style.split("prefers-color-scheme", 1))
    assert {"--paper", "--ink", "--muted", "--line", "--ground"} <= light & dark
    used = set(re.findall(r"var\((--\w+)\)", style))
    assert used <= light & dark
    assert "@media print" in style
    inks = {str(a.get("class")) for _, a in hostile.page.elements if a.get("fill") == "currentColor"}
    for ink in inks:
        assert style.count(f".cr .{ink}{{") >= 2, "a colour in light, and one in dark"


def test_page_says_what_was_found(hostile: SimpleNamespace) -> None:
    words, found = hostile.page.words, hostile.found
    assert found.target == f"y{HOSTILE}"
    assert "learned to predict y</td></table>" in words
    sections = ["The data", "How it learned", "Right and wrong", "Beside simpler models"]
    for wanted in (*sections, "Which columns it relies on", "Worst mistakes", "How to have it again"):
        assert wanted in words, wanted
    if hostile.kind == "number":
        shown = (f"{abs(found.scores['R²']):.4f}", "True and predicted", "Predicted bounds", "least squares")
    else:
        accuracy = f"{100 * found.scores['accuracy']:.2f}"
        shown = (
            accuracy,
            "Confusion matrix",
            "Calibration",
            "logistic regression",
            "expected calibration error",
        )
    for wanted in (*shown, "Partial dependence (Friedman 2001)", "Mostly gaps: gap", "200 test rows"):
        assert wanted in words, wanted
    assert ("ROC curve" in words) == (hostile.kind == "two")
    assert hostile.fit.model.network_.history.sha256 in words


def test_worst_mistakes_are_the_rows_themselves(tmp_path: Path) -> None:
    fit = fitted("two")
    text, found = reported(fit, tmp_path / "r.html")
    part = text.split("Worst mistakes</h2>")[1].split("</table>")[0]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", part)]
    assert len(cells) == min(15, int((found.predicted != found.truth).sum()))
    for row, shown in zip(found.worst(15).tolist(), cells, strict=True):
        assert shown[0] == f"{row + 1:,}"
        assert shown[1] == fit.y[300 + row]
        assert shown[2] == fit.model.predict(fit.table[300 + row : 301 + row])[0]
        x = float(shown[4 + [i.column for i in found.importance].index("x")].replace("−", "-"))
        assert x == pytest.approx(fit.table["x"].iloc[300 + row], rel=1e-4)


def test_mistakes_say_which_row_of_the_whole_table_they_are(tmp_path: Path) -> None:
    fit = fitted("number")
    key = [f"K{i:04d}" for i in range(len(fit.table))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit.model.fit(fit.table.assign(key=key)[:300], fit.y[:300])
    predictor, table = predictor_of(fit.model), as_table(fit.table.assign(key=key, y=fit.y))
    numbers = np.arange(499, 299, -1)
    found = examine_table(predictor, table.take(numbers), "y", numbers=numbers, top=0)
    columns = view_columns(table, predictor.encoder, "y")
    path = write_table_report(tmp_path / "r.html", found, columns=columns)
    text = path.read_text(encoding="utf-8").split("Worst mistakes</h2>")[1]
    first = re.findall(r"<td[^>]*>(.*?)</td>", text)
    worst = int(numbers[found.worst(1)[0]])
    assert first[0] == f"{worst + 1}"
    assert first[4] == key[worst]
    assert "in the whole table" in text


def test_a_model_from_a_file_gives_the_same_page(tmp_path: Path) -> None:
    fit = fitted("three")
    text, _ = reported(fit, tmp_path / "a.html")
    predictor_of(fit.model).save(tmp_path / "model.safetensors")
    fit.model = load(tmp_path / "model.safetensors")
    again, _ = reported(fit, tmp_path / "b.html")
    figures = [re.findall(r"<b>(.*?)</b>", t) for t in (text, again)]
    assert figures[0] == figures[1]
    assert (
        text.split("Right and wrong")[1].split("How to have")[0]
        == (again.split("Right and wrong")[1].split("How to have")[0])
    )


def test_many_columns_and_classes_are_counted_not_all_shown(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 230))
    labels = np.array([f"class {i:02d}" for i in range(45)])
    y = labels[np.digitize(x[:, 7], np.quantile(x[:, 7], np.linspace(0, 1, 46)[1:-1]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((4,), max_iter=2, random_state=0).fit(x[:400], y[:400])
    table_report(model, x[400:], y[400:], tmp_path / "r.html")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "And 190 less important columns, not shown: 190 numeric." in page.words
    assert "and 5 smaller classes" in page.words
    assert "And 215 less important columns." in page.words
    assert "Beside simpler models" not in page.words


def test_everything_a_run_knows_is_told(tmp_path: Path) -> None:
    fit = fitted("two")
    predictor = predictor_of(fit.model)
    table = as_table(fit.table.assign(y=fit.y))
    found = examine_table(
        predictor, table, "y", part="validation", baselines=fit_baselines(predictor, table, "y"), top=1
    )
    rows = [
        {"epoch": i, "loss": 1 / (i + 1), "val_loss": 1.1 / (i + 1), "learning_rate": 0.1 * 0.9**i}
        for i in range(9)
    ]
    trials = [
        {"hidden": "64, 32", "val_loss": 0.5, "seconds": 1.5},
        {"hidden": "8", "val_loss": 0.4, "seconds": 1.0},
    ]
    trials += [{"hidden": "4", "val_loss": 0.6 + i, "seconds": 1.0} for i in range(3)]
    trials.append({"hidden": "broken", "val_loss": None, "seconds": None})
    path = write_table_report(
        tmp_path / "r.html",
        found,
        columns=view_columns(table, predictor.encoder, "y"),
        target=view_target(table["y"], "y", found.classes),
        train_rows=300,
        history_rows=rows,
        kept=6,
        networks=3,
        trials=trials,
        plan=[("hidden", (64, 32)), ("batch size", 32)],
        command="chainrule train table.csv --target y",
        environment={"numpy": "2.0"},
        sha256="abc123",
        figures={"training time": "41.3 s"},
        said=["The rows were parted 60 : 20 : 20."],
    )
    words = Page(path.read_text(encoding="utf-8")).words
    for wanted in (
        "500 validation rows", "of 300 rows", "Of 9 epochs the parameters after epoch 7 were kept",
        "Learning rate", "best so far", "the first of 3 networks",
        "Of 6 trials the 5 best are shown", "(64, 32)", "chainrule train table.csv --target y",
        "numpy 2.0", "abc123", "41.3 s", "The rows were parted 60 : 20 : 20.",
    ):  # fmt: skip
        assert wanted in words, wanted
    assert words.index("8 0.4") < words.index("64, 32 0.5"), "the best trial comes first"


def test_lead_says_whether_it_is_better_than_the_linear_model(tmp_path: Path) -> None:
    fit = fitted("number")
    _, found = reported(fit, tmp_path / "r.html")
    mean, error = found.comparisons[-1].differences["RMSE"]
    said = lead(found, 300)
    verdict = "chance would give." if abs(mean) > 2 * error else "within what chance would give"
    assert verdict in said
    assert ("lower" in said) == (mean < -2 * error)
    assert ("higher" in said) == (mean > 2 * error)
    assert listed([]) == ""


def test_what_cannot_be_reported_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    fit = fitted("two")
    path = tmp_path / "r.html"
    with pytest.raises(DataError, match="X has 200 rows, y has 199"):
        table_report(fit.model, fit.table[300:], fit.y[301:], path)
    with pytest.raises(DataError, match="y has 2 columns"):
        table_report(fit.model, fit.table[300:], Table({"a": np.zeros(200), "b": np.zeros(200)}), path)
    with pytest.raises(ConfigError, match="str holds no fitted network"):
        table_report("model", fit.table[300:], fit.y[300:], path)
    with pytest.raises(DataError, match="lacks 1 column"):
        table_report(fit.model, fit.table[300:].drop(columns="word"), fit.y[300:], path)
    assert list(tmp_path.iterdir()) == []


def test_one_row_and_one_class_of_truths_give_a_page(tmp_path: Path) -> None:
    fit = fitted("two")
    for rows in (slice(300, 301), np.flatnonzero(fit.y == fit.names[0])[:9]):
        part = fit.table.iloc[rows]
        found = table_report(fit.model, part, fit.y[rows], tmp_path / "r.html", train=(fit.table, fit.y))
        words = Page((tmp_path / "r.html").read_text(encoding="utf-8")).words
        assert "ROC curve" not in words
        assert len(found) == len(part)
    regressor = fitted("number")
    table_report(regressor.model, regressor.table[300:301], regressor.y[300:301], tmp_path / "r.html")
    assert "Residuals" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).words


_ALONE = """
import sys
for name in ("sklearn", "pandas", "scipy", "narwhals", "pyarrow"):
    sys.modules[name] = None
import numpy as np
from chainrule import load
from chainrule.report import table_report
X = {"x": np.linspace(-1, 1, 40), "word": ["a", "b"] * 20, "gap": [None, 1.0] * 20}
X["when"] = np.datetime64("2024-01-01") + np.arange(40)
found = table_report(load(sys.argv[1]), X, ["no", "yes"] * 20, sys.argv[2], train=(X, ["no", "yes"] * 20))
print(len(found.comparisons))
"""


def test_a_report_of_a_model_from_a_file_needs_numpy_alone(tmp_path: Path) -> None:
    predictor_of(fitted("two").model).save(tmp_path / "model.safetensors")
    command = [sys.executable, "-c", _ALONE, str(tmp_path / "model.safetensors"), str(tmp_path / "r.html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
    assert (tmp_path / "r.html").is_file()
