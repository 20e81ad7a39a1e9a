"""What is handed out: the wheel is the package and nothing else, and works without the repository.

`CHAINRULE_PYTHONS` names more interpreters to try, parted as in PATH; the newest there is tried by itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parent.parent
LEARNS = """
import numpy as np, chainrule as cr
x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
net = cr.Network(cr.nn.Dense(16), cr.ops.tanh, cr.nn.Dense(2), seed=1)
net.fit(x, np.array([0, 1, 1, 0]), epochs=300, optimizer=cr.optim.Adam(0.05), verbose=0)
print(net.predict(x).tolist(), cr.__version__)
"""


def run(*command: object, **options: object) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, env=environment, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment(home: Path, python: str = sys.executable) -> Path:
    """An empty virtual environment; its interpreter."""
    run(python, "-m", "venv", home)
    return home / ("Scripts" if os.name == "nt" else "bin") / "python"


def pythons() -> list[str]:
    named = os.environ.get("CHAINRULE_PYTHONS", "").split(os.pathsep)
    on_path = [path for minor in range(20, 10, -1) if (path := shutil.which(f"python3.{minor}"))]
    runs = [
        p for p in on_path if subprocess.run([p, "-c", "import venv"], capture_output=True).returncode == 0
    ]
    return list(dict.fromkeys([sys.executable, *filter(None, named), *runs[:1]]))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    home = tmp_path_factory.mktemp("build")
    python = environment(home / "venv")
    run(python, "-m", "pip", "install", "-q", "hatchling")
    run(python, "-m", "hatchling", "build", "-d", home / "dist", cwd=ROOT)
    return home / "dist"


def test_the_wheel_is_the_package_alone(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert len(tops) == 2
    assert tops == {"chainrule", next(t for t in tops if t.endswith(".dist-info"))}
    assert "chainrule/py.typed" in names
    assert next(built.glob("*.whl")).name.endswith("-py3-none-any.whl")
    assert next(built.glob("*.whl")).stat().st_size < 1 << 20


def test_the_sdist_leaves_the_data_out(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "src/chainrule/__init__.py",
        "tests/test_packaging.py",
    } <= set(names)
    assert not [name for name in names if name.startswith("data/mnist")]


@pytest.mark.parametrize("python", pythons())
def test_the_wheel_works_without_the_repository(built: Path, tmp_path: Path, python: str) -> None:
    inside = environment(tmp_path / "venv", python)
    run(inside, "-m", "pip", "install", "-q", next(built.glob("*.whl")))
    assert run(inside, "-W", "error", "-c", LEARNS, cwd=tmp_path).startswith("[0, 1, 1, 0]")
    shown = run(inside.parent / "chainrule", "--help", cwd=tmp_path)
    assert "train" in shown


def test_the_download_is_small(built: Path, tmp_path: Path) -> None:
    """The wheel and all it needs: 80 MB at most."""
    wheel = next(built.glob("*.whl"))
    run(sys.executable, "-m", "pip", "download", "-q", "-d", tmp_path, "--only-binary", ":all:", wheel)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 80e6
