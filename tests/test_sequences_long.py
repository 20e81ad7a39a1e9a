"""What sequence to sequence learns, at full size: dates in fifteen forms, numbers in three languages."""

from __future__ import annotations

import importlib

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "unseen"),
    [
        ("dates", ["exact, unseen days"]),
        ("number_words", [f"exact, {language}, unseen" for language in ("English", "German", "Roman")]),
    ],
)
def test_at_least_99_of_100_unseen_are_exact(name, unseen):
    figures, _ = importlib.import_module(name).main(False)
    assert sum(figures[name] for name in unseen) >= 0.99 * len(unseen)
    assert min(figures[name] for name in unseen) >= 0.98
