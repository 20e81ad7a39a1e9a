"""Each example runs in short, learns what it says, and stands in the gallery."""

from __future__ import annotations

import importlib

import pytest

pytest.importorskip("matplotlib")
import gallery


@pytest.mark.parametrize("name", gallery.names())
def test_an_example_learns(name, tmp_path):
    module = importlib.import_module(name)
    figures, drawn = module.main(True)
    assert module.EXPECTED
    for figure, (low, high) in module.EXPECTED.items():
        assert low <= figures[figure] <= high, figure
    drawn.savefig(tmp_path / "picture.png", dpi=20)


@pytest.mark.parametrize("name", gallery.names())
def test_an_example_is_in_the_gallery(name):
    assert (gallery.PICTURES / f"{name}.png").exists()
    assert f"(images/gallery/{name}.png)" in gallery.PAGE.read_text(encoding="utf-8")
