"""Files that an earlier chainrule wrote are read, and predict what they did. They are never written again:
where a format changes, another golden file joins these."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goldens import GOLDENS, answers, golden_rows

import chainrule as cr
from chainrule import nn
from chainrule.storage import read_tensors

DATA = Path(__file__).parent / "data"


def load(name: str, folder: Path) -> Any:
    (folder / name).write_bytes(base64.decodebytes((DATA / f"{name}.safetensors.b64").read_bytes()))
    return cr.load(folder / name)


@pytest.mark.parametrize("name", GOLDENS)
def test_an_old_file_predicts_what_it_did(name, tmp_path):
    found = answers(name, load(name, tmp_path))
    wanted = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        if isinstance(values[0], str):
            assert found[key] == values
        else:
            np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=1e-5)


def held(old: Any, new: Any) -> bool:
    """Whether all of the old is there; what is new may have joined it."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and held(v, new[key]) for key, v in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(map(held, old, new))
    return bool(old == new)


@pytest.mark.parametrize("name", GOLDENS)
def test_saved_again_it_has_the_same_content(name, tmp_path):
    """But for the version of the chainrule that wrote it, and the hashes that follow."""
    model = load(name, tmp_path)
    model.save(tmp_path / "again", optimizer=True)
    (old, a), (new, b) = (read_tensors(tmp_path / n) for n in (name, "again"))
    for key in ("chainrule", "sha256", "header_sha256"):
        old.pop(key), new.pop(key)
    assert held(old, new)
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_the_old_network_goes_on_learning(tmp_path):
    """Its optimizer's state is in the file."""
    net = load("network1", tmp_path)
    x = golden_rows(24)
    y = {"number": x["size"][:, :1], "kind": x["city"][:, 0]}
    before = net["head/kind/W"]
    net.fit(x, y, loss=net.loss, optimizer=net.optimizer, epochs=1, warm_start=True, verbose=0)
    assert (net["head/kind/W"] != before).any()


def test_the_golden_network_has_every_layer():
    text = base64.decodebytes((DATA / "network1.safetensors.b64").read_bytes())
    n = int.from_bytes(text[:8], "little")
    header = json.loads(json.loads(text[8 : 8 + n])["__metadata__"]["chainrule"])
    later = {  # came after that file was written
        "AveragePool", "Bidirectional", "Columns", "Conv1D", "Conv2D", "ConvTranspose1D", "ConvTranspose2D",
        "Elman", "EncoderDecoder", "GRU", "GaussianSample", "GlobalAveragePool", "GlobalMaxPool",
        "HideCells", "LSTM", "MaskedDense", "MaxPool", "MultiHeadAttention", "PositionalEncoding",
        "Reshape", "SequenceStack", "TransformerBlock",
    }  # fmt: skip
    found = {name for name in nn.LAYERS if f'"{name}"' in json.dumps(header["layer"])}
    assert found == set(nn.LAYERS) - later
