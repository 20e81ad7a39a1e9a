"""What the tests of the command line share: small data in MNIST's form, and two ways to run a command."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from shops import QUICK, shops

import chainrule.datasets
from chainrule.cli import main
from chainrule.datasets.files import DataFile

MNIST = sys.modules["chainrule.datasets.mnist"]  # the function of that name hides the module
SOURCE = str(Path(chainrule.datasets.__file__).resolve().parents[2])
ROWS = {"train": 600, "test": 120}

# Another process does the same as the fixture ``here``: it takes the small files for MNIST's.
DRIVER = """
import json, os, sys
import chainrule.datasets
from chainrule.datasets.files import DataFile
files = sys.modules["chainrule.datasets.mnist"].FILES
with open(os.path.join(os.environ["CHAINRULE_DATA"], "files.json")) as file:
    files.update({part: DataFile(*fields) for part, fields in json.load(file).items()})
from chainrule.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten blurred shapes with noise, as the four files of MNIST; and what must be known of each file."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    rng = np.random.default_rng(5)
    shapes = rng.integers(0, 200, (10, 784)) * (rng.random((10, 784)) < 0.3)
    known = {}
    for part, name in (("train", "train"), ("test", "t10k")):
        y = rng.integers(0, 10, ROWS[part])
        x = np.clip(0.6 * shapes[y] + rng.normal(0, 110, (len(y), 784)), 0, 255)
        for key, values, kind, shape in (
            (f"x_{part}", x, "images-idx3", (len(y), 28, 28)),
            (f"y_{part}", y, "labels-idx1", (len(y),)),
        ):
            content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
            content += values.astype(np.uint8).tobytes()
            file = DataFile(f"{name}-{kind}-ubyte.gz", len(content), hashlib.sha256(content).hexdigest())
            (folder / "mnist" / file.name).write_bytes(gzip.compress(content))
            known[key] = [file.name, file.size, file.sha256]
    (folder / "files.json").write_text(json.dumps(known))
    return folder


@pytest.fixture
def here(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, in a process for which MNIST is the small data set."""
    known = json.loads((small / "files.json").read_text())
    monkeypatch.setenv("CHAINRULE_DATA", str(small))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as main sets it, so that no test sees another's
    monkeypatch.setattr(MNIST, "FILES", {part: DataFile(*fields) for part, fields in known.items()})
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def call(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs one command in this process → (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def process(small: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the same command in a process of its own, in a folder."""

    children = []

    def start(folder: Path, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        more = {"PYTHONPATH": SOURCE, "PYTHONUNBUFFERED": "1", "CHAINRULE_DATA": str(small)}
        more["OPENBLAS_NUM_THREADS"] = "1"  # bits depend on it
        child = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            cwd=folder,
            env={**os.environ, **more},
            text=True,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        children.append(child)
        return child

    yield start
    for child in children:  # of a test that failed, or waited in vain
        if child.poll() is None:
            child.kill()
            child.communicate()


@pytest.fixture(scope="session")
def trained(process: Callable[..., subprocess.Popen[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended: the quick recipe, seed 0."""
    folder = tmp_path_factory.mktemp("trained")
    child = process(folder, "train", "mnist", "--run-dir", "run", "-q")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return folder / "run"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on shops.csv that has ended; the file lies beside it."""
    folder = tmp_path_factory.mktemp("shops")
    shops(folder / "shops.csv")
    done = subprocess.run(
        [sys.executable, "-m", "chainrule", "train", "shops.csv", "--target", "pays", *QUICK,
         "--kinds", "sales=identifier", "--run-dir", "run", "--time", "10m"],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": SOURCE, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stderr)
    (folder / "result.txt").write_text(done.stdout)
    return folder / "run"
