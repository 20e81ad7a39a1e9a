"""The report: findings against plain counting, pictures against pixels, pages that load and run nothing."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule import data, losses, nn, ops, optim
from chainrule.config import to_json
from chainrule.datasets import Dataset
from chainrule.errors import DataError
from chainrule.modelfile import load
from chainrule.network import Network
from chainrule.png import read_png
from chainrule.recipes import RECIPES
from chainrule.report import Findings, LossCurve, examine, picture, write_report, write_result
from chainrule.report.drawings import first_weights, weight_mosaic
from chainrule.report.html import duration
from chainrule.report.record import configuration, read_json
from chainrule.train import Chunk, Start

HOSTILE = "</title><script>alert(1)</script>&\"'"
SHAPE = (6, 5)


def toy(classes: tuple[str, ...] = ("disc", "bar", HOSTILE)) -> Dataset:
    """Three blurred shapes of 6 × 5 pixels with noise; hard enough for mistakes to remain."""
    rng = np.random.default_rng(3)
    shapes = rng.integers(0, 256, (3, 30))
    y = rng.integers(0, 3, 330).astype(np.int32)
    x = np.clip(shapes[y] * 0.3 + rng.normal(90, 60, (330, 30)), 0, 255).astype(np.uint8)
    return Dataset("toy", x[:300], y[:300], x[300:], y[300:], classes, SHAPE, f"made up {HOSTILE}", "CC0")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A whole small run with its report, its picture and its findings."""
    folder, dataset, curve = tmp_path_factory.mktemp("runs") / "toy", toy(), LossCurve()
    net = Network(nn.Rescale(), nn.Dense(7), ops.relu, nn.Dense(3), seed=2)
    net.fit(
        dataset.x_train,
        dataset.y_train,
        epochs=4,
        batch_size=20,
        run_dir=folder,
        callbacks=[curve],
        verbose=0,
    )
    found = examine(net, dataset, "test", dataset.x_test, dataset.y_test)
    write_result(folder, net, found, dataset.name, curve)
    page = write_report(folder, net, found, dataset, title=f"run {HOSTILE}", command=f"chainrule {HOSTILE}")
    text = page.read_text(encoding="utf-8")
    drawn = picture(net, found, curve.points(), title=f"run {HOSTILE}")
    return SimpleNamespace(
        folder=folder, dataset=dataset, net=net, found=found, text=text, drawn=drawn, curve=curve
    )


# ------------------------------------------------------------------ findings


def some_findings() -> Findings:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 50).astype(np.float32)
    y = rng.integers(0, 3, 50)  # nothing of the last class
    return Findings("validation", np.zeros((50, 30), np.uint8), y, p, ("a", "b", "c", "d"), SHAPE)


def test_findings_equal_plain_counting() -> None:
    found = some_findings()
    confusion = [[0] * 4 for _ in range(4)]
    wrong, entropy = [], 0.0
    for row in range(50):
        guess = max(range(4), key=lambda k: found.probabilities[row, k])
        confusion[found.y[row]][guess] += 1
        entropy -= np.log(float(found.probabilities[row, found.y[row]])) / 50
        wrong += [row] if guess != found.y[row] else []
    assert found.confusion.tolist() == confusion
    assert (found.wrong, found.error) == (len(wrong), len(wrong) / 50)
    assert found.cross_entropy == pytest.approx(entropy, rel=1e-9)
    errors = [1 - confusion[k][k] / sum(confusion[k]) for k in range(3)]
    assert found.class_errors.tolist() == pytest.approx([*errors, 0.0])
    certain = sorted(wrong, key=lambda row: found.probabilities[row, found.y[row]])
    assert [m.row for m in found.worst(7)] == certain[:7]
    first = found.worst(1)[0]
    assert first.true == found.y[first.row]
    assert first.probability == found.probabilities[first.row].max()
    assert first.true_probability == found.probabilities[first.row, first.true]
    assert len(found.worst(1000)) == len(wrong)


def test_a_probability_of_zero_has_a_finite_cross_entropy() -> None:
    found = Findings("test", np.zeros((1, 1)), np.array([0]), np.array([[0.0, 1.0]], np.float32), ("a", "b"))
    assert 80 < found.cross_entropy < 90  # −log of float32's smallest normal number is 87.3


def test_examine_asks_the_network_and_refuses_other_classes(run: SimpleNamespace) -> None:
    np.testing.assert_array_equal(run.found.probabilities, run.net.predict_proba(run.dataset.x_test))
    with pytest.raises(DataError, match=r"outputs of shape \(3,\), toy has 2 classes"):
        examine(run.net, toy(("a", "b")), "test", run.dataset.x_test, run.dataset.y_test)


# ------------------------------------------------------------------ the loss between epochs


def told(curve: LossCurve, values: np.ndarray, cuts: list[int]) -> None:
    for part in np.split(values, cuts):
        curve.chunk(Chunk(0, 0, part, 0.1, 10))


@pytest.mark.parametrize("cuts", [[], [1], [100, 101, 450], list(range(0, 1000, 37))])
def test_loss_curve_is_the_mean_of_equal_stretches_whatever_the_chunks(cuts: list[int]) -> None:
    values = np.random.default_rng(1).random(1000)
    curve = LossCurve()
    curve.begin(Start(2000, 10, 200, 5, 0, 0, "reference", ()))
    told(curve, values, cuts)
    assert curve.every == 7
    means = values[: 142 * 7].reshape(142, 7).mean(axis=1)
    x, y = np.array(curve.points()).T
    np.testing.assert_allclose(y, means, rtol=1e-12)
    np.testing.assert_allclose(x, (np.arange(142) * 7 + 3.5) / 200)


def test_loss_curve_goes_on_from_what_a_checkpoint_remembers() -> None:
    values = np.random.default_rng(1).random(1000)
    start = Start(2000, 10, 200, 5, 0, 0, "reference", ())
    whole, first, second = LossCurve(), LossCurve(), LossCurve()
    for curve in (whole, first, second):
        curve.begin(start)
    told(whole, values, [])
    told(first, values[:523], [])
    second.remember(json.loads(json.dumps(first.memory())))
    told(second, values[523:], [])
    assert second.points() == whole.points()


# ------------------------------------------------------------------ weights as images


def test_mosaic_shows_every_unit_in_its_place() -> None:
    W = np.zeros((30, 5), np.float32)
    W[:, 3] = np.linspace(-1, 1, 30)
    mosaic, limit = weight_mosaic(W, SHAPE)
    assert mosaic.shape == (2 * 7 + 1, 3 * 6 + 1, 4)  # three across, two down, a pixel between
    unit = mosaic[8:14, 1:6].astype(int).reshape(30, 4)
    assert mosaic[..., 3].sum() == unit[:, 3].sum(), "something is drawn where weights are 0"
    strength = np.minimum(np.abs(W[:, 3]) / limit, 1) * 255
    np.testing.assert_allclose(unit[:, 3], strength, atol=255 / 24)
    assert (unit[:15, 2] > unit[:15, 0])[unit[:15, 3] > 0].all(), "negative weights are blue"
    assert (unit[15:, 0] > unit[15:, 2])[unit[15:, 3] > 0].all(), "positive weights are red"


def test_weights_that_are_all_zero_are_drawn() -> None:
    mosaic, limit = weight_mosaic(np.zeros((30, 2), np.float32), SHAPE)
    assert (limit, int(mosaic.sum())) == (1.0, 0)


def test_first_weights_are_those_that_read_images(run: SimpleNamespace) -> None:
    name, W = first_weights(run.net, SHAPE)  # type: ignore[misc]
    assert name == "dense_0/W"
    np.testing.assert_array_equal(W, run.net["dense_0/W"])
    assert first_weights(run.net, (5, 5)) is None
    assert first_weights(run.net, None) is None


# ------------------------------------------------------------------ the page


class Page(html.parser.HTMLParser):
    """Every element with its attributes; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_is_whole_and_says_what_happened(run: SimpleNamespace) -> None:
    page = Page(run.text)
    words = " ".join(page.words)
    for wanted in (
        f"{100 * run.found.error:.2f} %",
        run.net.history.sha256,
        "Rescale(), Dense(7), relu, Dense(3)",
        "Confusion matrix",
        "First-layer weights",
        "Worst mistakes",
        f"chainrule {HOSTILE}",
    ):
        assert wanted in words, wanted


def test_page_loads_nothing_and_runs_nothing(run: SimpleNamespace) -> None:
    page = Page(run.text)
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert str(value).startswith("data:image/png;base64,"), (tag, name, value)
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", run.text))
    assert addresses <= {"http://www.w3.org/2000/svg"}, (
        "the name of SVG, which nobody fetches, is the only one"
    )
    assert not re.search(r"@import|url\(", run.text)
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'")


def test_page_shows_the_worst_mistakes_as_they_are(run: SimpleNamespace) -> None:
    pictures = [
        read_png(base64.b64decode(str(a["href"]).split(",")[1]))
        for tag, a in Page(run.text).elements
        if tag == "image"
    ]
    grey = [p for p in pictures if p.shape == SHAPE]
    worst = run.found.worst(40)
    assert 0 < len(grey) == len(worst)
    for shown, mistake in zip(grey, worst, strict=True):
        np.testing.assert_array_equal(shown.reshape(-1), run.dataset.x_test[mistake.row])
    mosaic, _ = weight_mosaic(run.net["dense_0/W"], SHAPE)
    assert any(np.array_equal(p[::4, ::4], mosaic) for p in pictures if p.ndim == 3)


def test_page_of_a_run_without_images_or_mistakes(run: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("config.json", "environment.json", "result.json"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    sure = np.eye(3, dtype=np.float32)[run.dataset.y_test]
    found = dataclasses.replace(run.found, image_shape=None, probabilities=sure)
    page = write_report(tmp_path, run.net, found, run.dataset, title="t", command="c")
    words = " ".join(Page(page.read_text(encoding="utf-8")).words)
    assert "0.00 %" in words
    assert "Worst mistakes" not in words
    assert "First-layer weights" not in words
    assert "Confusion matrix" in words


def test_picture_is_one_svg_file_that_stands_alone(run: SimpleNamespace) -> None:
    root = ET.fromstring(run.drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert 0 < width <= 1000
    assert 0 < height <= 1000
    images = root.iter("{http://www.w3.org/2000/svg}image")
    assert all(str(i.get("href")).startswith("data:image/png;base64,") for i in images)
    assert set(re.findall(r"https?://[^\s\"'<)]+", run.drawn)) == {"http://www.w3.org/2000/svg"}
    for drawing in root.findall("{http://www.w3.org/2000/svg}svg"):  # nothing sticks out
        assert float(drawing.get("x", 0)) + float(drawing.get("width", 0)) <= width
        assert float(drawing.get("y", 0)) + float(drawing.get("height", 0)) <= height


# ------------------------------------------------------------------ what a run folder says


def test_result_says_what_was_found(run: SimpleNamespace) -> None:
    result = read_json(run.folder, "result.json")
    predicted = run.net.predict(run.dataset.x_test)
    assert result["wrong"] == int((predicted != run.dataset.y_test).sum())
    assert result["error"] == result["wrong"] / result["rows"] == result["wrong"] / 30
    assert sum(map(sum, result["confusion"])) == 30
    assert result["sha256"] == run.net.history.sha256
    assert result["loss_curve"] == [list(point) for point in run.curve.points()]


def test_the_saved_model_is_the_trained_one(run: SimpleNamespace) -> None:
    again = load(run.folder / "model.safetensors")
    np.testing.assert_array_equal(again.predict_proba(run.dataset.x_test), run.found.probabilities)


def configurations() -> list[Any]:
    parts = [[*r.layers, r.optimizer, r.schedule, r.loss, r.augment] for r in RECIPES.values()]
    return [p for group in parts for p in group if dataclasses.is_dataclass(p)]


@pytest.mark.parametrize("value", configurations(), ids=repr)
def test_configuration_is_python_that_makes_the_same(value: Any) -> None:
    """Independent of the writer: Python itself reads it."""
    names = {
        **nn.LAYERS,
        **nn.INITS,
        **optim.OPTIMIZERS,
        **optim.SCHEDULES,
        **optim.AVERAGES,
        **losses.LOSSES,
    }
    assert eval(configuration(value), {**names, "Augment": data.Augment, **data.VICINITIES}) == value


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_the_network_and_can_be_written_down(name: str) -> None:
    recipe = RECIPES[name]
    net = Network(*recipe.layers).build(784, dtype="uint8")
    shapes = [p.shape for path, p in net.parameters.items() if path.endswith("/W")]
    if name == "conv":
        assert [s[-1] for s in shapes] == [16, 16, 32, 32, 64, 128, 10]
    else:
        hidden = (512, 512) if name == "invariant" else (225, 144)
        assert shapes == list(itertools.pairwise((784, *hidden, 10)))
    assert recipe.name == name
    for part in (recipe.optimizer, recipe.schedule, recipe.loss, recipe.augment):
        to_json(part)


def test_read_json_refuses_what_is_not_there_or_not_an_object(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no result\.json"):
        read_json(tmp_path, "result.json")
    (tmp_path / "result.json").write_text("[1]")
    with pytest.raises(DataError, match="not a JSON object"):
        read_json(tmp_path, "result.json")


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (99.96, "1 min 40 s"), (3600, "1 h 0 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
