"""Model files from strangers: whatever a header says, load gives a network or one error, and runs nothing.

The hashes of every file here are right: what is tested lies behind them.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import json_suite
import numpy as np
import pytest
from mutation import file_parts, mutated_bytes, mutated_json, signed

import chainrule as cr
from chainrule import Network, losses, nn, ops
from chainrule.errors import ModelFileError
from chainrule.storage import read_header, read_tensors
from chainrule.tasks.predictor import Predictor

DATA = Path(__file__).parent / "data"
QUICK, LONG = 800, 60.0  # files, seconds


def network(kind: str) -> Network:
    x = np.random.default_rng(0).normal(size=(12, 4)).astype("f4")
    if kind == "plain":
        net = Network(nn.Dense(3), ops.relu, nn.Dense(2))
        net.fit(x, np.arange(12) % 2, epochs=1, verbose=0)
        return net
    front = nn.parallel(size=nn.Dense(2), city=nn.sequential(nn.Embedding(3, 2), nn.Flatten()))
    body = nn.Residual(nn.sequential(nn.Dense(4), nn.BatchNorm(), nn.PReLU()))
    net = Network(
        front, body, nn.Shared("s", nn.Maxout(4)), head=nn.parallel(join="dict", a=nn.Dense(1), b=nn.Dense(3))
    )
    net.fit(
        {"size": x, "city": np.arange(12)[:, None] % 3}, {"a": x[:, :1], "b": np.arange(12) % 3},
        loss={"a": losses.Huber(), "b": losses.CrossEntropy(label_smoothing=0.1)}, epochs=1, verbose=0,
        optimizer=cr.optim.Adam(groups=(cr.optim.Group("*/b", frozen=True),)),
    )  # fmt: skip
    return net


@pytest.fixture(scope="module", params=["plain", "branched"])
def sound(request, tmp_path_factory) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    path = tmp_path_factory.mktemp("sound") / "m"
    network(request.param).save(path, optimizer=True)
    return file_parts(path)


def loads(content: bytes, path: Path) -> bool:
    """Whether load takes it; anything but a network or a ModelFileError fails the test."""
    path.write_bytes(content)
    try:
        return isinstance(cr.load(path), Network | Predictor)
    except ModelFileError as error:
        if str(path) not in str(error):
            raise
        return False


def hostile(sound: Any, draws: random.Random) -> bytes:
    """A mutated file: of chainrule's header, of the tensors' entries, or of the header's text."""
    table, header, raw, data = sound
    kind = draws.random()
    if kind < 0.7:
        return signed(table, mutated_json(header, draws), data)
    if kind < 0.85:
        return signed(mutated_json(table, draws), header, data)
    return signed(mutated_bytes(raw, draws), header, data)


# ------------------------------------------------------------------ mutations


def test_the_files_are_sound_before_they_are_changed(sound, tmp_path):
    table, header, raw, data = sound
    assert loads(signed(table, header, data), tmp_path / "m")
    assert loads(signed(raw, header, data), tmp_path / "m")


def test_mutated_headers_give_a_network_or_one_error(sound, tmp_path):
    outcomes = [loads(hostile(sound, random.Random(seed)), tmp_path / "m") for seed in range(QUICK // 2)]
    assert 0.01 < np.mean(outcomes) < 0.5, "mutations must reach both ends"


@pytest.mark.long
@pytest.mark.parametrize("golden", ["network1", "classifier1", "regressor1"])
def test_mutated_golden_files_for_a_minute(golden, tmp_path):
    """Of networks and estimators, with every layer and every encoder of columns."""
    (tmp_path / "m").write_bytes(base64.decodebytes((DATA / f"{golden}.safetensors.b64").read_bytes()))
    sound = file_parts(tmp_path / "m")
    end, seed = time.monotonic() + LONG / 3, 10**6
    while time.monotonic() < end:
        loads(hostile(sound, random.Random(seed)), tmp_path / "m")
        seed += 1
    assert seed > 10**6 + 100


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("dtype", "float16"), ("dtype", None), ("seed", 2**64), ("seed", True),
        ("inputs", {}), ("inputs", []),
        ("inputs", {"x": {"shape": [10**9] * 4, "dtype": "float32"}}), ("loss", []), ("loss", {"y": None}),
        ("metrics", {"a": "accuracy", "b": "nothing"}), ("optimizer", {"type": "Dense", "units": 1}),
        ("layer", None), ("layer", {"type": "Network"}), ("layer", {"function": "eval"}), ("history", {}),
        ("history", [1]), ("steps", "1"), ("steps", None), ("epochs", [1]), ("epochs", -1), ("epochs", True),
        ("kind", "checkpoint"), ("kind", None), ("kind", ["network"]),
        ("layer", {"type": "Dense", "units": 10**15}),
        ("layer", {"type": "Sequential", "steps": [["a", {"function": "relu"}]] * 2}),
    ],
)  # fmt: skip
def test_a_header_that_describes_no_network_is_refused(sound, place, value, tmp_path):
    table, header, _, data = sound
    assert not loads(signed(table, {**header, place: value}, data), tmp_path / "m")


def test_a_header_without_one_of_its_parts_is_refused(sound, tmp_path):
    table, header, _, data = sound
    for key in (
        "kind",
        "layer",
        "dtype",
        "seed",
        "inputs",
        "loss",
        "metrics",
        "optimizer",
        "history",
        "steps",
    ):
        rest = {k: v for k, v in header.items() if k != key}
        assert not loads(signed(table, rest, data), tmp_path / "m"), key


# ------------------------------------------------------------------ JSONTestSuite, through the header


def framed(case: bytes, inner: bool) -> bytes:
    """A file with the text as one more value of chainrule's header, or of the file's."""
    nothing = hashlib.sha256(b"").hexdigest()
    ours = f'{{"format":1,"sha256":"{nothing}","header_sha256":"{"0" * 64}"'
    if inner:
        return signed({}, f'{ours},"x":{case.decode()}}}', b"")
    outer = json.dumps({"__metadata__": {"chainrule": ours + "}"}}).encode()
    return signed(outer[:-1] + b',"x":' + case + b"}", None, b"")


def test_json_test_suite_in_chainrules_header(tmp_path):
    path, inside = tmp_path / "m", {}
    for name, text in json_suite.cases().items():
        with contextlib.suppress(UnicodeDecodeError):  # no text: only the outer header can hold it
            inside[name] = framed(text, inner=True)
        assert name not in inside or not loads(inside[name], path), name

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_header(path)

    assert json_suite.misjudged(inside, read) == []


def test_json_test_suite_in_the_files_header(tmp_path):
    """There every value but a tensor's entry is refused, sound JSON or not."""
    for name, text in json_suite.cases().items():
        (tmp_path / "m").write_bytes(framed(text, inner=False))
        with pytest.raises(ModelFileError):
            read_tensors(tmp_path / "m")
        assert not loads(framed(text, inner=False), tmp_path / "m"), name


def test_json_test_suite_as_the_header_itself(tmp_path):
    for name, text in json_suite.cases().items():
        content = len(text).to_bytes(8, "little") + text
        assert not loads(content, tmp_path / "m"), name


# ------------------------------------------------------------------ what loading touches

WATCHED = """
import os, sys
import numpy as np
import chainrule as cr
from chainrule.errors import ModelFileError
first, paths = sys.argv[1], sys.argv[2:]
def touch(path):
    try: return cr.load(path)
    except ModelFileError: return None
for path in paths: touch(path)
cr.load(first)  # everything of ours that loading needs is imported by now
events = []
sys.addaudithook(lambda event, args: events.append((event, str(args[0]) if args else "")))
net = cr.load(first)
for path in paths: touch(path)
seen = list(events)
forbidden = ("import", "compile", "exec", "pickle", "marshal", "subprocess", "os.system", "os.exec",
             "os.spawn", "os.posix_spawn", "os.fork", "socket", "ctypes", "code.", "urllib", "http", "shutil")
bad = [e for e in seen if e[0].startswith(forbidden)]
bad += [e for e in seen if e[0] == "open" and e[1] not in sys.argv[1:]]
print({e[1] for e in seen if e[0] == "open"} == set(sys.argv[1:]), bad)
"""


def test_loading_imports_runs_and_opens_nothing_else(sound, tmp_path):
    table, header, _, data = sound
    (tmp_path / "sound").write_bytes(signed(table, header, data))
    for i in range(12):
        (tmp_path / f"m{i}").write_bytes(hostile(sound, random.Random(i)))
    evil = {**header, "layer": {"type": "antigravity.fly"}, "loss": {"y": {"function": "os.system"}}}
    (tmp_path / "evil").write_bytes(signed(table, evil, data))
    estimator = base64.decodebytes((DATA / "classifier1.safetensors.b64").read_bytes())
    (tmp_path / "estimator").write_bytes(estimator)
    before = sorted(tmp_path.iterdir())
    others = [str(p) for p in before if p.name != "sound"]
    command = [sys.executable, "-c", WATCHED, str(tmp_path / "sound"), *others]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "True []", done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_loading_and_predicting_need_numpy_alone(tmp_path):
    """In a process that has no other package (llvmlite apart, which compiles)."""
    network("plain").save(tmp_path / "m")
    code = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in sys.argv[2:]:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "import numpy as np, chainrule as cr\n"
        "print(cr.load(sys.argv[1]).predict(np.zeros((3, 4))).shape)"
    )
    others = ("sklearn", "scipy", "pandas", "narwhals", "onnx", "safetensors", "click", "rich")
    command = [sys.executable, "-c", code, str(tmp_path / "m"), *others]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(3,)"
