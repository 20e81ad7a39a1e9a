"""Bad tables, rows and models: one list drives Python and the command line. Each is one error with a remedy,
exit code 2, no traceback, and nothing is written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bad_tables import BAD_MODELS, BAD_ROWS, BAD_TABLES, GOOD, Bad

from chainrule import load
from chainrule.cli.reading import read_like
from chainrule.data.tables import read_table
from chainrule.errors import ChainruleError, ModelFileError
from chainrule.tasks.plan import choose_plan
from chainrule.tasks.prepared import prepare

Call = Callable[..., tuple[int, str, str]]
QUICK = ("--epochs", 2, "--networks", 1, "--hidden", 4, "--learning-rate", 0.01, "--executor", "reference")


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    """That a column is left out is told, which is no error here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="column 'id' is left out")
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of GOOD."""
    from chainrule.tasks.table_fit import fit_table

    path = tmp_path_factory.mktemp("good") / "good.csv"
    path.write_text(GOOD)
    table = read_table(path)
    said = {"epochs": 2, "networks": 1, "hidden": (4,), "learning_rate": 0.01, "executor": "reference"}
    fitted = fit_table(choose_plan(table, "y", **said).plan, table)
    fitted.predictor.save(path.parent / "model.safetensors")
    return path.parent / "model.safetensors"


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def told(here: Path, call: Call, *arguments: object) -> str:
    """The one message of a command that must fail and leave no trace."""
    before = content(here)
    code, out, err = call(*arguments)
    assert (code, out) == (2, ""), err
    assert content(here) == before
    assert "Traceback" not in err
    assert err.count("Error: ") == 1, err
    return " ".join(err[err.index("Error: ") :].split())


def needed(bad: Bad) -> None:
    if bad.needs:
        pytest.importorskip(bad.needs)


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_on_the_command_line(name: str, call: Call, here: Path) -> None:
    bad = BAD_TABLES[name]
    needed(bad)
    path = bad.write(here)
    message = told(here, call, "train", path.name, "--target", bad.target, *bad.options, *QUICK)
    assert all(word in message for word in bad.words), message


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_in_python(name: str, tmp_path: Path) -> None:
    bad = BAD_TABLES[name]
    needed(bad)
    path = bad.write(tmp_path)
    with pytest.raises(ChainruleError) as error:
        prepared(path, bad)
    message = f"{path.name}: {error.value}"  # the command line says of which file
    assert all(word in message for word in bad.words), message


def prepared(path: Path, bad: Bad) -> None:
    """As far as one comes without learning."""
    table = read_table(path, kinds=bad.settings.get("kinds"))
    prepare(choose_plan(table, bad.target, **bad.settings).plan, table)


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_bad_rows_on_the_command_line(name: str, command: str, call: Call, here: Path, model: Path) -> None:
    bad = BAD_ROWS[name]
    path = bad.write(here)
    output = ["-o", "out.csv"] if command == "predict" else []
    if command == "evaluate" and "y" not in path.read_text().partition("\n")[0].split(",") and bad.content:
        message = told(here, call, command, model, path.name, *output)
        assert "'y'" in message or all(word in message for word in bad.words)
        return
    message = told(here, call, command, model, path.name, *output)
    assert all(word in message for word in bad.words), message


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_in_python(name: str, tmp_path: Path, model: Path) -> None:
    bad = BAD_ROWS[name]
    predictor = load(model)
    path = bad.write(tmp_path)
    with pytest.raises(ChainruleError) as error:
        predictor.predict(read_like(path, predictor))
    message = f"{path.name}: {error.value}"
    assert all(word in message for word in bad.words), message


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models_everywhere(name: str, call: Call, here: Path, model: Path) -> None:
    changed = BAD_MODELS[name](model.read_bytes())
    assert changed != model.read_bytes()
    (here / "bad.safetensors").write_bytes(changed)
    (here / "rows.csv").write_text(GOOD)
    with pytest.raises(ModelFileError):
        load(here / "bad.safetensors")
    for arguments in (
        ["predict", "bad.safetensors", "rows.csv", "-o", "out.csv"],
        ["evaluate", "bad.safetensors", "rows.csv"],
        ["export", "bad.safetensors", "out.onnx"],
        ["summary", "bad.safetensors"],
    ):
        assert "bad.safetensors" in told(here, call, *arguments)


USAGE = {
    "train rows.csv": ["Missing option '--target'", "It has size, kind, y."],
    "train nowhere.csv --target y": ["no such file: nowhere.csv"],
    "train rows.csv --target y --time soon": ["'soon' is no length of time", "60s"],
    "train rows.csv --target y --time 0s": ["no time at all"],
    "train rows.csv --target y --hidden 64,many": ["'64,many'", "64,32"],
    "train rows.csv --target y --kinds size": ["'size' is no column=kind"],
    "train rows.csv --target y --dropout 1": ["1"],
    "train rows.csv --target y --learning-rate fast": ["'fast' is no learning rate"],
    "train rows.csv --target y --learning-rate -1": ["--learning-rate is -1.0"],
    "train rows.csv --target y --task guess": ["unknown task 'guess'"],
    "train rows.csv --target y --activation relo": ["unknown activation 'relo'", "did you mean 'relu'"],
    "train rows.csv --target y --recipe quick": ["--recipe is an option of mnist only"],
    "train mnist --target y": ["--target is an option of tables only"],
    "train mnist --time 60s": ["--time is an option of tables only"],
    "train rows.csv --target y --run-dir mine": ["mine holds other files"],
    "train rows.csv --target y --resume": ["there is no run runs/rows-y-0 to go on with"],
    "train --resume": ["Missing argument 'DATA'"],
    "train --resume --run-dir mine": ["mine holds no run"],
    "train --config broken.toml": ["broken.toml is not TOML"],
    "train --config odd.toml": ["odd.toml: there is no setting 'tarket'", "did you mean 'target'"],
    "train --config wrong.toml": ["wrong.toml: target is 3"],
    "train rows.csv --config unfit.toml": ["epochs is 'many'"],
    "train folder --target y": ["folder is a folder"],
    "train rows.csv --target y --stream --search": ["leave out --search or --stream"],
    "train rows.csv --target y --stream --networks 3": ["networks and log_target", "leave them out"],
    "train rows.csv --target why --stream": ["'why'", "Known: kind, size, y"],
    "train --config stream.toml": ["stream is 'yes'"],
    "train --config kinds.toml": ["kinds is 'size'", "[kinds]"],
    "train --config kinds.toml --kinds size=numeric": ["kinds is 'size'"],
    "train --config time.toml": ["'soon' is no length of time"],
    "train --config search.toml": ["search is -3", "from 0 up"],
    "predict MODEL rows.csv rows.csv": ["one FILE at a time"],
    "predict MODEL rows.csv -o out.doc": ["out.doc", "Known: .csv"],
    "predict MODEL rows.csv -o out.csv.gz": ["out.csv.gz"],
    "predict MODEL rows.csv -o nowhere/out.csv": ["no folder nowhere"],
    "predict MODEL rows.csv --json": ["--json is of pictures"],
    "evaluate MODEL": ["give a FILE"],
    "evaluate MODEL mnist": ["give a FILE"],
    "evaluate MODEL rows.csv --target why": ["no column 'why'"],
    "export MODEL out.txt": ["ends in .onnx"],
    "report mine": ["mine has no command.json"],
    "datasets flat": ["unknown data set 'flat'; did you mean 'flats'?"],
    "datasets --rows 3": ["need the NAME"],
    "datasets moons -o moons.doc": ["moons.doc"],
}


@pytest.mark.parametrize("line", USAGE)
def test_usage(line: str, call: Call, here: Path, model: Path) -> None:
    (here / "rows.csv").write_text(GOOD)
    (here / "folder").mkdir()
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("precious")
    (here / "broken.toml").write_text("target = = 3")
    (here / "odd.toml").write_text('data = "rows.csv"\ntarket = "y"\n')
    (here / "wrong.toml").write_text("target = 3\n")
    (here / "stream.toml").write_text('data = "rows.csv"\ntarget = "y"\nstream = "yes"\n')
    for name, value in {"kinds": "'size'", "time": "'soon'", "search": "-3"}.items():
        (here / f"{name}.toml").write_text(f'data = "rows.csv"\ntarget = "y"\n{name} = {value}\n')
    (here / "unfit.toml").write_text('target = "y"\nepochs = "many"\n')
    words = [str(model) if word == "MODEL" else word for word in line.split()]
    message = told(here, call, *words)
    assert all(word in message for word in USAGE[line]), message
