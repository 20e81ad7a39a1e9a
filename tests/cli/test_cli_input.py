"""Bad input of every kind: one message with a remedy, exit code 2, nothing written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chainrule import datasets
from chainrule.png import encode_png

Call = Callable[..., tuple[int, str, str]]
Process = Callable[..., subprocess.Popen[str]]
SOURCE = str(Path(datasets.__file__).resolve().parents[2])


def bad_files(folder: Path) -> None:
    """Files that nothing can be made of."""
    (folder / "text.png").write_text("I am no picture")
    (folder / "cut.png").write_bytes(encode_png(np.zeros((28, 28), np.uint8))[:-20])
    (folder / "blank.png").write_bytes(encode_png(np.full((50, 50), 255, np.uint8)))
    (folder / "noise.safetensors").write_bytes(b"\x00" * 100)
    (folder / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    np.save(folder / "short.npy", np.zeros((2, 783), np.uint8))
    np.save(folder / "words.npy", np.array(["seven"] * 784))
    np.save(folder / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "huge.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 784)}".ljust(117)
        + b"\n"
    )
    np.savez(folder / "two.npz", a=np.zeros(784), b=np.zeros(784))
    (folder / "zip.npz").write_bytes(b"PK\x03\x04 and nothing more")
    (folder / "mine").mkdir()
    (folder / "mine" / "config.json").write_text("precious")
    (folder / "altered").mkdir()
    (folder / "altered" / "command.json").write_text('{"dataset": "mnist"}')


BAD = [
    ("train", ["Missing argument 'DATA'"]),
    ("trian mnist", ["unknown command 'trian'; did you mean 'train'?"]),
    ("train mnits", ["unknown data set 'mnits'; did you mean 'mnist'?"]),
    ("train mnist --recipe quik", ["unknown recipe 'quik'; did you mean 'quick'?"]),
    ("train mnist --recip quick", ["'--recip'", "'--recipe'"]),
    ("train mnist --executor referense", ["unknown executor 'referense'; did you mean 'reference'?"]),
    ("train mnist --epochs 0", ["'0' is not a whole number from 1 up"]),
    ("train mnist --epochs many", ["'many' is not a whole number from 1 up"]),
    ("train mnist --seed -1", ["'-1' is not a whole number from 0 up"]),
    ("train mnist --seed 9223372036854775808", ["is not a whole number"]),
    ("train mnist --run-dir text.png", ["text.png"]),
    ("train mnist --run-dir mine", ["mine holds other files", "--run-dir"]),
    ("train mnist --resume", ["no run runs/mnist-quick-0 to go on with"]),
    ("train mnist --resume --run-dir nowhere", ["nowhere holds no run"]),
    ("train mnist --resume --run-dir altered", ["not what `chainrule train` wrote"]),
    ("evaluate nowhere.safetensors", ["nowhere.safetensors", "does not exist"]),
    ("evaluate noise.safetensors", ["noise.safetensors"]),
    ("evaluate mine", ["mine holds no model.safetensors"]),
    ("evaluate MODEL mnits", ["unknown data set 'mnits'"]),
    ("predict MODEL", ["Missing argument"]),
    ("predict MODEL nowhere.png", ["nowhere.png", "does not exist"]),
    ("predict MODEL text.png", ["text.png: not a PNG picture"]),
    ("predict MODEL cut.png", ["cut.png"]),
    ("predict MODEL blank.png", ["blank.png", "no ink found"]),
    ("predict MODEL short.npy", ["short.npy", "(2, 783)", "rows of 784 values"]),
    ("predict MODEL words.npy", ["words.npy", "give numbers"]),
    ("predict MODEL pickle.npy", ["pickle.npy: not an array file"]),
    ("predict MODEL huge.npy", ["huge.npy: not an array file"]),
    ("predict MODEL cut.npy", ["cut.npy: not an array file"]),
    ("predict MODEL two.npz", ["two.npz: holds a, b; give one array, or call it x"]),
    ("predict MODEL zip.npz", ["zip.npz: not an array file"]),
    ("report mine", ["mine has no command.json"]),
    ("summary text.png", ["text.png"]),
]


@pytest.mark.parametrize(("line", "wanted"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_message_and_nothing_is_written(
    line: str, wanted: list[str], call: Call, trained: Path, here: Path
) -> None:
    bad_files(here)

    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(here.rglob("*"))}

    before = content()
    code, out, err = call(*[str(trained) if word == "MODEL" else word for word in line.split()])
    assert (code, out) == (2, "")
    assert content() == before
    assert "Traceback" not in err
    message = " ".join(err[err.index("Error: ") :].split())
    assert err.count("Error: ") == 1
    assert all(w in message for w in wanted), err


def test_a_run_that_exists_is_neither_overwritten_nor_changed(call: Call, trained: Path) -> None:
    code, _, err = call("train", "mnist", "--run-dir", trained)
    assert code == 2
    assert f"chainrule train mnist --run-dir {trained} --resume" in err
    code, _, err = call("train", "mnist", "--run-dir", trained, "--resume", "--batch-size", 50)
    assert code == 2
    assert "was begun with --batch-size 100, not 50" in err


def test_debug_shows_the_traceback_before_the_message(call: Call, here: Path) -> None:
    bad_files(here)
    for arguments in (["--debug", "summary", "text.png"], ["summary", "text.png", "--debug"]):
        code, _, err = call(*arguments)
        assert code == 2
        assert "Traceback" in err
        assert err.splitlines()[-1].startswith("Error: ")


def test_a_run_in_use_is_told(call: Call, here: Path) -> None:
    from chainrule.storage import RunLock

    (here / "busy").mkdir()
    with RunLock(here / "busy"):
        code, _, err = call("train", "mnist", "--run-dir", "busy")
    assert code == 2
    assert re.search(r"Error: .*busy.* is in use by PID \d+ since", err)
